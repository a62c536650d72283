"""Decode HEIC and AVIF, the images of phones, in a process apart.

HEIC is read where `pi-heif` is installed (libheif with libde265, which decode only), AVIF where
Pillow was built with it. Both decoders are large and young, so they stand apart as those of DICOM's
JPEG 2000 do: with so much time and memory, for about 0.2 s an image. A file may hold several
images; the one that it calls primary counts, turned as the file says (in HEIC, EXIF does not).
"""

import io
import json
import struct
from collections.abc import Iterator
from importlib.util import find_spec

from PIL import Image as Pillow
from PIL import features

from model_core.errors import (
    MultiFrameImageError,
    UnsupportedImageError,
    check_pixels,
    damaged_file,
)
from model_core.images.formats.decoder_process import run_decoder
from model_core.images.formats.exif import orientation_block

_DEEPEST = 4
"""Boxes within boxes: an image's size lies three deep (meta, iprp, ipco)."""
_MOST = 20_000
"""Boxes and items looked at; an image of 48 Mpx in tiles has some 200."""
_INSIDE = {b"meta": 4, b"iprp": 0, b"ipco": 0}
"""Boxes that hold boxes, and how many bytes stand before these."""
_SEQUENCES = (b"msf1", b"hevc", b"hevx", b"avis")
"""Major brands of files that are, in the first place, a sequence of images."""
_HEVC_ZEROS = bytes(8)
"""HEVC never has three bytes of zero within a unit, nor as many as this between two."""


def decode_heif(data: bytes, kind: str, max_pixels: int) -> Pillow.Image:
    """Decode the primary image of a HEIC or AVIF file.

    Returns:
        Mode L, LA, RGB or RGBA, with its profile and an orientation that is still to be applied.

    Raises:
        UnsupportedImageError: no decoder for it is installed.
        MultiFrameImageError: a sequence of images.
        ImageTooLargeError: more than `max_pixels`.
        UnreadableImageError: truncated or damaged, or not decoded within the limits.
    """
    if not (find_spec("pi_heif") if kind == "HEIC" else features.check("avif")):
        hint = "; or install 'lesion-segmentation[heic]'" if kind == "HEIC" else ""
        raise UnsupportedImageError(
            f"found a {kind} file, for which this installation has no decoder; "
            f"export it as JPEG or PNG{hint}"
        )
    if data[8:12] in _SEQUENCES:
        raise MultiFrameImageError(f"the {kind} file is a sequence, expected one image")
    if kind == "HEIC" and lost_sectors(data):
        raise damaged_file(kind, "zeros stand in place of some of its pixels")
    width, height = announced_size(data)
    pixels = min(width * height, max_pixels)
    answer = run_decoder(kind, data, pixels, what=f"{kind} file", max_pixels=max_pixels)
    head, _, content = answer.partition(b"\n")
    said = json.loads(head)
    if said["frames"] > 1:
        raise MultiFrameImageError(
            f"the {kind} file has {said['frames']} frames, expected one image"
        )
    check_pixels("image", said["height"], said["width"], max_pixels)
    profile, samples = content[: said["profile"]], content[said["profile"] :]
    image = Pillow.frombytes(said["mode"], tuple(said["size"]), samples)
    image.info["icc_profile"] = profile or None
    image.info["exif"] = b"Exif\0\0" + orientation_block(said["turn"])
    return image


def kind_of(data: bytes) -> str | None:
    """Tell HEIC or AVIF by the brands of the file; None where it is neither."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), len(data), 400)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    general = data[8:12] in (b"mif1", b"msf1")
    return "HEIC" if general or any(brand[:3] in (b"hei", b"hev") for brand in brands) else None


def announced_size(data: bytes) -> tuple[int, int]:
    """Read width and height of the largest image that the file describes; zeros without any."""
    sizes = [
        struct.unpack_from(">II", data, start + 4)
        for kind, start, end in _boxes(data)
        if kind == b"ispe" and end - start >= 12
    ]
    return max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))


def lost_sectors(data: bytes) -> bool:
    """Tell whether HEVC images hold zeros that no encoder can have written there.

    Its decoder fills what it cannot decode with what is near, and says nothing.
    """
    try:
        kinds, places = _items(data)
    except (struct.error, IndexError):
        return False  # the decoder says what is wrong
    left = len(data)
    for item, extents in places.items():
        for start, length in extents if kinds.get(item) == b"hvc1" else ():
            left -= length
            if left < 0:  # images that share their bytes, so that searching would take long
                return False
            if data.find(_HEVC_ZEROS, start, start + length) >= 0:
                return True
    return False


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each box (ISO/IEC 14496-12), those within others, too."""
    waiting = [(0, len(data), 0)]
    for _ in range(_MOST):
        if not waiting:
            return
        at, end, depth = waiting.pop()
        if at + 8 > end:
            continue
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1 and at + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = end if length == 0 else at + length
        if stop < start or stop > end:
            continue
        yield kind, start, stop
        waiting.append((stop, end, depth))
        if kind in _INSIDE and depth < _DEEPEST:
            waiting.append((start + _INSIDE[kind], stop, depth + 1))


def _items(data: bytes) -> tuple[dict[int, bytes], dict[int, list[tuple[int, int]]]]:
    """Read the kinds of the items, and where in the file their pieces are."""
    kinds: dict[int, bytes] = {}
    places: dict[int, list[tuple[int, int]]] | None = None
    for kind, start, end in _boxes(data):
        if kind == b"iinf":
            at = start + (6 if data[start] == 0 else 8)
            while at + 16 <= end and len(kinds) < _MOST:
                length, _, version = struct.unpack_from(">I4sB", data, at)
                item, name = struct.unpack_from(
                    ">H2x4s" if version == 2 else ">I2x4s", data, at + 12
                )
                kinds[item] = name
                at += max(length, 16)
        elif kind == b"iloc" and places is None:  # a file has one
            places = _places(data, start)
    return kinds, places or {}


def _places(data: bytes, start: int) -> dict[int, list[tuple[int, int]]]:
    """Read offset and length of each item's pieces in the file (ISO/IEC 14496-12, iloc)."""
    stream = io.BytesIO(data)
    stream.seek(start)

    def number(size: int) -> int:
        return int.from_bytes(stream.read(size), "big")

    version, _, sizes, more = number(1), number(3), number(1), number(1)
    id_bytes = 4 if version == 2 else 2
    places: dict[int, list[tuple[int, int]]] = {}
    left = _MOST
    for _ in range(min(number(id_bytes), _MOST)):
        item = number(id_bytes)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(more >> 4)
        extents = []
        count = number(2)
        left -= count
        if left < 0:  # of all items together: a hostile file's may take no bytes each
            break
        for _ in range(count):
            number(more & 15 if version else 0)
            offset, length = number(sizes >> 4), number(sizes & 15)
            extents.append((base + offset, length))
        if method == 0:
            places[item] = extents
    return places

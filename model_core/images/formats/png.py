"""Decode PNG pixels, all of them or an error, without what the file carries beside them.

A PNG is chunks, each of which says in its name whether an image can be shown without it. Those that
can are left out before a decoder sees the file, but for the colour profile, the orientation and
transparency: nothing in a text or a date fails an image, and none is unpacked. The checksums of
those that stay are compared, which Pillow leaves out for the pixels.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from isal import isal_zlib
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from model_core.errors import damaged_file
from model_core.images.formats.exif import orientation_block, stored_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_PROFILE_BYTES = 1 << 24
"""Of an unpacked colour profile, as much as a JPEG can carry; a larger one is passed over."""
_MAX_EXIF_TEXT_BYTES = 1 << 18
"""Of EXIF as text in hexadecimal, of which a JPEG can carry 64 KB."""
_EXIF_TEXT = b"Raw profile type exif\0"
_ANCILLARY = 0x20
"""Bit of the first letter of a chunk without which an image can be shown."""
_PIECE_BYTES = 1 << 20
"""Unpacked at a time, so that counting takes no more memory than this."""
_PAINT: dict[str, int | tuple[int, ...]] = {
    "1": 1,
    "LA": (77, 3),
    "RGB": (3, 251, 5),
    "RGBA": (3, 251, 5, 7),
}
"""Colours that a whole row will hardly have."""
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
"""Of an interlaced PNG: first column and row, and the steps between columns and rows."""


@dataclass
class _Beside:
    """What chunks beside the pixels say that changes how they are shown."""

    profile: bytes | None = None
    orientation: int | None = None
    orientation_in_text: int | None = None
    frames: bytes = b""
    first_is_frame: bool = False


def only_pixels(data: bytes) -> tuple[bytes, bytes | None]:
    """Reduce a PNG to what its pixels and its orientation need; give it and its colour profile.

    A file that ends behind its pixels is whole: neither their checksum nor the end is missed.

    Raises:
        UnreadableImageError: a chunk that the pixels need is damaged, missing or unknown.
    """
    kept: dict[bytes, bytes] = {}
    pixels: list[bytes] = []
    beside = _Beside()
    for kind, body, whole in _chunks(data):
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            if whole is False:
                raise damaged_file("PNG", "the checksum of its pixels is wrong")
            pixels.append(body)
        elif kind in (b"IHDR", b"PLTE", b"tRNS"):
            if not whole:
                raise damaged_file(
                    "PNG", f"its {kind.decode()} chunk is cut or its checksum is wrong"
                )
            kept.setdefault(kind, body)
        elif not kind[0] & _ANCILLARY and not pixels:
            raise damaged_file("PNG", f"it needs a chunk {kind.decode()} that is not known")
        elif whole:
            _read_beside(kind, body, beside)
    if b"IHDR" not in kept or not pixels:
        raise damaged_file("PNG", "its pixels are missing")
    if beside.frames and not (beside.first_is_frame and beside.frames[:4] == b"\0\0\0\1"):
        kept[b"acTL"] = beside.frames
    # Always there, because Pillow decodes all pixels to look for one that is not.
    kept[b"eXIf"] = orientation_block(beside.orientation or beside.orientation_in_text or 1)
    chunks = [*kept.items(), *((b"IDAT", body) for body in pixels), (b"IEND", b"")]
    # Checksums of pixels were compared already, and Pillow does not look at them.
    parts = [
        part
        for kind, body in chunks
        for part in chunk_parts(kind, body, checksum=0 if kind == b"IDAT" else None)
    ]
    return b"".join([SIGNATURE, *parts]), beside.profile


def load_png(image: ImageFile, data: bytes) -> None:
    """Decode a PNG that was opened from `data`, the result of `only_pixels`.

    Pillow leaves out, without an error, the rows that a compressed stream does not have. So the
    picture is painted first: where its last row is painted still, the bytes are counted.

    Raises:
        UnreadableImageError: the file does not hold all pixels.
    """
    blank = Pillow.new(image.mode, image.size, _PAINT.get(image.mode, 77))
    last_row = (0, image.height - 1, image.width, image.height)
    painted = blank.crop(last_row).tobytes()
    image.im = blank.im
    image.load()
    # An interlaced file's rows do not come in order, so that its last one tells nothing.
    if image.info.get("interlace") or image.crop(last_row).tobytes() == painted:
        _count_bytes(data)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool | None]]:
    """Yield kind and content of each chunk, and whether its checksum is right (None: cut)."""
    at, pixels = len(SIGNATURE), False
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if not kind.isalpha():
            break
        end = at + 8 + length
        body = data[at + 8 : end]
        if end + 4 > len(data):
            yield kind, body, None
            return
        (checksum,) = struct.unpack_from(">I", data, end)
        yield kind, body, isal_zlib.crc32(body, isal_zlib.crc32(kind)) == checksum
        pixels = pixels or kind == b"IDAT"
        at = end + 4
    if not pixels:
        raise damaged_file("PNG", "it ends before its pixels")


def _read_beside(kind: bytes, body: bytes, beside: _Beside) -> None:
    if kind == b"iCCP":
        beside.profile = _unpacked(body.partition(b"\0")[2], _MAX_PROFILE_BYTES)
    elif kind == b"eXIf":
        beside.orientation = stored_orientation(body)
    elif kind in (b"tEXt", b"zTXt") and body.startswith(_EXIF_TEXT):
        text = body.partition(b"\0")[2]
        packed = kind == b"zTXt"
        written = _unpacked(text, _MAX_EXIF_TEXT_BYTES) if packed else text[:_MAX_EXIF_TEXT_BYTES]
        beside.orientation_in_text = _orientation_in_text(written or b"")
    elif kind == b"acTL" and len(body) == 8:
        beside.frames = body
    elif kind == b"fcTL":
        beside.first_is_frame = True


def _unpacked(packed: bytes, most: int) -> bytes | None:
    """Unpack what follows the number of a compression method; None where it is odd or larger."""
    if packed[:1] != b"\0":
        return None
    try:
        unpacked: bytes = isal_zlib.decompressobj().decompress(packed[1:], most + 1)
    except zlib.error:
        return None
    return unpacked if len(unpacked) <= most else None


def _orientation_in_text(text: bytes) -> int | None:
    """Read EXIF's orientation as ImageMagick writes it: name, length, then hexadecimal lines."""
    lines = text.strip().split(b"\n")[2:]
    try:
        block = bytes.fromhex(b"".join(lines).decode("ascii"))
    except ValueError:
        return None
    return stored_orientation(block)


def _count_bytes(data: bytes) -> None:
    """Hold the length of the unpacked pixels against what the header announces."""
    header, packed = b"", []
    for kind, body, _ in _chunks(data):
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed.append(body)
    expected = _announced_bytes(header)
    stream = isal_zlib.decompressobj()
    count, rest = 0, b"".join(packed)
    while count < expected and rest and not stream.eof:
        count += len(stream.decompress(rest, _PIECE_BYTES))
        rest = stream.unconsumed_tail
    if count < expected:
        raise damaged_file("PNG", f"it holds {count} of {expected} bytes of pixels")


def _announced_bytes(header: bytes) -> int:
    width, height, bits, colours, _, _, interlaced = struct.unpack_from(">IIBBBBB", header)
    bits *= {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colours]
    sizes = [(width, height)]
    if interlaced:
        sizes = [
            (-(-(width - left) // across), -(-(height - top) // down))
            for left, top, across, down in _PASSES
        ]
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0)


def chunk_parts(
    kind: bytes, body: bytes = b"", *, checksum: int | None = None
) -> tuple[bytes, ...]:
    """Make length, kind, body and checksum of a chunk: parts, because a join copies only once."""
    if checksum is None:
        checksum = isal_zlib.crc32(body, isal_zlib.crc32(kind))
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)

"""Check that a TIFF file holds the strips or tiles that its header lists.

Pillow and libtiff show a strip that is not there as black, white or the bytes that stand elsewhere.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib
from PIL import Image as Pillow
from PIL.TiffImagePlugin import TiffImageFile

from model_core.errors import UnsupportedImageError, damaged_file
from model_core.images.formats.jpeg import check_jpeg

_BITS, _COMPRESSION, _FILL_ORDER, _SAMPLES, _PLANES = 258, 259, 266, 277, 284
_STRIPS, _ROWS_PER_STRIP, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_WIDTH, _HEIGHT, _JPEG_TABLES = 256, 257, 347
_RAW, _JPEG, _PACKBITS, _DEFLATE = 1, 7, 32773, (8, 32946)
_FAX = _FAX_RUNS, _FAX_3, _FAX_4 = 2, 3, 4
_UNCHECKED = {
    6: "the JPEG of TIFF 6.0",
    32771: "16-bit alignment",
    32809: "ThunderScan",
    34676: "SGILog",
    34677: "SGILog",
}
"""Ways to pack pixels in which libtiff does not tell damage, by their number."""
_FAX_ZEROS = 11
"""Before the one of an end of line (ITU-T T.4): no other code has as many."""
_HEADER_BYTES = 8
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)), bitorder="little").tobytes()
"""Each byte with its bits in the other order."""


@dataclass(frozen=True)
class _Part:
    """A strip or tile: its place in the file, its size, and its bytes once unpacked."""

    start: int
    length: int | None
    width: int
    rows: int
    unpacked: int
    unpacked_whole: int


def check_tiff(image: TiffImageFile, data: bytes) -> None:
    """Refuse a TIFF without all its pixels; its image is within the limit on pixels.

    Raises:
        UnreadableImageError: strips or tiles are missing, cut or damaged.
        UnsupportedImageError: packed in a way in which that cannot be seen.
    """
    packing = image.tag_v2.get(_COMPRESSION, _RAW)
    if packing in _UNCHECKED:
        raise UnsupportedImageError(
            f"the TIFF file is packed with {_UNCHECKED[packing]}, in which missing pixels cannot "
            "be told; save it with LZW, Deflate or uncompressed, or as PNG"
        )
    parts, expected = _parts(image)
    for number, part in enumerate(parts, 1):
        what = f"strip or tile {number} of {expected}"
        unsaid = part.unpacked if packing == _RAW else 1
        end = part.start + (unsaid if part.length is None else part.length)
        if part.start < _HEADER_BYTES or part.length == 0:
            raise damaged_file("TIFF", f"{what} is not there")
        if end > len(data):
            raise damaged_file("TIFF", f"{what} ends behind the file's {len(data)} bytes")
        _check_content(
            image, packing, part, data[part.start : part.start + (part.length or 0)], what
        )


def _parts(image: TiffImageFile) -> tuple[Iterator[_Part], int]:
    tags = image.tag_v2
    width, height = tags[_WIDTH], tags[_HEIGHT]
    tiled = _TILES in tags
    if tiled:
        wide, high = tags[_TILE_WIDTH], tags[_TILE_HEIGHT]
        starts, lengths = tags[_TILES], tags.get(_TILE_BYTES)
    else:
        wide, high = width, min(tags.get(_ROWS_PER_STRIP, height), height)
        starts, lengths = tags.get(_STRIPS, ()), tags.get(_STRIP_BYTES)
    samples = tags.get(_SAMPLES, 1)
    bits = tuple(tags.get(_BITS, (1,)))
    bits = bits * samples if len(bits) == 1 else bits
    planes = samples if tags.get(_PLANES, 1) == 2 else 1
    if min(wide, high) < 1:
        raise damaged_file("TIFF", "its strips or tiles have no size")
    across, down = -(-width // wide), -(-height // high)
    expected = across * down * planes
    listed = min(len(starts), len(starts if lengths is None else lengths))
    if listed < expected:
        raise damaged_file("TIFF", f"it lists {listed} of {expected} strips or tiles")

    def parts() -> Iterator[_Part]:  # one at a time: a hostile file lists millions
        for number in range(expected):
            depth = bits[number // (across * down)] if planes > 1 else sum(bits)
            row_bytes = -(-wide * depth // 8)
            top = number % (across * down) // across * high
            rows = high if tiled else min(high, height - top)
            length = None if lengths is None else lengths[number]
            yield _Part(starts[number], length, wide, rows, rows * row_bytes, high * row_bytes)

    return parts(), expected


def _check_content(
    image: TiffImageFile, packing: int, part: _Part, packed: bytes, what: str
) -> None:
    if not packed:  # of a file that does not say how long its parts are
        return
    if packing in (*_DEFLATE, _PACKBITS, *_FAX) and image.tag_v2.get(_FILL_ORDER, 1) == 2:
        packed = packed.translate(_REVERSED)
    if packing == _RAW and len(packed) < part.unpacked:
        raise damaged_file("TIFF", f"{what} has {len(packed)} of {part.unpacked} bytes")
    if packing in _DEFLATE and not _inflates(packed, part.unpacked_whole):
        raise damaged_file("TIFF", f"{what} has a wrong checksum or length")
    if packing == _PACKBITS and holds_more(packed, part.unpacked_whole):
        raise damaged_file("TIFF", f"{what} holds more than its pixels")
    if packing in _FAX and not _fax_is_whole(packing, packed, part.rows):
        raise damaged_file("TIFF", f"the fax codes of {what} are not whole")
    if packing == _JPEG:
        tables = image.tag_v2.get(_JPEG_TABLES, b"")
        body = tables.removesuffix(b"\xff\xd9") + packed[2:] if tables else packed
        width, height = check_jpeg(body)
        if width < part.width or height < part.rows:
            raise damaged_file(
                "TIFF", f"{what} has {width}x{height} of {part.width}x{part.rows} pixels"
            )


def _fax_is_whole(packing: int, packed: bytes, rows: int) -> bool:
    """Tell whether a fax has the marks that its way of packing has (ITU-T T.4 and T.6).

    A mark is 11 zeros or more before a one, which no other code has: one a line in T.4, two at the
    end in T.6, none where lines are runs alone. Lost sectors are long zeros, too.
    """
    ones = np.flatnonzero(np.unpackbits(np.frombuffer(packed, np.uint8)))
    steps = np.diff(ones, prepend=-1)
    marks = int(np.count_nonzero(steps > _FAX_ZEROS))
    if packing == _FAX_3:
        return marks >= rows - 1
    return marks == 2 if packing == _FAX_4 else bool(steps.max(initial=0) <= 2 * _FAX_ZEROS)


def _inflates(packed: bytes, most: int) -> bool:
    """Tell whether a stream ends where it should, its checksum right; libtiff reads less far."""
    stream = isal_zlib.decompressobj()
    try:
        count = len(stream.decompress(packed, most + 1))
        count += len(stream.decompress(stream.unconsumed_tail, 1))
    except zlib.error:
        return False
    return count <= most


def holds_more(packed: bytes, most: int) -> bool:
    r"""Tell whether PackBits runs unpack to more than `most` bytes, as damage makes them do.

    Decoders stop at the pixels asked for, so only too few are an error there.

    Example:
        >>> holds_more(b"\2abc", 2), holds_more(b"\2abc", 3)
        (True, False)
    """
    try:
        Pillow.frombytes("L", (most + 1, 1), packed, "packbits", "L")
    except (ValueError, OSError):
        return False
    return True

"""How many pixels a file announces, read from its first bytes in microseconds, without a decoder.

Good for an estimate of the work that a file will be, never for trust: what may be decoded
`model_core.images.decode` decides, from the decoder's own reading of the header.
"""

import re
import struct

from model_core.dicom.header import announced_size
from model_core.errors import InputError
from model_core.images.formats import heif_boxes
from model_core.images.formats.tiff_pages import HEIGHT, WIDTH, photograph_directory

_MOST_SEGMENTS = 200
"""JPEG segments looked at before the size: a camera writes ten, a large colour profile forty."""
_RLE_SIZE = re.compile(rb'"size"\s*:\s*\[\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\]')
_IMAGE_SIZE = re.compile(rb'"height"\s*:\s*(\d{1,9})\s*,\s*"width"\s*:\s*(\d{1,9})')
"""Beside polygons, as `format=polygon` writes it."""
_NEAR = 4_000
"""Bytes at either end of a JSON that are looked at: a size comes first or last, measurements behind
it."""


def announced_pixels(data: bytes) -> int:
    """Height times width that a photograph or mask says it has; 0 where that cannot be seen.

    Args:
        data: A file's bytes: JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF, DICOM, or COCO JSON.

    Example:
        >>> announced_pixels(b'{"size": [600, 800], "counts": "..."}')
        480000
        >>> announced_pixels(b"no image")
        0
    """
    try:
        width, height = _size(data)
    except struct.error:  # it ends before its size
        return 0
    return abs(width * height)


def announced_shape(data: bytes) -> tuple[int, int] | None:
    """Height and width that a mask says it has; None where that cannot be seen.

    Args:
        data: PNG, or COCO JSON that has its size.

    Example:
        >>> announced_shape(b'{"image": {"height": 600, "width": 800}, "segmentation": []}')
        (600, 800)
    """
    try:
        width, height = _size(data)
    except struct.error:
        return None
    return (height, width) if height > 0 and width > 0 else None


def _size(data: bytes) -> tuple[int, int]:
    if data[128:132] == b"DICM":  # first, as in `image_io`
        return announced_size(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack_from(">II", data, 16)
    if data.startswith((b"II*\0", b"MM\0*")):
        return _tiff(data)
    if data.startswith(b"BM"):
        wide = "<ii" if struct.unpack_from("<I", data, 14)[0] >= 40 else "<hh"
        return struct.unpack_from(wide, data, 18)
    if data[8:12] == b"WEBP":
        return _webp(data)
    if data[4:8] == b"ftyp":
        return heif_boxes.announced_size(data)
    if data[:64].lstrip().startswith(b"{"):
        for pattern in (_RLE_SIZE, _IMAGE_SIZE):
            if found := pattern.search(data[:_NEAR]) or pattern.search(data[-_NEAR:]):
                return int(found[2]), int(found[1])
        return 0, 0
    return 0, 0


def _jpeg(data: bytes) -> tuple[int, int]:
    position = 2
    for _ in range(_MOST_SEGMENTS):
        marker, length = struct.unpack_from(">HH", data, position)
        # Start of a frame: C0 to CF, without tables (C4), extensions (C8) and conditioning (CC).
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        if marker < 0xFFC0:
            break
        position += 2 + length
    return 0, 0


def _tiff(data: bytes) -> tuple[int, int]:
    try:
        directory = photograph_directory(data)
    except InputError:  # it will not be decoded
        return 0, 0
    if directory is None:
        return 0, 0
    return directory.first(WIDTH, 0), directory.first(HEIGHT, 0)


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        low, middle, across, high, top, down = struct.unpack_from("<6B", data, 24)
        return (low | middle << 8 | across << 16) + 1, (high | top << 8 | down << 16) + 1
    return 0, 0

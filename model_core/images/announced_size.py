"""Read how many pixels a file announces from its first bytes, in microseconds, without a decoder.

Good for an estimate of the work that a file will be, never for trust: what may be decoded
`model_core.images.decode` decides, from the decoder's own reading of the header. Pillow's readers
would not do here: they unpack profiles, reserve the canvas of a WebP, and take 50 to 500 us.
"""

import re
import struct

from model_core.dicom import header, jpeg
from model_core.errors import InputError
from model_core.images.file_types import sniff
from model_core.images.formats import heif
from model_core.images.formats.tiff_pages import HEIGHT, WIDTH, main_directory

_RLE_SIZE = re.compile(rb'"size"\s*:\s*\[\s*(\d{1,9})\s*,\s*(\d{1,9})\s*\]')
_IMAGE_SIZE = re.compile(rb'"height"\s*:\s*(\d{1,9})\s*,\s*"width"\s*:\s*(\d{1,9})')
"""Beside polygons, as `format=polygon` writes it."""
_JPEG_HEADER_BYTES = 1 << 20
"""Within which a JPEG's size stands, behind all metadata: what is searched stays short."""
_NEAR = 4_000
"""Bytes at either end of a JSON that are looked at: a size comes first or last, measurements behind
it."""


def announced_pixels(data: bytes) -> int:
    """Read height times width of an image file or COCO JSON; 0 where it does not say.

    Example:
        >>> announced_pixels(b'{"size": [600, 800], "counts": "..."}')
        480000
        >>> announced_pixels(b"no image")
        0
    """
    height, width = announced_shape(data) or (0, 0)
    return height * width


def announced_shape(data: bytes) -> tuple[int, int] | None:
    """Read the height and width of an image or mask, not yet turned upright; None if unknown.

    Example:
        >>> announced_shape(b'{"image": {"height": 600, "width": 800}, "segmentation": []}')
        (600, 800)
    """
    try:
        width, height = _size(data)
    except (struct.error, InputError):  # it ends before its size, or will not be decoded
        return None
    return (height, width) if height > 0 and width > 0 else None


def _size(data: bytes) -> tuple[int, int]:
    match sniff(data):
        case "DICOM":
            return header.announced_size(data)
        case "JPEG":
            frame = jpeg.read_frame(data[:_JPEG_HEADER_BYTES])
            return frame.columns, frame.rows
        case "PNG":
            return struct.unpack_from(">II", data, 16)
        case "TIFF":
            directory = main_directory(data)
            return (directory.first(WIDTH, 0), directory.first(HEIGHT, 0)) if directory else (0, 0)
        case "BMP":
            form = "<ii" if struct.unpack_from("<I", data, 14)[0] >= 40 else "<hh"
            width, height = struct.unpack_from(form, data, 18)
            return abs(width), abs(height)  # a negative height: rows from top to bottom
        case "WEBP":
            return _webp(data)
        case "HEIC" | "AVIF":
            return heif.announced_size(data)
    if data[:64].lstrip().startswith(b"{"):
        for pattern in (_RLE_SIZE, _IMAGE_SIZE):
            if size := pattern.search(data[:_NEAR]) or pattern.search(data[-_NEAR:]):
                return int(size[2]), int(size[1])
    return 0, 0


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

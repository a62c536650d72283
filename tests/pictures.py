"""Photographs drawn for tests, and the bytes of their files."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

SKIN = (230, 180, 160)
LESION = (80, 40, 30)


def lesion(height: int, width: int) -> Image.Image:
    """Skin with one dark ellipse in the middle, half as high and half as wide as the picture."""
    rows, columns = np.ogrid[:height, :width]
    down = (rows + 0.5) / height - 0.5
    across = (columns + 0.5) / width - 0.5
    inside = np.hypot(down, across) < 0.25
    return Image.fromarray(np.where(inside[..., None], LESION, SKIN).astype(np.uint8))


def quarters(height: int = 40, width: int = 60) -> Image.Image:
    """Red, green / blue, white: every turn and mirroring of it looks different."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    return Image.fromarray(picture)


def encode(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A file's bytes, as Pillow writes them with these options."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int) -> Image.Exif:
    """EXIF data that holds nothing but an orientation, 1 to 8."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# How a camera held that way stores an upright picture: the reverse of what a viewer must do.
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(picture: Image.Image, orientation: int, kind: str = "PNG", **options: Any) -> bytes:
    """The file of a camera that stored the picture turned, with the EXIF tag that says so."""
    method = _STORED.get(orientation)
    stored = picture if method is None else picture.transpose(method)
    return encode(stored, kind, exif=exif(orientation), **options)


def png_file(size: tuple[int, int], bits: int, colour: int, pixels: bytes = b"") -> bytes:
    """A PNG as its specification says, also of kinds that Pillow does not write.

    Args:
        size: (height, width) px, whether or not there are pixels to match.
        bits: A channel: 1, 2, 4, 8 or 16.
        colour: 0 grey, 2 RGB, 4 grey with alpha, 6 RGB with alpha.
        pixels: Rows, each after a zero byte (no filter).
    """
    header = struct.pack(">IIBBBBB", size[1], size[0], bits, colour, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def tiff_file(size: tuple[int, int], pixels: bytes, *, bits: int, channels: int) -> bytes:
    """An uncompressed little-endian TIFF of one strip: grey or RGB, 8 or 16 bits a channel."""
    short, long = 3, 4
    behind = 8 + 2 + 10 * 12 + 4  # header, count, entries, no next page
    tags = [
        (256, long, 1, size[1]),
        (257, long, 1, size[0]),
        (258, short, channels, bits if channels == 1 else behind),
        (259, short, 1, 1),
        (262, short, 1, 1 if channels == 1 else 2),
        (273, long, 1, behind + 2 * channels),
        (277, short, 1, channels),
        (278, long, 1, size[0]),
        (279, long, 1, len(pixels)),
        (284, short, 1, 1),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head + struct.pack(f"<{channels}H", *[bits] * channels) + pixels

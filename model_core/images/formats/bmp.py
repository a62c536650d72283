"""Read BMP files as their palette and their alpha are meant.

Pillow takes a palette of two greys, or one that begins as a ramp of greys, for pixels of one or
eight bits, whatever their depth; and it takes an alpha of zeros alone for transparency.
"""

import io
import struct

from PIL import Image as Pillow
from PIL import ImagePalette
from PIL.ImageFile import ImageFile

from model_core.errors import UnsupportedImageError

_OLD_HEADER_BYTES = 12
_HEADER_AT = 14
_RAW_MODES = {4: "P;4", 8: "P"}


def open_bmp(data: bytes) -> ImageFile:
    """Open a BMP: its header is read, its pixels are not.

    Raises:
        UnsupportedImageError: a depth, packing or order of channels that is not read.
        Exception: whatever else Pillow raises on a damaged header.
    """
    try:
        image = Pillow.open(io.BytesIO(data), formats=("BMP",))
    except OSError as exc:
        if str(exc).startswith("Unsupported BMP"):
            raise UnsupportedImageError(
                f"the BMP file is of a kind that is not read ({str(exc)[len('Unsupported ') :]}); "
                "save it with 24 bits a pixel, or as PNG"
            ) from exc
        raise
    bits = _bits(data)
    misread = image.mode == "1" if bits == 8 else image.mode in ("1", "L")
    if bits in _RAW_MODES and misread:
        greys = (0, 255) if image.mode == "1" else range(1 << bits)
        palette = bytes(grey for grey in greys for _ in range(3))
        # As Pillow's own reader does for a palette of colours.
        image._mode = "P"
        image.palette = ImagePalette.raw("RGB", palette)
        tile = image.tile[0]
        if tile.codec_name == "raw" and isinstance(tile.args, tuple):
            image.tile = [tile._replace(args=(_RAW_MODES[bits], *tile.args[1:]))]
    return image


def restore_alpha(image: ImageFile) -> None:
    """Make a decoded BMP opaque whose alpha is 0 everywhere, as image viewers do."""
    if image.format != "BMP" or image.mode != "RGBA":
        return
    if image.getchannel("A").getextrema() == (0, 0):
        image.putalpha(255)


def _bits(data: bytes) -> int:
    """Read how many bits a pixel has."""
    (header_bytes,) = struct.unpack_from("<I", data, _HEADER_AT)
    at = _HEADER_AT + (10 if header_bytes == _OLD_HEADER_BYTES else 14)
    return int(struct.unpack_from("<H", data, at)[0])

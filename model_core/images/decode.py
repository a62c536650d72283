"""Decode images from bytes: what is read, what is refused, and how colours become sRGB.

| in the file | what becomes of it |
| --- | --- |
| EXIF (or TIFF) orientation, not XMP's | applied: everything after this module is upright |
| embedded ICC profile | converted to sRGB unless its numbers are; a broken one is ignored |
| grey, 1-bit, palette | expanded to RGB |
| 16 bits a channel | scaled to 8 (grey: rounded; colour: Pillow keeps the high byte) |
| alpha | laid over white, as an image viewer shows it; 0 in every pixel of a BMP is none |
| CMYK, YCCK | converted through the profile, or by Pillow's formula where there is none |
| MPO (many cameras) | its main frame |
| HEIC, AVIF (phones) | the primary image, as `model_core.images.formats.heif` says |
| TIFF pages marked as reduced or as mask | passed over |
| animation, several pages | refused: one image is expected |
| camera raw | refused: its preview is not the image |
| DICOM | as `model_core.dicom.reader` says; it knows no orientation |
"""

import warnings
from dataclasses import replace

import numpy as np

# Pillow registers decoders lazily, on first use and not thread-safely: importing them does it now.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    ExifTags,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)
from PIL import Image as Pillow

from model_core.dicom.reader import decode_dicom
from model_core.errors import UnreadableImageError, UnsupportedImageError
from model_core.images.colour_profile import to_srgb
from model_core.images.file_types import describe, sniff
from model_core.images.formats.heif import decode_heif
from model_core.images.formats.jpeg import reduced_for
from model_core.images.formats.loader import DecodedImage, decoding, load_image, open_image

MAX_PIXELS = 50_000_000
"""Default pixel limit: more than any dermatoscope camera, 150 MB once decoded."""

FORMATS = frozenset({"JPEG", "PNG", "TIFF", "BMP", "WEBP"})
"""The only decoders that untrusted bytes may reach, by Pillow's names (MPO comes with JPEG)."""

_ACCEPTED = "JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM"

_ORIENTATION = ExifTags.Base.Orientation
_UPRIGHT = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}

# Pillow warns of odd metadata and from 89 Mpx; our own limit decides, and says so in an error.
# Once for the process: silencing them around each call would not be thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None
) -> DecodedImage:
    """Decode an image to upright sRGB, as the table at the top of this file says.

    Args:
        data: A file: JPEG, MPO, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM.
        max_pixels: Limit on height times width, read from the header before decoding.
        at_least: (height, width) px that the caller needs. A JPEG may then be decoded at a half,
            a quarter or an eighth, never below this size: far cheaper, and free of aliasing.

    Returns:
        A picture in mode RGB and the upright original's size.

    Raises:
        UnsupportedImageError: not one of the types above.
        MultiFrameImageError: an animation or several pages.
        ImageTooLargeError: more than `max_pixels`.
        UnreadableImageError: empty, truncated or damaged.
    """
    if not data:
        raise UnreadableImageError(f"the image is empty (0 bytes), expected {_ACCEPTED}")
    kind = sniff(data)
    with decoding(f"{kind} file" if kind else "image file", max_pixels):
        if kind == "DICOM":
            image = decode_dicom(data, max_pixels=max_pixels, at_least=at_least)
        elif kind in ("HEIC", "AVIF"):
            picture = _turned(decode_heif(data, kind, max_pixels))
            image = DecodedImage(picture, picture.height, picture.width)
        elif kind in FORMATS:
            image = _decode(data, kind, max_pixels, at_least)
        else:
            name, advice = describe(data)
            hint = f"; {advice}" if advice else ""
            raise UnsupportedImageError(f"found {name}, expected {_ACCEPTED}{hint}")
        return replace(image, picture=_as_rgb(image.picture))


def _decode(
    data: bytes, kind: str, max_pixels: int, at_least: tuple[int, int] | None
) -> DecodedImage:
    image = open_image(data, kind, what="image", max_pixels=max_pixels)
    width, height = image.size
    on_its_side = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    if at_least is not None and kind == "JPEG":
        reduced_for(image, at_least[::-1] if on_its_side else at_least)
    reduced = image.size != (width, height)
    load_image(image)  # which turns a TIFF upright, and takes its tag away
    picture = _turned(image)
    if not reduced:
        width, height = picture.size
    elif on_its_side:
        width, height = height, width
    return DecodedImage(picture, height, width)


def _turned(image: Pillow.Image) -> Pillow.Image:
    # Not ImageOps.exif_transpose: it rewrites the EXIF, and fails where a camera's is odd.
    method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return image if method is None else image.transpose(method)


def _as_rgb(image: Pillow.Image) -> Pillow.Image:
    if image.mode.startswith("I;16"):
        profile = image.info.get("icc_profile")
        grey = np.asarray(image).astype(np.uint32)
        image = Pillow.fromarray(((grey + 128) // 257).astype(np.uint8))
        image.info["icc_profile"] = profile
    if image.mode in ("I", "F"):
        raise UnreadableImageError(
            f"pixels are 32-bit (Pillow mode {image.mode}), expected 8 or 16 bits a channel"
        )
    if image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        return _over_white(image)
    return to_srgb(image)


def _over_white(image: Pillow.Image) -> Pillow.Image:
    layer = image.convert("RGBA")
    white = Pillow.new("RGB", image.size, (255, 255, 255))
    colours = layer.convert("L" if image.mode in ("1", "L", "LA", "La") else "RGB")
    colours.info["icc_profile"] = image.info.get("icc_profile")
    white.paste(to_srgb(colours), mask=layer.getchannel("A"))
    return white

"""Photographs from bytes: what we read, what we refuse, and how colours become sRGB.

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
| animation, several pages | refused: one photograph is expected |
| camera raw | refused: a preview is no photograph |
| DICOM | as `model_core.dicom.reader` says; it knows no orientation |
"""

import warnings
from dataclasses import dataclass

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
from PIL.ImageFile import ImageFile

from model_core.arrays import Spacing
from model_core.dicom.reader import decode_dicom
from model_core.errors import (
    ImageTooLargeError,
    MultiFrameImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
from model_core.images.colour_profile import to_srgb
from model_core.images.file_types import other_type, sniff
from model_core.images.formats.heif import decode_heif
from model_core.images.formats.jpeg import reduced_for
from model_core.images.formats.whole import load_image, open_image

MAX_PIXELS = 50_000_000
"""Default pixel limit: more than any dermatoscope camera, 150 MB once decoded."""

FORMATS = frozenset({"JPEG", "PNG", "TIFF", "BMP", "WEBP"})
"""The only decoders that untrusted bytes may reach, by Pillow's names (MPO comes with JPEG)."""

ACCEPTED = "JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM"

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


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph.

    Attributes:
        picture: Pillow image, mode RGB, sRGB, upright; may be smaller than the original.
        height: Rows of the upright original, px.
        width: Columns of the upright original, px.
        spacing_mm: Height and width of a pixel of the original, mm, where a DICOM file says so.
    """

    picture: Pillow.Image
    height: int
    width: int
    spacing_mm: Spacing | None = None


def decode_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] | None = None
) -> Photograph:
    """Decode a photograph to upright sRGB, as the table at the top of this file says.

    Args:
        data: The file's bytes: JPEG, MPO, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM.
        max_pixels: Limit on height times width, read from the header before decoding.
        at_least: (height, width) px that the caller needs. A JPEG may then be decoded at a half,
            a quarter or an eighth, never below this size: far cheaper, and free of aliasing.

    Returns:
        The picture and the upright original's size.

    Raises:
        UnsupportedImageError: not one of the types above.
        MultiFrameImageError: an animation or several pages.
        ImageTooLargeError: more than `max_pixels`.
        UnreadableImageError: empty, truncated or damaged.
    """
    if not data:
        raise UnreadableImageError(f"the image is empty (0 bytes), expected {ACCEPTED}")
    try:
        return _decode(data, max_pixels, at_least)
    except (UnsupportedImageError, MultiFrameImageError, ImageTooLargeError, UnreadableImageError):
        raise
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as exc:
        raise ImageTooLargeError(f"the image has over {max_pixels} pixels, the limit") from exc
    except MemoryError:
        raise
    except Exception as exc:  # Pillow's decoders raise nearly anything on damaged bytes.
        kind = sniff(data) or "image"
        raise UnreadableImageError(
            f"the {kind} file is truncated or damaged and cannot be decoded"
        ) from exc


def _decode(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Photograph:
    if sniff(data) == "DICOM":
        frame = decode_dicom(data, max_pixels=max_pixels, at_least=at_least)
        picture = _as_rgb(frame.picture)
        return Photograph(picture, frame.height, frame.width, frame.spacing_mm)
    if (kind := sniff(data)) in ("HEIC", "AVIF"):
        heif = decode_heif(data, kind, max_pixels)
        method = _UPRIGHT.get(heif.getexif().get(_ORIENTATION, 1))
        picture = _as_rgb(heif if method is None else heif.transpose(method))
        return Photograph(picture, picture.height, picture.width)
    image = _open(data)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"the image has {width}x{height} = {width * height} pixels, the limit is {max_pixels}"
        )
    _refuse_frames(image)
    orientation = image.getexif().get(_ORIENTATION, 1)
    if at_least is not None and image.format == "JPEG":
        reduced_for(image, at_least[::-1] if orientation in (5, 6, 7, 8) else at_least)
    reduced = image.size != (width, height)
    picture = _as_rgb(_upright(image))
    if not reduced:
        width, height = picture.size
    elif orientation in (5, 6, 7, 8):
        width, height = height, width
    return Photograph(picture, height, width)


def _open(data: bytes) -> ImageFile:
    kind = sniff(data)
    if kind not in FORMATS:
        other = None if kind else other_type(data)
        if other is not None:
            raise UnsupportedImageError(f"found {other.name}, expected {ACCEPTED}; {other.way_out}")
        found = f"a {kind} file" if kind else "bytes of no image type we know"
        raise UnsupportedImageError(f"found {found}, expected {ACCEPTED}")
    return open_image(data, kind)


def _refuse_frames(image: Pillow.Image) -> None:
    if getattr(image, "is_animated", False):
        raise MultiFrameImageError(f"the {image.format} file is animated, expected one photograph")


def _upright(image: ImageFile) -> Pillow.Image:
    # Not ImageOps.exif_transpose: it writes the EXIF anew, and fails where a camera's is odd.
    load_image(image)  # which turns a TIFF upright, and takes its tag away
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

"""Decode all pixels that a file announces, or fail: the one door from bytes to pixels.

Pillow's decoders fill what is missing and say nothing, and fail over metadata that the pixels do
not need. Every place that decodes an image file opens it with `open_image`, which holds the limits
on the header, then calls `load_image`, all of it within `decoding`.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image as Pillow
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from model_core.arrays import Spacing
from model_core.errors import (
    ImageTooLargeError,
    InputError,
    MultiFrameImageError,
    UnreadableImageError,
    check_pixels,
    undecodable,
)
from model_core.images.formats import bmp, jpeg, jpeg_segments, png, tiff_levels, webp
from model_core.images.formats.tiff import check_tiff


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image, which may be smaller than its original where the caller allowed that.

    Attributes:
        picture: Pillow image.
        height: Rows of the original, px.
        width: Columns of the original, px.
        spacing_mm: Height and width of a pixel of the original, mm, where a DICOM file says so.
    """

    picture: Pillow.Image
    height: int
    width: int
    spacing_mm: Spacing | None = None


@contextmanager
def decoding(what: str, max_pixels: int) -> Iterator[None]:
    """Turn whatever decoders raise on damaged bytes into errors that name the file.

    Raises:
        ImageTooLargeError: Pillow refused a size that no limit of ours would admit either.
        UnreadableImageError: anything else but our own errors and a lack of memory.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as exc:
        raise ImageTooLargeError(f"the {what} has over {max_pixels} pixels, the limit") from exc
    except Exception as exc:  # Pillow's decoders raise nearly anything
        raise undecodable(what) from exc


def open_image(data: bytes, kind: str, *, what: str, max_pixels: int) -> ImageFile:
    """Read the header of an image, and hold the limits on it; errors call the image `what`.

    Raises:
        ImageTooLargeError: it has more than `max_pixels`.
        UnreadableImageError: a part that the pixels need is missing or damaged.
        UnsupportedImageError: camera raw, of levels that are not read, or coded in a way in which
            missing pixels cannot be seen.
        MultiFrameImageError: an animation, or a TIFF of several pages.
        Exception: whatever else Pillow raises on a damaged header.
    """
    image = _opened(data, kind)
    # Pillow looks for an orientation in XMP too, where nobody else does.
    image.info.pop("xmp", None)
    check_pixels(what, image.height, image.width, max_pixels)
    if getattr(image, "is_animated", False):
        raise MultiFrameImageError(f"the {what} is an animated {kind} file, expected one image")
    return image


def _opened(data: bytes, kind: str) -> ImageFile:
    if kind == "TIFF":
        return tiff_levels.open_tiff(data)
    if kind == "BMP":
        return bmp.open_bmp(data)
    if kind == "WEBP":
        return Pillow.open(io.BytesIO(webp.only_pixels(data)), formats=(kind,))
    data, profile = (jpeg_segments if kind == "JPEG" else png).only_pixels(data)
    image = Pillow.open(io.BytesIO(data), formats=(kind,))
    image.info["icc_profile"] = profile
    return image


def load_image(image: ImageFile) -> None:
    """Decode all pixels of an image that `open_image` opened.

    Raises:
        UnreadableImageError: some of them are missing.
        UnsupportedImageError: packed in a way in which that cannot be seen.
        Exception: whatever else Pillow raises on damaged pixels.
    """
    if image.fp is None:
        raise UnreadableImageError("the image was closed before it was decoded")
    image.fp.seek(0)
    data = image.fp.read()  # what `open_image` made of the file, not the file
    if image.format == "JPEG":
        jpeg.load_jpeg(image, data)
    elif image.format == "PNG":
        png.load_png(image, data)
    else:
        if isinstance(image, TiffImageFile):
            check_tiff(image, data)
        image.load()
        tiff_levels.restore_levels(image)
        bmp.restore_alpha(image)

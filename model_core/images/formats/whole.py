"""The one door from a file's bytes to pixels: all that the file announces, or an error.

Pillow's decoders fill what is missing and say nothing, and fail over metadata that the pixels do
not need. Every place that decodes an image file opens it with `open_image`, holds its limits on
the header, then calls `load_image`.
"""

import io

from PIL import Image as Pillow
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from model_core.errors import UnreadableImageError
from model_core.images.formats import bmp, jpeg, jpeg_segments, png, tiff_levels, webp
from model_core.images.formats.tiff import check_tiff


def open_image(data: bytes, kind: str) -> ImageFile:
    """An image whose header is read and whose pixels are not.

    Args:
        data: The file.
        kind: Its type, by Pillow's name.

    Raises:
        UnreadableImageError: a part that the pixels need is missing or damaged.
        UnsupportedImageError: camera raw, of levels that are not read, or coded in a way in which
            missing pixels cannot be seen.
        MultiFrameImageError: a TIFF of several pages.
        Exception: whatever else Pillow raises on a damaged header.
    """
    if kind in ("JPEG", "PNG"):
        pixels = jpeg_segments.only_pixels(data) if kind == "JPEG" else png.only_pixels(data)
        image = Pillow.open(io.BytesIO(pixels.data), formats=(kind,))
        image.info["icc_profile"] = pixels.profile
        return image
    if kind == "TIFF":
        image = tiff_levels.open_tiff(data)
    elif kind == "BMP":
        image = bmp.open_bmp(data)
    else:
        data = webp.only_pixels(data)
        image = Pillow.open(io.BytesIO(data), formats=(kind,))
    # Pillow looks for an orientation in XMP too, where nobody else does.
    image.info.pop("xmp", None)
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
    data = image.fp.read()
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

"""Draw probabilities in colour over pictures of the service, and make small ones of them."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageFilter, ImageOps

LINE = (86, 180, 233)
"""Sky blue of Okabe and Ito's palette (2008), as the service's outline."""
RIM = (16, 32, 44)
SIDE_PX = 1200
"""Longest side of a picture on the page; smaller ones are enlarged, so that lines are smooth."""
HALF = 127
"""Highest level, of 255, that is not lesion where a mask of many levels is cut at half."""
THUMBNAIL_PX = 200

Mask = npt.NDArray[np.bool_]


def on_screen(data: bytes) -> Image.Image:
    """Decode a picture that the service made, RGB, and scale it to the page."""
    with Image.open(io.BytesIO(data)) as file:
        size = screen_size((file.height, file.width))
        file.draft("RGB", size)  # a JPEG decodes at a fraction of its size
        return file.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def thumbnail(jpeg: bytes) -> bytes:
    """Make a small JPEG of a large one that the service made."""
    with Image.open(io.BytesIO(jpeg)) as file:
        file.draft("RGB", (2 * THUMBNAIL_PX, 2 * THUMBNAIL_PX))
        file.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        out = io.BytesIO()
        file.save(out, "JPEG", quality=80)
    return out.getvalue()


def with_probability(photograph: Image.Image, grey: bytes, *, opacity: float) -> Image.Image:
    """Blend a probability's grey PNG, coloured from dark blue 0 to yellow 1, over a picture."""
    with Image.open(io.BytesIO(grey)) as file:
        levels = file.convert("L").resize(photograph.size, Image.Resampling.BILINEAR)
    coloured = ImageOps.colorize(
        levels, black=(0, 32, 77), mid=(124, 123, 120), white=(255, 234, 70),  # cividis
    )  # fmt: skip
    return Image.blend(photograph, coloured, opacity)


def outlined(picture: Image.Image, mask: Mask) -> Image.Image:
    """Return a picture with the outline of a mask, at a size to print.

    Args:
        picture: RGB.
        mask: bool (H, W), True = lesion, as high and wide as the picture.
    """
    large = picture.resize(screen_size((picture.height, picture.width)), Image.Resampling.LANCZOS)
    lesion = Image.fromarray(mask).convert("L").resize(large.size, Image.Resampling.BILINEAR)
    inside = lesion.point(lambda value: 255 * (value > 127))
    for width, colour in ((7, RIM), (3, LINE)):
        edge = ImageChops.difference(
            inside.filter(ImageFilter.MaxFilter(width)), inside.filter(ImageFilter.MinFilter(width))
        )
        large.paste(colour, mask=edge)
    return large


def screen_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) of a picture on the page, of its (height, width).

    Example:
        >>> screen_size((3000, 4000)), screen_size((300, 200))
        ((1200, 900), (800, 1200))
    """
    height, width = shape
    scale = SIDE_PX / max(shape)
    return max(1, round(width * scale)), max(1, round(height * scale))


def icon() -> Image.Image:
    """Draw the page's icon: a lesion with its outline."""
    rows, columns = np.ogrid[:64, :64]
    away = np.hypot(rows - 31.5, columns - 31.5)
    skin = Image.new("RGB", (64, 64), (226, 178, 158))
    skin.paste((96, 58, 44), mask=Image.fromarray(away < 20).convert("L"))
    skin.paste(LINE, mask=Image.fromarray((away > 19) & (away < 24)).convert("L"))
    return skin


def grey_levels(data: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
    """Decode a grey PNG to uint8 (H, W); None for every other file, and for every other size.

    The size is that of a photograph which the service has let pass, and is looked at before a pixel
    is decoded.

    Args:
        data: A file from anywhere.
        shape: (height, width) that it must have.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as file:
            if (file.height, file.width) != shape or file.mode not in ("L", "I;16"):
                return None
            levels = np.asarray(file)
    except (OSError, SyntaxError, ValueError):
        return None
    return (levels // 257 if file.mode == "I;16" else levels).astype(np.uint8)


def encode_png(mask: Mask) -> bytes:
    """Encode a mask as PNG bytes: 0 and 255."""
    out = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(out, "PNG")
    return out.getvalue()


def is_dicom(data: bytes) -> bool:
    """Return whether a file is a DICOM object."""
    return data[128:132] == b"DICM"

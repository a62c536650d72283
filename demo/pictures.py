"""Draw a tint of the lesion, and probabilities in colour, over pictures of the service."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

LINE = (86, 180, 233)
"""Sky blue of Okabe and Ito's palette (2008), as the service's outline."""
SIDE_PX = 1200
"""Longest side of a picture on the page; smaller ones are enlarged, so that lines are smooth."""

Mask = npt.NDArray[np.bool_]


def on_screen(data: bytes) -> Image.Image:
    """Decode a picture that the service made, RGB, and scale it to the page."""
    with Image.open(io.BytesIO(data)) as file:
        size = screen_size((file.height, file.width))
        file.draft("RGB", size)  # a JPEG decodes at a fraction of its size
        return file.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def tinted(picture: Image.Image, mask: Mask, *, opacity: float) -> Image.Image:
    """Return a copy of a picture with the lesion tinted.

    Args:
        picture: RGB, at screen size.
        mask: bool (H, W), True = lesion, of the whole photograph.
        opacity: Of the tint, 0 to 1.
    """
    lesion = Image.fromarray(mask).convert("L").resize(picture.size, Image.Resampling.BILINEAR)
    tint = Image.new("RGB", picture.size, LINE)
    return Image.composite(tint, picture, lesion.point(lambda value: round(value * opacity)))


def with_probability(photograph: Image.Image, grey: bytes, *, opacity: float) -> Image.Image:
    """Blend a probability's grey PNG, coloured from dark blue 0 to yellow 1, over a picture."""
    with Image.open(io.BytesIO(grey)) as file:
        levels = file.convert("L").resize(photograph.size, Image.Resampling.BILINEAR)
    coloured = ImageOps.colorize(
        levels, black=(0, 32, 77), mid=(124, 123, 120), white=(255, 234, 70),  # cividis
    )  # fmt: skip
    return Image.blend(photograph, coloured, opacity)


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


def encode_png(mask: Mask) -> bytes:
    """Encode a mask as PNG bytes: 0 and 255."""
    out = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(out, "PNG")
    return out.getvalue()


def is_dicom(data: bytes) -> bool:
    """Return whether a file is a DICOM object."""
    return data[128:132] == b"DICM"

"""What the page draws: the photograph with the lesion's outline and a tint, at screen size."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

LINE = (86, 180, 233)
"""Sky blue of Okabe and Ito's palette (2008), as the service's own outline."""
RIM = (0, 0, 0)
"""On both sides of the line, so that its brightness alone shows it too."""
SIDE_PX = 1200
"""Longest side of a picture on the page; smaller ones are enlarged, so that lines are smooth."""

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
"""The only decoders that a visitor's bytes may reach, by Pillow's names."""
MAX_PIXELS = 50_000_000
"""As many as the service takes by default; of a larger photograph it draws the outline itself."""

Mask = npt.NDArray[np.bool_]


def upright(data: bytes, shape: tuple[int, int]) -> Image.Image | None:
    """The photograph as the mask sees it, at screen size; None where the browser's side cannot.

    Args:
        data: The file; one that is not of `FORMATS`, or over `MAX_PIXELS`, gives None.
        shape: (height, width) that the service found, px; a picture of another is not shown.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                return None
            file.draft("RGB", (SIDE_PX, SIDE_PX))  # a JPEG decodes at a fraction of its size
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith(("I", "F")):
                return None
            picture = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    height, width = shape
    if abs(picture.width * height - picture.height * width) > max(picture.size) + max(shape):
        return None
    size = screen_size(shape)
    return picture.resize(size, Image.Resampling.LANCZOS) if picture.size != size else picture


def outlined(photograph: Image.Image, mask: Mask, *, opacity: float) -> Image.Image:
    """The photograph with the outline, and the lesion tinted.

    Args:
        photograph: RGB, at screen size.
        mask: bool (H, W), True = lesion, of the whole photograph.
        opacity: Of the tint, 0 (the outline alone) to 1.
    """
    lesion = Image.fromarray(mask).convert("L").resize(photograph.size, Image.Resampling.BILINEAR)
    lesion = lesion.point(lambda value: 255 * (value >= 128))
    picture = photograph.copy()
    tint = Image.new("RGB", picture.size, LINE)
    picture.paste(tint, mask=lesion.point(lambda value: round(value * opacity)))
    wide = max(1, round(max(picture.size) / 400))
    for colour, reach in ((RIM, wide + 2), (LINE, wide)):
        picture.paste(Image.new("RGB", picture.size, colour), mask=_edge(lesion, reach))
    return picture


def with_probability(photograph: Image.Image | None, grey: bytes, *, opacity: float) -> Image.Image:
    """A probability's grey PNG in colours, dark blue 0 to yellow 1, over the photograph."""
    with Image.open(io.BytesIO(grey)) as file:
        levels = file.convert("L")
    size = photograph.size if photograph else screen_size((levels.height, levels.width))
    coloured = ImageOps.colorize(
        levels.resize(size, Image.Resampling.BILINEAR),
        black=(0, 32, 77), mid=(124, 123, 120), white=(255, 234, 70),  # cividis
    )  # fmt: skip
    return Image.blend(photograph, coloured, opacity) if photograph else coloured


def screen_size(shape: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a picture on the page.

    Example:
        >>> screen_size((3000, 4000)), screen_size((300, 200))
        ((1200, 900), (800, 1200))
    """
    height, width = shape
    scale = SIDE_PX / max(shape)
    return max(1, round(width * scale)), max(1, round(height * scale))


def icon() -> Image.Image:
    """The page's icon: a lesion with its outline."""
    rows, columns = np.ogrid[:64, :64]
    away = np.hypot(rows - 31.5, columns - 31.5)
    skin = Image.new("RGB", (64, 64), (226, 178, 158))
    skin.paste((96, 58, 44), mask=Image.fromarray(away < 20).convert("L"))
    skin.paste(LINE, mask=Image.fromarray((away > 19) & (away < 24)).convert("L"))
    return skin


def encode_png(picture: Image.Image | Mask) -> bytes:
    """PNG bytes of a picture, or of a mask: 0 and 255."""
    out = io.BytesIO()
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture.astype(np.uint8) * np.uint8(255))
    picture.save(out, "PNG")
    return out.getvalue()


def is_dicom(data: bytes) -> bool:
    """Whether a file is a DICOM object."""
    return data[128:132] == b"DICM"


def _edge(lesion: Image.Image, reach: int) -> Image.Image:
    """Pixels at most `reach` px from the edge of a mask (0 and 255), as another one."""
    size = 2 * reach + 1
    framed = ImageOps.expand(lesion, reach)  # a lesion that is cut by the frame has an edge there
    grown = framed.filter(ImageFilter.MaxFilter(size))
    shrunk = framed.filter(ImageFilter.MinFilter(size))
    edge = np.asarray(grown) != np.asarray(shrunk)
    inner = edge[reach : reach + lesion.height, reach : reach + lesion.width]
    return Image.fromarray(inner).convert("L")

"""Turn an image into the network's square input, and bring the answer back.

Training, service, evaluation and notebook all come through here, so they see the same pixels.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from PIL import Image as Pillow

from model_core.arrays import Image, Logits, Mask, Spacing
from model_core.errors import ConfigError
from model_core.images.decode import MAX_PIXELS, decode_image
from model_core.images.formats.loader import DecodedImage
from model_core.processing.resample import enlarge, enlarge_above

Fit = Literal["squash", "letterbox"]


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """How an image becomes network input; saved in the card, because weights depend on it.

    Attributes:
        size: Side of the square input, px.
        fit: `squash` scales both sides to `size`; `letterbox` keeps the aspect ratio and fills
            the rest with black.
        mean: Subtracted from each RGB channel, on the scale 0 to 1.
        std: Divides each RGB channel after that.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    size: int = 256
    fit: Fit = "squash"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 2048:
            raise ConfigError(f"input size is {self.size} px, expected 16 to 2048")
        if self.fit not in get_args(Fit):
            raise ConfigError(f"fit is {self.fit!r}, expected one of {get_args(Fit)}")
        if min(self.std) <= 0:
            raise ConfigError(f"std is {self.std}, expected three positive numbers")
        if not all(map(math.isfinite, (*self.mean, *self.std))):
            raise ConfigError(f"mean is {self.mean} and std {self.std}, expected finite numbers")


@dataclass(frozen=True)
class Geometry:
    """Where the upright original lies in the network's square, so that a mask finds back.

    Attributes:
        height: Rows of the upright original, px.
        width: Columns of the upright original, px.
        size: Side of the square, px.
        top: First row of the square that shows the image.
        left: First column of the square that shows the image.
        rows: Rows of the square that show the image.
        columns: Columns of the square that show the image.
        spacing_mm: Height and width of a pixel of the original, mm; None where it is not known.
    """

    height: int
    width: int
    size: int
    top: int
    left: int
    rows: int
    columns: int
    spacing_mm: Spacing | None = None

    @classmethod
    def of(
        cls,
        height: int,
        width: int,
        config: PreprocessConfig,
        spacing_mm: Spacing | None = None,
    ) -> "Geometry":
        """Compute the geometry of an image: the one formula, for image, mask and the way back.

        Example:
            >>> Geometry.of(768, 1024, PreprocessConfig(size=256, fit="letterbox"))
            Geometry(height=768, width=1024, size=256, top=32, left=0, rows=192, columns=256,
                     spacing_mm=None)
        """
        rows = columns = config.size
        if config.fit == "letterbox":
            scale = config.size / max(height, width)
            rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (config.size - rows) // 2, (config.size - columns) // 2
        return cls(height, width, config.size, top, left, rows, columns, spacing_mm)

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the square that show the image."""
        rows = slice(self.top, self.top + self.rows)
        return rows, slice(self.left, self.left + self.columns)

    def restore(self, logits: Logits) -> Logits:
        """Bring logits (S, S) back to the upright original: float32 (height, width)."""
        return enlarge(logits[self.inside], self.height, self.width)

    def restore_mask(self, shown: Logits, cut: float) -> Mask:
        """Find where `restore` exceeds a cut, at a fraction of its cost: bool (height, width).

        Args:
            shown: float32 (rows, columns): the part of the square that shows the image.
            cut: Logit above which a pixel is lesion.
        """
        return enlarge_above(shown, cut, self.height, self.width)


def preprocess(
    data: bytes, config: PreprocessConfig, *, max_pixels: int = MAX_PIXELS
) -> tuple[Image, Geometry]:
    """Make network input of a file's bytes: one decode, one anti-aliased resize.

    Returns:
        uint8 (S, S, 3), and the geometry to bring the answer back.

    Raises:
        InputError: as `model_core.images.decode.decode_image`.
    """
    need = (config.size, config.size)
    return fit_image(decode_image(data, max_pixels=max_pixels, at_least=need), config)


def fit_image(image: DecodedImage, config: PreprocessConfig) -> tuple[Image, Geometry]:
    """Make network input, uint8 (S, S, 3), of a decoded image; give its geometry, too."""
    geometry = Geometry.of(image.height, image.width, config, spacing_mm=image.spacing_mm)
    inside = (geometry.columns, geometry.rows)
    picture = image.picture
    if picture.size != inside:
        picture = picture.resize(inside, Pillow.Resampling.BILINEAR)
    # A copy, because Pillow's own memory is read-only, which PyTorch warns of.
    return _into_square(np.array(picture), geometry), geometry


def fit_mask(mask: Mask, config: PreprocessConfig) -> Mask:
    """Bring a mask, bool (H, W), into the network's square: True where half a pixel is lesion."""
    height, width = mask.shape
    geometry = Geometry.of(height, width, config)
    inside = (geometry.columns, geometry.rows)
    grey = Pillow.fromarray(mask.astype(np.uint8) * 255)
    coverage = np.asarray(grey.resize(inside, Pillow.Resampling.BILINEAR))
    return _into_square(coverage >= 128, geometry)


def _into_square(inside: np.ndarray, geometry: Geometry) -> np.ndarray:
    size = geometry.size
    if inside.shape[:2] == (size, size):
        return inside
    square = np.zeros((size, size, *inside.shape[2:]), inside.dtype)
    square[geometry.inside] = inside
    return square

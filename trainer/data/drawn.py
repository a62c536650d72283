"""Drawn dermoscopy: skin, a lesion with its exact mask, hair, a ruler and a vignette.

With it everything runs without any data: a training run, the golden test of a published version,
the picture in the README. Nobody's photograph is in it.
"""

import csv
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy import ndimage

from model_core.arrays import Image, Mask
from model_core.errors import ConfigError

MIN_SIDE_PX = 32
COLUMNS = ("dataset", "id", "image", "mask", "width", "height", "geometry", "lesion_fraction",
           "near_dup_group")  # fmt: skip

_SKIN = np.array([[214, 160, 140], [226, 178, 158], [196, 146, 132], [222, 165, 160]], float)
_PIGMENT = np.array([[96, 58, 44], [128, 80, 58], [74, 44, 40], [142, 92, 78]], float)
_INK = (52, 48, 54)

Field = npt.NDArray[np.float64]


def draw_lesion(
    seed: int,
    *,
    height: int = 384,
    width: int = 512,
    size: float = 1.0,
    contrast: float = 1.0,
    hair: bool | None = None,
    ruler: bool | None = None,
    vignette: bool | None = None,
) -> tuple[Image, Mask]:
    """Draw a photograph of one lesion, and its mask.

    Args:
        seed: The same seed draws the same lesion.
        height: Rows, px, at least 32.
        width: Columns, px, at least 32.
        size: Scale of the lesion's radius; 1 gives 16 to 36 % of the short side.
        contrast: Share of the pigment's colour over the skin's; 1 gives 75 to 97 % in the middle.
        hair: Dark hairs across; None leaves it to the seed, as the two below. None of the three
            changes the lesion or its mask.
        ruler: Tick marks along the lower edge.
        vignette: Dark corners, as a round lens gives.

    Returns:
        uint8 (H, W, 3), RGB, and bool (H, W), True = lesion, never empty.

    Raises:
        ConfigError: a side is below 32 px.

    Example:
        >>> image, mask = draw_lesion(1, height=96, width=128)
        >>> image.shape, bool(mask.any())
        ((96, 128, 3), True)
    """
    if min(height, width) < MIN_SIDE_PX:
        raise ConfigError(f"size is {height}x{width} px, expected at least {MIN_SIDE_PX} a side")
    # Each part has a stream of its own, so that switching one off leaves the others as they were.
    lesion_rng, hair_rng, ruler_rng, vignette_rng = np.random.default_rng(seed).spawn(4)
    away = _distance_from_outline(lesion_rng, height, width, size=size)
    colours = _colours(lesion_rng, away, contrast=contrast)
    if _wanted(hair, hair_rng, chance=0.5):
        colours = _with_hair(colours, hair_rng)
    if _wanted(ruler, ruler_rng, chance=0.25):
        colours = _with_ruler(colours)
    if _wanted(vignette, vignette_rng, chance=0.25):
        colours = _with_vignette(colours, vignette_rng)
    return np.clip(colours, 0, 255).astype(np.uint8), away < 0


def draw_skin(
    seed: int, *, height: int = 384, width: int = 512, tone: float = 1.0, hair: bool = False
) -> Image:
    """Draw a photograph of skin without a lesion, uint8 (H, W, 3), RGB.

    Args:
        seed: The same seed draws the same skin.
        height: Rows, px, at least 32.
        width: Columns, px, at least 32.
        tone: Lightness: 1 is the light skin of most dermoscopy sets, 0.35 very dark.
        hair: Dark hairs across.
    """
    skin_rng, hair_rng = np.random.default_rng(seed).spawn(2)
    colours = _skin(skin_rng, height, width, tone=tone)
    if hair:
        colours = _with_hair(colours, hair_rng)
    colours = colours + skin_rng.normal(0, 2.0, colours.shape)
    return np.clip(colours, 0, 255).astype(np.uint8)


def as_bmp(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode pixels, uint8 (H, W, 3), as a file that a client could send."""
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, format="BMP")
    return out.getvalue()


def write_drawn(
    folder: Path, *, count: int, seed: int = 0, height: int = 384, width: int = 512
) -> None:
    """Write drawn photographs (JPEG), their masks (PNG) and a `MANIFEST.csv` into a folder.

    Lesion number i is drawn from seed + i; height and width are as for `draw_lesion`.
    """
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / "MANIFEST.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        rows.writeheader()
        for number in range(seed, seed + count):
            image, mask = draw_lesion(number, height=height, width=width)
            name = f"drawn_{number:05}"
            Pillow.fromarray(image).save(folder / "images" / f"{name}.jpg", quality=95)
            Pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{name}.png")
            rows.writerow(
                {
                    "dataset": "drawn",
                    "id": name,
                    "image": f"images/{name}.jpg",
                    "mask": f"masks/{name}.png",
                    "width": width,
                    "height": height,
                    "geometry": "full_frame",
                    "lesion_fraction": f"{mask.mean():.4f}",
                }
            )


def _wanted(choice: bool | None, rng: np.random.Generator, *, chance: float) -> bool:
    drawn = rng.random() < chance
    return drawn if choice is None else choice


def _distance_from_outline(
    rng: np.random.Generator, height: int, width: int, *, size: float
) -> Field:
    """Signed distance from the lesion's outline, as a share of the short side; inside negative."""
    short = min(height, width)
    rows, columns = np.mgrid[:height, :width] / short
    centre_row = height / short * rng.uniform(0.38, 0.62)
    centre_column = width / short * rng.uniform(0.38, 0.62)
    down, right = rows - centre_row, columns - centre_column
    angle, stretch = np.arctan2(down, right), rng.uniform(0.75, 1.0)
    radius = size * rng.uniform(0.16, 0.36) * np.ones_like(angle)
    for wave in range(2, 8):
        amplitude = rng.normal(0, 0.18 / wave)
        radius *= 1 + amplitude * np.cos(wave * angle + rng.uniform(0, 2 * np.pi))
    ragged = 0.006 * _smooth(rng, height, width, scale=short / 40)
    distance: Field = np.hypot(down, right * stretch) - radius + ragged
    return distance


def _smooth(rng: np.random.Generator, height: int, width: int, *, scale: float) -> Field:
    """Noise of mean 0 and deviation 1 that varies over about `scale` px."""
    step = max(1.0, scale)
    coarse = rng.standard_normal((int(height / step) + 3, int(width / step) + 3))
    rows = np.linspace(0, coarse.shape[0] - 1, height)
    columns = np.linspace(0, coarse.shape[1] - 1, width)
    grid = np.meshgrid(rows, columns, indexing="ij")
    noise: Field = ndimage.map_coordinates(coarse, grid, order=1, mode="nearest")
    noise -= noise.mean()
    noise /= noise.std() + 1e-9
    return noise


def _colours(rng: np.random.Generator, away: Field, *, contrast: float) -> Field:
    """RGB of skin and lesion, 0-255."""
    height, width = away.shape
    short = min(height, width)
    surface = _skin(rng, height, width, tone=1.0)
    dark, pale = _mixed(rng, _PIGMENT), _mixed(rng, _PIGMENT)
    patches = 1 / (1 + np.exp(-3 * _smooth(rng, height, width, scale=short / 8)))
    pigment = dark + (pale - dark) * patches[..., None]
    network = 9 * _smooth(rng, height, width, scale=short / 70)
    pigment += network[..., None] * (1, 0.8, 0.7)
    softness = rng.uniform(0.006, 0.03)
    cover = contrast * rng.uniform(0.75, 0.97) / (1 + np.exp(np.clip(away / softness, -50, 50)))
    colours = surface + (pigment - surface) * cover[..., None]
    return colours + rng.normal(0, 2.0, colours.shape)  # the camera's own noise


def _skin(rng: np.random.Generator, height: int, width: int, *, tone: float) -> Field:
    short = min(height, width)
    skin = tone * _mixed(rng, _SKIN)
    light = 1 + 0.05 * _smooth(rng, height, width, scale=short / 2)
    texture = 3.5 * _smooth(rng, height, width, scale=short / 50)
    surface: Field = skin * light[..., None] + texture[..., None]
    return surface


def _mixed(rng: np.random.Generator, palette: Field) -> Field:
    mixed: Field = rng.dirichlet(np.ones(len(palette))) @ palette
    return mixed


def _with_hair(colours: Field, rng: np.random.Generator) -> Field:
    height, width, _ = colours.shape
    short = min(height, width)
    layer = Pillow.new("L", (width, height))
    pen = ImageDraw.Draw(layer)
    for _ in range(rng.integers(4, 16)):
        start = rng.uniform((0, 0), (width, height))
        heading, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.05)
        turns = heading + bend * np.arange(24)
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * short * rng.uniform(0.02, 0.05)
        points = [tuple(point) for point in start + np.cumsum(steps, axis=0)]
        pen.line(points, fill=int(rng.integers(150, 235)), width=max(1, round(short / 190)))
    cover: Field = ndimage.gaussian_filter(np.asarray(layer) / 255.0, short / 600)[..., None]
    return colours + (np.array([40, 30, 28]) - colours) * cover


def _with_ruler(colours: Field) -> Field:
    height, width, _ = colours.shape
    picture = Pillow.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    pitch = max(4, width // 40)
    for number, column in enumerate(range(pitch, width - pitch, pitch)):
        length = height // (12 if number % 5 == 0 else 22)
        pen.line([(column, height - 1 - length), (column, height - 1)], fill=_INK, width=1)
    return np.asarray(picture).astype(np.float64)


def _with_vignette(colours: Field, rng: np.random.Generator) -> Field:
    height, width, _ = colours.shape
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot(rows - height / 2, columns - width / 2) / np.hypot(height, width) * 2
    edge = (rng.uniform(0.85, 0.95) - away) / 0.01
    light: Field = 1 / (1 + np.exp(-np.clip(edge, -50, 50)))
    return colours * (0.04 + 0.96 * light[..., None])

"""Changes that a photograph meets on its way from the skin to the service, each with its truth."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageEnhance, ImageFilter

Picture = Pillow.Image
Change = Callable[[Picture, np.random.Generator], Picture]


@dataclass(frozen=True)
class Perturbation:
    """One change of a photograph.

    Attributes:
        name: Its name in tables.
        what: Its definition.
        photograph: What it does to the photograph, mode RGB.
        truth: What it does to the mask, mode L, 0 and 255; None leaves it. It must draw no random
            number that the photograph's change draws.
        format: Type of file that the photograph is then saved as.
        quality: Of a JPEG.
    """

    name: str
    what: str
    photograph: Change
    truth: Callable[[Picture], Picture] | None = None
    format: Literal["BMP", "JPEG"] = "BMP"
    quality: int = 95

    def apply(self, photograph: Picture, truth: np.ndarray, seed: int) -> tuple[bytes, np.ndarray]:
        """Change a photograph, saved as a file, and give the mask that is then true.

        The photograph is RGB and upright, the mask bool (H, W); a seed always changes them alike.
        """
        changed = self.photograph(photograph, np.random.default_rng(seed))
        out = io.BytesIO()
        changed.save(out, format=self.format, quality=self.quality)
        return out.getvalue(), self.move(truth)

    def move(self, mask: np.ndarray) -> np.ndarray:
        """Bring a mask, bool (H, W), into the frame of the changed photograph."""
        if self.truth is None:
            return mask
        grey = Pillow.fromarray(mask.astype(np.uint8) * 255)
        return np.asarray(self.truth(grey)) >= 128


def _same(picture: Picture, _: np.random.Generator) -> Picture:
    return picture


def _geometric(name: str, what: str, move: Callable[[Picture], Picture]) -> Perturbation:
    return Perturbation(name, what, lambda picture, _: move(picture), move)


def _transposed(name: str, what: str, method: Pillow.Transpose) -> Perturbation:
    return _geometric(name, what, lambda picture: picture.transpose(method))


def _turned(degrees: float) -> Callable[[Picture], Picture]:
    def move(picture: Picture) -> Picture:
        width, height = picture.size
        angle = math.radians(degrees)
        across, down = abs(math.cos(angle)), abs(math.sin(angle))
        # The largest upright frame of the same shape that no corner from outside gets into.
        share = min(
            width / (width * across + height * down), height / (width * down + height * across)
        )
        inner = max(1, int(width * share)), max(1, int(height * share))
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        turned = picture.rotate(degrees, Pillow.Resampling.BILINEAR)
        return turned.crop((left, top, left + inner[0], top + inner[1]))

    return move


def _scaled(share: float) -> Callable[[Picture], Picture]:
    def move(picture: Picture) -> Picture:
        size = max(1, round(picture.width * share)), max(1, round(picture.height * share))
        return picture.resize(size, Pillow.Resampling.BICUBIC)

    return move


def _blurred(share: float) -> Change:
    return lambda picture, _: picture.filter(ImageFilter.GaussianBlur(share * max(picture.size)))


def _enhanced(kind: Callable[[Picture], ImageEnhance._Enhance], factor: float) -> Change:
    return lambda picture, _: kind(picture).enhance(factor)


def _tinted(red: float, blue: float) -> Change:
    def change(picture: Picture, _: np.random.Generator) -> Picture:
        gains = np.array([red, 1, blue])
        return Pillow.fromarray(np.clip(np.asarray(picture) * gains, 0, 255).astype(np.uint8))

    return change


def _grey(picture: Picture, _: np.random.Generator) -> Picture:
    return picture.convert("L").convert("RGB")


def _noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    noise = rng.normal(0, 12, (picture.height, picture.width, 3))
    return Pillow.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _hairy(picture: Picture, rng: np.random.Generator) -> Picture:
    drawn = picture.copy()
    pen, side = ImageDraw.Draw(drawn), max(picture.size)
    for _ in range(25):
        start = rng.uniform(0, 1, 2) * picture.size
        turns = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.06) * np.arange(20)
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * side * rng.uniform(0.02, 0.04)
        points = [(x, y) for x, y in start + np.cumsum(steps, axis=0)]
        colour = tuple(int(value) for value in rng.integers(15, 60, 3))
        pen.line(points, fill=colour, width=max(1, round(side * rng.uniform(0.003, 0.007))))
    return drawn


def _ruled(picture: Picture, _: np.random.Generator) -> Picture:
    drawn = picture.copy()
    pen, (width, height) = ImageDraw.Draw(drawn), picture.size
    thick = max(1, width // 250)
    for tick, column in enumerate(np.arange(0.02, 0.98, 0.02) * width):
        long = height * (0.09 if tick % 5 == 0 else 0.05)
        pen.line([(column, height - long), (column, height)], fill=(20, 20, 25), width=thick)
    return drawn


def _stickered(picture: Picture, _: np.random.Generator) -> Picture:
    drawn = picture.copy()
    width, height = picture.size
    radius = 0.16 * min(width, height)
    middle = (0.04 * width, 0.5 * height)
    box = [(middle[0] - radius, middle[1] - radius), (middle[0] + radius, middle[1] + radius)]
    ImageDraw.Draw(drawn).ellipse(box, fill=(40, 90, 200))
    return drawn


def _vignetted(picture: Picture, _: np.random.Generator) -> Picture:
    width, height = picture.size
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - 0.55 * np.clip((rows**2 + columns**2) / 2, 0, 1)
    return Pillow.fromarray((np.asarray(picture) * light[..., None]).astype(np.uint8))


def _framed_round(picture: Picture, _: np.random.Generator) -> Picture:
    width, height = picture.size
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return Pillow.fromarray(np.asarray(picture) * (rows**2 + columns**2 < 1.1)[..., None])


def _barred(picture: Picture, _: np.random.Generator) -> Picture:
    drawn = picture.copy()
    pen, (width, height) = ImageDraw.Draw(drawn), picture.size
    for box in ((0, 0, 0.06 * width, height), (0.94 * width, 0, width, height)):
        pen.rectangle(box, fill=(0, 0, 0))
    return drawn


UNCHANGED = Perturbation("unchanged", "the photograph as it is, as a BMP file", _same)
PERTURBATIONS = (
    UNCHANGED,
    _transposed("rotated 90", "a quarter turn", Pillow.Transpose.ROTATE_90),
    _transposed("rotated 180", "a half turn", Pillow.Transpose.ROTATE_180),
    _geometric("rotated 45", "an eighth turn, cut to the inner frame of its shape", _turned(45)),
    _transposed("mirrored", "left and right exchanged", Pillow.Transpose.FLIP_LEFT_RIGHT),
    _geometric("scaled 25 %", "resampled to a quarter of its sides (bicubic)", _scaled(0.25)),
    _geometric("scaled 50 %", "to half of its sides", _scaled(0.5)),
    _geometric("scaled 200 %", "to twice its sides", _scaled(2)),
    _geometric("scaled 400 %", "to four times its sides", _scaled(4)),
    Perturbation("blurred", "Gaussian, sigma 0.5 % of the long side", _blurred(0.005)),
    Perturbation("blurred much", "Gaussian, sigma 1.5 % of the long side", _blurred(0.015)),
    Perturbation("JPEG 20", "saved as JPEG of quality 20", _same, format="JPEG", quality=20),
    Perturbation("noise", "Gaussian noise, sigma 12 of 255", _noisy),
    Perturbation("darker", "all values by 0.6", _enhanced(ImageEnhance.Brightness, 0.6)),
    Perturbation("brighter", "all values by 1.3, clipped", _enhanced(ImageEnhance.Brightness, 1.3)),
    Perturbation("less contrast", "halved about the mean", _enhanced(ImageEnhance.Contrast, 0.5)),
    Perturbation("warm", "red by 1.15, blue by 0.85", _tinted(1.15, 0.85)),
    Perturbation("cool", "red by 0.85, blue by 1.15", _tinted(0.85, 1.15)),
    Perturbation("grey", "luma alone", _grey),
    Perturbation("hair", "25 drawn hairs", _hairy),
    Perturbation("ruler", "drawn tick marks along the lower edge", _ruled),
    Perturbation("sticker", "a blue disc on the left edge, drawn", _stickered),
    Perturbation("phone vignette", "light falls to 45 % in the corners", _vignetted),
    Perturbation("round frame", "black outside an ellipse, as in a dermatoscope", _framed_round),
    Perturbation("black bars", "6 % of the width, black, left and right", _barred),
)
"""In the order of the tables; where a sticker or a frame hides lesion, the truth still has it."""

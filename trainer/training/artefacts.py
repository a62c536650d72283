"""What lies on skin or lens and is no lesion: hair, rulers, pen, stickers, dark borders."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageDraw
from torch import Tensor

from trainer.config import AugmentConfig

Draw = Callable[[ImageDraw.ImageDraw, np.random.Generator, int], None]
"""Draws in white on black of a given side, px."""

_LAYERS = 48
"""Drawn once for each size; flips and turns of them are what a batch sees."""
_FINE = 2
"""Layers are drawn this many times larger and then reduced, which smooths their edges."""


class Artefacts:
    """Draws over some of the images; all randomness comes from torch's global generator."""

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config

    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Draw artefacts over a batch.

        Args:
            images: float32 (N, 3, S, S), 0 to 1.
            masks: float32 (N, 1, S, S), 0 or 1.

        Returns:
            The same shapes and ranges. What a sticker hides is no lesion any more; all else leaves
            the mask alone, as experts draw through hair and ink.
        """
        config = self._config
        if config.hair:
            images = _overdraw(images, _hairs(images.shape[-1]), config.hair, brightest=0.35)
        if config.marks:
            images = _overdraw(images, _marks(images.shape[-1]), config.marks, brightest=0.5)
        if config.sticker:
            images, masks = _stick(images, masks, config.sticker)
        if config.occlude:
            images = _vignette(images, config.occlude)
        return images, masks


def _overdraw(images: Tensor, layers: Tensor, probability: float, *, brightest: float) -> Tensor:
    """Draw a random layer over some images, in a random colour of 0 to `brightest`."""
    count, device = len(images), images.device
    chosen = torch.rand(count, 1, 1, 1, device=device) < probability
    alpha = layers.to(device)[torch.randint(len(layers), (count,), device=device)]
    turn = int(torch.randint(8, ()))
    alpha = torch.rot90(alpha, turn % 4, (2, 3))
    if turn >= 4:
        alpha = alpha.flip(3)
    colour = brightest * torch.rand(count, 3, 1, 1, device=device)
    return torch.lerp(images, colour, alpha * chosen)


def _stick(images: Tensor, masks: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Put a round, strongly coloured sticker on the border of some images."""
    count, device = len(images), images.device
    chosen = torch.rand(count, 1, 1, 1, device=device) < probability
    around = 2 * math.pi * torch.rand(count, device=device)
    reach = 0.45 + 0.2 * torch.rand(count, device=device)
    centre = 0.5 + torch.stack([around.sin(), around.cos()], dim=1) * reach[:, None]
    radius = 0.08 + 0.17 * torch.rand(count, 1, 1, device=device)
    hidden = (_away(images, centre) < radius)[:, None] & chosen
    # One channel high and one low: a colour that skin never has.
    order = torch.rand(count, 3, device=device).argsort(dim=1).float() / 2
    shade = 0.8 * order + 0.2 * torch.rand(count, 3, device=device)
    covered = torch.where(hidden, shade[:, :, None, None], images)
    return covered, masks * ~hidden


def _vignette(images: Tensor, probability: float) -> Tensor:
    """Darken everything outside a random soft circle in some of the images."""
    count, device = len(images), images.device
    chosen = torch.rand(count, 1, 1, device=device) < probability
    centre = 0.5 + 0.1 * (torch.rand(count, 2, device=device) - 0.5)
    radius = 0.42 + 0.3 * torch.rand(count, 1, 1, device=device)
    softness = 0.005 + 0.03 * torch.rand(count, 1, 1, device=device)
    light = torch.sigmoid((radius - _away(images, centre)) / softness)
    return images * torch.where(chosen, light, 1.0)[:, None]


def _away(images: Tensor, centre: Tensor) -> Tensor:
    """Measure every pixel's distance from (row, column) (N, 2), in sides: (N, S, S)."""
    place = torch.linspace(0, 1, images.shape[-1], device=images.device)
    rows = place[None, :, None] - centre[:, 0, None, None]
    columns = place[None, None, :] - centre[:, 1, None, None]
    return torch.hypot(rows, columns)


@lru_cache(maxsize=4)
def _hairs(size: int) -> Tensor:
    """Draw layers of 3 to 25 curved hairs: float32 (layers, 1, size, size), 0 to 1."""
    rng = np.random.default_rng(0)
    return torch.stack([_layer(size, rng, _draw_hairs) for _ in range(_LAYERS)])


@lru_cache(maxsize=4)
def _marks(size: int) -> Tensor:
    """Draw layers of a ruler or a pen stroke: float32 (layers, 1, size, size), 0 to 1."""
    rng = np.random.default_rng(0)
    drawers = (_draw_ruler, _draw_pen)
    return torch.stack([_layer(size, rng, drawers[i % 2]) for i in range(_LAYERS)])


def _layer(size: int, rng: np.random.Generator, draw: Draw) -> Tensor:
    side = size * _FINE
    canvas = Pillow.new("L", (side, side))
    draw(ImageDraw.Draw(canvas), rng, side)
    small = canvas.resize((size, size), Pillow.Resampling.BOX)
    return torch.from_numpy(np.asarray(small, np.float32) / 255)[None]


def _draw_hairs(pencil: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    lying = rng.uniform(0, math.pi)  # hairs of one place lie more or less one way
    for _ in range(rng.integers(3, 26)):
        start = rng.uniform(-0.1, 1.1, 2) * side
        angle = rng.normal(lying, 0.5)
        length, bend = rng.uniform(0.2, 0.9) * side, rng.normal(0, 0.8)
        steps = np.linspace(0, 1, 12)
        along = np.stack([np.cos(angle + bend * steps), np.sin(angle + bend * steps)], axis=1)
        points = start + np.cumsum(along * length / len(steps), axis=0)
        width = max(1, round(side * rng.uniform(0.003, 0.012)))
        pencil.line([(x, y) for x, y in points], fill=int(rng.integers(120, 256)), width=width)


def _draw_ruler(pencil: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    across, step = rng.uniform(0.03, 0.25) * side, rng.uniform(0.02, 0.06) * side
    length, slope = rng.uniform(0.02, 0.06) * side, rng.normal(0, 0.1)
    width = max(1, round(side * rng.uniform(0.002, 0.006)))
    for tick, x in enumerate(np.arange(0, side, step)):
        y = across + slope * x
        tall = length * (1.8 if tick % 5 == 0 else 1)
        pencil.line([(x, y), (x - slope * tall, y + tall)], fill=255, width=width)


def _draw_pen(pencil: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> None:
    for _ in range(rng.integers(1, 4)):
        around, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 0.55)
        places = around + np.linspace(0, rng.uniform(0.2, 1.2), 12)
        radii = reach + rng.normal(0, 0.01, 12).cumsum()
        points = (0.5 + np.stack([np.cos(places), np.sin(places)]) * radii).T * side
        width = max(1, round(side * rng.uniform(0.008, 0.03)))
        shade = int(rng.integers(100, 230))
        pencil.line([(x, y) for x, y in points], fill=shade, width=width, joint="curve")

"""Drawn pictures without any lesion: how often is one invented?"""

from collections.abc import Callable

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from model_core.arrays import Image
from trainer.data.drawn import draw_skin

_HEIGHT, _WIDTH = 384, 512
COUNT = 24
"""Pictures of each kind."""


def plain_colour(seed: int) -> Image:
    """Draw one colour: a skin tone, light to dark, or any."""
    rng = np.random.default_rng(seed)
    tone = np.array([226, 178, 158]) * rng.uniform(0.3, 1.1)
    colour = tone if seed % 2 else rng.uniform(0, 256, 3)
    return np.full((_HEIGHT, _WIDTH, 3), np.clip(colour, 0, 255), np.uint8)


def plain_skin(seed: int) -> Image:
    """Draw skin, from light to very dark."""
    return draw_skin(seed, height=_HEIGHT, width=_WIDTH, tone=1.0 - 0.65 * (seed % 8) / 7)


def hairy_skin(seed: int) -> Image:
    """Draw skin with hair, from light to very dark."""
    tone = 1.0 - 0.65 * (seed % 8) / 7
    return draw_skin(seed, height=_HEIGHT, width=_WIDTH, tone=tone, hair=True)


def noise(seed: int) -> Image:
    """Draw noise, fine to coarse, in colour or grey."""
    rng = np.random.default_rng(seed)
    grain = 2 ** (seed % 6)
    shape = (-(-_HEIGHT // grain), -(-_WIDTH // grain), 1 if seed % 2 else 3)
    coarse = np.broadcast_to(rng.integers(0, 256, shape), (*shape[:2], 3)).astype(np.uint8)
    big = Pillow.fromarray(coarse).resize((_WIDTH, _HEIGHT), Pillow.Resampling.BICUBIC)
    return np.asarray(big)


def something_else(seed: int) -> Image:
    """Draw a landscape, a page of text, a brick wall, a checkerboard, stripes or a street."""
    rng = np.random.default_rng(seed)
    picture = Pillow.new("RGB", (_WIDTH, _HEIGHT), _some(rng, 140, 256))
    scenes = (_landscape, _page, _wall, _board, _stripes, _street)
    scenes[seed % len(scenes)](ImageDraw.Draw(picture), rng)
    return np.asarray(picture)


KINDS: dict[str, Callable[[int], Image]] = {
    "plain colour": plain_colour,
    "plain skin": plain_skin,
    "hairy skin": hairy_skin,
    "noise": noise,
    "something else": something_else,
}


def _some(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(low, high, 3))
    return red, green, blue


def _landscape(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, _WIDTH, _HEIGHT), fill=(150, 195, 235))
    for depth in range(3):
        peaks = rng.uniform(0.35, 0.6, 9) * _HEIGHT + 60 * depth
        ridge = list(zip(np.linspace(0, _WIDTH, 9).tolist(), peaks.tolist(), strict=True))
        shade = (90 - 20 * depth, 130 - 15 * depth, 90 - 25 * depth)
        pen.polygon([(0, _HEIGHT), *ridge, (_WIDTH, _HEIGHT)], fill=shade)


def _page(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, _WIDTH, _HEIGHT), fill=(250, 249, 245))
    for row in range(30, _HEIGHT - 20, 22):
        column = 30.0
        while column < _WIDTH - 60:
            length = float(rng.uniform(10, 50))
            pen.rectangle((column, row, column + length, row + 9), fill=(40, 40, 45))
            column += length + 8


def _wall(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, _WIDTH, _HEIGHT), fill=(205, 200, 190))
    for course, row in enumerate(range(0, _HEIGHT, 32)):
        for column in range(-40 * (course % 2), _WIDTH, 80):
            shade = int(rng.integers(-20, 20))
            pen.rectangle(
                (column + 2, row + 2, column + 77, row + 29), fill=(165 + shade, 80 + shade, 62)
            )


def _board(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    side, dark = int(rng.integers(16, 64)), _some(rng, 0, 90)
    for row in range(0, _HEIGHT, side):
        for column in range(side * ((row // side) % 2), _WIDTH, 2 * side):
            pen.rectangle((column, row, column + side - 1, row + side - 1), fill=dark)


def _stripes(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    step, lean, dark = int(rng.integers(12, 50)), float(rng.uniform(-200, 200)), _some(rng, 0, 120)
    for column in range(-200, _WIDTH + 200, 2 * step):
        pen.line([(column, 0), (column + lean, _HEIGHT)], fill=dark, width=step)


def _street(pen: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, _WIDTH, _HEIGHT // 2), fill=(180, 205, 230))
    pen.rectangle((0, _HEIGHT // 2, _WIDTH, _HEIGHT), fill=(95, 95, 98))
    for left in range(0, _WIDTH, 90):
        top = int(rng.integers(30, 150))
        pen.rectangle((left, top, left + 80, _HEIGHT // 2 + 20), fill=_some(rng, 90, 220))
        for row in range(top + 12, _HEIGHT // 2, 28):
            for column in range(left + 10, left + 70, 22):
                pen.rectangle((column, row, column + 12, row + 16), fill=(60, 70, 85))

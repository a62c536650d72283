"""PNG pictures of a run: curves, triptychs and reliability. They stay in its folder."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from model_core.arrays import Mask
from model_core.images.decode import decode_image
from model_core.predictor import Predictor
from trainer.data.samples import Sample, read_photo, read_truth
from trainer.plots.charts import COLOURS, MARKERS

# Okabe and Ito's blue and yellow: apart in colour, to colour-blind readers, and in lightness.
TRUTH_COLOUR, PRED_COLOUR = (0, 114, 178), (240, 228, 66)


def draw_curves(log: list[dict[str, Any]], path: Path) -> None:
    """Draw loss and validation Dice over the epochs, as a PNG."""
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    loss, dice = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in log]
    loss.plot(epochs, [entry["loss"] for entry in log], marker=".")
    loss.set(title="training loss", xlabel="epoch")
    dice.plot(epochs, [entry["val_dice"] for entry in log], marker=".", color="tab:green")
    dice.set(title="validation Dice (mean per image)", xlabel="epoch")
    for axes in (loss, dice):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def draw_triptychs(captioned: list[tuple[str, Sample]], predictor: Predictor, path: Path) -> None:
    """Draw a row a sample: photograph, truth, prediction, as a PNG.

    It shows photographs: it belongs into the run folder and nowhere else.
    """
    figure = Figure(figsize=(9, 2.6 * len(captioned)), layout="constrained")
    grid = figure.subplots(len(captioned), 3, squeeze=False)
    for (caption, sample), (left, middle, right) in zip(captioned, grid, strict=True):
        data = read_photo(sample)
        _show(left, decode_image(data).picture, caption)
        _show(middle, read_truth(sample), "truth")
        _show(right, predictor.predict(data).mask, "prediction")
    figure.savefig(path, dpi=70)


def draw_reliability(
    table: npt.NDArray[np.float64], error: float, path: Path, *, title: str
) -> None:
    """Draw the share of lesion against probability, and where the pixels are.

    `table` is of `trainer.evaluation.reliability.count_pixels`, and `error` its calibration error.
    """
    figure = Figure(figsize=(5, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    pixels, probability, lesion = table[:, table[0] > 0]
    upper.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfect")
    upper.plot(probability / pixels, lesion / pixels, "o-", color=COLOURS[0], label="model")
    upper.set(ylabel="share that is lesion", title=f"{title}\ncalibration error {error:.4f}")
    upper.legend(frameon=False)
    bins = table.shape[1]
    shares = table[0] / table[0].sum()
    lower.bar((np.arange(bins) + 0.5) / bins, shares, width=0.9 / bins, color=COLOURS[0])
    lower.set(yscale="log", ylabel="share of pixels", xlabel="probability of lesion", xlim=(0, 1))
    figure.savefig(path, dpi=120)


def draw_coverage(
    shares: Sequence[float], curves: Mapping[str, Sequence[float]], path: Path
) -> None:
    """Draw the mean Jaccard of the surest share of images, one line a set."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    percent = [100 * share for share in shares]
    for (name, jaccards), colour, marker in zip(
        curves.items(), cycle(COLOURS), cycle(MARKERS), strict=False
    ):
        axes.plot(percent, jaccards, marker=marker, color=colour, label=name)
    axes.set(xlabel="surest share of images, %", ylabel="mean Jaccard", xlim=(102, 8))
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def outlined(
    photograph: Pillow.Image,
    outlines: Sequence[tuple[Mask, tuple[int, int, int]]],
    *,
    side_px: int,
    width_px: int,
) -> Pillow.Image:
    """Draw the outlines of masks, each in its colour, over a photograph scaled to `side_px`.

    Scaled first, so that lines are as wide on small photographs as on large ones.
    """
    scale = side_px / max(photograph.size)
    size = (max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale)))
    pixels = np.array(photograph.convert("RGB").resize(size, Pillow.Resampling.BICUBIC))
    for mask, colour in outlines:
        small = np.asarray(Pillow.fromarray(mask).resize(size, Pillow.Resampling.NEAREST))
        # Beyond the frame is skin: where the frame cuts a lesion the outline goes along it.
        pixels[small & ~ndimage.binary_erosion(small, iterations=width_px)] = colour
    return Pillow.fromarray(pixels)


def contact_sheet(
    tiles: Sequence[tuple[Pillow.Image, Sequence[str]]],
    *,
    columns: int,
    tile_px: int,
    title: str = "",
) -> Pillow.Image:
    """Draw pictures in rows, each no larger than a tile, below the lines of its caption."""
    font, line_px = ImageFont.load_default(13), 15
    caption_px = 4 + line_px * max(len(caption) for _, caption in tiles)
    head_px = caption_px if title else 0
    rows = -(-len(tiles) // columns)
    size = (columns * tile_px, head_px + rows * (tile_px + caption_px))
    sheet = Pillow.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((6, 9), title, "black", font)
    for place, (picture, caption) in enumerate(tiles):
        row, column = divmod(place, columns)
        left, top = column * tile_px, head_px + row * (tile_px + caption_px)
        small = picture.copy()
        small.thumbnail((tile_px - 6, tile_px - 2))
        sheet.paste(small, (left + 3, top + caption_px))
        for number, line in enumerate(caption):
            pen.text((left + 4, top + 2 + line_px * number), line, "black", font)
    return sheet


def _show(axes: Axes, picture: Any, title: str) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])  # the frame stays: a mask may be white to its edges

"""Pictures of a run: curves while it goes, triptychs when it is scored. They stay in its folder."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_core.images.decode import decode_image
from model_core.predictor import Predictor
from trainer.data.samples import Sample, read_photo, read_truth


def draw_curves(log: list[dict[str, Any]], path: Path) -> None:
    """Loss and validation Dice over the epochs, as a PNG.

    Args:
        log: Entries of `log.jsonl`.
        path: The PNG to write.
    """
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
    """A grid with one row a sample: photograph, truth, prediction, as a PNG.

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


def _show(axes: Axes, picture: Any, title: str) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])  # the frame stays: a mask may be white to its edges

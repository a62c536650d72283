"""Charts as SVG, drawn without a screen and the same for the same figures."""

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("agg")  # no screen is needed, or asked for

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")


def curves(log: Sequence[Mapping[str, Any]]) -> str:
    """Loss, validation Dice and learning rate over the epochs; the best epoch is marked.

    Args:
        log: Entries of `log.jsonl`, at least one.
    """
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    epochs = [entry["epoch"] for entry in log]
    panels: Sequence[Axes] = figure.subplots(1, 3)
    names = ("loss", "val_dice", "lr")
    titles = ("training loss", "validation Dice", "learning rate")
    for axes, name, title, colour in zip(panels, names, titles, COLOURS, strict=False):
        axes.plot(epochs, [entry[name] for entry in log], marker=".", color=colour)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        for before, after in pairwise(log):
            if before["size_px"] != after["size_px"]:  # a new stage
                axes.axvline(before["epoch"] + 0.5, color="0.6", linestyle=":")
    best = max(log, key=lambda entry: entry["val_dice"])
    panels[1].plot(best["epoch"], best["val_dice"], "o", mfc="none", color="black", markersize=9)
    return _svg(figure)


def sweep(thresholds: Sequence[float], sets: Sequence[Mapping[str, Any]], used: float) -> str:
    """Dice and threshold Jaccard of each set at each threshold; the one in use is marked."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, 2)
    for axes, name in zip(panels, ("dice", "threshold_jaccard"), strict=True):
        for entry, colour in zip(sets, COLOURS, strict=False):
            label = f"{entry['dataset']} {entry['part']}"
            axes.plot(thresholds, entry[name], marker=".", label=label, color=colour)
        axes.axvline(used, color="0.4", linestyle=":")
        axes.set(title=name.replace("_", " "), xlabel="threshold")
        axes.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return _svg(figure)


def histogram(dices: Mapping[str, Sequence[float]]) -> str:
    """How many images of each set have which Dice.

    Args:
        dices: Dice of each image, by set; at least one set.
    """
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    panels = figure.subplots(1, len(dices), squeeze=False)[0]
    for axes, (name, values), colour in zip(panels, dices.items(), COLOURS, strict=False):
        axes.hist(values, bins=np.linspace(0, 1, 21), color=colour)
        axes.axvline(float(np.median(values)), color="black", linestyle=":")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("Dice")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "lesion", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()

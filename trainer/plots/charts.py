"""Charts as SVG, drawn without a screen and the same for the same figures.

Lines and letters are in `currentColor`, dark on a light page and light on a dark one.
"""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, groupby
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's colours, told apart by colour-blind readers too; the markers help in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "x", "P")  # seven: 42 sets until both repeat together
_INK = "#010203"  # stands for the page's own colour until the SVG is written
_INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
_PAGE = (
    "<style>svg{color:#1c2329}@media(prefers-color-scheme:dark){svg{color:#e6e9ec}}"
    "@media print{svg{color:#1c2329}}</style>"
)


def curve(log: Sequence[Mapping[str, Any]], name: str, *, title: str, best: bool = False) -> str:
    """Draw one value of the log over the epochs, with the image size of each stage.

    `log` has at least one entry; `best` rings the epoch with the highest value.
    """
    with _drawing() as (figure, axes):
        epochs = [entry["epoch"] for entry in log]
        axes.plot(epochs, [entry[name] for entry in log], marker=".", color=COLOURS[0])
        stages = [(size, list(entries)) for size, entries in groupby(log, _size)]
        for number, (size, entries) in enumerate(stages):
            begins = entries[0]["epoch"] - 0.5
            if number:
                axes.axvline(begins, color=_INK, alpha=0.5, linestyle=":")
            top = axes.get_xaxis_transform()  # x in epochs, y as a share of the height
            axes.text(begins, 0.98, f" {size} px", transform=top, va="top", fontsize=8)
        if best:
            highest = max(log, key=lambda entry: entry[name])
            axes.plot(highest["epoch"], highest[name], "o", mfc="none", color=_INK, markersize=10)
        axes.margins(y=0.15)  # room for the sizes above the line
        # A stage's size stands where it begins, which is within the frame of a single epoch too.
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=title, xlabel="epoch")
        return _svg(figure)


def sweep(
    thresholds: Sequence[float],
    sets: Sequence[Mapping[str, Any]],
    metric: str,
    *,
    used: float | None,
) -> str:
    """Draw one metric of each set at each threshold; the one in use is dotted.

    `used` is the model's own threshold, where it is known.
    """
    rows = -(-len(sets) // 2)
    with _drawing(height=2.9 + 0.2 * rows) as (figure, axes):
        for entry, colour, marker in zip(sets, cycle(COLOURS), cycle(MARKERS), strict=False):
            # A label that begins with an underscore would be left out of the legend.
            label = f"{entry['dataset']} {entry['part']}".lstrip("_")
            (line,) = axes.plot(thresholds, entry[metric], color=colour, label=label)
            line.set(marker=marker, markersize=3.5)
        if used is not None:
            axes.axvline(used, color=_INK, linestyle=":")
        axes.set(title=metric.replace("_", " "), xlabel="threshold")
        figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
        return _svg(figure)


def histogram(dices: Sequence[float], *, title: str) -> str:
    """Draw how many images of a set, at least one, have which Dice; the median is dotted."""
    with _drawing() as (figure, axes):
        axes.hist(dices, bins=np.linspace(0, 1, 21).tolist(), color=COLOURS[0])
        axes.axvline(float(np.median(dices)), color=_INK, linestyle=":")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(title=title, xlabel="Dice", ylabel="images")
        return _svg(figure)


def _size(entry: Mapping[str, Any]) -> int:
    size: int = entry["size_px"]
    return size


@contextmanager
def _drawing(*, height: float = 2.9) -> Iterator[tuple[Figure, Axes]]:
    settings: Any = {
        "svg.hashsalt": "lesion",
        "svg.fonttype": "none",
        "text.parse_math": False,  # a dollar in a set's name is a dollar
        **dict.fromkeys(_INKED, _INK),
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # Letters that matplotlib's own font lacks are drawn by the reader's.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        figure = Figure(figsize=(4.4, height), layout="constrained")
        axes = figure.subplots()
        axes.grid(color=_INK, alpha=0.15)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        yield figure, axes


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    before, defs, after = out.getvalue().replace(_INK, "currentColor").partition("<defs>")
    return f"{before}{_PAGE}{defs}{after}"

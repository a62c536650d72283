"""Compare a new version with the one it came from, photograph by photograph, with a verdict.

Intervals resample whole groups of photographs that show one lesion or patient. Of a few groups a
plain percentile interval is too narrow, and the expanded one is taken (Hesterberg 2015,
doi:10.1080/00031305.2015.1089789, section 5.3).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from model_core.scores.metrics import CUTOFF
from model_core.scores.summary import RESAMPLES, Interval
from trainer.evaluation.evaluate import Scored
from trainer.plots.text import aligned, markdown_table

Verdict = Literal["better", "worse", "cannot tell"]
LOSS_ALLOWED = 0.003
"""Mean Dice that the other photographs may lose for what the clinic's gain."""
_MEASURES = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "threshold_jaccard": "threshold Jaccard",
    "failure": f"failures, Jaccard < {CUTOFF}",
}
_COLUMNS = ("set", "n", "measure", "before", "new", "difference")


@dataclass(frozen=True)
class Compared:
    """Scores of two versions on the same photographs.

    Attributes:
        name: Of the set.
        n: Photographs.
        measures: By measure the means `before` and `new`, and their `difference` with its interval.
    """

    name: str
    n: int
    measures: dict[str, dict[str, Any]]

    @property
    def dice(self) -> Interval:
        """Gain in mean Dice."""
        gain: Interval = self.measures["dice"]["difference"]
        return gain


def compare(name: str, before: Sequence[Scored], new: Sequence[Scored]) -> Compared:
    """Compare the scores of the same photographs in the same order."""
    groups = [entry.sample.group for entry in new]
    tables = [np.array([_row(entry) for entry in scored]) for scored in (before, new)]
    measures = {}
    for place, measure in enumerate(_MEASURES):
        old, own = (table[:, place] for table in tables)
        measures[measure] = {
            "before": float(old.mean()),
            "new": float(own.mean()),
            "difference": paired_interval(own - old, groups),
        }
    return Compared(name, len(new), measures)


def paired_interval(differences: npt.NDArray[np.float64], groups: Sequence[str]) -> Interval:
    """Give the mean of differences with its 95 % interval, groups resampled whole.

    Of a single group it is all that a difference of scores can be.

    Example:
        >>> paired_interval(np.array([0.1, 0.1, 0.1]), ["a", "b", "c"])
        {'mean': 0.1..., 'low': 0.1..., 'high': 0.1...}
    """
    _, group = np.unique(np.array(groups), return_inverse=True)
    count = int(group.max()) + 1
    mean = float(differences.mean())
    if count < 2:
        return Interval(mean=mean, low=-1.0, high=1.0)
    shares = np.full(count, 1 / count)
    drawn = np.random.default_rng(0).multinomial(count, shares, size=RESAMPLES)
    sums, sizes = np.bincount(group, differences), np.bincount(group)
    means = (drawn @ sums) / (drawn @ sizes)
    reach = math.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1)
    tail = 100 * float(stats.norm.cdf(-reach))
    low, high = np.percentile(means, [tail, 100 - tail]).tolist()
    return Interval(mean=mean, low=low, high=high)


def judge_gain(clinic: Compared) -> Verdict:
    """Say whether a new version is better on the clinic's photographs, beyond chance."""
    if clinic.dice["low"] > 0:
        return "better"
    return "worse" if clinic.dice["high"] < 0 else "cannot tell"


def loses_elsewhere(others: Compared | None) -> bool:
    """Tell whether other photographs lose more than `LOSS_ALLOWED`, beyond chance."""
    return others is not None and others.dice["high"] < -LOSS_ALLOWED


def explain(clinic: Compared, others: Compared | None) -> str:
    """Give the figures behind a verdict in words; `others` are None where they are not at hand."""
    why = f"Dice {_signed(clinic.dice)} on the clinic's photographs"
    if others is None:
        return why
    why += f", {_signed(others.dice)} on others"
    if loses_elsewhere(others):
        why += f", which is a loss of more than {LOSS_ALLOWED}: for the clinic's alone"
    return why


def format_terminal(sets: Sequence[Compared]) -> str:
    """Format comparisons for the terminal."""
    widths = (30, 6, 26, 10, 10, 28)
    return "\n".join(aligned(row, widths) for row in [_COLUMNS, *_cells(sets)])


def format_markdown(sets: Sequence[Compared]) -> str:
    """Format comparisons as a Markdown table."""
    return markdown_table(_COLUMNS, _cells(sets))


def _cells(sets: Sequence[Compared]) -> list[tuple[str, ...]]:
    return [
        (
            compared.name if measure == "dice" else "",
            str(compared.n) if measure == "dice" else "",
            _MEASURES[measure],
            f"{means['before']:.4f}",
            f"{means['new']:.4f}",
            _signed(means["difference"]),
        )
        for compared in sets
        for measure, means in compared.measures.items()
    ]


def _signed(value: Mapping[str, float] | Interval) -> str:
    return f"{value['mean']:+.4f} ({value['low']:+.4f} to {value['high']:+.4f})"


def _row(entry: Scored) -> list[float]:
    metrics = entry.scores.metrics
    failed = float(metrics["jaccard"] < CUTOFF)
    return [metrics["dice"], metrics["jaccard"], metrics["threshold_jaccard"], failed]

"""How far apart a model's scores are between groups of images, such as by diagnosis or sex."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.card import GapRecord
from model_core.scores.summary import RESAMPLES
from trainer.evaluation.strata import UNKNOWN_SKIN, Groups
from trainer.plots.text import MISSING, interval, markdown_table

LEAST_IMAGES = 30
"""Groups with fewer images are not compared: one bad photograph would decide."""
_NOT_OF_PEOPLE = ("dataset", "tool", "readers")
_UNNAMED = ("not known", "other", "no lesion", UNKNOWN_SKIN)
Table = npt.NDArray[np.float64]


def largest_gaps(
    items: Sequence[Mapping[str, Any]], groups: Groups, clusters: Sequence[str]
) -> list[GapRecord]:
    """Find the largest gap of each kind of group, the widest first.

    Intervals resample clusters whole: several photographs of one lesion or patient, or one
    photograph in two framings, are not independent.

    Args:
        items: Rows of `scores_PART.json`.
        groups: Of the same images in the same order; data sets, tools and agreement of readers are
            not of the patient or lesion, and left out.
        clusters: Name of what each image is not independent of, `Sample.group`.
    """
    dice = np.array([item["dice"] for item in items])
    sets = np.array([item["dataset"] for item in items])
    gaps = []
    for kind, (_, members) in groups.items():
        counts = Counter(members)
        large = [n for n, count in counts.items() if count >= LEAST_IMAGES and n not in _UNNAMED]
        if kind in _NOT_OF_PEOPLE or len(large) < 2:
            continue
        member = np.array(members)
        ranked = sorted(large, key=lambda name: float(dice[member == name].mean()))
        worst, best = ranked[0], ranked[-1]
        difference, within = _difference(dice, member == best, member == worst, sets, clusters)
        gaps.append(
            GapRecord(
                kind=kind,
                best=best,
                worst=worst,
                n=(counts[best], counts[worst]),
                dice=difference,
                within_sets=within,
            )
        )
    return sorted(gaps, key=lambda gap: -gap.dice["mean"])


def format_gaps(gaps: Sequence[GapRecord]) -> str:
    """Format gaps as a Markdown table."""
    columns = ("by", "best", "worst", "images", "Dice, difference", "within data sets")
    rows = [
        [gap.kind, gap.best, gap.worst, f"{gap.n[0]}, {gap.n[1]}", interval(gap.dice),
         interval(gap.within_sets) if gap.within_sets else MISSING]
        for gap in gaps
    ]  # fmt: skip
    return markdown_table(columns, rows)


def _difference(
    dice: Table,
    best: npt.NDArray[np.bool_],
    worst: npt.NDArray[np.bool_],
    sets: npt.NDArray[np.str_],
    clusters: Sequence[str],
) -> tuple[dict[str, float], dict[str, float] | None]:
    """Compare two groups' means, in all and within data sets, by resampling clusters."""
    _, cluster = np.unique(np.array(clusters), return_inverse=True)
    count = int(cluster.max()) + 1
    shares = np.full(count, 1 / count)
    drawn = np.random.default_rng(0).multinomial(count, shares, size=RESAMPLES)
    # How often each image is drawn; in the first row each once, which gives the value itself.
    times = np.concatenate([np.ones((1, len(dice))), drawn[:, cluster]])
    in_set = sets[:, None] == np.unique(sets)  # (images, sets)
    groups = [in_set * group[:, None] for group in (best, worst)]
    counts = [times @ group for group in groups]  # (1 + resamples, sets) each
    sums = [times @ (group * dice[:, None]) for group in groups]
    with np.errstate(invalid="ignore", divide="ignore"):
        high, low = (s.sum(axis=1) / n.sum(axis=1) for s, n in zip(sums, counts, strict=True))
        apart = sums[0] / counts[0] - sums[1] / counts[1]
        # Of Mantel and Haenszel: a set counts for as much as its smaller group lets it tell.
        weights = np.nan_to_num(counts[0] * counts[1] / (counts[0] + counts[1]))
        within = (weights * np.nan_to_num(apart)).sum(axis=1) / weights.sum(axis=1)
    return _interval(high - low), _interval(within) if np.isfinite(within[0]) else None


def _interval(values: Table) -> dict[str, float]:
    """Give the first value with the 95 % interval of the others, those that exist."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5]).tolist()
    return {"mean": float(values[0]), "low": low, "high": high}

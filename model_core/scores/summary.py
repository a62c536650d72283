"""Summarise scores of a set of images: three kinds of mean, with bootstrap intervals."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from model_core.errors import InputError
from model_core.scores.metrics import CUTOFF, METRICS, Confusion, ImageScores

RESAMPLES = 2000
_ROWS_AT_ONCE = 100_000
"""Of the table, in one block of resamples."""
_NOTEBOOK_BATCH = 4


class Interval(TypedDict):
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class Summary(TypedDict):
    """Scores of a set of images, by three kinds of mean.

    `per_image`: mean of the images' scores. `pooled`: one table of all pixels, so large images and
    lesions weigh more. `batch_of_4`: each four images in a row pooled, then the mean over these
    batches (the last may be smaller), as the notebook did that this project grew from.
    In the last two, `threshold_jaccard` cuts the pooled Jaccard, which is not the ISIC score: that
    one is the mean in `per_image`.
    `failure_rate`: share of images with a Jaccard below `CUTOFF`.
    `per_image` has the distances too, over the `n_distances` images that have any (None without).
    `intervals`: the 95 % intervals of `pooled` (images resampled) and `batch_of_4` (batches).
    """

    n: int
    n_distances: int
    failure_rate: float
    per_image: dict[str, Interval | None]
    pooled: dict[str, float]
    batch_of_4: dict[str, float]
    intervals: dict[str, dict[str, Interval]]


def summarise(items: Sequence[ImageScores]) -> Summary:
    """Average the scores of a set of images, in their order, in the three ways of `Summary`.

    Raises:
        InputError: there is no item.

    Example:
        >>> from model_core.scores.metrics import score_image
        >>> lesion = np.array([[True, False]])
        >>> summarise([score_image(lesion, lesion)])["per_image"]["dice"]
        {'mean': 1.0, 'low': 1.0, 'high': 1.0}
    """
    if not items:
        raise InputError("no image to summarise, expected at least one")
    table = np.array([[item.metrics[name] for name in METRICS] for item in items])
    per_image = dict(zip(METRICS, bootstrap(table), strict=True))
    batches = [
        _pool(items[start : start + _NOTEBOOK_BATCH]).values()
        for start in range(0, len(items), _NOTEBOOK_BATCH)
    ]
    batch_table = np.array([[batch[name] for name in METRICS] for batch in batches])
    batch_of_4 = dict(zip(METRICS, bootstrap(batch_table), strict=True))
    pooled = _pool(items).values()
    failed = sum(item.metrics["jaccard"] < CUTOFF for item in items)
    return Summary(
        n=len(items),
        n_distances=sum(item.distances["assd_px"] is not None for item in items),
        failure_rate=failed / len(items),
        per_image={**per_image, **_distance_intervals(items)},
        pooled=pooled,
        batch_of_4={name: sum(batch[name] for batch in batches) / len(batches) for name in METRICS},
        intervals={"pooled": _pooled_intervals(items, pooled), "batch_of_4": batch_of_4},
    )


def bootstrap(table: npt.NDArray[np.float64]) -> list[Interval]:
    """Give the mean and 95 % percentile interval of each column of a table, by resampling rows.

    All come from the same 2,000 resamples (seed 0); the table is float (N, M): M scores of N
    images.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    means = np.concatenate([table[rows].mean(axis=1) for rows in _resamples(len(table))])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    columns = zip(table.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    return [Interval(mean=mean, low=under, high=over) for mean, under, over in columns]


def _resamples(count: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw row numbers with replacement, always the same, some resamples (K, count) at a time.

    One by one they take ten times as long for few rows, and all at once 2,000 times the table.
    """
    rng = np.random.default_rng(0)
    together = min(RESAMPLES, max(1, _ROWS_AT_ONCE // count))
    for start in range(0, RESAMPLES, together):
        yield rng.integers(count, size=(min(together, RESAMPLES - start), count))


def _pooled_intervals(
    items: Sequence[ImageScores], pooled: dict[str, float]
) -> dict[str, Interval]:
    counts = np.array([astuple(item.confusion) for item in items])
    pooled_counts = np.concatenate([counts[rows].sum(axis=1) for rows in _resamples(len(items))])
    values = [list(Confusion(*row).values().values()) for row in pooled_counts.tolist()]
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    columns = zip(pooled.items(), low.tolist(), high.tolist(), strict=True)
    return {
        name: Interval(mean=mean, low=under, high=over) for (name, mean), under, over in columns
    }


def _distance_intervals(items: Sequence[ImageScores]) -> dict[str, Interval | None]:
    """Average each distance over the images that have it."""
    intervals: dict[str, Interval | None] = {}
    for name in dict.fromkeys(name for item in items for name in item.distances):
        values = [item.distances.get(name) for item in items]
        there = [value for value in values if value is not None]
        intervals[name] = bootstrap(np.array(there)[:, None])[0] if there else None
    return intervals


def _pool(items: Iterable[ImageScores]) -> Confusion:
    return sum((item.confusion for item in items), start=Confusion(0, 0, 0, 0))

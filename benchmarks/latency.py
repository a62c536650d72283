"""The arithmetic of a measurement: percentiles, arrivals, and the middle of several rounds."""

import math
from collections.abc import Iterator, Sequence
from statistics import median

PERCENTILES = (50, 95, 99)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed (nearest rank).

    Nothing is interpolated, so that every figure is a latency that a caller really had.

    Args:
        values: In any order.
        percent: 0 < percent <= 100.

    Returns:
        NaN where there are no values.

    Example:
        >>> percentile([15, 20, 35, 40, 50], 40), percentile([15, 20, 35, 40, 50], 99)
        (20, 50)
    """
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def arrivals(rate: float, seconds: float) -> Iterator[float]:
    """When the requests of an open loop are due, in s from its start: one every 1 / rate.

    Each is counted from zero, so that rounding does not add up.

    Example:
        >>> list(arrivals(4, 1))
        [0.0, 0.25, 0.5, 0.75]
    """
    yield from (number / rate for number in range(math.floor(rate * seconds)))


def middle(values: Sequence[float]) -> float:
    """Median of the rounds that have a value; NaN where none has.

    Example:
        >>> middle([3, float("nan"), 1, 2])
        2
    """
    known = [value for value in values if not math.isnan(value)]
    return median(known) if known else math.nan


def spread(values: Sequence[float]) -> float:
    """Largest less smallest, as a fraction of the median: how quiet the machine was.

    Example:
        >>> spread([9, 10, 11])
        0.2
    """
    known = [value for value in values if not math.isnan(value)]
    return (max(known) - min(known)) / median(known) if known and median(known) else math.nan

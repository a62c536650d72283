import math

import pytest

from benchmarks.latency import arrivals, middle, percentile, spread


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(1, 1), (50, 50), (95, 95), (99, 99), (99.5, 100), (100, 100)],
)
def test_a_percentile_of_one_to_a_hundred(percent: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([1.0, 9.0], 50) == 1.0
    assert percentile([1.0, 9.0], 51) == 9.0
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0


def test_nothing_measured_has_no_percentile() -> None:
    assert math.isnan(percentile([], 50))
    assert math.isnan(middle([]))
    assert math.isnan(spread([math.nan]))


def test_arrivals_are_evenly_spaced_and_end_before_the_end() -> None:
    assert list(arrivals(2, 3)) == [0, 0.5, 1, 1.5, 2, 2.5]
    assert list(arrivals(0.5, 1)) == []


def test_arrivals_do_not_drift() -> None:
    last = list(arrivals(3, 1000))[-1]
    assert last == pytest.approx(1000 - 1 / 3, abs=1e-9)


def test_one_slow_round_does_not_move_the_middle() -> None:
    assert middle([30.0, 31.0, 3.0]) == 30.0
    assert middle([30.0, math.nan, 32.0]) == 31.0
    assert spread([30.0, 31.0, 3.0]) == pytest.approx(28 / 30)

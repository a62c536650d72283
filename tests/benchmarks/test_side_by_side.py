from typing import Any

import pytest

from benchmarks.side_by_side import side_by_side


def double(start: Any, number: int) -> int:
    start.wait()
    return 2 * number


def fail_once(start: Any, number: int) -> int:
    if number == 1:
        raise ValueError("no such version")
    return double(start, number)


def test_every_process_returns_what_it_found() -> None:
    assert sorted(side_by_side(double, [(1,), (2,)], timeout_s=120)) == [2, 4]


def test_one_that_fails_keeps_nobody_waiting() -> None:
    with pytest.raises(RuntimeError, match="ValueError: no such version"):
        side_by_side(fail_once, [(1,), (2,)], timeout_s=120)

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.access import rate_limit
from service.access.rate_limit import RateLimit, caller_of_address


class Clock:
    """Time that a test sets, s."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_quiet_caller_may_send_a_burst_and_then_at_the_rate() -> None:
    clock = Clock()
    limit = RateLimit(2, 3, clock=clock)
    assert [limit.take("a").remaining for _ in range(3)] == [2, 1, 0]
    assert limit.take("a").wait_s == pytest.approx(0.5)
    clock.now += 0.5
    assert limit.take("a").wait_s == 0
    assert limit.take("a").wait_s == pytest.approx(0.5)
    clock.now += 60
    assert [limit.take("a").wait_s for _ in range(3)] == [0, 0, 0]
    assert limit.take("a").wait_s > 0


def test_a_refused_request_costs_nothing() -> None:
    clock = Clock()
    limit = RateLimit(1, 1, clock=clock)
    limit.take("a")
    assert [limit.take("a").wait_s for _ in range(5)] == [1.0] * 5


def test_callers_do_not_share() -> None:
    limit = RateLimit(1, 1, clock=Clock())
    assert limit.take("a").wait_s == 0
    assert limit.take("b").wait_s == 0


@given(st.lists(st.floats(0, 2), max_size=40), st.floats(0.2, 50), st.integers(1, 10))
def test_never_more_than_the_burst_and_the_rate_and_waiting_as_told_is_enough(
    pauses: list[float], rate: float, burst: int
) -> None:
    clock = Clock()
    limit = RateLimit(rate, burst, clock=clock)
    admitted = []
    for pause in pauses:
        clock.now += pause
        wait_s = limit.take("a").wait_s
        if wait_s:
            clock.now += wait_s + 1e-6
            assert limit.take("a").wait_s == 0
        admitted.append(clock.now)
    for start, end in pairwise([0, *range(len(admitted))]):
        window = [t for t in admitted if admitted[start] <= t <= admitted[end]]
        assert len(window) <= burst + rate * (admitted[end] - admitted[start]) + 1e-3


def test_the_memory_for_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_MAX_CALLERS", 10)
    limit = RateLimit(1, 1, clock=Clock())
    for number in range(100):
        limit.take(str(number))
    assert len(limit._full_at) == 10
    assert limit.take("99").wait_s > 0


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("unix:", "unix:"),
        ("", ""),
        ("x" * 999, "x" * 64),
    ],
)
def test_the_caller_of_an_address(address: str, caller: str) -> None:
    assert caller_of_address(address) == caller

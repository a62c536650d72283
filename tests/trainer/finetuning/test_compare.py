"""A verdict is given where chance does not explain the difference, and not otherwise."""

import numpy as np
import pytest

from model_core.scores.summary import Interval
from trainer.finetuning.compare import (
    Compared,
    explain,
    judge_gain,
    loses_elsewhere,
    paired_interval,
)


def compared(mean: float, low: float, high: float) -> Compared:
    gain = Interval(mean=mean, low=low, high=high)
    return Compared("set", 9, {"dice": {"before": 0.8, "new": 0.8 + mean, "difference": gain}})


GAIN, LOSS, CHANCE = (0.02, 0.01, 0.03), (-0.02, -0.03, -0.01), (0.01, -0.01, 0.03)


@pytest.mark.parametrize(
    ("clinic", "verdict"),
    [(GAIN, "better"), (LOSS, "worse"), (CHANCE, "cannot tell"), ((0.0,) * 3, "cannot tell")],
)
def test_the_verdict_is_what_chance_does_not_explain(
    clinic: tuple[float, ...], verdict: str
) -> None:
    assert judge_gain(compared(*clinic)) == verdict


@pytest.mark.parametrize(
    ("others", "lost"),
    [
        ((-0.002, -0.005, 0.001), False),
        ((-0.004, -0.006, -0.002), False),
        ((-0.006, -0.008, -0.004), True),
    ],
)
def test_what_others_lose_is_said_and_more_than_is_allowed_beyond_chance_counts(
    others: tuple[float, ...], lost: bool
) -> None:
    assert loses_elsewhere(compared(*others)) is lost
    why = explain(compared(*GAIN), compared(*others))
    assert why.startswith("Dice +0.0200 (+0.0100 to +0.0300) on the clinic's photographs, -0.00")
    assert why.endswith("for the clinic's alone") is lost


def test_nothing_is_said_of_others_that_are_not_at_hand() -> None:
    assert not loses_elsewhere(None)
    assert "others" not in explain(compared(*GAIN), None)


def test_an_interval_covers_the_truth_as_often_as_it_says_even_of_ten_photographs() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        interval = paired_interval(rng.normal(0.02, 0.05, 10), [str(n) for n in range(10)])
        held += interval["low"] <= 0.02 <= interval["high"]
    assert 0.91 <= held / 200 <= 0.99


def test_photographs_of_one_lesion_count_as_one_observation() -> None:
    gains = np.repeat(np.random.default_rng(0).normal(0, 0.05, 12), 6)
    apart = paired_interval(gains, [str(n) for n in range(72)])
    together = paired_interval(gains, [str(n // 6) for n in range(72)])
    assert together["high"] - together["low"] > 2 * (apart["high"] - apart["low"])
    assert paired_interval(gains[:6], ["one"] * 6)["low"] == -1

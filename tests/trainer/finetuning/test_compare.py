"""A verdict is given where chance does not explain the difference, and not otherwise."""

import numpy as np
import pytest

from model_core.scores.summary import Interval
from trainer.finetuning.compare import Compared, judge_gain, paired_interval


def compared(mean: float, low: float, high: float) -> Compared:
    gain = Interval(mean=mean, low=low, high=high)
    return Compared("set", 9, {"dice": {"before": 0.8, "new": 0.8 + mean, "difference": gain}})


GAIN, LOSS, CHANCE = (0.02, 0.01, 0.03), (-0.02, -0.03, -0.01), (0.01, -0.01, 0.03)


@pytest.mark.parametrize(
    ("clinic", "others", "verdict"),
    [
        (GAIN, None, "better"),
        (LOSS, None, "worse"),
        (CHANCE, None, "cannot tell"),
        (GAIN, (-0.002, -0.005, 0.001), "better"),
        (GAIN, (-0.004, -0.006, -0.002), "cannot tell"),
        (GAIN, (-0.006, -0.008, -0.004), "worse"),
        (CHANCE, GAIN, "cannot tell"),
        (LOSS, GAIN, "worse"),
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), "cannot tell"),
    ],
)
def test_better_is_what_gains_beyond_chance_and_loses_little_elsewhere(
    clinic: tuple[float, ...], others: tuple[float, ...] | None, verdict: str
) -> None:
    found, why = judge_gain(compared(*clinic), compared(*others) if others else None)
    assert found == verdict
    assert f"Dice {clinic[0]:+.4f}" in why
    assert ("on the others" in why) == (others is not None)


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

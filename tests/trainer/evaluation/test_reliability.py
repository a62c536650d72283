from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchmetrics.classification import BinaryCalibrationError

from trainer.evaluation.reliability import (
    BINS,
    COVERAGES,
    Certainty,
    calibration_error,
    count_pixels,
    rank_correlation,
    risk_coverage,
    summarise_certainty,
)
from trainer.plots.pictures import draw_coverage, draw_reliability


def certainty(predicted: float | None) -> Certainty:
    return Certainty(count_pixels(np.zeros((2, 2), np.float32), np.eye(2, dtype=bool)), predicted)


def test_calibration_error_by_hand() -> None:
    # Three pixels of probability 0.5, one of them lesion, and one of 0.9 that is.
    logits = np.array([[0, 0, 0, np.log(9)]], np.float32)
    table = count_pixels(logits, np.array([[True, False, False, True]]))
    assert table[0].sum() == 4
    assert calibration_error(table) == pytest.approx((abs(1.5 - 1) + abs(0.9 - 1)) / 4)


def test_calibration_error_is_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (50, 60)).astype(np.float32)
    truth = rng.random((50, 60)) < 0.4
    reference = BinaryCalibrationError(n_bins=BINS, norm="l1")
    probability = torch.sigmoid(torch.from_numpy(logits).double()).ravel()
    expected = float(reference(probability, torch.from_numpy(truth.ravel()).int()))
    assert calibration_error(count_pixels(logits, truth)) == pytest.approx(expected, abs=1e-6)


def test_tables_of_images_add_up() -> None:
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(0, 3, (8, 6)).astype(np.float32), rng.random((8, 6)) < 0.5
    halves = count_pixels(logits[:4], truth[:4]) + count_pixels(logits[4:], truth[4:])
    assert np.allclose(halves, count_pixels(logits, truth))


def test_the_surest_come_first() -> None:
    jaccards = np.linspace(0, 1, 10)
    curve = risk_coverage(jaccards.tolist(), jaccards[:, None])
    assert len(curve) == len(COVERAGES)
    assert curve[0] == [pytest.approx(0.5)]
    assert curve[COVERAGES.index(0.8)] == [pytest.approx(jaccards[2:].mean())]
    assert curve[-1] == [1.0]


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.random(20).tolist(), rng.random(20).tolist()
    assert rank_correlation(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)
    assert rank_correlation([0.5, 0.5, 0.5], [0.1, 0.2, 0.3]) is None
    assert rank_correlation([0.5, 0.6], [0.1, 0.2]) is None


def test_a_summary_of_what_is_not_calibrated_has_its_pixels_alone() -> None:
    found = summarise_certainty([certainty(None)], [0.8], [0.9])
    assert found == {"calibration_error": pytest.approx(0)}


def test_a_summary_compares_predicted_and_true() -> None:
    found = summarise_certainty(
        [certainty(0.9), certainty(0.5), certainty(0.7)], [0.8, 0.4, 0.7], [0.9, 0.6, 0.8]
    )
    assert found["spearman"] == pytest.approx(1)
    assert found["mean_error"] == pytest.approx(0.2 / 3)
    assert found["coverage"][0] == {"share": 1.0, "jaccard": pytest.approx(1.9 / 3),
                                    "dice": pytest.approx(2.3 / 3)}  # fmt: skip


def test_both_pictures_are_drawn(tmp_path: Path) -> None:
    draw_reliability(certainty(None).pixels, 0.1, tmp_path / "a.png", title="a set")
    draw_coverage(COVERAGES, {"a": [0.9] * len(COVERAGES)}, tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 200


def test_intervals_are_judged_by_what_they_hold() -> None:
    pixels = np.zeros((3, BINS))
    pixels[:, -1] = (10.0, 9.5, 9.5)
    spans = [(0.7, 0.9), (0.7, 0.9), (0.5, 1.0), None]
    certainties = [Certainty(pixels, 0.8 if span else 0.0, span) for span in spans]
    summary = summarise_certainty(certainties, [0.8, 0.6, 0.9, 0.3], [0.9, 0.7, 0.9, 0.4])
    assert summary["interval"] == {
        "aim": 0.9, "held": pytest.approx(2 / 3), "width": pytest.approx(0.3),
    }  # fmt: skip

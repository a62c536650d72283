import numpy as np
import pytest

from model_core.arrays import Mask
from model_core.errors import ShapeMismatchError
from model_core.scores.metrics import (
    METRICS,
    Confusion,
    dice,
    jaccard,
    score_image,
    threshold_jaccard,
)
from tests.fixtures.drawing import draw


@pytest.mark.parametrize(
    ("pred", "expected"),
    [
        pytest.param("##.. ##..", 1.0, id="identical"),
        pytest.param("###. ##..", 4 / 5, id="one pixel too many"),
        pytest.param("#... ##..", 3 / 4, id="one pixel too few"),
        pytest.param(".##. .##.", 2 / 6, id="shifted by one pixel"),
        pytest.param("..## ..##", 0.0, id="beside it"),
        pytest.param(".... ....", 0.0, id="nothing found"),
        pytest.param("#### ####", 4 / 8, id="everything found"),
    ],
)
def test_jaccard_of_a_two_by_two_lesion(pred: str, expected: float) -> None:
    assert jaccard(draw("##.. ##.."), draw(pred)) == pytest.approx(expected)


def test_every_score_of_a_lesion_counted_by_eye() -> None:
    scores = score_image(draw("##.. ##.. ...."), draw("###. #... ...."))
    assert scores.confusion == Confusion(
        true_positive=3, true_negative=7, false_positive=1, false_negative=1
    )
    assert scores.metrics == pytest.approx(
        {
            "dice": 6 / 8,
            "jaccard": 3 / 5,
            "threshold_jaccard": 0.0,
            "sensitivity": 3 / 4,
            "specificity": 7 / 8,
            "accuracy": 10 / 12,
            "precision": 3 / 4,
        }
    )


@pytest.mark.parametrize(
    ("truth", "pred", "expected"),
    [
        pytest.param(
            "..", "..", {"dice": 1, "jaccard": 1, "threshold_jaccard": 1}, id="both empty"
        ),
        pytest.param("#.", "..", {"dice": 0, "jaccard": 0, "sensitivity": 0}, id="nothing found"),
        pytest.param("..", "#.", {"dice": 0, "jaccard": 0, "precision": 0}, id="found in nothing"),
        pytest.param("..", "#.", {"sensitivity": 1}, id="no lesion to miss"),
        pytest.param("##", "#.", {"specificity": 1}, id="no skin to mistake"),
        pytest.param("#.", "..", {"precision": 1}, id="no pixel found is wrong"),
        pytest.param("#", "#", dict.fromkeys(METRICS, 1), id="one pixel"),
        pytest.param("##", "##", dict.fromkeys(METRICS, 1), id="whole image"),
    ],
)
def test_ratios_without_a_denominator_follow_the_isic_scorer(
    truth: str, pred: str, expected: dict[str, float]
) -> None:
    metrics = score_image(draw(truth), draw(pred)).metrics
    assert {name: metrics[name] for name in expected} == expected


@pytest.mark.parametrize(("overlap", "expected"), [(13, 0.65), (12, 0.0), (20, 1.0)])
def test_threshold_jaccard_keeps_the_cutoff_itself(overlap: int, expected: float) -> None:
    truth, pred = np.ones((1, 20), bool), np.arange(20)[None] < overlap
    assert threshold_jaccard(truth, pred) == expected
    assert score_image(truth, pred).metrics["threshold_jaccard"] == expected


def test_each_metric_by_itself_gives_the_value_in_the_table() -> None:
    truth, pred = draw("##.. ##.. ...."), draw("###. ##.. ....")
    metrics = score_image(truth, pred).metrics
    for function in (dice, jaccard, threshold_jaccard):
        assert function(truth, pred) == metrics[function.__name__]
    assert metrics == Confusion.of(truth, pred).values()
    assert tuple(metrics) == METRICS


def test_masks_of_different_sizes_are_refused_with_both() -> None:
    with pytest.raises(ShapeMismatchError, match=r"truth is \(2, 2\), pred is \(1, 4\)"):
        dice(draw("## ##"), draw("####"))


def random_pairs(count: int = 40) -> list[tuple[Mask, Mask]]:
    """Random masks of odd sizes, with empty and full ones among them."""
    rng = np.random.default_rng(7)
    pairs = []
    for _ in range(count):
        size = tuple(rng.integers(1, 30, 2))
        shares = rng.choice([0.0, 0.2, 0.5, 0.8, 1.0], 2)
        pairs.append((rng.random(size) < shares[0], rng.random(size) < shares[1]))
    return pairs


def test_every_score_equals_the_isic_challenge_scorer() -> None:
    scorer = pytest.importorskip(
        "isic_challenge_scoring.metrics",
        reason="isic-challenge-scoring is not installed (extra `scorer`)",
    )
    confusion = pytest.importorskip("isic_challenge_scoring.confusion")
    theirs = {
        "dice": scorer.binary_dice,
        "jaccard": scorer.binary_jaccard,
        "threshold_jaccard": scorer.binary_threshold_jaccard,
        "sensitivity": scorer.binary_sensitivity,
        "specificity": scorer.binary_specificity,
        "accuracy": scorer.binary_accuracy,
        "precision": scorer.binary_ppv,
    }
    for truth, pred in random_pairs():
        counts = confusion.create_binary_confusion_matrix(truth, pred)
        expected = {name: score(counts) for name, score in theirs.items()}
        assert score_image(truth, pred).metrics == pytest.approx(expected)


def test_every_score_equals_torchmetrics_where_it_is_defined() -> None:
    import torch
    from torchmetrics.functional import classification as theirs

    for truth, pred in random_pairs():
        if not (truth.any() and pred.any() and not truth.all()):
            continue  # torchmetrics decides 0/0 otherwise than ISIC
        tensors = torch.from_numpy(pred.ravel()).int(), torch.from_numpy(truth.ravel()).int()
        metrics = score_image(truth, pred).metrics
        assert metrics["dice"] == pytest.approx(theirs.binary_f1_score(*tensors).item())
        assert metrics["jaccard"] == pytest.approx(theirs.binary_jaccard_index(*tensors).item())
        assert metrics["sensitivity"] == pytest.approx(theirs.binary_recall(*tensors).item())
        assert metrics["specificity"] == pytest.approx(theirs.binary_specificity(*tensors).item())
        assert metrics["accuracy"] == pytest.approx(theirs.binary_accuracy(*tensors).item())
        assert metrics["precision"] == pytest.approx(theirs.binary_precision(*tensors).item())

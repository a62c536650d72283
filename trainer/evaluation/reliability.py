"""Does a model know what it does not know: calibration of pixels, and of whole masks.

Pixels are counted at the network's own resolution, where each photograph has about as many, so that
one large file does not outweigh a hundred small ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import expit

from model_core.arrays import Logits, Mask
from model_core.processing.calibration import COVERAGE

BINS = 15
"""Of equal width in probability, as is customary since Guo et al. 2017, arXiv:1706.04599."""
COVERAGES = tuple(round(0.1 * tenth, 1) for tenth in range(10, 0, -1))

Table = npt.NDArray[np.float64]
"""(3, BINS): pixels, sum of their probabilities, and lesion pixels among them, in each bin."""


@dataclass(frozen=True)
class Certainty:
    """How sure a model was of one photograph.

    Attributes:
        pixels: The photograph's table of pixels.
        predicted: Jaccard that it expected of its mask; None where it is not calibrated.
        interval: Where it expected the Jaccard to lie; None where it has no such interval.
    """

    pixels: Table
    predicted: float | None
    interval: tuple[float, float] | None = None


def count_pixels(logits: Logits, truth: Mask) -> Table:
    """Count one photograph's pixels, by predicted probability.

    `logits` are float32 (H, W), `truth` is bool (H, W).
    """
    probability = expit(logits.astype(np.float64).ravel())
    # A probability of exactly 1 belongs to the last bin.
    places = np.minimum((probability * BINS).astype(int), BINS - 1)
    weights = (np.ones_like(probability), probability, truth.ravel().astype(np.float64))
    return np.stack([np.bincount(places, weight, BINS) for weight in weights])


def calibration_error(table: Table) -> float:
    """Average |share of lesion - probability| over pixels, by bin: the calibration error.

    Source: Naeini, Cooper and Hauskrecht 2015, doi:10.1609/aaai.v29i1.9602.
    """
    pixels, probability, lesion = table
    return float(np.abs(probability - lesion).sum() / pixels.sum())


def risk_coverage(predicted: Sequence[float], scores: npt.ArrayLike) -> list[Any]:
    """Average scores over the images that the model was surest of, for each of `COVERAGES`.

    `predicted` has the predicted Jaccard of each image, `scores` (images, K) its true scores.

    Returns:
        K means for each coverage.
    """
    # Stable, so that equal predictions are ranked alike on every machine.
    order = np.argsort(-np.asarray(predicted), kind="stable")
    ranked = np.asarray(scores, np.float64)[order]
    counts = [max(1, round(coverage * len(order))) for coverage in COVERAGES]
    return [ranked[:count].mean(axis=0).tolist() for count in counts]


def rank_correlation(predicted: Sequence[float], jaccards: Sequence[float]) -> float | None:
    """Compute Spearman's correlation; None of fewer than three images, or of a constant."""
    if len(predicted) < 3 or min(map(len, (set(predicted), set(jaccards)))) < 2:
        return None
    return float(stats.spearmanr(predicted, jaccards).statistic)


def summarise_certainty(
    certainties: Sequence[Certainty], jaccards: Sequence[float], dices: Sequence[float]
) -> dict[str, Any]:
    """Summarise a set for a card: `calibration_error`, and of a calibrated version more.

    Returns:
        `calibration_error`; with predictions also `spearman`, `predicted_jaccard` (their mean),
        `mean_error` (mean of |predicted - true|), `coverage`: mean Jaccard and Dice of the images
        that it was surest of, and, where it has intervals, `interval`: the share of true Jaccards
        that they were made for, the share that they hold, and their mean width.
    """
    table = sum((certainty.pixels for certainty in certainties), np.zeros((3, BINS)))
    summary: dict[str, Any] = {"calibration_error": calibration_error(table)}
    predicted = [c.predicted for c in certainties if c.predicted is not None]
    if len(predicted) < len(certainties):
        return summary
    curve = risk_coverage(predicted, np.stack([jaccards, dices], axis=1))
    spans = [
        (*certainty.interval, jaccard)
        for certainty, jaccard in zip(certainties, jaccards, strict=True)
        if certainty.interval is not None
    ]
    if spans:
        low, high, true = np.array(spans).T
        summary["interval"] = {
            "aim": COVERAGE,
            "held": float(((low <= true) & (true <= high)).mean()),
            "width": float((high - low).mean()),
        }
    return summary | {
        "spearman": rank_correlation(predicted, jaccards),
        "predicted_jaccard": float(np.mean(predicted)),
        "mean_error": float(np.abs(np.subtract(predicted, jaccards)).mean()),
        "coverage": [
            {"share": share, "jaccard": jaccard, "dice": dice}
            for share, (jaccard, dice) in zip(COVERAGES, curve, strict=True)
        ],
    }

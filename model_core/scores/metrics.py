"""Scores of a predicted mask against an expert's: counts in, one ratio out.

A ratio without a denominator (0/0) is decided as in the ISIC challenge's scorer
(github.com/ImageMarkup/isic-challenge-scoring); the reason stands beside each.
"""

from dataclasses import astuple, dataclass

import numpy as np

from model_core.arrays import Mask, Spacing
from model_core.errors import ShapeMismatchError
from model_core.scores.distances import BoundaryDistances, boundary_distances

CUTOFF = 0.65
"""Jaccard below which an image counts as failed: ISIC 2018 Task 1, from experts' disagreement."""


@dataclass(frozen=True)
class Confusion:
    """The four counts of pixels that every score here is made from.

    Attributes:
        true_positive: Lesion in truth and prediction, px.
        true_negative: Lesion in neither, px.
        false_positive: Lesion in the prediction alone, px.
        false_negative: Lesion in the truth alone, px.
    """

    true_positive: int
    true_negative: int
    false_positive: int
    false_negative: int

    @classmethod
    def of(cls, truth: Mask, pred: Mask) -> "Confusion":
        """Count the pixels of two masks, bool (H, W), True = lesion.

        Raises:
            ShapeMismatchError: the masks differ in height or width.
        """
        if truth.shape != pred.shape:
            raise ShapeMismatchError(f"truth is {truth.shape}, pred is {pred.shape}")
        both = int(np.count_nonzero(truth & pred))
        false_positive = int(np.count_nonzero(pred)) - both
        false_negative = int(np.count_nonzero(truth)) - both
        neither = truth.size - both - false_positive - false_negative
        return cls(both, neither, false_positive, false_negative)

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN). Both empty: 1, a perfect answer (Dice 1945)."""
        wrong = self.false_positive + self.false_negative
        return _ratio(2 * self.true_positive, 2 * self.true_positive + wrong)

    @property
    def jaccard(self) -> float:
        """TP / (TP + FP + FN). Both empty: 1, a perfect answer (Jaccard 1912)."""
        wrong = self.false_positive + self.false_negative
        return _ratio(self.true_positive, self.true_positive + wrong)

    @property
    def threshold_jaccard(self) -> float:
        """Jaccard, or 0 where it is below `CUTOFF`. Both empty: 1, as `jaccard`."""
        return _cut(self.jaccard, CUTOFF)

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN). No lesion in the truth: 1, there was none to miss."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP). Lesion all over the truth: 1, there was no skin to mistake."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def accuracy(self) -> float:
        """(TP + TN) / all pixels. An image has pixels, so this is never 0/0."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """TP / (TP + FP). Nothing predicted: 1, no pixel of it was wrong."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    def values(self) -> dict[str, float]:
        """Compute every score, by its name in `METRICS`."""
        return {name: getattr(self, name) for name in METRICS}


METRICS = (
    "dice", "jaccard", "threshold_jaccard", "sensitivity", "specificity", "accuracy", "precision",
)  # fmt: skip
"""Names of all scores from counts, in the order they are reported."""


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image.

    Attributes:
        confusion: Its counts.
        metrics: Value of each of `METRICS`, in [0, 1].
        distances: `hausdorff_95_px` and `assd_px`, at least 0; `_mm` as well where the size of a
            pixel is known. None where truth or prediction is empty.
    """

    confusion: Confusion
    metrics: dict[str, float]
    distances: dict[str, float | None]


def dice(truth: Mask, pred: Mask) -> float:
    """Compute the Dice coefficient (F1 of pixels) of a prediction.

    Args:
        truth: Reference mask, bool (H, W), True = lesion.
        pred: Predicted mask, bool (H, W), same H and W as `truth`.

    Returns:
        Score in [0, 1]. Two empty masks score 1.0, one empty mask 0.0.

    Raises:
        ShapeMismatchError: the masks differ in height or width.

    Example:
        >>> truth = np.array([[1, 1, 0], [1, 1, 0]], bool)
        >>> pred = np.array([[1, 1, 1], [1, 1, 0]], bool)
        >>> round(dice(truth, pred), 4)
        0.8889

    Source: Dice 1945, Ecology 26(3), Measures of the amount of ecologic association.
    """
    return Confusion.of(truth, pred).dice


def jaccard(truth: Mask, pred: Mask) -> float:
    """Compute the Jaccard index (intersection over union); arguments and edges as `dice`.

    Example:
        >>> truth = np.array([[1, 1, 0], [1, 1, 0]], bool)
        >>> pred = np.array([[1, 1, 1], [1, 1, 0]], bool)
        >>> jaccard(truth, pred)
        0.8

    Source: Jaccard 1912, New Phytologist 11(2), The distribution of the flora in the alpine zone.
    """
    return Confusion.of(truth, pred).jaccard


def threshold_jaccard(truth: Mask, pred: Mask, *, cutoff: float = CUTOFF) -> float:
    """Compute the Jaccard index, zeroed below `cutoff`: the ISIC 2018 Task 1 score of one image.

    Args:
        truth: As `dice`, which this has the edges and errors of.
        pred: As `dice`.
        cutoff: Lowest Jaccard that still counts, in [0, 1].

    Example:
        >>> truth = np.array([[1, 1, 0], [1, 1, 0]], bool)
        >>> pred = np.array([[1, 0, 1], [1, 1, 0]], bool)
        >>> threshold_jaccard(truth, pred), threshold_jaccard(truth, pred, cutoff=0.5)
        (0.0, 0.6)

    Source: Codella et al. 2019, arXiv:1902.03368.
    """
    return _cut(jaccard(truth, pred), cutoff)


def score_image(truth: Mask, pred: Mask, *, spacing_mm: Spacing | None = None) -> ImageScores:
    """Compute all scores of one prediction; masks and errors as `dice`.

    Where `spacing_mm`, the height and width of a pixel, is known, distances come in mm as well.

    Example:
        >>> empty = np.zeros((2, 2), bool)
        >>> scores = score_image(empty, empty)
        >>> scores.metrics["threshold_jaccard"], scores.distances["assd_px"]
        (1.0, None)
    """
    confusion = Confusion.of(truth, pred)
    in_px = boundary_distances(truth, pred)
    distances = _named(in_px, "px")
    if spacing_mm is not None:
        height, width = spacing_mm
        if in_px is not None and height == width:  # no second search for the nearest pixels
            in_mm: BoundaryDistances | None = in_px.times(height)
        else:
            in_mm = boundary_distances(truth, pred, spacing=spacing_mm)
        distances |= _named(in_mm, "mm")
    return ImageScores(confusion, confusion.values(), distances)


def _named(distances: BoundaryDistances | None, unit: str) -> dict[str, float | None]:
    return {
        f"hausdorff_95_{unit}": distances.hausdorff_95 if distances else None,
        f"assd_{unit}": distances.assd if distances else None,
    }


def _cut(score: float, cutoff: float) -> float:
    return score if score >= cutoff else 0.0


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0

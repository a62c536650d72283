"""Tell how sure an answer is: calibrated probabilities, and the Jaccard to expect of a mask."""

import math
from dataclasses import asdict, dataclass
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import expit, logit

from model_core.arrays import Logits, Mask
from model_core.errors import ConfigError
from model_core.masks.window import window_of

REACH = 0.03
"""Share of the side, beyond the mask, within which probability counts as perhaps missed lesion.
Farther away it is another lesion, or something else, and says nothing of this outline."""
COVERAGE = 0.9
"""Share of photographs whose true Jaccard lies within `Calibration.interval`, where they are like
those that it was fitted on."""
Score = TypeVar("Score", float, npt.NDArray[np.float64])
_SMALLEST = 1e-3
"""Least distance of an expected Jaccard from 0 and 1, whose logits are infinite."""
_LEAST_SPREAD = 0.05


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Numbers that `trainer calibrate` fits on the validation part; saved in the card.

    Attributes:
        scale: Calibrated logit = scale * logit + bias (Platt 1999; with a bias of 0 it is the
            temperature 1 / scale of Guo et al. 2017, arXiv:1706.04599). Above 0.
        bias: See `scale`.
        score_scale: Predicted Jaccard = sigmoid(score_scale * logit(expected Jaccard) +
            score_bias): what is expected under the probabilities, as it turned out. Above 0.
        score_bias: See `score_scale`.
        least_score: Predicted Jaccard below which a region counts as no lesion, 0 to 1: on skin
            without a lesion the network still finds something, and does not believe in it.
        least_peak: Probability that makes a region a lesion in spite of a low score, where any
            pixel reaches it, above 0: faint lesions have a sure core, bare skin has none.
        score_spread: Half the width of `interval`, as a share of what `score_error_unit` gives;
            None where it was not fitted.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    scale: float
    bias: float
    score_scale: float
    score_bias: float
    least_score: float = 0.0
    least_peak: float = 1.0
    score_spread: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None and name == "score_spread":
                continue
            if not math.isfinite(value) or (name.endswith("scale") and value <= 0):
                raise ConfigError(f"calibration {name} is {value}, expected a finite number")

    def logits(self, logits: Logits) -> Logits:
        """Calibrate logits of any shape."""
        return logits * np.float32(self.scale) + np.float32(self.bias)

    def score(self, logits: Logits, mask: Mask) -> float:
        """Predict the Jaccard of a mask with an expert's, 0 to 1.

        Of an empty mask it is 0: no image of the training data is without a lesion, so that there
        is nothing by which to trust such an answer.

        Args:
            logits: float32 (S, S), calibrated.
            mask: bool (S, S), the cut that was made of them, one region.
        """
        if not mask.any():
            return 0.0
        expected = min(max(expected_jaccard(logits, mask), _SMALLEST), 1 - _SMALLEST)
        return float(expit(self.score_scale * logit(expected) + self.score_bias))

    def has_sure_core(self, logits: Logits) -> bool:
        """Tell whether any of these calibrated logits is a lesion whatever the mask's score."""
        return self.least_score == 0 or float(expit(logits.max())) >= self.least_peak

    def interval(self, score: float) -> tuple[float, float] | None:
        """Where the true Jaccard of a mask lies in `COVERAGE` of all photographs, within 0 to 1.

        Split conformal prediction (Lei et al. 2018, arXiv:1604.04173) with the error in units of
        `score_error_unit`. None where it was not fitted, and of an empty mask.
        """
        if self.score_spread is None or score == 0:
            return None
        half = self.score_spread * score_error_unit(score)
        return max(0.0, score - half), min(1.0, score + half)


def score_error_unit(score: Score) -> Score:
    """Get the unit of a predicted Jaccard's errors: low predictions miss by more.

    Example:
        >>> score_error_unit(0.95), score_error_unit(0.45)
        (0.1..., 0.6...)
    """
    return 1 - score + _LEAST_SPREAD


def expected_jaccard(logits: Logits, mask: Mask) -> float:
    """Divide expected intersection by expected union, of a mask and the lesion, pixel by pixel.

    With p the probability of a pixel: the sum of p within the mask, over the mask's area plus the
    sum of p around it (up to `REACH` of the side away). Logits are float32 (S, S), calibrated; the
    mask bool (S, S), not empty.
    """
    box, near = surroundings(mask)
    probability, mask = expit(logits[box]), mask[box]
    missed = float(probability[near & ~mask].sum())
    return float(probability[mask].sum()) / (float(mask.sum()) + missed)


def surroundings(mask: Mask) -> tuple[tuple[slice, slice], Mask]:
    """Find the window around a mask, and which of its pixels are in it or up to `REACH` away."""
    reach = max(1, round(REACH * max(mask.shape)))
    box = window_of(mask, reach)
    return box, ndimage.maximum_filter(mask[box].view(np.uint8), size=2 * reach + 1).view(bool)

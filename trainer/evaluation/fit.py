"""Fit what follows a network's weights on photographs that it had not seen.

That is scale and bias of the logits, the threshold and component rules, and the Jaccard to expect.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special
from scipy.special import expit
from tqdm import tqdm

from model_core.arrays import Logits, Mask
from model_core.errors import DatasetError
from model_core.predictor import Predictor
from model_core.processing.calibration import (
    COVERAGE,
    Calibration,
    expected_jaccard,
    score_error_unit,
)
from model_core.processing.postprocess import PostprocessConfig, logit, tidy
from model_core.processing.preprocess import Geometry, fit_mask
from model_core.scores.metrics import CUTOFF, Confusion
from trainer.data.samples import Sample, map_images, read_photo, read_truth

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(5, 16))
"""Cuts that are tried, of the calibrated probability."""
FOLDS = 5
MOST_LEAST_SCORE = 0.5
"""No mask that is more likely right than wrong is dropped, however few images it is chosen on."""
LEAST_PEAK = 0.95
"""With it, half as many faint lesions are dropped, and as little bare skin is found as without
(docs/experiments.md, row 18)."""
_EVERY = 3
"""Every third row and column of the validation maps: neighbours tell a fit nothing new."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One validation photograph: the network's answer and the truth, at both sizes."""

    group: str
    geometry: Geometry
    logits: Logits
    small_truth: Mask
    truth: Mask


@dataclass(frozen=True)
class Fit:
    """What was chosen on some cases, and how good it is.

    Attributes:
        calibration: Numbers of the card.
        rules: Threshold and component rules.
        tried: Rules that were tried, with their scores.
        unseen: Predicted Jaccard of each case with a lesion, by a fit on the folds it is not in.
        jaccards: Their true ones.
    """

    calibration: Calibration
    rules: PostprocessConfig
    tried: list[dict[str, Any]]
    unseen: Floats
    jaccards: Floats


def fit_cases(
    cases: Sequence[Case],
    start: PostprocessConfig,
    *,
    keep_components: bool = False,
    most_least_score: float = MOST_LEAST_SCORE,
) -> Fit:
    """Fit calibration and choose rules on photographs that the network had not seen.

    Args:
        cases: At least two, of several groups.
        start: Rules to begin with.
        keep_components: Keep its component rules, and choose the threshold alone.
        most_least_score: Highest `Calibration.least_score`.

    Raises:
        DatasetError: the network finds hardly any lesion, so that there is nothing to fit.
    """
    scale, bias = fit_pixels(cases)
    scaled = [replace(case, logits=scaled_logits(case.logits, scale, bias)) for case in cases]
    rules, tried = _choose_rules(scaled, start, keep_components=keep_components)
    # An empty mask has no expected Jaccard to fit.
    lesions = [case for case in scaled if _small_mask(case, rules).any()]
    if len(set(folds_of(lesions))) < 2:
        raise DatasetError(
            f"a lesion is found in {len(lesions)} of {len(cases)} photographs: too few to tell "
            "how sure the network is"
        )
    expected = np.array(
        [expected_jaccard(case.logits, _small_mask(case, rules)) for case in lesions]
    )
    jaccards = np.array([Confusion.of(case.truth, _mask(case, rules)).jaccard for case in lesions])
    score_scale, score_bias = fit_score(expected, jaccards)
    unseen = _scores_of_unseen(lesions, expected, jaccards)
    least_score = choose_least_score(expit(score_scale * _logit(expected) + score_bias), jaccards)
    calibration = Calibration(
        scale=scale,
        bias=bias,
        score_scale=score_scale,
        score_bias=score_bias,
        least_peak=LEAST_PEAK,
        least_score=min(least_score, most_least_score),
        score_spread=fit_spread(unseen, jaccards),
    )
    return Fit(calibration, rules, tried, unseen, jaccards)


def fit_pixels(cases: Sequence[Case]) -> tuple[float, float]:
    """Fit scale and bias of the logits by the pixels' log loss (Platt scaling)."""
    logits = np.concatenate([case.logits[::_EVERY, ::_EVERY].ravel() for case in cases])
    lesion = np.concatenate([case.small_truth[::_EVERY, ::_EVERY].ravel() for case in cases])
    values = logits.astype(np.float64)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scaled = parameters[0] * values + parameters[1]
        residual = expit(scaled) - lesion
        gradient = np.array([(residual * values).mean(), residual.mean()])
        return float((np.logaddexp(0, scaled) - lesion * scaled).mean()), gradient

    fit = optimize.minimize(loss, [1.0, 0.0], jac=True, bounds=[(1e-3, 1e3), (-50, 50)])
    return float(fit.x[0]), float(fit.x[1])


def fit_score(expected: Floats, jaccards: Floats) -> tuple[float, float]:
    """Fit scale and bias that bring expected Jaccards nearest the true ones (least squares)."""
    values = _logit(expected)

    def residual(parameters: Floats) -> Floats:
        left: Floats = expit(parameters[0] * values + parameters[1]) - jaccards
        return left

    bounds = ([1e-3, -50], [1e3, 50])
    fit = optimize.least_squares(residual, [1.0, 0.0], bounds=bounds)
    return float(fit.x[0]), float(fit.x[1])


def choose_least_score(predicted: Floats, jaccards: Floats) -> float:
    """Choose the predicted Jaccard below which a region is no lesion, in steps of 0.05.

    The highest, up to `MOST_LEAST_SCORE`, that drops no mask of a Jaccard of `CUTOFF` or more.

    Example:
        >>> choose_least_score(np.array([0.3, 0.47, 0.9]), np.array([0.2, 0.7, 0.95]))
        0.45
    """
    right = predicted[jaccards >= CUTOFF]
    least = min(float(right.min()), MOST_LEAST_SCORE) if right.size else 0.0
    return math.floor(least * 20) / 20


def fit_spread(predicted: Floats, jaccards: Floats) -> float | None:
    """Fit `Calibration.score_spread` so that `COVERAGE` of all errors are within the interval.

    Split conformal prediction (Lei et al. 2018, arXiv:1604.04173, algorithm 2).

    Args:
        predicted: Of images that the fit had not seen.
        jaccards: Their true Jaccards.

    Returns:
        None where there are too few images for this coverage.
    """
    errors = np.sort(np.abs(predicted - jaccards) / score_error_unit(predicted))
    place = math.ceil((len(errors) + 1) * COVERAGE)
    return float(errors[place - 1]) if place <= len(errors) else None


def read_cases(predictor: Predictor, samples: Sequence[Sample]) -> list[Case]:
    """Run a network, without calibration, on samples, and read their masks."""

    def read(sample: Sample) -> tuple[Sample, Mask, Any]:
        return sample, read_truth(sample), predictor.prepare(read_photo(sample))

    cases = []
    for sample, truth, prepared in map_images(read, samples, "validation"):
        geometry = prepared.geometry
        logits = predictor.infer(prepared.pixels[None])[0][geometry.inside]
        small = fit_mask(truth, predictor.preprocess_config)[geometry.inside]
        cases.append(Case(sample.group, geometry, logits, small, truth))
    return cases


def _choose_rules(
    cases: Sequence[Case], start: PostprocessConfig, *, keep_components: bool
) -> tuple[PostprocessConfig, list[dict[str, Any]]]:
    """Choose rules, then threshold, by the highest mean Jaccard at the masks' own size."""
    if keep_components:
        return _best(cases, [start.with_threshold(cut) for cut in THRESHOLDS])
    by_rules = [
        replace(start.with_threshold(0.5), largest_component=one, fill_holes=fill)
        for one, fill in product((True, False), repeat=2)
    ]
    best, tried = _best(cases, by_rules)
    chosen, more = _best(cases, [best.with_threshold(cut) for cut in THRESHOLDS])
    return chosen, tried + more


def _best(
    cases: Sequence[Case], choices: Sequence[PostprocessConfig]
) -> tuple[PostprocessConfig, list[dict[str, Any]]]:
    tried = []
    for rules in tqdm(choices, desc="rules", leave=False, disable=None):
        counts = [Confusion.of(case.truth, _mask(case, rules)) for case in cases]
        tried.append(asdict(rules) | {
            name: float(np.mean([getattr(count, name) for count in counts]))
            for name in ("dice", "jaccard", "threshold_jaccard")
        })  # fmt: skip
    # Of equal choices the first, so that the same rules are chosen everywhere.
    place = max(range(len(choices)), key=lambda index: tried[index]["jaccard"])
    return choices[place], tried


def _mask(case: Case, rules: PostprocessConfig) -> Mask:
    return case.geometry.restore_mask(tidy(case.logits, rules), logit(rules.threshold))


def _small_mask(case: Case, rules: PostprocessConfig) -> Mask:
    return tidy(case.logits, rules) > logit(rules.threshold)


def _scores_of_unseen(cases: Sequence[Case], expected: Floats, jaccards: Floats) -> Floats:
    """Predict each case's Jaccard by a fit on the folds that it is not in."""
    folds, predicted = folds_of(cases), np.empty_like(expected)
    for fold in np.unique(folds):
        own = folds == fold
        scale, bias = fit_score(expected[~own], jaccards[~own])
        predicted[own] = expit(scale * _logit(expected[own]) + bias)
    return predicted


def folds_of(cases: Sequence[Case]) -> npt.NDArray[np.int64]:
    """Assign each case a fold, such that a group is in one fold."""
    groups = sorted({case.group for case in cases})
    fold = {group: place % FOLDS for place, group in enumerate(groups)}
    return np.array([fold[case.group] for case in cases])


def scaled_logits(logits: Logits, scale: float, bias: float) -> Logits:
    """Apply scale and bias to logits of any shape, in float32."""
    return (logits * np.float32(scale) + np.float32(bias)).astype(np.float32)


def _logit(shares: Floats) -> Floats:
    # Shares of 0 and 1 have no finite logit.
    inside: Floats = special.logit(np.clip(shares, 1e-3, 1 - 1e-3))
    return inside

"""Choose what follows a run's weights once they are final, on the validation part.

    python -m trainer calibrate runs/first --data data/skin --readers READERS.csv

fits the probability of a pixel and the Jaccard to expect of a mask, chooses threshold, component
rules and, with a table of readers, the margins' thresholds, and writes `calibration.json` into the
run; `evaluate`, `export` and `publish` follow it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
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
from trainer.evaluation.margins import choose_margins
from trainer.evaluation.reliability import calibration_error, count_pixels, rank_correlation
from trainer.plots.pictures import draw_reliability
from trainer.training.run import CALIBRATION, write_json

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
class _Case:
    """One validation photograph: the network's answer and the truth, at both sizes."""

    group: str
    geometry: Geometry
    logits: Logits
    small_truth: Mask
    truth: Mask


def calibrate(
    predictor: Predictor,
    samples: Sequence[Sample],
    run: Path,
    *,
    weights_sha256: str,
    trained: Sequence[Sample] = (),
    tools: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Fit, choose, and write `calibration.json` and `reliability_val.png` into the run.

    Args:
        predictor: Of the run, not calibrated.
        samples: Its validation samples.
        run: The run folder.
        weights_sha256: Of the predictor's weights.
        trained: Its training samples: `tools` are known of more of them.
        tools: As `trainer.evaluation.margins.read_tools` gives them; None chooses no margins.

    Returns:
        What the file then holds: the decisions, what was tried, and how good the fit is, by
        cross-validation over groups of near-duplicates.

    Raises:
        DatasetError: there are too few samples to fit on.
    """
    if len(samples) < FOLDS:
        raise DatasetError(
            f"{len(samples)} validation images, expected at least {FOLDS}: `prepare` puts a tenth "
            "of the photographs there, so prepare more of them, or put more on that side by a file "
            "of your own (columns id, group, part) with `prepare --split FILE`, and train again"
        )
    cases = _cases(predictor, samples)
    scale, bias = fit_pixels(cases)
    scaled = [replace(case, logits=_calibrated(case.logits, scale, bias)) for case in cases]
    rules, tried = _choose_rules(scaled, predictor.postprocess_config)
    # An empty mask has no expected Jaccard to fit.
    lesions = [case for case in scaled if _small_mask(case, rules).any()]
    expected = np.array(
        [expected_jaccard(case.logits, _small_mask(case, rules)) for case in lesions]
    )
    jaccards = np.array([Confusion.of(case.truth, _mask(case, rules)).jaccard for case in lesions])
    score_scale, score_bias = fit_score(expected, jaccards)
    unseen = _scores_of_unseen(lesions, expected, jaccards)
    calibration = Calibration(
        scale=scale,
        bias=bias,
        score_scale=score_scale,
        score_bias=score_bias,
        least_peak=LEAST_PEAK,
        least_score=choose_least_score(
            expit(score_scale * _logit(expected) + score_bias), jaccards
        ),
        score_spread=fit_spread(unseen, jaccards),
    )
    margins: dict[str, Any] = {}
    if tools is not None:
        calibrated = Predictor(predictor.backend, predictor.preprocess_config, rules, calibration)
        rules, margins = choose_margins(calibrated, [*samples, *trained], tools)
    table, error = _table(scaled), calibration_error(_table(scaled))
    draw_reliability(table, error, run / "reliability_val.png", title="validation, calibrated")
    report = {
        "weights_sha256": weights_sha256,
        "n": len(cases),
        "calibration": asdict(calibration),
        "postprocess": asdict(rules),
        "fit": {
            "calibration_error_before": calibration_error(_table(cases)),
            "calibration_error_after": error,
            **_cross_validated_pixels(cases),
            "spearman_cross_validated": rank_correlation(unseen.tolist(), jaccards.tolist()),
            "mean_error_cross_validated": float(np.abs(unseen - jaccards).mean()),
        },
        "margins": margins,
        "tried": tried,
    }
    write_json(run / CALIBRATION, report)
    return report


def fit_pixels(cases: Sequence[_Case]) -> tuple[float, float]:
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


def _cases(predictor: Predictor, samples: Sequence[Sample]) -> list[_Case]:
    def read(sample: Sample) -> tuple[Sample, Mask, Any]:
        return sample, read_truth(sample), predictor.prepare(read_photo(sample))

    cases = []
    for sample, truth, prepared in map_images(read, samples, "validation"):
        geometry = prepared.geometry
        logits = predictor.infer(prepared.pixels[None])[0][geometry.inside]
        small = fit_mask(truth, predictor.preprocess_config)[geometry.inside]
        cases.append(_Case(sample.group, geometry, logits, small, truth))
    return cases


def _choose_rules(
    cases: Sequence[_Case], start: PostprocessConfig
) -> tuple[PostprocessConfig, list[dict[str, Any]]]:
    """Choose rules, then threshold, by the highest mean Jaccard at the masks' own size."""
    by_rules = [
        replace(start.with_threshold(0.5), largest_component=one, fill_holes=fill)
        for one, fill in product((True, False), repeat=2)
    ]
    best, tried = _best(cases, by_rules)
    chosen, more = _best(cases, [best.with_threshold(cut) for cut in THRESHOLDS])
    return chosen, tried + more


def _best(
    cases: Sequence[_Case], choices: Sequence[PostprocessConfig]
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


def _mask(case: _Case, rules: PostprocessConfig) -> Mask:
    return case.geometry.restore_mask(tidy(case.logits, rules), logit(rules.threshold))


def _small_mask(case: _Case, rules: PostprocessConfig) -> Mask:
    return tidy(case.logits, rules) > logit(rules.threshold)


def _cross_validated_pixels(cases: Sequence[_Case]) -> dict[str, float]:
    """Measure the fit on folds that it did not see; near-duplicates share a fold."""
    folds, tables = _folds(cases), []
    pairs = list(zip(cases, folds, strict=True))
    for fold in np.unique(folds):
        scale, bias = fit_pixels([case for case, own in pairs if own != fold])
        tables += [
            count_pixels(_calibrated(case.logits, scale, bias), case.small_truth)
            for case, own in pairs
            if own == fold
        ]
    return {"calibration_error_cross_validated": calibration_error(np.sum(tables, axis=0))}


def _scores_of_unseen(cases: Sequence[_Case], expected: Floats, jaccards: Floats) -> Floats:
    """Predict each case's Jaccard by a fit on the folds that it is not in."""
    folds, predicted = _folds(cases), np.empty_like(expected)
    for fold in np.unique(folds):
        own = folds == fold
        scale, bias = fit_score(expected[~own], jaccards[~own])
        predicted[own] = expit(scale * _logit(expected[own]) + bias)
    return predicted


def _folds(cases: Sequence[_Case]) -> npt.NDArray[np.int64]:
    """Assign each case a fold, such that a group is in one fold."""
    groups = sorted({case.group for case in cases})
    fold = {group: place % FOLDS for place, group in enumerate(groups)}
    return np.array([fold[case.group] for case in cases])


def _table(cases: Sequence[_Case]) -> Floats:
    counts = [count_pixels(case.logits, case.small_truth) for case in cases]
    table: Floats = np.sum(counts, axis=0)
    return table


def _calibrated(logits: Logits, scale: float, bias: float) -> Logits:
    return (logits * np.float32(scale) + np.float32(bias)).astype(np.float32)


def _logit(shares: Floats) -> Floats:
    # Shares of 0 and 1 have no finite logit.
    inside: Floats = special.logit(np.clip(shares, 1e-3, 1 - 1e-3))
    return inside

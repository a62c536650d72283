"""Choose what follows a run's weights once they are final, on the validation part.

    python -m trainer calibrate runs/first --data data/skin --readers READERS.csv

fits the probability of a pixel and the Jaccard to expect of a mask, chooses threshold, component
rules and, with a table of readers, the margins' thresholds, and writes `calibration.json` into the
run; `evaluate`, `export` and `publish` follow it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_core.errors import DatasetError
from model_core.predictor import Predictor
from trainer.data.samples import Sample
from trainer.evaluation.fit import (
    FOLDS,
    Case,
    Fit,
    Floats,
    fit_cases,
    fit_pixels,
    folds_of,
    read_cases,
    scaled_logits,
)
from trainer.evaluation.margins import choose_margins
from trainer.evaluation.reliability import calibration_error, count_pixels, rank_correlation
from trainer.plots.pictures import draw_reliability
from trainer.training.run import CALIBRATION, write_json


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
            f"{len(samples)} validation images, expected at least {FOLDS}: `finetune` calibrates "
            "a version on all photographs of a small set; or prepare more of them, or put more "
            "on that side by a file of your own (columns id, group, part) with "
            "`prepare --split FILE`, and train again"
        )
    cases = read_cases(predictor, samples)
    fit = fit_cases(cases, predictor.postprocess_config)
    rules, calibration = fit.rules, fit.calibration
    margins: dict[str, Any] = {}
    if tools is not None:
        calibrated = Predictor(predictor.backend, predictor.preprocess_config, rules, calibration)
        rules, margins = choose_margins(calibrated, [*samples, *trained], tools)
    fit = replace(fit, rules=rules)
    return write_fit(fit, cases, run, weights_sha256=weights_sha256, margins=margins)


def write_fit(
    fit: Fit,
    cases: Sequence[Case],
    run: Path,
    *,
    weights_sha256: str,
    margins: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `calibration.json` and `reliability_val.png` into a run, and return the former."""
    own = fit.calibration
    scaled = [replace(case, logits=own.logits(case.logits)) for case in cases]
    table, error = _table(scaled), calibration_error(_table(scaled))
    draw_reliability(table, error, run / "reliability_val.png", title="validation, calibrated")
    report = {
        "weights_sha256": weights_sha256,
        "n": len(cases),
        "calibration": asdict(own),
        "postprocess": asdict(fit.rules),
        "fit": {
            "calibration_error_before": calibration_error(_table(cases)),
            "calibration_error_after": error,
            **_cross_validated_pixels(cases),
            "spearman_cross_validated": rank_correlation(
                fit.unseen.tolist(), fit.jaccards.tolist()
            ),
            "mean_error_cross_validated": float(np.abs(fit.unseen - fit.jaccards).mean()),
        },
        "margins": dict(margins or {}),
        "tried": fit.tried,
    }
    write_json(run / CALIBRATION, report)
    return report


def _cross_validated_pixels(cases: Sequence[Case]) -> dict[str, float]:
    """Measure the fit on folds that it did not see; near-duplicates share a fold."""
    folds, tables = folds_of(cases), []
    pairs = list(zip(cases, folds, strict=True))
    for fold in np.unique(folds):
        scale, bias = fit_pixels([case for case, own in pairs if own != fold])
        tables += [
            count_pixels(scaled_logits(case.logits, scale, bias), case.small_truth)
            for case, own in pairs
            if own == fold
        ]
    return {"calibration_error_cross_validated": calibration_error(np.sum(tables, axis=0))}


def _table(cases: Sequence[Case]) -> Floats:
    counts = [count_pixels(case.logits, case.small_truth) for case in cases]
    table: Floats = np.sum(counts, axis=0)
    return table

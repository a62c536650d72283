"""Scores on disk and on the terminal: sets, images, pictures.

`write_scores` leaves, PART in each name: scores_PART.json, scores_PART.csv (one row an image),
triptychs_PART.png (photograph, truth and prediction of the best, median and worst),
reliability_PART.png and, of a calibrated model, risk_coverage_PART.png.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from model_core.card import ScoreRecord
from model_core.predictor import Predictor
from model_core.scores.metrics import CUTOFF
from model_core.scores.summary import summarise
from trainer.data.samples import Sample
from trainer.data.tables import write_table
from trainer.evaluation.evaluate import THRESHOLDS, Scored
from trainer.evaluation.reliability import COVERAGES, calibration_error, summarise_certainty
from trainer.evaluation.subjects import EvaluationSubject
from trainer.plots.pictures import draw_coverage, draw_reliability, draw_triptychs
from trainer.plots.text import MISSING, aligned, interval
from trainer.training.run import write_json


def summarise_sets(
    scored: list[Scored], predictor: Predictor, *, called: str = "", left_out: int = 0
) -> list[ScoreRecord]:
    """Summarise each dataset and part, with the conditions its scores hold under.

    Args:
        scored: What `score` gave.
        predictor: What it was given, for the conditions.
        called: The part's name in the records, where it is not the samples' own.
        left_out: Images of all sets together that were not scored, since the weights had seen them.
    """
    fitted = predictor.preprocess_config
    conditions = (
        f"photograph {fitted.fit}ed to {fitted.size}x{fitted.size} px, mask scored at the truth's "
        f"own height and width, threshold {predictor.postprocess_config.threshold}, "
        f"{predictor.backend.name}, no test-time augmentation; per_image: mean over images with "
        "95 % bootstrap interval"
    )
    if left_out:
        conditions += (
            f"; {left_out} images left out that training had seen, or that are grouped with such"
        )
    return [
        ScoreRecord(
            dataset=dataset,
            part=called or part,
            conditions=conditions,
            summary=dict(summarise([entry.scores for entry in entries]))
            | {"certainty": _certainty(entries)},
        )
        for (dataset, part), entries in _by_set(scored).items()
    ]


def write_scores(
    scored: list[Scored],
    subject: EvaluationSubject,
    out: Path,
    *,
    part: str,
    data_sha256: str,
    leak_checked: bool,
    called: str = "",
    left_out: int = 0,
) -> list[ScoreRecord]:
    """Write scores and pictures of one part into `out`, and return the records.

    Args:
        scored: What `score` gave for that part's samples.
        subject: What they were scored with; scores hold for it alone.
        out: Folder, made where absent.
        part: Goes into the files' names.
        data_sha256: Digest of the set that they were taken from.
        leak_checked: Whether it is known that the weights have seen none of them.
        called: As `summarise_sets`.
        left_out: As `summarise_sets`.
    """
    predictor = subject.predictor
    records = summarise_sets(scored, predictor, called=called, left_out=left_out)
    # The rows go into both files: the CSV for people, the JSON for what is computed from them.
    rows = [score_row(entry) for entry in scored]
    write_rows(rows, out / f"scores_{part}.csv")
    draw_triptychs(_chosen(scored), predictor, out / f"triptychs_{part}.png")
    _draw_certainty(scored, out, part)
    summary = {
        **subject.conditions(),
        "data_sha256": data_sha256,
        "leak_checked": leak_checked,
        "left_out": left_out,
        "sets": [asdict(record) for record in records],
        "sweep": {"thresholds": THRESHOLDS, "sets": _sweep(scored)},
        "items": rows,
    }
    write_json(scores_path(out, part), summary)  # last: `publish` reads it
    return records


def format_table(records: list[ScoreRecord]) -> str:
    """Format records for the terminal: means per image with 95 % intervals."""
    rows = [("set", "n", "Dice", "Jaccard", "thr. Jaccard", "failures", "HD95 px")]
    for record in records:
        means: dict[str, Any] = record.summary["per_image"]
        far = means.get("hausdorff_95_px")
        rows.append(
            (
                f"{record.dataset} {record.part}",
                str(record.summary["n"]),
                interval(means["dice"]),
                interval(means["jaccard"]),
                f"{means['threshold_jaccard']['mean']:.4f}",
                f"{record.summary['failure_rate']:.1%}",
                f"{far['mean']:.1f}" if far else MISSING,
            )
        )
    return "\n".join(aligned(row, (24, 6, 24, 24, 14, 10, 8)) for row in rows)


def scores_path(run: Path, part: str) -> Path:
    """Name the file that `write_scores` leaves the summary of a part in."""
    return run / f"scores_{part}.json"


def score_row(entry: Scored) -> dict[str, Any]:
    """List one image's scores by column; a distance that does not exist is None."""
    sample = entry.sample
    return {
        "dataset": sample.dataset,
        "part": sample.part,
        "id": sample.id,
        "lesion_fraction": entry.lesion_fraction,
        "predicted_jaccard": entry.certainty.predicted,
        **entry.scores.metrics,
        **entry.scores.distances,
    }


def write_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write rows of `score_row` as CSV; what is None is an empty cell."""
    cells = [[_cell(value) for value in row.values()] for row in rows]
    write_table(path, list(rows[0]), cells)


def _certainty(entries: Sequence[Scored]) -> dict[str, Any]:
    return summarise_certainty(
        [entry.certainty for entry in entries],
        [entry.scores.metrics["jaccard"] for entry in entries],
        [entry.scores.metrics["dice"] for entry in entries],
    )


def _draw_certainty(scored: list[Scored], out: Path, part: str) -> None:
    pixels = np.sum([entry.certainty.pixels for entry in scored], axis=0)
    path = out / f"reliability_{part}.png"
    draw_reliability(pixels, calibration_error(pixels), path, title=f"part {part}")
    summaries = {name: _certainty(entries) for (name, _), entries in _by_set(scored).items()}
    if all("coverage" in summary for summary in summaries.values()):
        curves = {n: [point["jaccard"] for point in s["coverage"]] for n, s in summaries.items()}
        draw_coverage(COVERAGES, curves, out / f"risk_coverage_{part}.png")


def _by_set(scored: list[Scored]) -> dict[tuple[str, str], list[Scored]]:
    sets: dict[tuple[str, str], list[Scored]] = {}
    for entry in scored:
        sets.setdefault((entry.sample.dataset, entry.sample.part), []).append(entry)
    return sets


def _sweep(scored: list[Scored]) -> list[dict[str, Any]]:
    """Average over images at each threshold, set by set."""
    rows = []
    for (dataset, part), entries in _by_set(scored).items():
        if not all(entry.sweep for entry in entries):
            continue
        table = np.array([entry.sweep for entry in entries])  # (images, thresholds, 2)
        dice, jaccard = table[..., 0], table[..., 1]
        tables = {"dice": dice, "jaccard": jaccard,
                  "threshold_jaccard": np.where(jaccard >= CUTOFF, jaccard, 0)}  # fmt: skip
        means = {name: values.mean(axis=0).tolist() for name, values in tables.items()}
        rows.append({"dataset": dataset, "part": part, **means})
    return rows


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _chosen(scored: list[Scored]) -> list[tuple[str, Sample]]:
    """Choose three best, three median and three worst samples by Dice, with captions."""
    ranked = sorted(scored, key=lambda entry: -entry.scores.metrics["dice"])
    middle = len(ranked) // 2
    best, median, worst = ranked[:3], ranked[max(0, middle - 1) : middle + 2], ranked[-3:]
    return [
        (f"{label}: {entry.sample.dataset} {entry.sample.id}, "
         f"Dice {entry.scores.metrics['dice']:.3f}", entry.sample)
        for label, entries in (("best", best), ("median", median), ("worst", worst))
        for entry in entries
    ]  # fmt: skip

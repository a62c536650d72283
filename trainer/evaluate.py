"""Scores of a run or a published version on held-out samples, at the masks' own resolution.

    python -m trainer evaluate runs/first --data data/skin --part test

prints a table and writes into the run (or --out), PART in each name: scores_test.json,
scores_test.csv (one row an image) and triptychs_test.png (photograph, truth and prediction of the
best, median and worst). `train` ends with the same on the validation part.
"""

import csv
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model_core.backends.pytorch import PyTorchBackend
from model_core.card import ScoreRecord
from model_core.errors import DatasetError
from model_core.metrics import ImageScores, score_image, summarise
from model_core.predictor import Predictor
from model_core.unet import UNet
from model_core.weights import load_weights
from trainer.config import TrainConfig, parse_config
from trainer.datasets import Sample, digest, read_photo, read_samples, read_truth
from trainer.loop import WEIGHTS, load_run
from trainer.report import draw_triptychs


@dataclass(frozen=True)
class Scored:
    """One sample and how well it was segmented."""

    sample: Sample
    scores: ImageScores


def run_predictor(run: Path) -> tuple[Predictor, TrainConfig]:
    """The predictor of a run's weights, exactly as its published version would have it."""
    config = parse_config(load_run(run), str(run))
    model = UNet(config.model)
    load_weights(run / WEIGHTS, model)
    backend = PyTorchBackend(model, config.preprocess)
    return Predictor(backend, config.preprocess, config.postprocess), config


def held_out(data: Path, part: str) -> list[Sample]:
    """Samples of one part of a prepared folder; `test` brings the external sets along.

    Raises:
        DatasetError: there is none.
    """
    parts = {part, "external"} if part == "test" else {part}
    samples = [sample for sample in read_samples(data) if sample.part in parts]
    if not samples:
        raise DatasetError(f"{data} has no sample of part {part!r}")
    return samples


def score(predictor: Predictor, samples: list[Sample]) -> list[Scored]:
    """Every sample's scores, through the predictor that the service uses."""
    return [
        Scored(sample, score_image(read_truth(sample), predictor.predict(read_photo(sample)).mask))
        for sample in tqdm(samples, desc="evaluate", leave=False)
    ]


def summarise_sets(scored: list[Scored], predictor: Predictor) -> list[ScoreRecord]:
    """One record for each dataset and part, with the conditions its scores hold under."""
    fitted = predictor.preprocess_config
    conditions = (
        f"photograph {fitted.fit}ed to {fitted.size}x{fitted.size} px, mask scored at the truth's "
        f"own height and width, threshold {predictor.postprocess_config.threshold}, "
        f"{predictor.backend.name}, no test-time augmentation; per_image: mean over images with "
        "95 % bootstrap interval"
    )
    keys = sorted({(entry.sample.dataset, entry.sample.part) for entry in scored})
    return [
        ScoreRecord(
            dataset=dataset,
            part=part,
            conditions=conditions,
            summary=dict(
                summarise(
                    [
                        e.scores
                        for e in scored
                        if (e.sample.dataset, e.sample.part) == (dataset, part)
                    ]
                )
            ),
        )
        for dataset, part in keys
    ]


def write_scores(
    scored: list[Scored], predictor: Predictor, out: Path, *, part: str, data: Path, weights: Path
) -> list[ScoreRecord]:
    """Write scores and pictures of one part into `out`, and return the records.

    Args:
        scored: What `score` gave for that part's samples.
        predictor: The one that they were scored with.
        out: Folder, made where absent.
        part: Goes into the files' names.
        data: The prepared folder, whose digest is noted.
        weights: The file whose hash is noted: scores hold for these weights alone.
    """
    records = summarise_sets(scored, predictor)
    out.mkdir(parents=True, exist_ok=True)
    summary = {
        "weights_sha256": file_sha256(weights),
        "data_sha256": digest(read_samples(data)),
        "sets": [asdict(record) for record in records],
    }
    scores_path(out, part).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    _write_table(scored, out / f"scores_{part}.csv")
    draw_triptychs(_chosen(scored), predictor, out / f"triptychs_{part}.png")
    return records


def format_table(records: list[ScoreRecord]) -> str:
    """Records as a table for the terminal: means per image with 95 % intervals."""
    lines = [f"{'set':<24}{'n':>5}  {'Dice':<24}{'Jaccard':<24}{'thr. Jaccard':<14}{'failures'}"]
    for record in records:
        means: dict[str, Any] = record.summary["per_image"]
        spans = "".join(_span(means[metric]).ljust(24) for metric in ("dice", "jaccard"))
        lines.append(
            f"{record.dataset + ' ' + record.part:<24}{record.summary['n']:>5}  {spans}"
            f"{means['threshold_jaccard']['mean']:<14.4f}{record.summary['failure_rate']:.1%}"
        )
    return "\n".join(lines)


def scores_path(run: Path, part: str) -> Path:
    """Where `write_scores` leaves the summary of a part."""
    return run / f"scores_{part}.json"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _span(value: dict[str, float]) -> str:
    return f"{value['mean']:.4f} ({value['low']:.3f}-{value['high']:.3f})"


def _write_table(scored: list[Scored], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        names = list(scored[0].scores.metrics)
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["dataset", "part", "id", *names])
        for entry in scored:
            sample = entry.sample
            values = [f"{entry.scores.metrics[name]:.6f}" for name in names]
            rows.writerow([sample.dataset, sample.part, sample.id, *values])


def _chosen(scored: list[Scored]) -> list[tuple[str, Sample]]:
    """Three best, three median and three worst samples by Dice, with their captions."""
    ranked = sorted(scored, key=lambda entry: -entry.scores.metrics["dice"])
    middle = len(ranked) // 2
    picks = [
        ("best", ranked[:3]),
        ("median", ranked[middle - 1 : middle + 2]),
        ("worst", ranked[-3:]),
    ]
    return [
        (
            f"{label}: {e.sample.dataset} {e.sample.id}, Dice {e.scores.metrics['dice']:.3f}",
            e.sample,
        )
        for label, entries in picks
        for e in entries
    ]

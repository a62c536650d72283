"""Scores of a run or a published version on samples it has not seen, at the masks' own resolution.

    python -m trainer evaluate runs/first --data data/skin --part test

prints a table and writes into the run (or --out), PART in each name: scores_test.json,
scores_test.csv (one row an image) and triptychs_test.png (photograph, truth and prediction of the
best, median and worst). `train` ends with the same on the validation part.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from tqdm import tqdm

from model_core.arrays import Mask
from model_core.backends.pytorch import PyTorchBackend
from model_core.card import ScoreRecord
from model_core.distances import Spacing
from model_core.errors import DatasetError
from model_core.metrics import CUTOFF, Confusion, ImageScores, score_image
from model_core.predictor import Predictor
from model_core.preprocess import fit_mask
from model_core.storage import file_sha256
from model_core.summary import summarise
from model_core.unet import UNet
from model_core.weights import load_weights
from trainer.calibrate import read_calibrated
from trainer.reliability import (
    Certainty,
    count_pixels,
    draw_coverage,
    draw_reliability,
    summarise_certainty,
)
from trainer.report import draw_triptychs
from trainer.run import WEIGHTS, load_run, write_json
from trainer.samples import Sample, read_photo, read_truth
from trainer.tables import write_table

THRESHOLDS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))
"""Cuts of the threshold sweep."""
PARTS = ("train", "val", "test", "external", "all")


@dataclass(frozen=True)
class Target:
    """What is scored: weights with the predictor that uses them.

    Attributes:
        predictor: Exactly as the service would have it.
        weights_sha256: Hash of the weights' file that the predictor was made from.
    """

    predictor: Predictor
    weights_sha256: str


@dataclass(frozen=True)
class Scored:
    """One sample and how well it was segmented.

    Attributes:
        sample: The sample.
        scores: At the predictor's own threshold.
        lesion_fraction: Share of the truth that is lesion.
        certainty: How sure the model was.
        sweep: Dice and Jaccard at each of `THRESHOLDS`, or empty.
    """

    sample: Sample
    scores: ImageScores
    lesion_fraction: float
    certainty: Certainty
    sweep: tuple[tuple[float, float], ...] = ()


def run_target(run: Path, *, calibrated: bool = True) -> Target:
    """The predictor of a run's weights, exactly as its published version would have it.

    Args:
        run: The run folder.
        calibrated: Follow its `calibration.json`, where there is one.
    """
    config = load_run(run)
    model = UNet(config.model)
    # Hashed before and after: a run that goes on meanwhile may replace the file.
    sha256 = file_sha256(run / WEIGHTS)
    load_weights(run / WEIGHTS, model)
    if file_sha256(run / WEIGHTS) != sha256:
        raise DatasetError(f"{run / WEIGHTS} changed while it was read: wait for the run to end")
    backend = PyTorchBackend(model, config.preprocess)
    chosen = read_calibrated(run, sha256) if calibrated else None
    rules = chosen.postprocess if chosen else config.postprocess
    calibration = chosen.calibration if chosen else None
    return Target(Predictor(backend, config.preprocess, rules, calibration), sha256)


def held_out(samples: Sequence[Sample], part: str, *, datasets: Sequence[str] = ()) -> list[Sample]:
    """Samples of one part; `test` brings the external sets along.

    Args:
        samples: All of a prepared folder.
        part: One of `PARTS`.
        datasets: Those wanted; none means all. External sets are always among them.

    Raises:
        DatasetError: there is none.
    """
    unknown = sorted(set(datasets) - {sample.dataset for sample in samples})
    if unknown:
        known = ", ".join(sorted({sample.dataset for sample in samples}))
        raise DatasetError(f"no dataset {', '.join(unknown)} to score; there are {known}")
    parts = {"test": {"test", "external"}, "all": set(PARTS)}.get(part, {part})
    found = [
        sample
        for sample in samples
        if sample.part in parts
        and (not datasets or sample.dataset in datasets or sample.part == "external")
    ]
    if not found:
        of = f" of {', '.join(datasets)}" if datasets else ""
        there = sorted({f"{sample.dataset} {sample.part}" for sample in samples})
        raise DatasetError(f"no sample{of} in part {part!r}; there are {', '.join(there)}")
    return found


def score(
    predictor: Predictor,
    samples: list[Sample],
    *,
    spacing_mm: Spacing | None = None,
    sweep: bool = False,
) -> list[Scored]:
    """Every sample's scores, through the predictor that the service uses.

    Args:
        predictor: The predictor.
        samples: What to score.
        spacing_mm: Height and width of a pixel in mm, where it is known and the same for all.
        sweep: Score at each of `THRESHOLDS` as well; takes about twice as long.
    """
    engine = Lock()  # a backend is called from one thread at a time

    def score_one(sample: Sample) -> Scored:
        truth = read_truth(sample)
        prepared = predictor.prepare(read_photo(sample))
        with engine:
            logits = predictor.infer(prepared.pixels[None])[0]

        def cut(threshold: float) -> Mask:
            return predictor.finish(logits, prepared.geometry, threshold=threshold).mask

        cuts = THRESHOLDS if sweep else ()
        counts = [Confusion.of(truth, cut(threshold)) for threshold in cuts]
        found, inside = predictor.finish(logits, prepared.geometry), prepared.geometry.inside
        small_truth = fit_mask(truth, predictor.preprocess_config)
        pixels = count_pixels(found.logits[inside], small_truth[inside])
        return Scored(
            sample,
            score_image(truth, found.mask, spacing_mm=spacing_mm),
            float(truth.mean()),
            Certainty(pixels, found.score),
            tuple((count.dice, count.jaccard) for count in counts),
        )

    with ThreadPoolExecutor(2) as pool:
        work = pool.map(score_one, samples)
        return list(tqdm(work, total=len(samples), desc="evaluate", leave=False))


def summarise_sets(scored: list[Scored], predictor: Predictor) -> list[ScoreRecord]:
    """One record for each dataset and part, with the conditions its scores hold under."""
    fitted = predictor.preprocess_config
    conditions = (
        f"photograph {fitted.fit}ed to {fitted.size}x{fitted.size} px, mask scored at the truth's "
        f"own height and width, threshold {predictor.postprocess_config.threshold}, "
        f"{predictor.backend.name}, no test-time augmentation; per_image: mean over images with "
        "95 % bootstrap interval"
    )
    return [
        ScoreRecord(
            dataset=dataset,
            part=part,
            conditions=conditions,
            summary=dict(summarise([entry.scores for entry in entries]))
            | {"certainty": _certainty(entries)},
        )
        for (dataset, part), entries in _by_set(scored).items()
    ]


def write_scores(
    scored: list[Scored],
    target: Target,
    out: Path,
    *,
    part: str,
    data_sha256: str,
    leak_checked: bool,
) -> list[ScoreRecord]:
    """Write scores and pictures of one part into `out`, and return the records.

    Args:
        scored: What `score` gave for that part's samples.
        target: What they were scored with; its hash is noted: scores hold for it alone.
        out: Folder, made where absent.
        part: Goes into the files' names.
        data_sha256: Digest of the set that they were taken from.
        leak_checked: Whether it is known that the weights have seen none of them.
    """
    predictor = target.predictor
    records = summarise_sets(scored, predictor)
    out.mkdir(parents=True, exist_ok=True)
    _write_table(scored, out / f"scores_{part}.csv")
    draw_triptychs(_chosen(scored), predictor, out / f"triptychs_{part}.png")
    _draw_certainty(scored, out, part)
    calibration = predictor.calibration
    summary = {
        "weights_sha256": target.weights_sha256,
        "data_sha256": data_sha256,
        "leak_checked": leak_checked,
        "preprocess": asdict(predictor.preprocess_config),
        "postprocess": asdict(predictor.postprocess_config),
        "calibration": asdict(calibration) if calibration else None,
        "sets": [asdict(record) for record in records],
        "sweep": {"thresholds": THRESHOLDS, "sets": _sweep(scored)},
        "items": [_item(entry) for entry in scored],
    }
    write_json(scores_path(out, part), summary)  # last: `publish` reads it
    return records


def format_table(records: list[ScoreRecord]) -> str:
    """Records as a table for the terminal: means per image with 95 % intervals."""
    columns = ("set", "n", "Dice", "Jaccard", "thr. Jaccard", "failures", "HD95 px")
    lines = [_line(columns)]
    for record in records:
        means: dict[str, Any] = record.summary["per_image"]
        far = means.get("hausdorff_95_px")
        cells = (
            f"{record.dataset} {record.part}",
            str(record.summary["n"]),
            _span(means["dice"]),
            _span(means["jaccard"]),
            f"{means['threshold_jaccard']['mean']:.4f}",
            f"{record.summary['failure_rate']:.1%}",
            f"{far['mean']:.1f}" if far else "-",
        )
        lines.append(_line(cells))
    return "\n".join(lines)


def scores_path(run: Path, part: str) -> Path:
    """Where `write_scores` leaves the summary of a part."""
    return run / f"scores_{part}.json"


def _item(entry: Scored) -> dict[str, Any]:
    sample, scores = entry.sample, entry.scores
    place = {"dataset": sample.dataset, "part": sample.part, "id": sample.id}
    share = {"lesion_fraction": entry.lesion_fraction}
    predicted = {"predicted_jaccard": entry.certainty.predicted}
    return {**place, **share, **predicted, **scores.metrics, **scores.distances}


def _certainty(entries: Sequence[Scored]) -> dict[str, Any]:
    return summarise_certainty(
        [entry.certainty for entry in entries],
        [entry.scores.metrics["jaccard"] for entry in entries],
        [entry.scores.metrics["dice"] for entry in entries],
    )


def _draw_certainty(scored: list[Scored], out: Path, part: str) -> None:
    pixels = np.sum([entry.certainty.pixels for entry in scored], axis=0)
    draw_reliability(pixels, out / f"reliability_{part}.png", title=f"part {part}")
    summaries = {name: _certainty(entries) for (name, _), entries in _by_set(scored).items()}
    if all("coverage" in found for found in summaries.values()):
        curves = {
            name: [point["jaccard"] for point in found["coverage"]]
            for name, found in summaries.items()
        }
        draw_coverage(curves, out / f"risk_coverage_{part}.png")


def _by_set(scored: list[Scored]) -> dict[tuple[str, str], list[Scored]]:
    sets: dict[tuple[str, str], list[Scored]] = {}
    for entry in scored:
        sets.setdefault((entry.sample.dataset, entry.sample.part), []).append(entry)
    return sets


def _sweep(scored: list[Scored]) -> list[dict[str, Any]]:
    """Means per image at each threshold, set by set."""
    rows = []
    for (dataset, part), entries in _by_set(scored).items():
        if not all(entry.sweep for entry in entries):
            continue
        table = np.array([entry.sweep for entry in entries])  # (images, thresholds, 2)
        cut = np.where(table[..., 1] >= CUTOFF, table[..., 1], 0)
        rows.append(
            {
                "dataset": dataset,
                "part": part,
                "dice": table[..., 0].mean(axis=0).tolist(),
                "jaccard": table[..., 1].mean(axis=0).tolist(),
                "threshold_jaccard": cut.mean(axis=0).tolist(),
            }
        )
    return rows


def _line(cells: Sequence[str]) -> str:
    widths = (24, 6, 24, 24, 14, 10, 8)
    return "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _span(value: dict[str, float]) -> str:
    return f"{value['mean']:.4f} ({value['low']:.3f}-{value['high']:.3f})"


def _write_table(scored: list[Scored], path: Path) -> None:
    items = [_item(entry) for entry in scored]
    write_table(path, list(items[0]), [[_cell(value) for value in item.values()] for item in items])


def _cell(value: str | float | None) -> str:
    """A distance that does not exist is an empty cell."""
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.6f}"


def _chosen(scored: list[Scored]) -> list[tuple[str, Sample]]:
    """Three best, three median and three worst samples by Dice, with their captions."""
    ranked = sorted(scored, key=lambda entry: -entry.scores.metrics["dice"])
    middle = len(ranked) // 2
    picks = [
        ("best", ranked[:3]),
        ("median", ranked[max(0, middle - 1) : middle + 2]),
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

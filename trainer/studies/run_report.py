"""One HTML page on a run, with everything in it: it can be mailed, kept and opened offline.

It shows photographs of patients where it has triptychs, so it stays in the run folder.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_core.registry.local_store import file_sha256
from model_core.scores.metrics import CUTOFF, METRICS
from trainer.data.tables import Row, read_table, replace_text
from trainer.evaluation.strata import SIZE_NAMES, size_name
from trainer.plots import charts
from trainer.plots.html import image, render
from trainer.plots.text import MISSING, interval
from trainer.training.run import CONFIG, RUN, WEIGHTS, read_json, read_log, starts

REPORT = "report.html"
PARTS = ("test", "val", "external", "all", "train")
SIDES = ("train", "val", "test", "external")
_EXPECTED = ("test", "val")  # a run without their scores is told so
_COLUMNS = ("dataset", "part", "dice", "jaccard", "threshold_jaccard")
_MEANS = ("dice", "jaccard", "threshold_jaccard")
_DISTANCES = ("hausdorff_95_px", "assd_px")
_CURVES = {"loss": "training loss", "val_dice": "validation Dice", "lr": "learning rate"}


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder, from the files that are there.

    The folder may be another that `evaluate` wrote scores to. What is missing is named in the page,
    with the command that makes it.

    Returns:
        The page's path.

    Raises:
        ConfigError: a JSON file of the folder is damaged.
        DatasetError: a table of scores is damaged.
    """
    config, record, log = _read(run / CONFIG), _read(run / RUN), read_log(run)
    name = run.resolve().name
    if "fold" in record:
        name += f", kept from fold {record['fold']}"
    samples: dict[str, dict[str, int]] = record["data"]["samples"] if record else {}
    sides = [side for side in SIDES if any(side in counts for counts in samples.values())]
    noted = starts(record) if record else []
    page = render(
        "report.html",
        title=f"{config['name']} – {name}" if config else name,
        facts=_facts(run, config, record, log),
        parts=[part for part in (_part(run, part, config) for part in PARTS) if part],
        cutoff=CUTOFF,
        curves=[_curve(log, name, title) for name, title in _CURVES.items()] if log else [],
        best=max(log, key=lambda entry: entry["val_dice"], default=None),
        epochs=len(log),
        train=f"python -m trainer train CONFIG.toml --out {shlex.quote(str(run))} --resume",
        starts=[[s.get(k) or MISSING for k in ("time", "git_commit", "torch", "device")]
                for s in noted],
        sides=sides,
        samples=[[name, *(counts.get(side, 0) for side in sides)]
                 for name, counts in samples.items()] if record else None,
        config=json.dumps(config, indent=2, ensure_ascii=False) if config else "",
    )  # fmt: skip
    replace_text(run / REPORT, page)
    return run / REPORT


def _read(path: Path) -> dict[str, Any]:
    """Read an object of the run folder; empty where the file is not there."""
    return read_json(path) if path.is_file() else {}


def _facts(
    run: Path, config: dict[str, Any], record: dict[str, Any], log: Sequence[dict[str, Any]]
) -> dict[str, str | None]:
    last = starts(record)[-1] if record else {}
    weights = run / WEIGHTS
    seconds = sum(entry["seconds"] for entry in log)
    took = f"{len(log)}, in {seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min" if log else ""
    return {
        "Last start": last.get("time"),
        "Commit": last.get("git_commit"),
        "torch": last.get("torch"),
        "Device": last.get("device"),
        "Arithmetic": last.get("precision"),
        "Epochs": took,
        "Loss": config.get("loss"),
        "Weights, SHA-256": file_sha256(weights) if weights.is_file() else None,
        "Began with weights": (record.get("initial") or {}).get("weights_sha256"),
        "Training data, SHA-256": record.get("data", {}).get("sha256"),
    }


def _part(run: Path, part: str, config: dict[str, Any]) -> dict[str, Any] | None:
    """Collect what the page says of one part; None where no scores are expected."""
    stored = _read(run / f"scores_{part}.json")
    # A folder without config was scored from a version.
    target = shlex.quote(str(run)) if config else f"VERSION --out {shlex.quote(str(run))}"
    data = shlex.quote(config["data"]) if config else "DATA"
    command = f"python -m trainer evaluate {target} --data {data} --part {part}"
    if not stored:
        wanted = config and part in _EXPECTED
        return {"name": part, "stored": {}, "command": command} if wanted else None
    table, pictures = run / f"scores_{part}.csv", run / f"triptychs_{part}.png"
    images = read_table(table, _COLUMNS) if table.is_file() else []
    alt = "Rows of photograph, expert's mask and prediction, with the Dice of each"
    return {
        "name": part,
        "stored": stored,
        "command": command,
        "weights": _weights(run / WEIGHTS, stored["weights_sha256"]),
        "tables": _tables(stored["sets"]),
        "sweep": _sweep(stored, config),
        "histograms": _histograms(images),
        "sizes": _by_size(images),
        "triptychs": [image(pictures.read_bytes(), "png", alt=alt)] if pictures.is_file() else [],
    }


def _weights(path: Path, scored: str) -> str:
    if not path.is_file():
        return "gone"
    return "same" if file_sha256(path) == scored else "other"


def _tables(sets: Sequence[dict[str, Any]]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Lay out the tables of scores: caption, columns and rows of each."""

    def means(summary: dict[str, Any], kind: str) -> list[str]:
        return [_mean(summary, kind, metric) for metric in METRICS]

    summaries = [(_set_name(entry), entry["summary"]) for entry in sets]
    per_image = [
        [name, str(s["n"]), f"{s['failure_rate']:.1%}", *means(s, "per_image")]
        for name, s in summaries
    ]
    distances = [
        [name, str(s.get("n_distances", MISSING)),
         *(_mean(s, "per_image", metric, 1) for metric in _DISTANCES)]
        for name, s in summaries
        if set(_DISTANCES) & set(s["per_image"])  # not every image has them, nor had the first runs
    ]  # fmt: skip
    pooled, batches = (
        [[name, *means(s, kind)] for name, s in summaries] for kind in ("pooled", "batch_of_4")
    )
    titles = [name.replace("_", " ") for name in METRICS]
    noted = "with its 95 % bootstrap interval where it was noted"
    return [
        ("Mean per image, with its 95 % bootstrap interval",
         ["set", "images", "failures", *titles], per_image),
        ("Distance between outlines, mean per image",
         ["set", "images with both outlines", "Hausdorff 95, px", "average surface, px"],
         distances),
        (f"Pooled: one count of all pixels, {noted}", ["set", *titles], pooled),
        (f"Mean of batches of 4, {noted}", ["set", *titles], batches),
    ]  # fmt: skip


def _set_name(entry: Mapping[str, Any]) -> str:
    return f"{entry['dataset']} {entry['part']}"


def _mean(summary: dict[str, Any], kind: str, metric: str, digits: int = 4) -> str:
    """Format a mean, and below it its interval where it was noted."""
    if kind == "per_image":
        value = summary[kind].get(metric)
    else:
        value = summary.get("intervals", {}).get(kind, {}).get(metric, summary[kind][metric])
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return interval(value, digits, between="\n")


def _sweep(stored: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    sweep = stored.get("sweep", {})
    if not sweep.get("sets"):
        return {}
    thresholds, sets = sweep["thresholds"], sweep["sets"]
    # Scores say what they were made with; those that do not are of the run's own config.
    used = (stored.get("postprocess") or config.get("postprocess", {})).get("threshold")

    def best(entry: dict[str, Any], metric: str) -> str:
        value, at = max(zip(entry[metric], thresholds, strict=True))
        return f"{value:.4f} at {at:g}"

    drawn = []
    for metric in _MEANS:
        bests = [f"{_set_name(entry)} is best with {best(entry, metric)}" for entry in sets]
        alt = f"Mean {metric.replace('_', ' ')} of each set over the threshold: {'; '.join(bests)}"
        drawn.append(_chart(charts.sweep(thresholds, sets, metric, used=used), alt))
    rows = [[_set_name(entry), *(best(entry, metric) for metric in _MEANS)] for entry in sets]
    return {"charts": drawn, "best": rows, "used": used}


def _histograms(images: Sequence[Row]) -> list[dict[str, str]]:
    dices: dict[str, list[float]] = {}
    for row in images:
        dices.setdefault(_set_name(row), []).append(float(row["dice"]))
    return [
        _chart(
            charts.histogram(values, title=name),
            f"Dice of the {len(values)} images of {name}: median "
            f"{sorted(values)[len(values) // 2]:.3f}, lowest {min(values):.3f}, "
            f"{sum(value < 0.5 for value in values)} below 0.5",
        )
        for name, values in dices.items()
    ]


def _by_size(images: Sequence[Row]) -> list[list[str]]:
    """Average by size of the lesion; nothing where the sizes were not noted."""
    if not all(row.get("lesion_fraction") for row in images):
        return []
    rows = []
    for name in SIZE_NAMES:
        within = [row for row in images if size_name(float(row["lesion_fraction"])) == name]
        if within:
            count = len(within)
            failed = sum(float(row["threshold_jaccard"]) == 0 for row in within)
            means = (f"{sum(float(row[m]) for row in within) / count:.4f}" for m in _MEANS)
            rows.append([name, str(count), *means, f"{failed} ({failed / count:.1%})"])
    return rows


def _curve(log: Sequence[dict[str, Any]], name: str, title: str) -> dict[str, str]:
    drawn = charts.curve(log, name, title=title, best=name == "val_dice")
    alt = (
        f"{title.capitalize()} over {len(log)} epochs: {log[0][name]:.4g} in the first, "
        f"{log[-1][name]:.4g} in the last"
    )
    return _chart(drawn, alt)


def _chart(svg: str, alt: str) -> dict[str, str]:
    return image(svg.encode(), "svg+xml", alt=alt)

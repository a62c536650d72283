"""One HTML page on a run, with everything in it: it can be mailed, kept and opened offline.

It shows photographs of patients where it has triptychs, so it stays in the run folder.
"""

import json
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from model_core.registry.storage import file_sha256
from model_core.scores.metrics import CUTOFF, METRICS
from trainer.data.tables import read_table, replace_text
from trainer.evaluation.strata import SIZE_NAMES, size_name
from trainer.plots import charts
from trainer.plots.html import figure, image, missing, note, table, terms
from trainer.training.run import CONFIG, RUN, WEIGHTS, read_json, read_log, starts

REPORT = "report.html"
PARTS = ("test", "val", "external", "all", "train")
_EXPECTED = ("test", "val")  # a run without their scores is told so
_COLUMNS = ("dataset", "part", "dice", "jaccard", "threshold_jaccard")
_DISTANCES = ("hausdorff_95_px", "assd_px")
_TEMPLATE = Path(__file__).with_name("report.html")


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder, from the files that are there.

    Args:
        run: The run folder, or another that `evaluate` wrote scores to; what is missing is named
            in the page with the command that makes it.

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
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=escape(f"{config['name']} – {name}" if config else name),
        facts=_facts(run, config, record, log),
        scores="".join(_scores(run, part, config) for part in PARTS),
        curves=_curves(run, log),
        starts=_starts(record),
        data=_data(run, record),
        config=_config(run, config),
    )
    replace_text(run / REPORT, page)
    return run / REPORT


def _read(path: Path) -> dict[str, Any]:
    """An object of the run folder; empty where the file is not there."""
    return read_json(path) if path.is_file() else {}


def _facts(
    run: Path, config: dict[str, Any], record: dict[str, Any], log: Sequence[dict[str, Any]]
) -> str:
    last = starts(record)[-1] if record else {}
    initial = record.get("initial") or {}
    weights = run / WEIGHTS
    seconds = sum(entry["seconds"] for entry in log)
    took = f"{len(log)}, in {seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min" if log else ""
    facts = {
        "Last start": last.get("time"),
        "Commit": last.get("git_commit"),
        "torch": last.get("torch"),
        "Device": last.get("device"),
        "Arithmetic": last.get("precision"),
        "Epochs": took,
        "Loss": config.get("loss"),
        "Weights, SHA-256": file_sha256(weights) if weights.is_file() else None,
        "Began with weights": initial.get("weights_sha256"),
        "Training data, SHA-256": record.get("data", {}).get("sha256"),
    }
    return terms((name, str(value)) for name, value in facts.items() if value)


def _scores(run: Path, part: str, config: dict[str, Any]) -> str:
    stored, command = _read(run / f"scores_{part}.json"), _evaluate(run, part, config)
    if not stored and (part not in _EXPECTED or not config):
        return ""
    if not stored:
        not_yet = missing(f"There are no scores of the part {part} yet.", command)
        return f"<section><h2>Scores: {part}</h2>{not_yet}</section>"
    path = run / f"scores_{part}.csv"
    images = read_table(path, _COLUMNS) if path.is_file() else []
    body = [
        _stale(run, stored),
        _score_tables(stored),
        f"<h3>Threshold sweep</h3>{_sweep(stored, config, command)}",
        f"<h3>Dice of the images</h3>{_histogram(images, command)}",
        f"<h3>Scores by lesion size</h3>{_by_size(images, command)}",
        f"<h3>Best, median and worst</h3>{_triptychs(run, part, command)}",
    ]
    return f"<section><h2>Scores: {part}</h2>{''.join(body)}</section>"


def _evaluate(run: Path, part: str, config: dict[str, Any]) -> str:
    """The command that scores a part; a folder without config was scored from a version."""
    data = shlex.quote(config["data"]) if config else "DATA"
    target = shlex.quote(str(run)) if config else f"VERSION --out {shlex.quote(str(run))}"
    return f"python -m trainer evaluate {target} --data {data} --part {part}"


def _stale(run: Path, stored: dict[str, Any]) -> str:
    scored, weights = stored["weights_sha256"], run / WEIGHTS
    if not weights.is_file():
        return note(f"Scores of the weights with SHA-256 {scored}.")
    if file_sha256(weights) == scored:
        return ""
    return note("These are scores of other weights than the run has now.", kind="warning")


def _score_tables(stored: dict[str, Any]) -> str:
    sets = stored["sets"]

    def row(entry: dict[str, Any]) -> list[str]:
        summary = entry["summary"]
        means = [_interval(summary["per_image"].get(name)) for name in METRICS]
        failures = f"{summary['failure_rate']:.1%}"
        return [_set_name(entry), str(summary["n"]), failures, *means]

    names = [name.replace("_", " ") for name in METRICS]
    per_image = table(
        "Mean per image, with its 95 % bootstrap interval",
        ("set", "images", "failures", *names),
        map(row, sets),
    )
    means = (("pooled", "Pooled: one count of all pixels"), ("batch_of_4", "Mean of batches of 4"))
    others = [
        table(
            f"{title}, with its 95 % bootstrap interval where it was noted",
            ("set", *names),
            [[_set_name(e), *(_other_mean(e["summary"], mean, m) for m in METRICS)] for e in sets],
        )
        for mean, title in means
    ]
    conditions = "; ".join(dict.fromkeys(entry["conditions"] for entry in sets))
    said = note(f"A failure is an image with a Jaccard below {CUTOFF}. Conditions: {conditions}.")
    return "".join((per_image, _distances(sets), *others, said))


def _distances(sets: Sequence[dict[str, Any]]) -> str:
    """Apart from the other scores: not every image has them, nor had the first runs."""
    rows = []
    for entry in sets:
        means = entry["summary"]["per_image"]
        if set(_DISTANCES) & set(means):
            count = str(entry["summary"].get("n_distances", "–"))
            far = [_interval(means.get(name), digits=1) for name in _DISTANCES]
            rows.append([_set_name(entry), count, *far])
    columns = ("set", "images with both outlines", "Hausdorff 95, px", "average surface, px")
    return table("Distance between outlines, mean per image", columns, rows) if rows else ""


def _set_name(entry: dict[str, Any]) -> str:
    return f"{entry['dataset']} {entry['part']}"


def _other_mean(summary: dict[str, Any], mean: str, metric: str) -> str:
    """With its interval, which the first runs did not note."""
    if "intervals" in summary:
        return _interval(summary["intervals"][mean][metric])
    return f"{summary[mean][metric]:.4f}"


def _interval(value: dict[str, float] | None, *, digits: int = 4) -> str:
    if value is None:
        return "–"
    low, high = (f"{value[side]:.{max(1, digits - 1)}f}" for side in ("low", "high"))
    return f"{value['mean']:.{digits}f}\n({low}–{high})"


def _sweep(stored: dict[str, Any], config: dict[str, Any], command: str) -> str:
    sweep = stored.get("sweep", {})
    if not sweep.get("sets"):
        return missing("There is no threshold sweep with these scores.", command)
    thresholds, sets = sweep["thresholds"], sweep["sets"]
    # Scores say what they were made with; those that do not are of the run's own config.
    used = (stored.get("postprocess") or config.get("postprocess", {})).get("threshold")

    def best(entry: dict[str, Any], metric: str) -> str:
        value, at = max(zip(entry[metric], thresholds, strict=True))
        return f"{value:.4f} at {at:g}"

    metrics = ("dice", "jaccard", "threshold_jaccard")
    images = [
        image(
            charts.sweep(thresholds, sets, metric, used=used).encode(),
            "svg+xml",
            alt=f"Mean {metric.replace('_', ' ')} of each set over the threshold: "
            + "; ".join(f"{_set_name(entry)} is best with {best(entry, metric)}" for entry in sets),
        )
        for metric in metrics
    ]
    rows = [[_set_name(entry), *(best(entry, metric) for metric in metrics)] for entry in sets]
    dotted = "" if used is None else f"; {used} is in use (dotted)"
    return figure(images, f"Mean per image at each threshold{dotted}.") + table(
        "Highest mean of the sweep; a threshold chosen on a part makes that part's scores too good",
        ("set", *(metric.replace("_", " ") for metric in metrics)),
        rows,
    )


def _histogram(images: Sequence[dict[str, str]], command: str) -> str:
    if not images:
        return missing("There is no table of the images' scores.", command)
    dices: dict[str, list[float]] = {}
    for row in images:
        dices.setdefault(_set_name(row), []).append(float(row["dice"]))
    drawn = [
        image(
            charts.histogram(values, title=name).encode(),
            "svg+xml",
            alt=f"Dice of the {len(values)} images of {name}: median "
            f"{sorted(values)[len(values) // 2]:.3f}, lowest {min(values):.3f}, "
            f"{sum(value < 0.5 for value in values)} below 0.5",
        )
        for name, values in dices.items()
    ]
    return figure(drawn, "Dice of each image, by set; the median is dotted.")


def _by_size(images: Sequence[dict[str, str]], command: str) -> str:
    if not images or not all(row.get("lesion_fraction") for row in images):
        return missing("There is no note of the lesions' sizes with these scores.", command)
    groups: dict[str, list[dict[str, str]]] = {name: [] for name in SIZE_NAMES}
    for row in images:
        groups[size_name(float(row["lesion_fraction"]))].append(row)
    rows = []
    for name, within in groups.items():
        if within:
            failed = sum(float(row["threshold_jaccard"]) == 0 for row in within)
            means = [_mean(within, metric) for metric in ("dice", "jaccard", "threshold_jaccard")]
            failures = f"{failed} ({failed / len(within):.1%})"
            rows.append([name, str(len(within)), *means, failures])
    columns = ("lesion's share", "images", "dice", "jaccard", "threshold jaccard", "failures")
    return table("Mean per image over all sets, by the lesion's share of the photograph", columns,
                 rows)  # fmt: skip


def _mean(rows: Sequence[dict[str, str]], name: str) -> str:
    return f"{sum(float(row[name]) for row in rows) / len(rows):.4f}"


def _triptychs(run: Path, part: str, command: str) -> str:
    path = run / f"triptychs_{part}.png"
    if not path.is_file():
        return missing("There are no pictures.", command)
    alt = "Rows of photograph, expert's mask and prediction, with the Dice of each"
    caption = "Best, median and worst images by Dice: photograph, expert's mask, prediction."
    return figure([image(path.read_bytes(), "png", alt=alt)], caption)


def _curves(run: Path, log: Sequence[dict[str, Any]]) -> str:
    if not log:
        out = shlex.quote(str(run))
        command = f"python -m trainer train CONFIG.toml --out {out} --resume"
        return missing("There is no finished epoch.", command)
    best = max(log, key=lambda entry: entry["val_dice"])
    titles = {"loss": "training loss", "val_dice": "validation Dice", "lr": "learning rate"}
    images = [
        image(
            charts.curve(log, name, title=title, best=name == "val_dice").encode(),
            "svg+xml",
            alt=f"{title.capitalize()} over {len(log)} epochs: {log[0][name]:.4g} in the first, "
            f"{log[-1][name]:.4g} in the last",
        )
        for name, title in titles.items()
    ]
    found = f"Best validation Dice {best['val_dice']:.4f} in epoch {best['epoch']} of {len(log)}"
    return figure(images, f"{found} (ringed). Dotted: another image size begins.")


def _starts(record: dict[str, Any]) -> str:
    if not record:
        return ""
    keys = ("time", "git_commit", "torch", "device")
    rows = [[start.get(key) or "–" for key in keys] for start in starts(record)]
    return table("Starts of the run", ("time", "commit", "torch", "device"), rows)


def _data(run: Path, record: dict[str, Any]) -> str:
    if not record:
        return note(f"Not noted: the folder has no {RUN}.")
    counts: dict[str, dict[str, int]] = record["data"]["samples"]
    known = ("train", "val", "test", "external")
    parts = [part for part in known if any(part in found for found in counts.values())]
    rows = [[name, *(str(found.get(part, 0)) for part in parts)] for name, found in counts.items()]
    return table("Images of each dataset", ("set", *parts), rows)


def _config(run: Path, config: dict[str, Any]) -> str:
    if not config:
        return note(f"Not noted: the folder has no {CONFIG}.")
    return f'<pre tabindex="0">{escape(json.dumps(config, indent=2, ensure_ascii=False))}</pre>'

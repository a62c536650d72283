"""One HTML page on a run, with everything in it: it can be mailed, kept and opened offline.

It shows photographs of patients where it has triptychs, so it stays in the run folder.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

from model_core.storage import file_sha256
from trainer import charts
from trainer.run import CONFIG, WEIGHTS, load_record, read_log, starts
from trainer.tables import read_table, replace_text

REPORT = "report.html"
PARTS = ("test", "val", "external", "all", "train")
_TEMPLATE = Path(__file__).with_name("report.html")
_METRICS = ("dice", "jaccard", "threshold_jaccard", "sensitivity", "specificity")
# Shares of the photograph, in percent; lesions of a few percent are the hard ones.
_SIZES = (0.0, 2.0, 5.0, 15.0, 40.0, 100.0)


def write_report(run: Path) -> Path:
    """Write `report.html` into a run folder, from the files that are there.

    Args:
        run: The run folder; what is missing is named in the page with the command that makes it.

    Returns:
        The page's path.

    Raises:
        ConfigError: the folder holds no config, or a damaged one.
    """
    config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    parts = [part for part in PARTS if (run / f"scores_{part}.json").is_file()]
    page = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=escape(f"{config['name']} – {run.name}"),
        facts=_facts(run, config),
        curves=_curves(run),
        scores="".join(_scores(run, part) for part in parts) or _missing("evaluate", run),
        data=_data(run),
        config=escape(json.dumps(config, indent=2)),
    )
    replace_text(run / REPORT, page)
    return run / REPORT


def _facts(run: Path, config: dict[str, Any]) -> str:
    record = load_record(run)
    rows = [
        (
            start.get("time", "–"),
            start["git_commit"] or "–",
            start["torch"],
            start.get("device", ""),
        )
        for start in starts(record)
    ]
    table = _table("Starts of the run", ("time", "commit", "torch", "device"), rows)
    initial = record.get("initial")
    began = f"Began with the weights {initial['weights_sha256'][:12]}…. " if initial else ""
    network = config["model"]
    return (
        f"<p>{escape(began)}U-Net of width {network['width']} and depth {network['depth']}, loss "
        f"{escape(config['loss'])}, seed {config['seed']}, data "
        f"<code>{escape(record['data']['sha256'][:12])}…</code>.</p>{table}"
    )


def _curves(run: Path) -> str:
    log = read_log(run)
    if not log:
        return _missing("train", run)
    best = max(log, key=lambda entry: entry["val_dice"])
    text = f"Best validation Dice {best['val_dice']:.4f} in epoch {best['epoch']} of {len(log)}."
    return _figure(_svg_image(charts.curves(log), "curves over the epochs"), text)


def _scores(run: Path, part: str) -> str:
    stored = json.loads((run / f"scores_{part}.json").read_text(encoding="utf-8"))
    images = read_table(run / f"scores_{part}.csv", ("dataset", "part", "dice", "jaccard"))
    sections = [
        f"<h2>Scores: {escape(part)}</h2>",
        _stale(run, stored),
        _score_tables(stored["sets"]),
        _sweep(stored),
        _histogram(images),
        _by_size(images),
        _triptychs(run, part),
    ]
    return "".join(sections)


def _stale(run: Path, stored: dict[str, Any]) -> str:
    if (run / WEIGHTS).is_file() and file_sha256(run / WEIGHTS) == stored["weights_sha256"]:
        return ""
    return '<p class="warning">These are scores of other weights than the run has now.</p>'


def _score_tables(sets: Sequence[dict[str, Any]]) -> str:
    def row(entry: dict[str, Any]) -> list[str]:
        summary = entry["summary"]
        means = [_interval(summary["per_image"].get(name)) for name in _METRICS]
        far = _interval(summary["per_image"].get("hausdorff_95_px"), digits=1)
        failures = f"{summary['failure_rate']:.1%}"
        return [entry["dataset"], str(summary["n"]), *means, far, failures]

    columns = ("set", "images", *(name.replace("_", " ") for name in _METRICS), "HD95, px",
               "failures")  # fmt: skip
    per_image = _table(
        "Mean over images, with 95 % bootstrap interval", columns, [row(entry) for entry in sets]
    )
    others = [
        [entry["dataset"], label, *(_other_mean(entry["summary"], mean, name) for name in _METRICS)]
        for entry in sets
        for mean, label in (("pooled", "all pixels pooled"), ("batch_of_4", "mean of batches of 4"))
    ]
    columns = ("set", "mean", *(name.replace("_", " ") for name in _METRICS))
    conditions = "; ".join(dict.fromkeys(entry["conditions"] for entry in sets))
    other = _table("The same by other means", columns, others)
    return f"{per_image}{other}<p>Conditions: {escape(conditions)}.</p>"


def _other_mean(summary: dict[str, Any], mean: str, metric: str) -> str:
    """With its interval, which the first runs did not note."""
    if "intervals" in summary:
        return _interval(summary["intervals"][mean][metric])
    return f"{summary[mean][metric]:.4f}"


def _interval(value: dict[str, float] | None, *, digits: int = 4) -> str:
    if value is None:
        return "–"
    low, high = (f"{value[side]:.{max(1, digits - 1)}f}" for side in ("low", "high"))
    return f"{value['mean']:.{digits}f} ({low}–{high})"


def _sweep(stored: dict[str, Any]) -> str:
    sweep = stored.get("sweep", {})
    if not sweep.get("sets"):
        return "<p>No threshold sweep: these scores were written before there was one.</p>"
    used = stored["postprocess"]["threshold"]
    image = _svg_image(
        charts.sweep(sweep["thresholds"], sweep["sets"], used), "scores at each threshold"
    )
    return _figure(image, f"Mean over images at each threshold; {used} is in use (dotted).")


def _histogram(images: Sequence[dict[str, str]]) -> str:
    dices: dict[str, list[float]] = {}
    for row in images:
        dices.setdefault(f"{row['dataset']} ({row['part']})", []).append(float(row["dice"]))
    image = _svg_image(charts.histogram(dices), "histograms of Dice per image")
    return _figure(image, "Dice of each image, by set; the median is dotted.")


def _by_size(images: Sequence[dict[str, str]]) -> str:
    if "lesion_fraction" not in images[0]:
        return ""
    rows = []
    for low, high in pairwise(_SIZES):
        within = [row for row in images if low < 100 * float(row["lesion_fraction"]) <= high]
        if within:
            failed = sum(float(row["threshold_jaccard"]) == 0 for row in within) / len(within)
            means = [_mean(within, name) for name in ("dice", "jaccard", "threshold_jaccard")]
            rows.append([f"{low:g}–{high:g} %", str(len(within)), *means, f"{failed:.1%}"])
    columns = ("lesion's share", "images", "Dice", "Jaccard", "thr. Jaccard", "failures")
    return _table("Scores by lesion size, mean over images of all sets", columns, rows)


def _mean(rows: Sequence[dict[str, str]], name: str) -> str:
    return f"{sum(float(row[name]) for row in rows) / len(rows):.4f}"


def _triptychs(run: Path, part: str) -> str:
    path = run / f"triptychs_{part}.png"
    if not path.is_file():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    image = f'<img alt="photographs, truths and predictions" src="data:image/png;base64,{data}">'
    return _figure(image, "Best, median and worst: photograph, expert's mask, prediction.")


def _data(run: Path) -> str:
    counts: dict[str, dict[str, int]] = load_record(run)["data"]["samples"]
    parts = ("train", "val", "test")
    rows = [[name, *(str(found.get(part, 0)) for part in parts)] for name, found in counts.items()]
    return _table("Images of each dataset", ("set", *parts), rows)


def _missing(command: str, run: Path) -> str:
    hint = f"python -m trainer {command} {run.name} …"
    return f"<p>Nothing yet: <code>{escape(hint)}</code> makes it.</p>"


def _table(caption: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(tag: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line("td", cells) for cells in rows)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead>{line('th', columns)}</thead><tbody>{body}</tbody></table></div>"
    )


def _figure(image: str, caption: str) -> str:
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _svg_image(svg: str, alt: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}">'

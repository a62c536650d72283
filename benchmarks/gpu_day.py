"""Gather what `benchmarks/gpu_day.sh` measured in one JSON, and print it as the documents' tables.

python -m benchmarks.gpu_day OUT             OUT/gpu_day.json from the steps' files, and tables
python -m benchmarks.gpu_day gpu_day.json    the tables again
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.machine import conditions

PRECISIONS = ("bf16", "fp32")
Found = dict[str, Any]


def gather(folder: Path) -> Found:
    """Read the steps' files; what a step did not leave is None."""
    lines = (folder / "steps.tsv").read_text().splitlines()
    steps = [line.split("\t") for line in lines]
    networks = {each: _json(folder / f"network-{each}.log") for each in PRECISIONS}
    return {
        "conditions": conditions() | {"gpu": gpu()},
        "steps": [
            {"name": name, "exit_code": int(code), "seconds": int(seconds)}
            for name, code, seconds in steps
        ],
        "graphs": (_text(folder / "graphs.log").splitlines() or [""])[-1],
        "agreement": _json(folder / "agreement.json"),
        "networks": networks,
        "service": _json(folder / "service" / "results.json"),
        "loops": _json(folder / "loops.json"),
        "notebook": _notebook(folder / "run"),
    }


def gpu() -> str:
    """Name the GPU and its memory; empty where PyTorch can use none."""
    import torch

    if not torch.cuda.is_available():
        return ""
    properties = torch.cuda.get_device_properties(0)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def tables(found: Found) -> str:
    """Write all as Markdown, for docs/performance.md and docs/training.md."""
    machine = found["conditions"]
    parts = [f"{machine['gpu'] or 'no GPU'}; {machine['cpu']}, {machine['cores']} cores"]
    failed = [step.values() for step in found["steps"] if step["exit_code"]]
    if failed:
        parts.append(_table(("step that failed", "exit code", "s"), failed))
    parts.append(f"Graphs: {found['graphs']}")
    if found["agreement"]:
        parts.append(_agreement(found["agreement"]["rows"]))
    parts.append(
        _table(
            ("network alone", "streams x threads", "images/s"),
            [
                (precision, way, f"{rate:.0f}")
                for precision, network in found["networks"].items()
                for way, rate in (network or {"ways": {}})["ways"].items()
            ],
        )
    )
    if found["service"]:
        parts.append(_served(found["service"]["rows"]))
    if found["loops"]:
        parts.append(_loops(found["loops"]["rows"]))
    if run := found["notebook"]:
        parts.append(
            f"Notebook's recipe, {run['epochs']} epochs of {run['images']} photographs: "
            f"{run['seconds']:.0f} s, {run['images_per_s']:.1f} images/s with validation; "
            f"Dice {run['val_dice']:.4f}"
        )
    return "\n\n".join(parts)


def _agreement(rows: Iterable[Found]) -> str:
    figures = ("median", "first_percentile", "least")
    return _table(
        ("masks beside the CPU's in float32", "photographs", "median", "1st percentile", "least"),
        [(row["engine"], row["n"], *(f"{row[each]:.4f}" for each in figures)) for row in rows],
    )


def _served(rows: Iterable[Found]) -> str:
    def latencies(median: Found) -> str:
        known = [median[name] for name in ("p50_ms", "p99_ms") if name in median]
        return ", ".join(f"{each:.1f}" for each in known)

    return _table(
        ("engine", "server", "load", "masks/s", "p50, p99 ms"),
        [
            (
                *(row[name] for name in ("engine", "server", "load")),
                f"{row['median']['requests_per_s']:.1f}" if row["rounds"] else row["skipped"],
                latencies(row["median"]),
            )
            for row in rows
        ],
    )


def _loops(rows: Iterable[Found]) -> str:
    return _table(
        ("loop", "images/s", "times the notebook's"),
        [
            (row["name"], f"{row['images_per_s']:.1f}", f"{row['times_notebook']:.1f}")
            for row in rows
        ],
    )


def _notebook(run: Path) -> Found | None:
    """Sum up a run folder: its epochs, their seconds, and the last one's score."""
    epochs = [json.loads(line) for line in _text(run / "log.jsonl").splitlines()]
    if not epochs:
        return None
    samples = json.loads(_text(run / "run.json"))["data"]["samples"]
    images = sum(parts.get("train", 0) for parts in samples.values())
    seconds = sum(epoch["seconds"] for epoch in epochs)
    return {
        "epochs": len(epochs),
        "images": images,
        "seconds": seconds,
        "images_per_s": len(epochs) * images / seconds,
        "val_dice": epochs[-1]["val_dice"],
    }


def _table(head: tuple[str, ...], rows: Iterable[Iterable[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _json(path: Path) -> Any:
    """Parse a file's last line, or else the whole; None where it is missing or was cut off."""
    text = _text(path)
    for candidate in (text, text.strip().rpartition("\n")[2]):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    return None


def main() -> int:
    """Print the tables.

    Returns:
        0; 1 where a step failed.
    """
    path = Path(sys.argv[1])
    if path.is_dir():
        found = gather(path)
        path /= "gpu_day.json"
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    found = json.loads(path.read_text(encoding="utf-8"))
    print(tables(found))
    return 1 if any(step["exit_code"] for step in found["steps"]) else 0


if __name__ == "__main__":
    sys.exit(main())

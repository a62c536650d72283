"""What a run leaves: a table for the terminal, `results.json` and `requests_per_second.png`."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rounds import ALONE, Row, as_json

COLUMNS = (
    "server", "load", "req/s", "+-%", "of engine", "p50 ms", "p95 ms", "p99 ms", "errors", "MB",
    "cpu ms", "load gen", "engine seen",
)  # fmt: skip
_LEGEND = (
    "req/s: median of the rounds, +-%: their spread; of engine: req/s over the engine alone; "
    "MB: resident, all processes of the server; cpu ms: of the server for each request, network "
    "and all; load gen: processor time of the load generator, in cores of this same machine."
)


def table(rows: Sequence[Row]) -> str:
    """The whole table, one block for each engine; what was skipped says why."""
    lines: list[str] = []
    for engine in dict.fromkeys(row.engine for row in rows):
        block = [row for row in rows if row.engine == engine]
        alone = _ceiling(block)
        cells = [list(COLUMNS), *(_cells(row, alone) for row in block)]
        widths = [max(len(line[place]) for line in cells) for place in range(len(COLUMNS))]
        lines += ["", f"engine {engine}"]
        for row, line in zip([None, *block], cells, strict=True):
            text = "  ".join(
                cell.ljust(width) if place < 2 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            lines.append(text.rstrip())
            if row is not None and row.skipped:
                lines.append(f"    ^ {row.skipped}")
    return "\n".join([*lines, "", _LEGEND])


def odd(rows: Sequence[Row]) -> list[str]:
    """Tell what makes the table unfair or unsound, one line each; nothing where all is well."""
    found = []
    for row in rows:
        alone = [each for each in rows if each.engine == row.engine and each.server == ALONE]
        expected = {one["backend"] for each in alone for one in each.rounds}
        seen = {name for one in row.rounds for name in one.get("backends", [])}
        if expected and seen - expected:
            found.append(f"{row.server}: answered by {seen - expected}, not by {expected}")
        if row.errors:
            found.append(f"{row.server}, {row.load}: errors {row.errors}")
    return found


def write(rows: Sequence[Row], conditions: dict[str, Any], folder: Path) -> None:
    """Write both files into a folder, made where absent."""
    folder.mkdir(parents=True, exist_ok=True)
    result = {"conditions": conditions, "rows": [as_json(row) for row in rows]}
    # JSON knows no NaN.
    text = json.dumps(_plain(result), indent=2, allow_nan=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    draw(rows, folder / "requests_per_second.png")


def draw(rows: Sequence[Row], path: Path) -> None:
    """Bars of requests/s by server and load, one panel for each engine, the ceiling as a line."""
    from matplotlib.figure import Figure

    engines = list(dict.fromkeys(row.engine for row in rows))
    figure = Figure(figsize=(9, 3.4 * len(engines)), layout="constrained")
    for axes, engine in zip(
        figure.subplots(len(engines), squeeze=False)[:, 0], engines, strict=True
    ):
        block = [row for row in rows if row.engine == engine and row.rounds]
        bars = [row for row in block if row.server != ALONE]
        servers = list(dict.fromkeys(row.server for row in bars))
        loads = list(dict.fromkeys(row.load for row in bars))
        for place, load in enumerate(loads):
            shown = {row.server: row.median("requests_per_s") for row in bars if row.load == load}
            across = [number + 0.8 * place / len(loads) for number in range(len(servers))]
            heights = [shown.get(server, math.nan) for server in servers]
            axes.bar(across, heights, 0.75 / len(loads), label=load)
        if not math.isnan(alone := _ceiling(block)):
            axes.axhline(alone, color="black", linewidth=1, linestyle="--", label=ALONE)
        axes.set_xticks([number + 0.3 for number in range(len(servers))], servers)
        axes.set_ylabel("requests/s")
        axes.set_title(f"engine {engine}")
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120)


def _ceiling(block: Sequence[Row]) -> float:
    """Images/s of the engine alone; NaN where it was not measured."""
    found = (row.median("requests_per_s") for row in block if row.server == ALONE)
    return next(found, math.nan)


def _cells(row: Row, alone: float) -> list[str]:
    rate = row.median("requests_per_s")
    backends = sorted(
        {name for one in row.rounds for name in (one.get("backends") or [one.get("backend", "")])}
    )
    return [
        row.server,
        row.load,
        _number(rate, 1),
        _number(100 * row.spread("requests_per_s"), 0),
        _number(rate / alone, 2),
        *(_number(row.median(name), 1) for name in ("p50_ms", "p95_ms", "p99_ms")),
        str(sum(row.errors.values())) if row.rounds else "-",
        _number(row.median("resident_mb"), 0),
        _number(row.median("server_cpu_ms"), 1),
        _number(row.median("generator_cpu"), 3),
        " ".join(backends) or "-",
    ]


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value

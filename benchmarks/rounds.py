"""Rounds: every row once, then every row again, so that a machine that slows down slows all."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engines import NULL
from benchmarks.latency import middle, spread
from benchmarks.peers.options import ENGINE
from benchmarks.processes import ROOT, Server, ServerFailedError, free_port, serving
from benchmarks.servers import Contender, Version
from benchmarks.wires import WIRES

ALONE = "engine alone"
Measured = dict[str, Any]
"""What one round saw of one row: the fields of `load.Seen` or of `ceiling.Ceiling`, and weights."""


@dataclass(frozen=True)
class Load:
    """What the callers of a row do.

    Attributes:
        callers: Of a closed loop; 0 in an open one.
        of_ceiling: Rate of an open loop, as a fraction of what the engine alone does.
    """

    callers: int = 0
    of_ceiling: float = 0

    @property
    def label(self) -> str:
        """As the table names it."""
        if not self.callers:
            return f"{self.of_ceiling:.0%} offered"
        return f"{self.callers} caller{'s' * (self.callers > 1)}"


@dataclass
class Row:
    """One line of the table.

    Attributes:
        engine: As it was asked for.
        server: Label of the contender, or `engine alone`.
        load: Label of the load; empty for the engine alone.
        rounds: What each round saw.
        skipped: Why there is nothing, or less than there should be.
    """

    engine: str
    server: str
    load: str = ""
    rounds: list[Measured] = field(default_factory=list)
    skipped: str = ""

    def median(self, figure: str) -> float:
        """Take the median of the rounds; NaN where none has that figure."""
        return middle([float(each[figure]) for each in self.rounds if figure in each])

    def spread(self, figure: str) -> float:
        """Measure how far the rounds lie apart, see `latency.spread`."""
        return spread([float(each[figure]) for each in self.rounds if figure in each])

    @property
    def errors(self) -> dict[str, int]:
        """Add up the errors of all rounds."""
        total: dict[str, int] = {}
        for each in self.rounds:
            for name, count in each.get("errors", {}).items():
                total[name] = total.get(name, 0) + count
        return total


@dataclass(frozen=True)
class Plan:
    """All that is to be measured.

    Attributes:
        version: What everyone serves.
        contenders: Servers, grouped by engine.
        loads: What the callers of each do, one after the other.
        rounds: How often.
        seconds: Of each load in each round.
        warmup_s: Before that.
        folder: Holds `bodies/` with the photographs, and is given each server's log.
        generators: Processes that the callers are shared out among.
        keep: Whether the servers run until the end, instead of being started for each round.
    """

    version: Version
    contenders: Sequence[Contender]
    loads: Sequence[Load]
    rounds: int
    seconds: float
    warmup_s: float
    folder: Path
    generators: int = 1
    keep: bool = False

    @property
    def bodies(self) -> Path:
        """Folder of the photographs."""
        return self.folder / "bodies"

    @property
    def engines(self) -> list[str]:
        """Engines, in the order of their first contender."""
        return list(dict.fromkeys(each.engine for each in self.contenders))


class Bench:
    """Runs a plan.

    Args:
        plan: What to measure.
        say: Told of each step, for a progress line.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._rows: dict[tuple[str, str, str], Row] = {}
        self._kept: dict[tuple[str, str], Server] = {}

    def run(self) -> list[Row]:
        """Run all rounds; the rows come grouped by engine."""
        with ExitStack() as stack:
            for number in range(self._plan.rounds):
                for engine in self._plan.engines:
                    if engine != NULL:
                        self._engine_alone(number, engine)
                    for contender in self._plan.contenders:
                        if contender.engine == engine:
                            self._contender(number, contender, stack)
        return list(self._rows.values())

    def _row(self, engine: str, server: str, load: str = "") -> Row:
        return self._rows.setdefault((engine, server, load), Row(engine, server, load))

    def _engine_alone(self, number: int, engine: str) -> None:
        self._say(f"round {number + 1}: {engine}, {ALONE}")
        version, row = self._plan.version, self._row(engine, ALONE)
        try:
            seen = _json_of(
                "benchmarks.ceiling",
                *("--registry", str(version.root), "--name", version.name),
                *("--version", version.version, "--engine", engine),
                *("--seconds", str(self._plan.seconds)),
            )
        except ServerFailedError as exc:
            row.skipped = f"round {number + 1}: {exc}"
        else:
            seen["requests_per_s"] = seen["images_per_s"]
            row.rounds.append(seen)

    def _contender(self, number: int, contender: Contender, until_the_end: ExitStack) -> None:
        # Without a network there is no ceiling to take a fraction of.
        loads = [each for each in self._plan.loads if each.callers or contender.engine != NULL]
        rows = [self._row(contender.engine, contender.label, each.label) for each in loads]
        if contender.skipped:
            for row in rows:
                row.skipped = contender.skipped
            return
        self._say(f"round {number + 1}: {contender.engine}, {contender.label}")
        key = (contender.engine, contender.label)
        try:
            with ExitStack() as stack:
                server = self._kept.get(key)
                if server is None:
                    started = self._serving(number, contender)
                    if self._plan.keep:
                        server = self._kept[key] = until_the_end.enter_context(started)
                    else:
                        server = stack.enter_context(started)
                for load, row in zip(loads, rows, strict=True):
                    row.rounds.append(self._load(server, load, contender))
        except ServerFailedError as exc:
            for row in rows:
                row.skipped = f"round {number + 1}: {exc}"

    def _serving(self, number: int, contender: Contender) -> AbstractContextManager[Server]:
        port = free_port()
        log = self._plan.folder / f"{contender.label}-{contender.engine}-{number}.log"
        wire = WIRES[contender.wire]
        url = f"http://127.0.0.1:{port}{wire.path}"
        photograph = next(iter(sorted(self._plan.bodies.iterdir()))).read_bytes()
        return serving(contender.command, contender.environment(port), url, log, photograph, wire)

    def _load(self, server: Server, load: Load, contender: Contender) -> Measured:
        arguments = ["--callers", str(load.callers), "--warmup", str(self._plan.warmup_s)]
        if not load.callers:
            # The ceiling of the first rounds: the same rate for every server of a round.
            ceiling = self._row(contender.engine, ALONE).median("requests_per_s")
            if math.isnan(ceiling):
                raise ServerFailedError(f"a rate that the {ALONE} has to give, and it failed")
            arguments = ["--rate", str(load.of_ceiling * ceiling)]
        before = server.weigh()
        seen = _json_of(
            "benchmarks.load",
            server.url,
            *("--bodies", str(self._plan.bodies), "--wire", contender.wire),
            *("--seconds", str(self._plan.seconds)),
            *("--processes", str(self._plan.generators)),
            *arguments,
        )
        after = server.weigh()
        if seen["backends"] == [""]:  # its answers have no such header
            seen["backends"] = server.logged(ENGINE)
        answered = max(1, seen["answered"])
        return seen | {
            "start_s": server.start_s,
            "resident_mb": after.resident_mb,
            "processes": after.processes,
            "server_cpu_ms": 1000 * (after.cpu_s - before.cpu_s) / answered,
        }


def _json_of(module: str, *arguments: str) -> Measured:
    run = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if run.returncode:
        raise ServerFailedError(f"{module} failed: {run.stderr[-500:]}")
    found: Measured = json.loads(run.stdout)
    return found


def as_json(row: Row) -> dict[str, Any]:
    """A row with every round, and the medians."""
    figures = sorted({key for each in row.rounds for key, value in each.items()
                      if isinstance(value, int | float)})  # fmt: skip
    medians = {figure: row.median(figure) for figure in figures}
    return asdict(row) | {"median": medians, "spread": row.spread("requests_per_s")}

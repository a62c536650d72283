"""Ten times the load that the service can sustain, in an open loop: who is served, who is refused.

    python -m benchmarks.overload --seconds 60

One process serves the shipped version on the engine named by `--backend`; the generator is another,
on the same machine. First the peak, with as many callers as keep it busy; then a request every
1 / (10 * peak) s, whatever became of those before. Latencies count from when a request was due.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.bodies import multipart
from benchmarks.latency import percentile
from benchmarks.load import run as run_loop
from benchmarks.load import send_on_time
from benchmarks.one_call import post
from benchmarks.processes import free_port, serving

_CALLERS = 8
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Overload:
    """What became of the requests.

    Attributes:
        peak_per_s: Masks a second with as many callers as keep the server busy.
        offered_per_s: Requests a second in the open loop.
        goodput_per_s: Masks a second in the open loop.
        statuses: How many were answered with which status, or not at all.
        accepted_p99_s: Latency of the masks.
        accepted_worst_s: The same.
        late: Masks that came after the deadline.
        refused_p50_ms: Latency of the answers 503.
        refused_p99_ms: The same.
        retry_after_s: The least and the most that the refused were told to wait.
        generator_cores: Processor time of the generator itself, which the server does not have.
        generator_lag_p99_ms: How much later than due a request was sent; part of all latencies.
    """

    peak_per_s: float
    offered_per_s: float
    goodput_per_s: float
    statuses: dict[str, int]
    accepted_p99_s: float
    accepted_worst_s: float
    late: int
    refused_p50_ms: float
    refused_p99_ms: float
    retry_after_s: tuple[int, int]
    generator_cores: float
    generator_lag_p99_ms: float


@dataclass(frozen=True)
class _Answer:
    status: str
    seconds: float
    lag_s: float
    retry_after_s: int


Ask = Callable[[float], Coroutine[None, None, _Answer]]
"""Sends one request that was due then, by `perf_counter`."""


def _asking(url: str, photograph: bytes) -> Ask:
    parts, body = urlsplit(url), multipart(photograph)
    host, port = parts.hostname or "", parts.port or 80

    async def ask(due: float) -> _Answer:
        lag_s = time.perf_counter() - due
        reply = await post(host, port, parts.path, body, timeout_s=_TIMEOUT_S)
        seconds = time.perf_counter() - due
        return _Answer(reply.status, seconds, lag_s, reply.retry_after_s)

    return ask


async def _peak(ask: Ask, seconds: float) -> float:
    until = time.perf_counter() + seconds
    done = 0

    async def call() -> None:
        nonlocal done
        while time.perf_counter() < until:
            answer = await ask(time.perf_counter())
            done += answer.status == "200"

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(_CALLERS)))
    return done / (time.perf_counter() - started)


async def measure(
    url: str, photograph: bytes, *, seconds: float, factor: float, deadline_s: float
) -> Overload:
    """Find the peak, then offer so many times as much."""
    ask = _asking(url, photograph)
    await _peak(ask, 1)
    peak = await _peak(ask, min(10, seconds))
    began = time.process_time()
    started = time.perf_counter()
    answers = await send_on_time(ask, rate=factor * peak, seconds=seconds)
    took = time.perf_counter() - started
    cores = (time.process_time() - began) / took
    good = [each.seconds for each in answers if each.status == "200"]
    refused = [each for each in answers if each.status == "503"]
    return Overload(
        peak_per_s=peak,
        offered_per_s=factor * peak,
        goodput_per_s=len(good) / took,
        statuses=dict(Counter(each.status for each in answers)),
        accepted_p99_s=percentile(good, 99),
        accepted_worst_s=max(good, default=0),
        late=sum(each > deadline_s for each in good),
        refused_p50_ms=1000 * percentile([each.seconds for each in refused], 50),
        refused_p99_ms=1000 * percentile([each.seconds for each in refused], 99),
        retry_after_s=(
            min((each.retry_after_s for each in refused), default=0),
            max((each.retry_after_s for each in refused), default=0),
        ),
        generator_cores=cores,
        generator_lag_p99_ms=1000 * percentile([each.lag_s for each in answers], 99),
    )


def run(
    photograph: bytes, *, backend: str, seconds: float, factor: float, deadline_s: float, log: Path
) -> Overload:
    """Serve, measure, and end the server."""
    port = free_port()
    environment = {
        "LESION_PORT": str(port),
        "LESION_BACKEND": backend,
        "LESION_DEADLINE_SECONDS": f"{deadline_s:g}",
        "LESION_MAX_CONNECTIONS": "10000",
        "LESION_DRAIN_SECONDS": "0",
        "LESION_LOG_LEVEL": "WARNING",
    }
    url = f"http://127.0.0.1:{port}/segment"
    with serving([sys.executable, "-m", "service"], environment, url, log, photograph):
        work = measure(url, photograph, seconds=seconds, factor=factor, deadline_s=deadline_s)
        return run_loop(work)


def main(words: Sequence[str] | None = None) -> int:
    """Print one JSON object, an `Overload`."""
    parser = argparse.ArgumentParser(prog="benchmarks.overload", description=__doc__)
    parser.add_argument("--backend", default="pytorch-fp32")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--factor", type=float, default=10)
    parser.add_argument("--deadline", type=float, default=10)
    parser.add_argument("--photograph", type=Path, default=Path("docs/example.png"))
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        overload = run(
            given.photograph.read_bytes(),
            backend=given.backend,
            seconds=given.seconds,
            factor=given.factor,
            deadline_s=given.deadline,
            log=Path(folder) / "log",
        )
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    json.dump({**asdict(overload), "load_average": load}, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())

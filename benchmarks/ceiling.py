"""The engine alone, in a tight loop: what no server around it can exceed on this machine.

    python -m benchmarks.ceiling --registry models --name lesion-unet --seconds 5

Twice: n threads on one image at a time, and n processes of one thread each (streams). Which is
faster depends on engine and network, and the faster is the ceiling.
"""

import argparse
import json
import multiprocessing
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bodies import draw_photograph
from benchmarks.engines import open_version
from benchmarks.latency import percentile
from model_core.backends.cores import usable_cores


@dataclass(frozen=True)
class Ceiling:
    """What the engine does with nothing around it.

    Attributes:
        backend: Its name.
        streams: Of the faster way: how many images at once.
        threads: Of the faster way: threads for each.
        images_per_s: Of the faster way.
        p50_ms: Of one image on all threads, alone: what one caller waits for the network.
        ways: Images/s by `streams x threads`.
    """

    backend: str
    streams: int
    threads: int
    images_per_s: float
    p50_ms: float
    ways: dict[str, float]


def loop(version: dict[str, Any], threads: int, seconds: float, start: Any, out: Any) -> None:
    """One stream, in its process: put its name, its images/s and the median latency (s) in `out`.

    Args:
        version: Arguments of `open_version`.
        threads: For the engine.
        seconds: How long.
        start: A barrier that all streams wait at, so that they run beside each other.
        out: A queue.
    """
    loaded = open_version(**version, threads=threads)
    predictor = loaded.predictor
    batch = predictor.prepare(draw_photograph(0)).pixels[None]
    for _ in range(3):
        predictor.infer(batch)
    start.wait()
    latencies = []
    began = now = time.perf_counter()
    while now - began < seconds:
        predictor.infer(batch)
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    out.put((predictor.backend.name, len(latencies) / (now - began), percentile(latencies, 50)))


def measure(version: dict[str, Any], seconds: float) -> Ceiling:
    """Both ways, one after the other.

    Args:
        version: Arguments of `open_version`.
        seconds: Of each way.
    """
    count = usable_cores()
    rates: dict[tuple[int, int], float] = {}
    backend, p50_s = "", 0.0
    for streams, threads in {(1, count), (count, 1)}:
        ends = _together(version, streams, threads, seconds)
        rates[streams, threads] = sum(rate for _, rate, _ in ends)
        if streams == 1:
            backend, _, p50_s = ends[0]
    streams, threads = max(rates, key=lambda way: rates[way])
    ways = {f"{many} x {each}": rate for (many, each), rate in sorted(rates.items())}
    return Ceiling(backend, streams, threads, rates[streams, threads], 1000 * p50_s, ways)


def _together(
    version: dict[str, Any], streams: int, threads: int, seconds: float
) -> list[tuple[str, float, float]]:
    # Processes, because engines of one process may be pinned to the same core.
    context = multiprocessing.get_context("spawn")
    start, out = context.Barrier(streams), context.Queue()
    arguments = (version, threads, seconds, start, out)
    processes = [context.Process(target=loop, args=arguments) for _ in range(streams)]
    for process in processes:
        process.start()
    try:
        return [out.get(timeout=120 + 2 * seconds) for _ in processes]
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def main() -> int:
    """Print one JSON object, a `Ceiling`."""
    parser = argparse.ArgumentParser(prog="benchmarks.ceiling")
    parser.add_argument("--registry", type=Path, default=Path("models"))
    parser.add_argument("--name", default="lesion-unet")
    parser.add_argument("--version", default="production", help="version or alias")
    parser.add_argument("--engine", default="auto", help="as LESION_BACKEND")
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    version = {
        "root": arguments.registry,
        "name": arguments.name,
        "version": arguments.version,
        "engine": arguments.engine,
    }
    json.dump(asdict(measure(version, arguments.seconds)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

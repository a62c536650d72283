"""The engine alone, in a tight loop: what no server around it can exceed on this machine.

    python -m benchmarks.ceiling --registry models --name lesion-unet --seconds 5

On a CPU twice: n threads on one image at a time, and n processes of one thread each (streams); on a
GPU in batches of every size that is recorded. Which is fastest depends on engine and network, and
the fastest is the ceiling.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bodies import draw_photograph
from benchmarks.engines import open_version
from benchmarks.latency import percentile
from benchmarks.processes import START_S
from benchmarks.side_by_side import side_by_side
from model_core.backends.cores import usable_cores


@dataclass(frozen=True)
class Ceiling:
    """What the engine does with nothing around it.

    Attributes:
        backend: Its name.
        streams: Of the faster way: how many batches at once.
        threads: Of the faster way: threads for each.
        images_per_s: Of the faster way.
        p50_ms: Of one image on all threads, alone: what one caller waits for the network.
        ways: Images/s by `streams x threads`, and the images of a batch where there are several.
    """

    backend: str
    streams: int
    threads: int
    images_per_s: float
    p50_ms: float
    ways: dict[str, float]


@dataclass(frozen=True)
class Stream:
    """Answers and times of one stream of requests.

    Attributes:
        backend: Name of the engine.
        images_per_s: By the images of a batch.
        p50_ms: Of one image, alone in its batch.
    """

    backend: str
    images_per_s: dict[int, float]
    p50_ms: float


def loop(
    start: Any, version: dict[str, Any], threads: int, sizes: Sequence[int], seconds: float
) -> Stream:
    """Run one stream, in its process.

    Args:
        start: A barrier that all streams wait at, so that they run beside each other.
        version: Arguments of `open_version`.
        threads: For the engine.
        sizes: Images of a batch, one size after the other; none takes those that the engine gains
            by: on a CPU 1, on a GPU the powers of two up to its largest.
        seconds: How long for each size.
    """
    loaded = open_version(**version, threads=threads)
    predictor = loaded.predictor
    pixels = predictor.prepare(draw_photograph(0)).pixels
    largest = predictor.backend.batch
    rates: dict[int, float] = {}
    p50_s = 0.0
    start.wait()
    for size in sizes or [2**power for power in range(largest.bit_length())]:
        batch = np.repeat(pixels[None], size, axis=0)
        for _ in range(3):
            predictor.infer(batch)
        latencies = []
        began = now = time.perf_counter()
        while now - began < seconds:
            predictor.infer(batch)
            before, now = now, time.perf_counter()
            latencies.append(now - before)
        rates[size] = size * len(latencies) / (now - began)
        p50_s = percentile(latencies, 50) if size == 1 else p50_s
    return Stream(predictor.backend.name, rates, 1000 * p50_s)


def measure(version: dict[str, Any], seconds: float, sizes: Sequence[int] = ()) -> Ceiling:
    """Measure one way after the other.

    Args:
        version: Arguments of `open_version`.
        seconds: Of each way.
        sizes: As `loop` takes them; where any is more than 1, one stream alone is measured.
    """
    count = usable_cores()
    ways: dict[tuple[int, int, int], float] = {}

    def run(streams: int, threads: int) -> Stream:
        arguments = [(version, threads, sizes, seconds)] * streams
        # Processes, because engines of one process may be pinned to the same core.
        timeout_s = START_S + 10 * seconds
        found: list[Stream] = side_by_side(loop, arguments, timeout_s=timeout_s)
        for size in found[0].images_per_s:
            ways[streams, threads, size] = sum(each.images_per_s[size] for each in found)
        return found[0]

    alone = run(1, count)
    if count > 1 and max(alone.images_per_s) == 1:
        run(count, 1)
    best = max(ways, key=lambda way: ways[way])
    named = {_way(*way): rate for way, rate in sorted(ways.items())}
    return Ceiling(alone.backend, best[0], best[1], ways[best], alone.p50_ms, named)


def _way(streams: int, threads: int, size: int) -> str:
    return f"{streams} x {threads}" + (f", batches of {size}" if size > 1 else "")


def main() -> int:
    """Print one JSON object, a `Ceiling`."""
    parser = argparse.ArgumentParser(prog="benchmarks.ceiling")
    parser.add_argument("--registry", type=Path, default=Path("models"))
    parser.add_argument("--name", default="lesion-unet")
    parser.add_argument("--version", default="production", help="version or alias")
    parser.add_argument("--engine", default="auto", help="as LESION_BACKEND")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--batches", type=int, nargs="*", default=(), help="images in a batch")
    arguments = parser.parse_args()
    version = {
        "root": arguments.registry,
        "name": arguments.name,
        "version": arguments.version,
        "engine": arguments.engine,
    }
    json.dump(asdict(measure(version, arguments.seconds, arguments.batches)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())

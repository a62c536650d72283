"""Whether the service's memory stays flat: `python -m benchmarks.memory --requests 10000`.

Posts photographs to a service of its own, weighs it all along, and fits a line over the second half
of the requests: its slope is what each further thousand costs, if it is more than the noise.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import aiohttp
import numpy as np

from benchmarks.bodies import photographs
from benchmarks.load import asking
from benchmarks.processes import Server, ServerFailedError, free_port, serving
from benchmarks.servers import Version, ours
from model_core.errors import SegmentationError

LIMIT_MB = 700.0
SAMPLES = 200
_WARM_UP = 0.5
"""Part of the requests after which all pools and caches have their size."""
_STEP_MB = 1.0
"""A slope that the allocator's steps may make: of a leaked mask in each request it were 800."""


@dataclass(frozen=True)
class Memory:
    """What the service's processes held.

    Attributes:
        requests: Photographs answered.
        first_mb: After the first of them.
        most_mb: At most.
        slope_mb: For each thousand requests, after the warm-up.
        error_mb: Standard error of that.
    """

    requests: int
    first_mb: float
    most_mb: float
    slope_mb: float
    error_mb: float

    @property
    def flat(self) -> bool:
        """Whether the slope is within the noise."""
        return self.slope_mb <= max(3 * self.error_mb, _STEP_MB)


def summed_up(samples: Sequence[tuple[int, float]]) -> Memory:
    """Fit a line to pairs of requests done and MB held then."""
    done, held = np.array(samples, float).T
    late = done >= _WARM_UP * done[-1]
    (slope, _), covariance = np.polyfit(done[late] / 1000, held[late], 1, cov=True)
    return Memory(
        requests=int(done[-1]),
        first_mb=float(held[0]),
        most_mb=float(held.max()),
        slope_mb=float(slope),
        error_mb=float(np.sqrt(covariance[0, 0])),
    )


async def post(server: Server, bodies: Sequence[bytes], requests: int, callers: int) -> Memory:
    """Send that many requests, and weigh the server meanwhile."""
    numbers, done = count(), 0
    samples: list[tuple[int, float]] = []
    step = max(1, requests // SAMPLES)
    async with aiohttp.ClientSession() as session:
        ask = asking(session, server.url, bodies, set())

        async def call() -> None:
            nonlocal done
            while next(numbers) < requests:
                await ask()
                done += 1
                if done % step == 0 or done == 1:
                    samples.append((done, server.rss_mb()))

        await asyncio.gather(*(call() for _ in range(callers)))
    return summed_up(samples)


def measure(
    version: Version, engine: str, bodies: Sequence[bytes], requests: int, *, callers: int = 4
) -> Memory:
    """Start the service with a version on an engine, and post photographs to it.

    Raises:
        ServerFailedError: it does not start.
    """
    port = free_port()
    contender = ours(version, engine)
    url = f"http://127.0.0.1:{port}/segment"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        environment = contender.environment(port)
        with serving(contender.command, environment, url, log, bodies[0]) as server:
            return asyncio.run(post(server, bodies, requests, callers))


def main() -> int:
    """Print what was held.

    Returns:
        0; 1 where it was too much or grew, 2 where nothing could be measured.
    """
    parser = argparse.ArgumentParser(prog="benchmarks.memory")
    parser.add_argument("--registry", type=Path, default=Path("models"))
    parser.add_argument("--name", default="lesion-unet")
    parser.add_argument("--engine", default="auto", help="as LESION_BACKEND")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--photographs", type=Path, help="folder of JPEGs; drawn ones without it")
    arguments = parser.parse_args()
    version = Version(arguments.registry, arguments.name, "production")
    try:
        bodies = photographs(arguments.photographs)
        found = measure(
            version, arguments.engine, bodies, arguments.requests, callers=arguments.callers
        )
    except (ServerFailedError, SegmentationError) as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    print(
        f"{found.requests} requests of {arguments.callers} callers: {found.first_mb:.0f} MB after "
        f"the first, {found.most_mb:.0f} MB at most (limit {LIMIT_MB:.0f}), "
        f"{found.slope_mb:+.2f} ± {found.error_mb:.2f} MB for each further thousand"
    )
    return 0 if found.flat and found.most_mb < LIMIT_MB else 1


if __name__ == "__main__":
    sys.exit(main())

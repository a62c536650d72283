"""From the start of the process to the first mask: `python -m benchmarks.cold_start`.

`python -m service` is started time and again, with a registry's production version, and asked for
the mask of a photograph until it gives one. The files are in the system's cache from the second
start on; the first is printed too.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.bodies import draw_photograph
from benchmarks.latency import middle
from benchmarks.processes import ServerFailedError, Weight, free_port, serving
from benchmarks.servers import Contender, Version, ours


def start(contender: Contender, log: Path) -> tuple[float, Weight]:
    """Seconds until the first mask, and what the process had used by then."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/segment"
    environment, photograph = contender.environment(port), draw_photograph(0)
    with serving(contender.command, environment, url, log, photograph) as server:
        return server.start_s, server.weigh()


def main() -> int:
    """Print a line for each start, and the median.

    Returns:
        0; 1 where the service does not start.
    """
    parser = argparse.ArgumentParser(prog="benchmarks.cold_start", description=__doc__)
    parser.add_argument("--registry", type=Path, default=Path("models"))
    parser.add_argument("--name", default="lesion-unet")
    parser.add_argument("--engine", default="auto", help="as LESION_BACKEND")
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    version = Version(arguments.registry, arguments.name, "production")
    taken: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.times):
            try:
                seconds, weight = start(ours(version, arguments.engine), Path(folder) / "log")
            except ServerFailedError as exc:
                print(f"benchmarks: {exc}", file=sys.stderr)
                return 1
            taken.append((seconds, weight.cpu_s))
            print(f"{seconds:.2f} s, {weight.cpu_s:.2f} core-s, {weight.resident_mb:.0f} MB")
    wall, cpu = (middle(list(each)) for each in zip(*taken, strict=True))
    print(f"median of {len(taken)}: {wall:.2f} s, {cpu:.2f} core-s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

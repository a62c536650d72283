"""The whole table, in one run: `python -m benchmarks` (docs/performance.md says how to read it)."""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bodies import photographs
from benchmarks.engines import NULL
from benchmarks.machine import BUSY_CORES, conditions
from benchmarks.results import odd, table, write
from benchmarks.rounds import Bench, Load, Plan
from benchmarks.servers import NAIVE, OURS, PEERS, Contender, Version, ours, peer
from model_core.backends.cores import usable_cores
from model_core.errors import SegmentationError


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description="Measure the service beside its peers, in one run."
    )
    parser.add_argument("--registry", type=Path, default=Path("models"), help="of the version")
    parser.add_argument("--name", default="lesion-unet", help="model; its production version")
    parser.add_argument(
        "--engines",
        nargs="+",
        default=["auto", "pytorch-fp32", NULL],
        help="as LESION_BACKEND; null is a constant in place of the network",
    )
    parser.add_argument(
        "--servers",
        nargs="+",
        type=server,
        default=[(name, 0) for name in (OURS, *PEERS)],
        help=f"of {OURS}, {', '.join(PEERS)}; a peer's processes behind it, as ray:2",
    )
    parser.add_argument(
        "--peer-workers",
        nargs="+",
        type=int,
        default=sorted({1, usable_cores()}),
        help="processes of a peer that names none, each on its share of the cores",
    )
    parser.add_argument(
        "--peer-batch",
        type=int,
        default=1,
        help="largest batch of the peers' own batching; 1 leaves it off",
    )
    parser.add_argument(
        "--peer-steps",
        choices=["pil", "ours"],
        default="pil",
        help="around the network: Pillow as people write it, or our predictor",
    )
    parser.add_argument("--callers", nargs="*", type=int, default=[1, 8, 32])
    parser.add_argument(
        "--open-loop",
        nargs="*",
        type=float,
        default=[0.7],
        help="offered rates, as fractions of what the engine alone does",
    )
    parser.add_argument(
        "--generators", type=int, default=1, help="processes that the callers are shared out among"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="let the servers run between rounds: for many short rounds on a busy machine; memory "
        "that several share is then counted in parts",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each load in each round")
    parser.add_argument("--warmup", type=float, default=2, help="s before that")
    parser.add_argument("--photographs", type=Path, help="folder of JPEGs; drawn ones without it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    return parser.parse_args(words)  # fmt: skip


def server(text: str) -> tuple[str, int]:
    """A server's name, and how many processes it is to have; 0 where that is not said."""
    name, _, workers = text.partition(":")
    if name not in (OURS, *PEERS) or (workers and (name in (OURS, NAIVE) or int(workers) < 1)):
        raise ValueError(text)
    return name, int(workers or 0)


def contenders(arguments: argparse.Namespace, version: Version) -> Iterator[Contender]:
    """Everyone who is to be measured, engine by engine."""
    for engine in arguments.engines:
        for name, chosen in arguments.servers:
            if name == OURS:
                yield ours(version, engine)
            elif name == NAIVE:
                yield peer(name, version, engine, steps=arguments.peer_steps)
            else:
                for workers in [chosen] if chosen else arguments.peer_workers:
                    yield peer(name, version, engine, workers=workers,
                               batch=arguments.peer_batch, steps=arguments.peer_steps)  # fmt: skip


def main() -> int:
    """Measure, print, write.

    Returns:
        0; 1 where a row is unsound, 2 where the command line asks what cannot be.
    """
    arguments = parse()
    try:
        bodies = photographs(arguments.photographs)
    except SegmentationError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    version = Version(arguments.registry, arguments.name, "production")
    loads = [Load(callers=each) for each in arguments.callers]
    loads += [Load(of_ceiling=each) for each in arguments.open_loop]
    found = conditions() | {"arguments": {key: str(each) for key, each in vars(arguments).items()}}
    if not found["quiet"]:
        print(f"The machine is not quiet: others keep {found['busy_cores_before']} cores busy "
              f"(limit {BUSY_CORES}). The figures below are not to be quoted.")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        (folder / "bodies").mkdir()
        for number, body in enumerate(bodies):
            (folder / "bodies" / f"{number:03}.jpg").write_bytes(body)
        plan = Plan(version, list(contenders(arguments, version)), loads, arguments.rounds,
                    arguments.seconds, arguments.warmup, folder, arguments.generators,
                    arguments.keep)  # fmt: skip
        rows = Bench(plan, _say).run()
    print(table(rows))
    write(rows, found, arguments.out)
    print(f"\nresults.json and requests_per_second.png are in {arguments.out}")
    for line in (unsound := odd(rows)):
        print(f"unsound: {line}", file=sys.stderr)
    return 1 if unsound else 0


def _say(step: str) -> None:
    print(time.strftime("%H:%M:%S"), step, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Masks of a folder of photographs, in five ways: `python -m benchmarks.folder`.

`trainer predict` and the service's `/segment/batch` beside three programs as people write them, all
with the same version and engine: one photograph after the other, a pool of threads, and what
`nnUNetv2_predict` does (processes that read, one that runs the network, processes that write). From
the start of each program to its end; the service alone is running already. Every way writes a PNG
for each photograph, and all take turns, round by round.
"""

import argparse
import io
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.bodies import BOUNDARY, MULTIPART, part, photographs
from benchmarks.latency import middle, spread
from benchmarks.machine import conditions
from benchmarks.peers.options import PeerOptions
from benchmarks.peers.steps import Steps, open_steps, segment
from benchmarks.processes import ROOT, Server, free_port, serving
from benchmarks.servers import Version, ours
from model_core.backends.cores import usable_cores
from model_core.errors import SegmentationError

BATCH = 64
"""Photographs in one request, the service's own limit."""
READERS, WRITERS = 3, 3
"""Processes, as `nnUNetv2_predict` has them (-npp, -nps)."""
LOOP, THREADS, NNUNET = "one after the other", "a pool of threads", "as nnUNetv2_predict"
PREDICT, SERVICE = "trainer predict", "service, /segment/batch"

Way = Callable[[Path, Path], float]
"""Makes the masks of one folder in another; gives the core seconds that it took."""


def loop(steps: Steps, names: Sequence[Path], out: Path) -> None:
    """Read, segment and write, one photograph after the other."""
    for name in names:
        (out / f"{name.name}.png").write_bytes(segment(steps, name.read_bytes()))


def threads(steps: Steps, names: Sequence[Path], out: Path) -> None:
    """Do the same in as many threads as there are cores."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(lambda name: loop(steps, [name], out), names))


def as_nnunet(options: PeerOptions, names: Sequence[Path], out: Path) -> None:
    """Read in processes, run the network in this one, enlarge and write in processes again."""
    fresh = multiprocessing.get_context("spawn")  # the engine has threads, which no fork survives
    with (
        ProcessPoolExecutor(READERS, mp_context=fresh) as reading,
        ProcessPoolExecutor(WRITERS, mp_context=fresh) as writing,
    ):
        steps = open_steps(options)
        written = []
        for name, (pixels, known) in zip(names, _ahead(reading, options, names), strict=True):
            logits = steps.network(pixels[None])[0]
            path = out / f"{name.name}.png"
            written.append(writing.submit(_write, options, logits, known, path))
        for each in written:
            each.result()


def _ahead(pool: Executor, options: PeerOptions, names: Sequence[Path]) -> Iterator[Any]:
    return pool.map(partial(_read, options), names)


@cache
def _outer_steps(options: PeerOptions) -> Steps:
    return open_steps(options, network=False)


def _read(options: PeerOptions, name: Path) -> Any:
    return _outer_steps(options).before(name.read_bytes())


def _write(options: PeerOptions, logits: Any, known: Any, path: Path) -> None:
    path.write_bytes(_outer_steps(options).after(logits, known))


def by_command(*command: str) -> Way:
    """Run a command that takes the two folders last."""

    def run(source: Path, out: Path) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        words = [sys.executable, "-m", *command, str(source), "--out", str(out)]
        subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    return run


def by_service(server: Server, source: Path, out: Path) -> float:
    """Send the folder to `/segment/batch`, and write the masks that come back."""
    names = sorted(source.iterdir())
    before = server.weigh().cpu_s
    for at in range(0, len(names), BATCH):
        bodies = [part("images", name.name, name.read_bytes()) for name in names[at : at + BATCH]]
        form = b"".join([*bodies, f"--{BOUNDARY}--\r\n".encode()])
        url = f"{server.url}/batch?format=zip"
        request = urllib.request.Request(url, data=form, headers={"Content-Type": MULTIPART})
        with urllib.request.urlopen(request, timeout=600) as answer:
            zipfile.ZipFile(io.BytesIO(answer.read())).extractall(out)
    return server.weigh().cpu_s - before


@contextmanager
def ways(version: Version, engine: str, folder: Path) -> Iterator[dict[str, Way]]:
    """Give every way by its name; the service runs until the end."""
    told = ["--registry", str(version.root), "--name", version.name]
    mine = ["benchmarks.folder", *told, "--engine", engine, "--way"]
    predict = ["trainer", "predict", *told, "--model", version.version, "--backend", engine]
    contender, port = ours(version, engine), free_port()
    url = f"http://127.0.0.1:{port}/segment"
    first = next(iter(sorted((folder / "photographs").iterdir()))).read_bytes()
    environment = contender.environment(port)
    with serving(contender.command, environment, url, folder / "log", first) as server:
        yield {
            LOOP: by_command(*mine, LOOP),
            THREADS: by_command(*mine, THREADS),
            NNUNET: by_command(*mine, NNUNET),
            PREDICT: by_command(*predict, "--format", "png"),
            SERVICE: partial(by_service, server),
        }


def measure(
    version: Version, engine: str, bodies: Sequence[bytes], count: int, rounds: int
) -> list[dict[str, Any]]:
    """Let all ways take turns.

    Args:
        version: What all run.
        engine: As LESION_BACKEND.
        bodies: Photographs, taken again and again.
        count: Of the folder's photographs.
        rounds: How often.

    Returns:
        A row a way: masks/s and core ms a mask, with each round's.
    """
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="folder-") as name:
        folder = Path(name)
        source = folder / "photographs"
        source.mkdir()
        for number in range(count):
            (source / f"{number:05}.jpg").write_bytes(bodies[number % len(bodies)])
        with ways(version, engine, folder) as found:
            for turn in range(rounds):
                for way, run in found.items():
                    out = folder / f"{turn} {way.replace('/', ' ')}"
                    out.mkdir()
                    began = time.perf_counter()
                    cpu_s = run(source, out)
                    rates.setdefault(way, []).append(count / (time.perf_counter() - began))
                    costs.setdefault(way, []).append(1000 * cpu_s / count)
                    written = sum(1 for _ in out.rglob("*.png"))
                    if written != count:
                        raise RuntimeError(f"{way} wrote {written} of {count} masks")
    return [
        {"way": way, "masks_per_s": middle(each), "spread": spread(each), "rounds": each,
         "cpu_ms": middle(costs[way])}
        for way, each in rates.items()
    ]  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Print the table and write it; or, as one of the programs, make the masks.

    Returns:
        0; 2 where there is nothing to measure.
    """
    parser = argparse.ArgumentParser(prog="benchmarks.folder")
    parser.add_argument("--registry", type=Path, default=Path("models"))
    parser.add_argument("--name", default="lesion-unet")
    parser.add_argument("--engine", default="auto", help="as LESION_BACKEND")
    parser.add_argument("--count", type=int, default=256, help="photographs of the folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photographs", type=Path, help="folder of JPEGs; drawn ones without it")
    parser.add_argument("--way", choices=(LOOP, THREADS, NNUNET), help="be this program, alone")
    parser.add_argument("source", type=Path, nargs="?", help="with --way: folder of photographs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/folder.json"))
    given = parser.parse_args(words)
    if given.way:
        options = PeerOptions(root=str(given.registry), name=given.name, version="production",
                              engine=given.engine, port=0)  # fmt: skip
        names = sorted(given.source.iterdir())
        if given.way == NNUNET:
            as_nnunet(options, names, given.out)
        else:
            (loop if given.way == LOOP else threads)(open_steps(options), names, given.out)
        return 0
    try:
        bodies = photographs(given.photographs)
        version = Version(given.registry, given.name, "production")
        rows = measure(version, given.engine, bodies, given.count, given.rounds)
    except SegmentationError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    found = {"conditions": conditions(), "photographs": given.count, "rows": rows}
    print(f"{'way':<28}{'masks/s':>9}{'+-%':>6}{'cpu ms':>8}")
    for row in rows:
        rate, apart = row["masks_per_s"], 100 * row["spread"]
        print(f"{row['way']:<28}{rate:>9.1f}{apart:>6.0f}{row['cpu_ms']:>8.1f}")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

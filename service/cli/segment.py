"""`lesion segment`: photographs in, a file with the answer to each out."""

import json
import os
import sys
import tempfile
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from service.cli.files import PHOTOGRAPHS, UsageError, find_files, outputs_of, shown
from service.client import (
    AccessError,
    Client,
    ClientError,
    ProblemError,
    ServiceUnreachableError,
)

SUFFIXES = {
    "png": ".png",
    "png1": ".png",
    "rle": ".json",
    "overlay": ".overlay.png",
    "overlay-jpeg": ".overlay.jpg",
    "probability": ".probability.png",
    "polygon": ".polygon.json",
    "geojson": ".geojson",
    "zip": ".zip",
    "dicom-seg": ".seg.dcm",
    "dicom-sc": ".sc.dcm",
}
"""What is added to a photograph's name, by format; the service says which formats it offers."""

_UMASK = os.umask(0o077)
os.umask(_UMASK)
"""Read once: it belongs to the process, and two threads that read it at a time would change it."""
_NOT_TRIED = "not tried: the service had stopped answering"


@dataclass(frozen=True)
class Outcome:
    """What became of one photograph.

    Attributes:
        file: The photograph.
        output: The file with the answer; None where there is none.
        problem: What went wrong; empty where nothing did.
        error: The exception behind it, if any.
    """

    file: Path
    output: Path | None = None
    problem: str = ""
    error: Exception | None = None

    def as_json(self) -> dict[str, Any]:
        """One line of `--json`."""
        line: dict[str, Any] = {"file": str(self.file), "ok": not self.problem}
        if self.output:
            line["output"] = str(self.output)
        if self.problem:
            line["problem"] = self.problem
        if isinstance(self.error, ProblemError):
            line |= {"status": self.error.status, "slug": self.error.slug}
        return line


def segment(args: Namespace, client: Client) -> int:
    """Run the command.

    Returns:
        0; 1 where a file failed; 3 where the service did not answer, or not to this caller.

    Raises:
        UsageError: the outputs would collide, or overwrite an input.
    """
    files = find_files(args.files, PHOTOGRAPHS)
    outputs = outputs_of(files, args.out, SUFFIXES[args.format])
    overwritten = {os.path.realpath(o) for o in outputs} & {os.path.realpath(f) for f in files}
    if overwritten:
        raise UsageError(f"the result would overwrite {shown(min(overwritten))}, a photograph")
    failed: list[Outcome] = []
    with tqdm(total=len(files), desc="segment", unit="file", disable=args.json or None) as bar:
        for outcome in _outcomes(args, client, files, outputs):
            if args.json:
                print(json.dumps(outcome.as_json()), flush=True)
            elif outcome.problem:
                bar.write(f"lesion: {shown(outcome.file)}: {outcome.problem}", file=sys.stderr)
            failed += [outcome] if outcome.problem else []
            bar.update()
    if not args.json:
        print(f"{len(files) - len(failed)} of {len(files)} files segmented, in {shown(args.out)}")
    return exit_code(failed)


def exit_code(failed: Sequence[Outcome]) -> int:
    """Of a command in which these files failed."""
    if any(_is_fatal(outcome.error) for outcome in failed):
        return 3
    return 1 if failed else 0


def _outcomes(
    args: Namespace, client: Client, files: Sequence[Path], outputs: Sequence[Path]
) -> Iterator[Outcome]:
    """One a file, in their order; several are under way at a time."""
    stop = threading.Event()

    def one(file: Path, output: Path) -> Outcome:
        if stop.is_set():
            return Outcome(file, problem=_NOT_TRIED)
        outcome = _one(args, client, file, output)
        if _is_fatal(outcome.error):
            stop.set()
        return outcome

    with ThreadPoolExecutor(args.jobs) as pool:
        try:
            yield from pool.map(one, files, outputs)
        finally:
            stop.set()  # an interrupt leaves the rest


def _one(args: Namespace, client: Client, file: Path, output: Path) -> Outcome:
    if output.exists() and not args.overwrite:
        return Outcome(file, problem=f"{shown(output)} exists already; --overwrite replaces it")
    try:
        content = client.segment_as(file, args.format, threshold=args.threshold, model=args.model)
        write_whole(output, content)
    except (ClientError, OSError) as exc:
        return Outcome(file, problem=explained(exc), error=exc)
    return Outcome(file, output)


def explained(error: Exception) -> str:
    """One line on what went wrong."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return " ".join(str(error).split())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".lesion-")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        part.chmod(0o666 & ~_UMASK)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _is_fatal(error: Exception | None) -> bool:
    """Whether the next file would fail the same way."""
    return isinstance(error, (ServiceUnreachableError, AccessError))

"""`lesion segment`: write the answer to each image into a file."""

import json
import os
import sys
import threading
import uuid
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from model_core.errors import InputError
from service.cli.files import IMAGES, UsageError, find_files, outputs_of, shown
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
    "image-jpeg": ".image.jpg",
    "overlay": ".overlay.png",
    "overlay-jpeg": ".overlay.jpg",
    "probability": ".probability.png",
    "polygon": ".polygon.json",
    "geojson": ".geojson",
    "zip": ".zip",
    "dicom-seg": ".seg.dcm",
    "dicom-sc": ".sc.dcm",
    "dicom-sr": ".sr.dcm",
}
"""What is added to an image's name, by format; the service says which formats it offers."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    """Result of one file.

    Attributes:
        file: The image or mask.
        output: The file with the answer; None where there is none.
        problem: What went wrong; empty where nothing did.
        error: The exception behind it, if any.
    """

    file: Path
    output: Path | None = None
    problem: str = ""
    error: Exception | None = None

    def as_json(self) -> dict[str, Any]:
        """Return one line of `--json`."""
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
    files = find_files(args.files, IMAGES)
    outputs = outputs_of(files, args.out, SUFFIXES[args.format])
    # By their real paths: the folder for results may be a link to that of the images.
    overwritten = {os.path.realpath(o) for o in outputs} & {os.path.realpath(f) for f in files}
    if overwritten:
        raise UsageError(f"the result would overwrite {shown(min(overwritten))}, an image")

    def save(file: Path, output: Path) -> Outcome:
        if output.exists() and not args.overwrite:
            return Outcome(file, problem=f"{shown(output)} exists already; --overwrite replaces it")
        options = {
            "threshold": args.threshold,
            "margin": args.margin,
            "model": args.model,
        }
        write_whole(output, client.segment_as(file, args.format, **options))
        return Outcome(file, output)

    failed: list[Outcome] = []
    # `or None`: no bar where standard error is no terminal.
    with tqdm(total=len(files), desc="segment", unit="file", disable=args.json or None) as bar:
        for outcome in run_jobs(args.jobs, save, files, outputs):
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
    """Return the exit code of a command in which these files failed."""
    if any(is_fatal(outcome.error) for outcome in failed):
        return 3
    return 1 if failed else 0


def run_jobs(
    jobs: int,
    job: Callable[[Path, Path], Result | Outcome],
    files: Sequence[Path],
    others: Sequence[Path],
) -> Iterator[Result | Outcome]:
    """Run a job on each file and its partner, several at a time; yields results in their order.

    A job that raises gives a failed `Outcome`. After an error that every file would meet, such as
    a service that does not answer, the rest is not tried.
    """
    stop = threading.Event()

    def run(file: Path, other: Path) -> Result | Outcome:
        if stop.is_set():
            return Outcome(file, problem="not tried: the service had stopped answering")
        try:
            return job(file, other)
        except (ClientError, OSError, InputError) as exc:
            if is_fatal(exc):
                stop.set()
            return Outcome(file, problem=explained(exc), error=exc)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(run, files, others)
        finally:
            stop.set()  # an interrupt leaves the rest


def explained(error: Exception) -> str:
    """Describe an error in one line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return " ".join(str(error).split())


def is_fatal(error: Exception | None) -> bool:
    """Return whether the next file would fail the same way."""
    return isinstance(error, (ServiceUnreachableError, AccessError))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder: a file is replaced in one step only within one file system.
    part = path.with_name(f".lesion-{uuid.uuid4().hex}")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

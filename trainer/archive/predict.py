"""Masks of a whole archive: PNG files, COCO JSON, or Parquet of run lengths and measurements.

    python -m trainer predict photographs --model production --out masks
    python -m trainer predict s3://archive/2024 --out s3://masks/2024 --format parquet --runner ray

docs/archives.md says what lies in --out. Stopped, the same command goes on where it was.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from model_core.errors import ConfigError
from model_core.predictor import Predictor
from trainer.archive.file_store import FileStore, absolute
from trainer.archive.formats import COCO, SKIPPED, joined_coco, read_skipped, skipped_table
from trainer.archive.job import Job, claim
from trainer.archive.shards import Report, Shard, cut, remove_stale, unfinished
from trainer.archive.sources import list_photographs
from trainer.archive.worker import Worker
from trainer.training.run import held

JOINED = 20_000
"""Images up to which one COCO file is made of those of the shards: its readers load it whole."""

Runner = Callable[[Job, list[Shard], Callable[[int], Any]], Iterator[Report]]
"""Does shards, in any order, and calls its last argument with the number of photographs done."""


@dataclass(frozen=True)
class Outcome:
    """How an archive's prediction ended.

    Attributes:
        images: Photographs of the source.
        skipped: (name, reason) of each that could not be used.
        passed_over: Names of the files that are no photographs.
        done_now: Photographs of this start; the others were done before.
        seconds: Of the clock, from the first shard's start to the last one's end.
        processor_s: Processor time of all workers, without their start.
    """

    images: int
    skipped: list[tuple[str, str]]
    passed_over: list[str]
    done_now: int
    seconds: float
    processor_s: float


def predict_archive(source: str, job: Job, run: Runner) -> Outcome:
    """Predict every photograph of a source that has no result yet.

    Raises:
        DatasetError: no such source, or no photograph in it.
        ConfigError: `job.out` lies within the source, holds other results, or is in use.
    """
    _check_apart(source, job.out)
    passed_over: list[str] = []
    photographs = list_photographs(source, passed_over.append)
    out = FileStore(job.out)
    # Two at once on an object store do each other no harm: they write the same bytes.
    with nullcontext() if out.folder is None else held(out.folder):
        claim(job, out)
        shards = cut(photographs, job.shard_size)
        remove_stale(shards, out)
        reports, seconds = _run(unfinished(shards, out), len(photographs), job, run)
        skipped = _join(shards, out, job, len(photographs))
    images = sum(report.images for report in reports)
    processor_s = sum(report.processor_s for report in reports)
    return Outcome(len(photographs), skipped, passed_over, images, seconds, processor_s)


def _run(todo: list[Shard], total: int, job: Job, run: Runner) -> tuple[list[Report], float]:
    done = total - sum(len(shard.photographs) for shard in todo)
    started = time.perf_counter()
    with tqdm(total=total, initial=done, desc="predict", unit="image", disable=None) as bar:
        reports = list(run(job, todo, bar.update)) if todo else []
    return reports, time.perf_counter() - started


def on_this_machine(open_predictor: Callable[[], Predictor]) -> Runner:
    """Make the runner that does one shard after another in this process."""

    def run(job: Job, shards: list[Shard], progress: Callable[[int], Any]) -> Iterator[Report]:
        worker = Worker(job, open_predictor(), lambda: progress(1))
        return map(worker.run, shards)

    return run


def _join(shards: list[Shard], out: FileStore, job: Job, total: int) -> list[tuple[str, str]]:
    """Write the tables of the whole archive; return the photographs that could not be used."""
    # In the order of the shards, which is that of the photographs.
    bad = sorted(out.names(SKIPPED))
    skipped = [row for name in bad for row in read_skipped(out.read(f"{SKIPPED}/{name}"))]
    out.write("skipped.csv", skipped_table(skipped))
    if COCO in job.formats and total <= JOINED:
        parts = (out.read(f"{COCO}/{shard.key}.json") for shard in shards)
        out.write("predictions.json", joined_coco(parts))
    else:
        # One of an earlier, smaller archive would be taken for all of this one.
        out.remove("predictions.json")
    return skipped


def _check_apart(source: str, out: str) -> None:
    one, other = absolute(source).rstrip("/") + "/", absolute(out).rstrip("/") + "/"
    if one.startswith(other) or other.startswith(one):
        raise ConfigError(
            f"one of {source} and {out} lies within the other: masks would be read as photographs"
        )

"""One worker: takes a shard of photographs, leaves its files. The same wherever it runs."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from model_core.arrays import Logits
from model_core.errors import ConfigError, DatasetError, InputError
from model_core.masks.png import encode_mask
from model_core.masks.rle import area_and_bbox, encode_rle
from model_core.predictor import Predictor, Prepared
from trainer.archive.file_store import FileStore
from trainer.archive.formats import (
    COCO,
    PARQUET,
    PNG,
    SKIPPED,
    Entry,
    coco,
    measurements,
    parquet,
    skipped_table,
)
from trainer.archive.job import Job
from trainer.archive.shards import DONE, Report, Shard, mask_name
from trainer.archive.sources import Photograph, Reader

_AHEAD = 8
"""Photographs decoded before the network wants them, and masks waiting to be written."""
_THREADS = 3

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class _Read:
    """A photograph that was read: ready for the network, or the reason why not."""

    entry: Entry
    prepared: Prepared | None = None


class Worker:
    """Predicts shards, one after another; decoding and encoding run beside the network.

    It calls `on_image` after each photograph, in the thread of `run`.
    """

    def __init__(
        self, job: Job, predictor: Predictor, on_image: Callable[[], object] = lambda: None
    ) -> None:
        self._job = job
        self._predictor = predictor
        self._on_image = on_image
        self._out = FileStore(job.out)
        self._read_bytes = Reader()

    def run(self, shard: Shard) -> Report:
        """Write a shard's files, its note last: killed before that, it is done again.

        Done again, or twice at once, it gives the same bytes.

        Raises:
            OSError, DatasetError: source or target cannot be reached.
        """
        started = time.process_time()
        entries = []
        for entry in self._entries(shard.photographs):
            entries.append(entry)
            self._on_image()
        self._write(shard, entries)
        bad = [(e["file_name"], e["problem"]) for e in entries if "problem" in e]
        if bad:
            self._out.write(f"{SKIPPED}/{shard.key}.csv", skipped_table(bad))
        note = {
            "images": len(entries),
            "skipped": len(bad),
            "engine": self._predictor.backend.name,
            "names": [photograph.name for photograph in shard.photographs],
        }
        self._out.write(f"{DONE}/{shard.key}.json", json.dumps(note).encode())
        return Report(shard.key, len(entries), len(bad), time.process_time() - started)

    def _write(self, shard: Shard, entries: list[Entry]) -> None:
        out, rules = self._out, self._job.rules
        if COCO in self._job.formats:
            out.write(f"{COCO}/{shard.key}.json", coco(entries, start=shard.start, info=rules))
        if PARQUET in self._job.formats:
            out.write(f"{PARQUET}/{shard.key}.parquet", parquet(entries, info=rules))

    def _entries(self, photographs: list[Photograph]) -> Iterator[Entry]:
        backend = self._predictor.backend
        batch = self._job.batch or backend.batch
        with (
            ThreadPoolExecutor(_THREADS) as beside,
            ThreadPoolExecutor(backend.streams) as network,
        ):
            read = _ahead(beside, self._read, photographs, _AHEAD + batch)
            inferred = _ahead(network, self._infer, _batched(read, batch), backend.streams)
            single = (image for images in inferred for image in images)
            yield from _ahead(beside, self._finish, single, _AHEAD)

    def _read(self, photograph: Photograph) -> _Read:
        name = photograph.name
        try:
            data = self._read_bytes(photograph)
            known = {"file_name": name, "sha256": hashlib.sha256(data).hexdigest()}
            return _Read(known, self._predictor.prepare(data))
        except (DatasetError, ConfigError):  # of the place, not of the photograph
            raise
        except (InputError, FileNotFoundError, PermissionError) as exc:
            return _Read({"file_name": name, "problem": str(exc)})

    def _infer(self, batch: list[_Read]) -> list[tuple[_Read, Logits | None]]:
        good = [read.prepared.pixels for read in batch if read.prepared is not None]
        logits = iter(self._predictor.infer(np.stack(good)) if good else ())
        return [(read, None if read.prepared is None else next(logits)) for read in batch]

    def _finish(self, inferred: tuple[_Read, Logits | None]) -> Entry:
        read, logits = inferred
        if read.prepared is None or logits is None:
            if PNG in self._job.formats:  # of the file as it once was
                self._out.remove(mask_name(read.entry["file_name"]))
            return read.entry
        prediction = self._predictor.finish(logits, read.prepared.geometry)
        mask = prediction.mask
        if PNG in self._job.formats:
            self._out.write(mask_name(read.entry["file_name"]), encode_mask(mask))
        rle = encode_rle(mask)
        area, bbox = area_and_bbox(rle)
        lesion = {
            "height": mask.shape[0],
            "width": mask.shape[1],
            "segmentation": rle,
            "area": area,
            "bbox": bbox,
            "score": prediction.score,
        }
        if PARQUET in self._job.formats:
            lesion["measurements"] = measurements(mask)
        return {**read.entry, **lesion}


def _ahead(
    pool: Executor, function: Callable[[T], R], items: Iterable[T], most: int
) -> Iterator[R]:
    """Map in threads, in order, with at most `most` results being worked on or waiting."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch

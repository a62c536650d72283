"""An archive in shards: so many photographs each, done whole or not at all."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trainer.archive.file_store import FileStore
from trainer.archive.formats import FOLDERS
from trainer.archive.sources import Photograph

DONE = "done"
"""Folder of the notes that say which shards there are; a shard's is its last file."""


@dataclass(frozen=True)
class Shard:
    """Neighbouring photographs, at least one, which begin at place `start` of the sorted list."""

    number: int
    start: int
    photographs: list[Photograph]

    @property
    def key(self) -> str:
        """Name of its files: its number, and a digest of what it holds.

        A photograph that was added, changed or removed gives another key, so that the files of a
        key never go out of date.
        """
        text = json.dumps([self.start, self.photographs])
        return f"{self.number:06}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Report:
    """A worker's report of a shard: its images, those skipped, and the processor time taken."""

    key: str
    images: int
    skipped: int
    processor_s: float


def cut(photographs: Sequence[Photograph], size: int) -> list[Shard]:
    """Cut a list into shards of `size` photographs, the last one smaller."""
    starts = range(0, len(photographs), size)
    return [
        Shard(number, start, list(photographs[start : start + size]))
        for number, start in enumerate(starts)
    ]


def unfinished(shards: Sequence[Shard], out: FileStore) -> list[Shard]:
    """List the shards that have no note that they are done."""
    done = {name.removesuffix(".json") for name in out.names(DONE)}
    return [shard for shard in shards if shard.key not in done]


def remove_stale(shards: Sequence[Shard], out: FileStore) -> None:
    """Remove what earlier runs left of shards that have changed since: no photograph is twice."""
    keys = {shard.key for shard in shards}
    stale = {name for name in out.names(DONE) if name.removesuffix(".json") not in keys}
    if stale:
        _remove_masks(stale, shards, out)
    for folder in (*FOLDERS, DONE):  # the notes last: a kill in between leaves them to be swept
        for name in out.names(folder):
            if name.partition(".")[0] not in keys:
                out.remove(f"{folder}/{name}")


def _remove_masks(stale: Iterable[str], shards: Sequence[Shard], out: FileStore) -> None:
    """Remove the masks of photographs that no shard has any more."""
    names = {photograph.name for shard in shards for photograph in shard.photographs}
    for note in stale:
        for name in json.loads(out.read(f"{DONE}/{note}"))["names"]:
            if name not in names:
                out.remove(mask_name(name))


def mask_name(name: str) -> str:
    """Name a photograph's mask: its own name with `.png` added, so that none collide."""
    return f"masks/{name}.png"

"""Discs under the IDs of real photographs, so that the committed split says where each belongs."""

from pathlib import Path

from tests.discs import row, write_manifest, write_pair
from trainer.datasets import prepare
from trainer.layouts import read_manifest
from trainer.samples import Sample, write_samples
from trainer.split import COMMITTED_SPLIT, Part, read_split


def ids_of(part: Part, count: int) -> list[str]:
    """The first IDs that the committed split puts on a side."""
    places = read_split(COMMITTED_SPLIT)
    return [name for name, place in places.items() if place.part == part][:count]


def write_committed(source: Path, out: Path, *, train: int = 8, others: int = 3) -> list[Sample]:
    """Prepare a folder of `isic` and `ph2` discs."""
    source.mkdir()
    rows: list[dict[str, str]] = []
    counts: dict[Part, int] = {"train": train, "val": others, "test": others, "external": others}
    for part, count in counts.items():
        for name in ids_of(part, count):
            write_pair(source, name, seed=len(rows))
            rows.append(row(name, dataset="ph2" if part == "external" else "isic"))
    write_manifest(source, rows)
    samples = prepare(read_manifest(source)).samples
    write_samples(samples, out)
    return samples

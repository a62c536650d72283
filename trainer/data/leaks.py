"""No image that a model has seen may be scored: whether two sets share photographs.

    python -m trainer leaks data/isic2018 data/ham10000

A photograph is shared where its ID, its file's hash or nearly its pixels are.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from model_core.errors import DatasetError
from trainer.data.near_duplicates import near_pairs
from trainer.data.samples import Sample
from trainer.data.split import Part, parse_part
from trainer.data.tables import read_table, write_table

TRAINED_CSV = "trained_on.csv"
_SHOWN = 10


@dataclass(frozen=True)
class Fingerprint:
    """What tells a photograph again without keeping it or its name.

    Attributes:
        part: Side of the split.
        id_sha256: Hash of its ID: IDs of a clinic's archive may point to persons.
        image_sha256: Hash of its file.
        phash: `trainer.data.near_duplicates.perceptual_hash`; empty where unknown.
    """

    part: Part
    id_sha256: str
    image_sha256: str
    phash: str


COLUMNS = tuple(entry.name for entry in fields(Fingerprint))


@dataclass(frozen=True)
class Leak:
    """A photograph of one set that is in another too.

    Attributes:
        index: Its place in the first set.
        other: Place in the second set, of those entries that count.
        why: How they were found to be the same.
    """

    index: int
    other: int
    why: str


def fingerprint(sample: Sample) -> Fingerprint:
    """The fingerprint of a sample."""
    hashed = hashlib.sha256(sample.id.encode()).hexdigest()
    return Fingerprint(sample.part, hashed, sample.image_sha256, sample.phash)


def find_leaks(first: Sequence[Fingerprint], second: Sequence[Fingerprint]) -> list[Leak]:
    """One leak for each photograph of `first` that is in `second`, with the plainest reason."""
    found: dict[int, Leak] = {}
    for attribute, why in (("id_sha256", "same ID"), ("image_sha256", "same file")):
        places = {getattr(entry, attribute): place for place, entry in enumerate(second)}
        for index, entry in enumerate(first):
            other = places.get(getattr(entry, attribute))
            if other is not None:
                found.setdefault(index, Leak(index, other, why))
    hashes = [entry.phash for entry in first], [entry.phash for entry in second]
    for index, other, bits in near_pairs(*hashes):
        found.setdefault(index, Leak(index, other, f"same picture but for {bits} of 255 bits"))
    return [found[index] for index in sorted(found)]


def write_trained(seen: Iterable[Fingerprint], folder: Path) -> None:
    """Note in a run folder which photographs steered its weights: train and val, not test."""
    rows = sorted(astuple(entry) for entry in set(seen) if entry.part in ("train", "val"))
    write_table(folder / TRAINED_CSV, COLUMNS, rows)


def read_trained(folder: Path) -> list[Fingerprint] | None:
    """What `write_trained` noted; None where nothing is noted, as in runs of before 0.2.

    Raises:
        DatasetError: the file is not such a table.
    """
    path = folder / TRAINED_CSV
    if not path.is_file():
        return None
    return parse_trained(read_table(path, COLUMNS))


def parse_trained(rows: Iterable[dict[str, str]]) -> list[Fingerprint]:
    """Fingerprints of the rows of a `trained_on.csv`."""
    return [
        Fingerprint(parse_part(row["part"]), row["id_sha256"], row["image_sha256"], row["phash"])
        for row in rows
    ]


def seen_among(samples: Sequence[Sample], trained: Sequence[Fingerprint]) -> list[Leak]:
    """The samples that a model has seen: none may be scored.

    Validation images steer a run, so they count as seen by all but the validation part itself.
    """
    fitted = [entry for entry in trained if entry.part == "train"]
    steered = [entry for entry in trained if entry.part in ("train", "val")]
    found: list[Leak] = []
    for validating, known in ((True, fitted), (False, steered)):
        places = [i for i, sample in enumerate(samples) if (sample.part == "val") == validating]
        leaks = find_leaks([fingerprint(samples[place]) for place in places], known)
        found += [Leak(places[leak.index], leak.other, leak.why) for leak in leaks]
    return sorted(found, key=lambda leak: leak.index)


def require_unseen(
    samples: Sequence[Sample],
    trained: Sequence[Fingerprint],
    *,
    advice: str = "`evaluate --skip-bad` leaves them out",
) -> None:
    """Pass where none of the samples was seen in training.

    Args:
        samples: To be scored.
        trained: What the model has seen.
        advice: What to do about it, for the error.

    Raises:
        DatasetError: some were; the text lists the first of them.
    """
    leaks = seen_among(samples, trained)
    if leaks:
        raise DatasetError(
            f"{len(leaks)} of {len(samples)} images to be scored were seen in training "
            f"({advice}):\n  " + "\n  ".join(describe(leaks, samples))
        )


def describe(leaks: Sequence[Leak], samples: Sequence[Sample]) -> list[str]:
    """One line each for the first leaks of a list, and one for how many more there are."""
    lines = [f"{samples[leak.index].key}: {leak.why}" for leak in leaks[:_SHOWN]]
    more = len(leaks) - _SHOWN
    return [*lines, f"and {more} more"] if more > 0 else lines

"""No image that a model has seen may be scored: whether two sets share photographs.

    python -m trainer leaks data/isic2018 data/ham10000

A photograph is shared where its ID, its file's hash or nearly its pixels are.
"""

import hashlib
import sys
from collections import Counter
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

    `index` is its place in the first set, `other` that in the second, of those entries that count.
    """

    index: int
    other: int
    why: str


def fingerprint(sample: Sample) -> Fingerprint:
    """Make the fingerprint of a sample."""
    hashed = hashlib.sha256(sample.id.encode()).hexdigest()
    return Fingerprint(sample.part, hashed, sample.image_sha256, sample.phash)


def find_leaks(first: Sequence[Fingerprint], second: Sequence[Fingerprint]) -> list[Leak]:
    """Find each photograph of `first` that is in `second`: same ID, same file, or near picture."""
    leaks: dict[int, Leak] = {}
    for attribute, why in (("id_sha256", "same ID"), ("image_sha256", "same file")):
        places = {getattr(entry, attribute): place for place, entry in enumerate(second)}
        for index, entry in enumerate(first):
            other = places.get(getattr(entry, attribute))
            if other is not None:
                leaks.setdefault(index, Leak(index, other, why))
    hashes = [entry.phash for entry in first], [entry.phash for entry in second]
    for index, other, bits in near_pairs(*hashes):
        leaks.setdefault(index, Leak(index, other, f"same picture but for {bits} of 255 bits"))
    return [leaks[index] for index in sorted(leaks)]


def write_trained(seen: Iterable[Fingerprint], folder: Path) -> None:
    """Note in a run folder which photographs steered its weights: train and val, not test."""
    rows = sorted(astuple(entry) for entry in set(seen) if entry.part in ("train", "val"))
    write_table(folder / TRAINED_CSV, COLUMNS, rows)


def read_trained(folder: Path) -> list[Fingerprint] | None:
    """Read what `write_trained` noted; None where nothing is, as in runs of before 0.2.

    Raises:
        DatasetError: the file is not such a table.
    """
    path = folder / TRAINED_CSV
    if not path.is_file():
        return None
    return [
        Fingerprint(parse_part(row["part"]), row["id_sha256"], row["image_sha256"], row["phash"])
        for row in read_table(path, COLUMNS)
    ]


def seen_among(samples: Sequence[Sample], trained: Sequence[Fingerprint]) -> list[Leak]:
    """Find the samples that a model has seen: none may be scored.

    Validation images steer a run, so they count as seen by all but the validation part itself.
    """
    fitted = [entry for entry in trained if entry.part == "train"]
    steered = [entry for entry in trained if entry.part in ("train", "val")]
    seen: list[Leak] = []
    for validating, known in ((True, fitted), (False, steered)):
        places = [i for i, sample in enumerate(samples) if (sample.part == "val") == validating]
        leaks = find_leaks([fingerprint(samples[place]) for place in places], known)
        seen += [Leak(places[leak.index], leak.other, leak.why) for leak in leaks]
    return sorted(seen, key=lambda leak: leak.index)


def drop_seen(
    samples: Sequence[Sample], trained: Sequence[Fingerprint]
) -> tuple[list[Sample], list[Leak]]:
    """Part samples that a model may be scored on from the others, with a leak for each of these.

    Another photograph of a lesion or patient that it has seen tells too much as well: a group of
    the split is left out whole.
    """
    leaks = seen_among(samples, trained)
    first = {samples[leak.index].group: leak for leak in reversed(leaks)}
    out = {leak.index: leak for leak in leaks}
    for index, sample in enumerate(samples):
        if index not in out and (leak := first.get(sample.group)):
            why = f"same group as {samples[leak.index].key}"
            out[index] = Leak(index, leak.other, why)
    kept = [sample for index, sample in enumerate(samples) if index not in out]
    return kept, [out[index] for index in sorted(out)]


def require_unseen(
    samples: Sequence[Sample],
    trained: Sequence[Fingerprint],
    *,
    advice: str = "`evaluate --skip-bad` leaves them out",
) -> None:
    """Require that none of the samples was seen in training.

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
    """Write a line on each of the first leaks of a list, and one on how many more there are."""
    lines = [f"{samples[leak.index].key}: {leak.why}" for leak in leaks[:_SHOWN]]
    more = len(leaks) - _SHOWN
    return [*lines, f"and {more} more"] if more > 0 else lines


def scorable(
    samples: Sequence[Sample], seen: Sequence[Fingerprint], *, skip_bad: bool
) -> list[Sample]:
    """Select the samples that a model may be scored on, and print which ones are left out.

    Raises:
        DatasetError: some were seen and none may be left out, or all were.
    """
    if not skip_bad:
        require_unseen(samples, seen)
        return list(samples)
    kept, leaks = drop_seen(samples, seen)
    for line in describe(leaks, samples):
        print(f"left out, seen in training: {line}", file=sys.stderr)
    if not kept:
        raise DatasetError("every image to be scored was seen in training")
    if leaks:
        out = [samples[leak.index] for leak in leaks]
        print(f"left out: {count_left_out(samples, out)}", file=sys.stderr)
    return kept


def count_left_out(samples: Sequence[Sample], out: Sequence[Sample]) -> str:
    """Say how many of how many images are left out, in all and of each set.

    Example: `22 of 823 images (isic test 9 of 254, ham10000 test 13 of 341)`.
    """
    wanted = Counter(f"{sample.dataset} {sample.part}" for sample in samples)
    gone = Counter(f"{sample.dataset} {sample.part}" for sample in out)
    sets = ", ".join(f"{name} {count} of {wanted[name]}" for name, count in gone.items())
    return f"{len(out)} of {len(samples)} images ({sets})"

"""Folds of a cross-validation: the images that a run is kept from, to be scored on them."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from model_core.errors import DatasetError
from trainer.samples import Sample
from trainer.split import Part

_VALIDATED = 9
"""One group in so many of a fold's own is kept for validation, as `trainer.split.part_of` does."""


def deal(samples: Sequence[Sample], count: int) -> dict[str, int]:
    """Fold of each near-duplicate group, from 0: by names and sizes alone, in any order of rows.

    The largest groups go first, each to the fold that has the fewest images: no two folds differ by
    more images than the largest group has.

    Args:
        samples: All that take part.
        count: Number of folds.

    Raises:
        DatasetError: there are fewer groups than folds.
    """
    sizes = Counter(sample.group for sample in samples)
    if len(sizes) < count:
        raise DatasetError(
            f"{len(samples)} images in {len(sizes)} groups of near-duplicates are too few for "
            f"{count} folds: take fewer folds, or more images"
        )
    images = [0] * count
    folds: dict[str, int] = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], _shuffled(name))):
        fold = images.index(min(images))
        folds[group], images[fold] = fold, images[fold] + sizes[group]
    return folds


def without(samples: Sequence[Sample], folds: dict[str, int], fold: int) -> list[Sample]:
    """All samples, for the run that is kept from one fold: that fold is its test part.

    A ninth of the others is its validation part, which may steer it and therefore cannot be the
    fold itself.

    Args:
        samples: As given to `deal`.
        folds: What it gave.
        fold: The one to keep out.

    Raises:
        DatasetError: the other folds have only one group, which cannot both train and validate.
    """
    rest = [sample for sample in samples if folds[sample.group] != fold]
    groups = len({sample.group for sample in rest})
    if groups < 2:
        raise DatasetError("two groups of near-duplicates are too few to train on one of them")
    second = deal(rest, min(_VALIDATED, groups))

    def part(sample: Sample) -> Part:
        if folds[sample.group] == fold:
            return "test"
        return "train" if second[sample.group] else "val"

    return [replace(sample, part=part(sample)) for sample in samples]


def _shuffled(group: str) -> bytes:
    return hashlib.sha256(group.encode()).digest()

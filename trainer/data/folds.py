"""Folds of a cross-validation: the images that a run is kept from, to be scored on them."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from model_core.errors import DatasetError
from trainer.data.samples import Sample
from trainer.data.split import Part

_VALIDATED = 9
"""One image in so many of the others validates a run, the share of `trainer.data.split.part_of`."""


def assign_folds(samples: Sequence[Sample], count: int) -> dict[str, int]:
    """Assign each group a fold, from 1: by names and sizes alone, in any order of rows.

    The largest groups go first, each to the fold that has the fewest images: no two folds differ by
    more images than the largest group has.

    Raises:
        DatasetError: there are fewer groups than folds.
    """
    sizes = Counter(sample.group for sample in samples)
    if len(sizes) < count:
        raise DatasetError(
            f"{len(samples)} images in {len(sizes)} groups of near-duplicates are too few for "
            f"{count} folds: take fewer folds, or more images"
        )
    images = dict.fromkeys(range(1, count + 1), 0)
    folds: dict[str, int] = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], _shuffled(name))):
        fold = min(images, key=images.__getitem__)
        folds[group] = fold
        images[fold] += sizes[group]
    return folds


def without(samples: Sequence[Sample], folds: dict[str, int], fold: int) -> list[Sample]:
    """Split all samples for the run that is kept from one fold: that fold is its test part.

    About a ninth of the others is its validation part: it may steer the run, and so cannot be the
    fold itself. The largest of their groups is never in it.

    Raises:
        DatasetError: the others are one group, which cannot both train and validate.
    """
    rest = [sample for sample in samples if folds[sample.group] != fold]
    groups = len({sample.group for sample in rest})
    if groups < 2:
        raise DatasetError(
            f"beside fold {fold} there is one group of near-duplicates alone, and a run needs two, "
            "to train and to validate: take more folds, or more images"
        )
    validating = min(_VALIDATED, groups)
    second = assign_folds(rest, validating)

    def part(sample: Sample) -> Part:
        if folds[sample.group] == fold:
            return "test"
        return "val" if second[sample.group] == validating else "train"

    return [replace(sample, part=part(sample)) for sample in samples]


def _shuffled(group: str) -> bytes:
    return hashlib.sha256(group.encode()).digest()

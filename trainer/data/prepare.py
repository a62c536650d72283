"""Dataset folders in, checked samples out: who has a mask, how large, on which side of the split.

    python -m trainer prepare SOURCE --layout isic2018 --out data/isic

writes `samples.csv`: one row an image+mask pair, every file opened and checked once.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model_core.errors import DatasetError, SegmentationError
from model_core.images.decode import MAX_PIXELS, decode_image
from model_core.masks.png import decode_mask
from trainer.data.layouts import Listing, Pair, manifest_in, read_manifest
from trainer.data.near_duplicates import near_pairs, perceptual_hash
from trainer.data.samples import MASK_FORMATS, Sample, map_images, read_samples
from trainer.data.split import COMMITTED_SPLIT, EXTERNAL, Part, SplitEntry, part_of, read_split
from trainer.data.tables import other_case

_HELD_OUT_FIRST: tuple[Part, ...] = ("external", "test", "val", "train")
_TEST_STAYS: tuple[Part, ...] = ("external", "test", "train", "val")
"""Where a group goes whole that an older split parts: no test image leaves the test part, and the
validation part gets none that an older version was trained on."""


@dataclass(frozen=True)
class Prepared:
    """Samples that can be used, in the listing's order, and a line on each pair that cannot."""

    samples: list[Sample]
    problems: list[str]


def prepare(
    listing: Listing,
    *,
    split: dict[str, SplitEntry] | None = None,
    official: bool = False,
    ungrouped: bool = False,
    extend: bool = False,
) -> Prepared:
    """Open and check every pair, and give each its side of the split.

    Photographs with the same ID, lesion, patient or near-duplicate group, or nearly the same pixels
    are one group. IDs of the committed split are on the side that it gives them, and what is
    grouped with them too; the hash of any other group decides. Where one group comes to be on two
    sides, the side that is held out more keeps its samples and the others are problems.

    Args:
        listing: What a layout found.
        split: Place of each ID (`split.read_split`), instead of the committed split; an ID
            that it lacks is a problem.
        official: Follow the edition's own split.
        ungrouped: Go on where what ties photographs together is not found or not understood; where
            `split` is followed, also tie the IDs that it has by its own groups alone.
        extend: Make a new split of `split`: a group that it parts goes whole to its test side, else
            to training, and a group that it lacks to training.

    Raises:
        DatasetError: it is not, and `ungrouped` is not set; or photographs of the split that is to
            be extended are not here, or cannot be used.
    """
    if listing.ungrouped and not ungrouped:
        raise DatasetError(
            "photographs of one lesion or patient may come to both sides of the split "
            "(`prepare --no-groups` goes on all the same):\n  " + "\n  ".join(listing.ungrouped)
        )
    checked, problems = _check_all(listing.pairs)
    problems = [*listing.problems, *problems]
    known = read_split(COMMITTED_SPLIT) if split is None else split
    if split is not None and ungrouped and not extend:
        checked = [(replace(p, ties=()) if p.id in split else p, sample) for p, sample in checked]
    if extend:
        _require_all(known, checked, problems)
    groups = _groups(checked, known)
    sides = _sides(groups, known, _TEST_STAYS if extend else _HELD_OUT_FIRST)

    def part_in_split(pair: Pair, group: str) -> Part:
        if split is not None and not (official or extend) and pair.id not in split:
            raise DatasetError("not in the split file")
        if pair.dataset.lower() in EXTERNAL:
            return "external"
        if official:
            if pair.official is None:
                raise DatasetError("its edition has no official split")
            return pair.official
        if extend:
            return sides.get(group, "train")
        if pair.id in known:
            return known[pair.id].part
        return sides.get(group) or part_of(group, pair.dataset)

    samples: list[Sample] = []
    for pair, sample in checked:
        try:
            group = groups[sample.id]
            samples.append(replace(sample, group=group, part=part_in_split(pair, group)))
        except DatasetError as exc:
            problems.append(f"{sample.key}: {exc}")
    samples, repeated = _drop_repeated(samples)
    samples, torn = _drop_torn(samples)
    return Prepared(samples, problems + repeated + torn)


def require_no_problems(prepared: Prepared) -> list[Sample]:
    """Return the samples where every pair can be used.

    Raises:
        DatasetError: there are problems; the text lists them all.
    """
    if prepared.problems:
        listed = "\n  ".join(prepared.problems)
        raise DatasetError(
            f"{len(prepared.problems)} pairs cannot be used ({len(prepared.samples)} can; "
            f"`prepare --skip-bad` goes on with those):\n  {listed}"
        )
    return prepared.samples


def samples_of(place: Path) -> list[Sample]:
    """Read a prepared folder, or check a manifest (or its folder) now.

    Raises:
        DatasetError: neither, or the manifest has pairs that cannot be used.
    """
    if place.is_file() or manifest_in(place).is_file():
        return require_no_problems(prepare(read_manifest(place)))
    return read_samples(place)


def _check_all(pairs: list[Pair]) -> tuple[list[tuple[Pair, Sample]], list[str]]:
    def attempt(pair: Pair) -> Sample | str:
        try:
            return _check(pair)
        except (SegmentationError, OSError) as exc:
            return f"{pair.dataset}/{pair.id}: {exc}"

    results = list(map_images(attempt, pairs, "check", threads=None))
    checked = [(p, r) for p, r in zip(pairs, results, strict=True) if isinstance(r, Sample)]
    return checked, [result for result in results if isinstance(result, str)]


def _check(pair: Pair) -> Sample:
    for kind, path in (("photograph", pair.image), ("mask", pair.mask)):
        if not path.is_file():
            instead = other_case(path)
            raise DatasetError(f"no {kind} at {path}" + (instead and f", but {instead}"))
    image_bytes, mask_bytes = pair.image.read_bytes(), pair.mask.read_bytes()
    photograph = decode_image(image_bytes)
    mask = decode_mask(mask_bytes, formats=MASK_FORMATS)
    size = (photograph.height, photograph.width)
    if mask.shape != size:
        raise DatasetError(f"the mask is {mask.shape}, its photograph {size} (height, width)")
    height, width = _true_aspect(size, pair.aspect) if pair.aspect else size
    if height * width > MAX_PIXELS:
        raise DatasetError(f"at its true aspect it is {width}x{height}, over {MAX_PIXELS} pixels")
    return Sample(
        dataset=pair.dataset,
        id=pair.id,
        image=pair.image.resolve(),
        mask=pair.mask.resolve(),
        height=height,
        width=width,
        group=pair.id,  # until _groups knows what else is in it
        part="train",
        image_sha256=hashlib.sha256(image_bytes).hexdigest(),
        mask_sha256=hashlib.sha256(mask_bytes).hexdigest(),
        phash=perceptual_hash(photograph.picture),
    )


def _true_aspect(size: tuple[int, int], aspect: tuple[int, int]) -> tuple[int, int]:
    """Stretch the side of a file's (height, width) that was squashed more."""
    scale = max(size[0] / aspect[0], size[1] / aspect[1])
    return round(aspect[0] * scale), round(aspect[1] * scale)


def _require_all(
    split: Mapping[str, SplitEntry], checked: Sequence[tuple[Pair, Sample]], problems: Sequence[str]
) -> None:
    missing = sorted(set(split) - {sample.id for _, sample in checked})
    if missing:
        why = "".join(f"\n  {line}" for line in problems)
        raise DatasetError(
            f"{len(missing)} of the {len(split)} photographs of the split to extend, such as "
            f"{missing[0]}, are not here or cannot be used: name every folder that it was made of"
            f"{why}"
        )


def _groups(
    checked: Iterable[tuple[Pair, Sample]], split: Mapping[str, SplitEntry]
) -> dict[str, str]:
    """Group IDs through all that ties two photographs; a group is called by its first ID."""
    checked = list(checked)
    samples = [sample for _, sample in checked]
    parent = {sample.id: sample.id for sample in samples}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name] = parent[parent[name]]
        return name

    def tie(one: str, other: str) -> None:
        first, second = sorted((root(one), root(other)))
        parent[second] = first

    named: dict[tuple[str, str], str] = {}
    for pair, sample in checked:
        for name in pair.ties:
            tie(named.setdefault(("layout", name), sample.id), sample.id)
        if sample.id in split:
            tie(named.setdefault(("split", split[sample.id].group), sample.id), sample.id)
    hashes = [sample.phash for sample in samples]
    for one, other, _ in near_pairs(hashes, hashes):
        tie(samples[one].id, samples[other].id)
    return {name: root(name) for name in parent}


def _sides(
    groups: Mapping[str, str], split: Mapping[str, SplitEntry], order: Sequence[Part]
) -> dict[str, Part]:
    """Find the side of each group that a split knows; of two sides the first in `order`."""
    parts: dict[str, set[Part]] = defaultdict(set)
    for name, group in groups.items():
        if name in split:
            parts[group].add(split[name].part)
    return {group: min(sides, key=order.index) for group, sides in parts.items()}


def _drop_repeated(samples: list[Sample]) -> tuple[list[Sample], list[str]]:
    counts = Counter(sample.key for sample in samples)
    kept = list({sample.key: sample for sample in reversed(samples)}.values())[::-1]
    return kept, [f"{key}: listed {n} times" for key, n in counts.items() if n > 1]


def _drop_torn(samples: list[Sample]) -> tuple[list[Sample], list[str]]:
    """Drop the samples whose group is held out elsewhere."""
    sides: dict[str, set[Part]] = defaultdict(set)
    for sample in samples:
        sides[sample.group].add(sample.part)
    keeps = {group: min(parts, key=_HELD_OUT_FIRST.index) for group, parts in sides.items()}
    problems = [
        f"{sample.key}: in {sample.part}, while its ID or a near-duplicate of it (group "
        f"{sample.group}) is in {keeps[sample.group]}"
        for sample in samples
        if sample.part != keeps[sample.group]
    ]
    return [sample for sample in samples if sample.part == keeps[sample.group]], problems

"""Dataset folders in, checked samples out: who has a mask, how large, on which side of the split.

    python -m trainer prepare SOURCE --layout manifest --out data/skin

writes `samples.csv`: one row an image+mask pair, every file opened and checked once.
"""

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from model_core.arrays import Mask
from model_core.errors import DatasetError, SegmentationError
from model_core.image_io import decode_image
from model_core.mask_png import decode_mask
from trainer.split import Part, parse_part, part_of

SAMPLES_CSV = "samples.csv"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One photograph with its expert mask.

    Attributes:
        dataset: Source, such as `isic`, `ph2`.
        id: Image ID within its archive; the same ID in two datasets is the same photograph.
        image: Path of the photograph.
        mask: Path of the mask, of the very size of its file.
        height: Rows at the true aspect ratio, px.
        width: Columns at the true aspect ratio, px; differs from the file's where the source
            had squashed the photograph to a square.
        group: ID shared by near-duplicates, which stay on one side of the split.
        part: Side of the split.
        image_sha256: Hash of the photograph's file.
        mask_sha256: Hash of the mask's file.
    """

    dataset: str
    id: str
    image: Path
    mask: Path
    height: int
    width: int
    group: str
    part: Part
    image_sha256: str
    mask_sha256: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A photograph and its mask as a layout lists them, before any file is opened."""

    dataset: str
    id: str
    image: Path
    mask: Path
    aspect: tuple[int, int] | None = None
    """(height, width) of the original where the file was squashed to another aspect ratio."""
    near_dup_group: str = ""


def read_manifest(folder: Path) -> list[Pair]:
    """Pairs of a `MANIFEST.csv`, whose paths are relative to its own folder.

    Columns are `dataset, id, image, mask` and, where known, `near_dup_group` and `geometry`:
    `full_frame_squashed` gets the aspect of `orig_width` and `orig_height` back.

    Raises:
        DatasetError: no manifest, or one without those columns.
    """
    path = folder / "MANIFEST.csv" if folder.is_dir() else folder
    if not path.is_file():
        raise DatasetError(f"no manifest at {path}, expected a CSV file")
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, restval="")
        missing = {"dataset", "id", "image", "mask"} - set(rows.fieldnames or ())
        if missing:
            raise DatasetError(f"{path} has no column {', '.join(sorted(missing))}")
        return [_pair_of_row(row, path.parent) for row in rows]


def read_isic2018(folder: Path) -> list[Pair]:
    """Pairs of the official ISIC 2018 Task 1 folders, for each part that is there.

    They are `ISIC2018_Task1-2_<Part>_Input/ISIC_*.jpg` and
    `ISIC2018_Task1_<Part>_GroundTruth/ISIC_*_segmentation.png` below `folder`.

    Raises:
        DatasetError: no such folder, or a photograph without a mask.
    """
    pairs: list[Pair] = []
    for images in sorted(folder.glob("ISIC2018_Task1-2_*_Input")):
        masks = folder / images.name.replace("Task1-2", "Task1").replace("_Input", "_GroundTruth")
        for image in sorted(images.glob("ISIC_*.jpg")):
            mask = masks / f"{image.stem}_segmentation.png"
            pairs.append(Pair(dataset="isic", id=image.stem, image=image, mask=mask))
    if not pairs:
        raise DatasetError(
            f"{folder} holds no ISIC2018_Task1-2_*_Input folder with ISIC_*.jpg, "
            "the official layout of ISIC 2018 Task 1"
        )
    return pairs


LAYOUTS = {"manifest": read_manifest, "isic2018": read_isic2018}


def prepare(pairs: Iterable[Pair], *, split: dict[str, Part] | None = None) -> list[Sample]:
    """Open and check every pair, and give each its side of the split.

    Args:
        pairs: What a layout lists.
        split: Side of each ID (`trainer.split.read_split`); without it the hash of the
            near-duplicate group decides.

    Returns:
        Samples in the order of `pairs`.

    Raises:
        DatasetError: every missing, unreadable or mismatched file, listed together.
    """
    pairs = list(pairs)
    groups = _groups(pairs)
    samples: list[Sample] = []
    problems: list[str] = []
    for pair in pairs:
        try:
            part = _part(pair, groups[pair.id], split)
            samples.append(_check(pair, group=groups[pair.id], part=part))
        except (SegmentationError, OSError) as exc:
            problems.append(f"{pair.dataset}/{pair.id}: {exc}")
    problems += [f"{key}: listed {n} times" for key, n in _repeated(samples)]
    if problems:
        shown = "\n  ".join(problems[:20])
        raise DatasetError(f"{len(problems)} of {len(pairs)} pairs cannot be used:\n  {shown}")
    return samples


def write_samples(samples: Iterable[Sample], folder: Path) -> Path:
    """Write `samples.csv` into `folder` (made where absent), replacing an older one whole."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SAMPLES_CSV
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Sample)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(sample) for sample in samples)
    beside = path.with_suffix(".part")
    beside.write_text(text.getvalue(), encoding="utf-8")
    beside.replace(path)
    return path


def read_samples(folder: Path) -> list[Sample]:
    """Samples of a prepared folder.

    Raises:
        DatasetError: the folder was not prepared.
    """
    path = folder / SAMPLES_CSV
    if not path.is_file():
        raise DatasetError(
            f"no {path}: run `python -m trainer prepare SOURCE --out {folder}` first"
        )
    with path.open(newline="", encoding="utf-8") as file:
        return [_sample_of_row(row) for row in csv.DictReader(file)]


def digest(samples: Iterable[Sample]) -> str:
    """SHA-256 over names, sides and file hashes: what a card calls its data's manifest hash."""
    rows = sorted((s.dataset, s.id, s.part, s.image_sha256, s.mask_sha256) for s in samples)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_photo(sample: Sample) -> bytes:
    """A photograph's bytes as a client would send them.

    A file that its source squashed is sent as a PNG at its true aspect ratio instead.
    """
    data = sample.image.read_bytes()
    photograph = decode_image(data)
    if (photograph.height, photograph.width) == (sample.height, sample.width):
        return data
    size = (sample.width, sample.height)
    out = io.BytesIO()
    restored = photograph.picture.resize(size, Pillow.Resampling.BICUBIC)
    restored.save(out, format="PNG", compress_level=1)
    return out.getvalue()


def read_truth(sample: Sample) -> Mask:
    """The expert mask at the sample's true aspect ratio: bool (height, width)."""
    mask = decode_mask(sample.mask.read_bytes())
    if mask.shape == (sample.height, sample.width):
        return mask
    size = (sample.width, sample.height)
    return np.asarray(Pillow.fromarray(mask).resize(size, Pillow.Resampling.NEAREST))


def count_parts(samples: Iterable[Sample]) -> dict[str, Counter[str]]:
    """Number of samples of each dataset on each side."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        counts[sample.dataset][sample.part] += 1
    return dict(counts)


def _pair_of_row(row: dict[str, str], root: Path) -> Pair:
    squashed = row.get("geometry") == "full_frame_squashed"
    aspect = None
    if squashed:
        try:
            aspect = (int(row["orig_height"]), int(row["orig_width"]))
        except (KeyError, ValueError) as exc:
            raise DatasetError(
                f"{row['id']} is squashed, but has no orig_width and orig_height in pixels"
            ) from exc
    return Pair(
        dataset=row["dataset"],
        id=row["id"],
        image=root / row["image"],
        mask=root / row["mask"],
        aspect=aspect,
        near_dup_group=row.get("near_dup_group") or "",
    )


def _groups(pairs: list[Pair]) -> dict[str, str]:
    """The first ID of each ID's near-duplicate group; its own where it has none."""
    members: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        if pair.near_dup_group:
            members[pair.near_dup_group].add(pair.id)
    groups = {pair.id: pair.id for pair in pairs}
    for ids in members.values():
        groups |= dict.fromkeys(ids, min(ids))
    return groups


def _part(pair: Pair, group: str, split: dict[str, Part] | None) -> Part:
    if split is not None:
        if pair.id not in split:
            raise DatasetError("not in the split file")
        return split[pair.id]
    return part_of(group, pair.dataset)


def _check(pair: Pair, *, group: str, part: Part) -> Sample:
    image_bytes, mask_bytes = pair.image.read_bytes(), pair.mask.read_bytes()
    photograph, mask = decode_image(image_bytes), decode_mask(mask_bytes)
    size = (photograph.height, photograph.width)
    if mask.shape != size:
        raise DatasetError(f"the mask is {mask.shape}, its photograph {size} (height, width)")
    height, width = _true_aspect(size, pair.aspect) if pair.aspect else size
    return Sample(
        dataset=pair.dataset,
        id=pair.id,
        image=pair.image.resolve(),
        mask=pair.mask.resolve(),
        height=height,
        width=width,
        group=group,
        part=part,
        image_sha256=hashlib.sha256(image_bytes).hexdigest(),
        mask_sha256=hashlib.sha256(mask_bytes).hexdigest(),
    )


def _true_aspect(size: tuple[int, int], aspect: tuple[int, int]) -> tuple[int, int]:
    """The file's (height, width) with the side that was squashed more stretched again."""
    scale = max(size[0] / aspect[0], size[1] / aspect[1])
    return round(aspect[0] * scale), round(aspect[1] * scale)


def _repeated(samples: Iterable[Sample]) -> Iterator[tuple[str, int]]:
    counts = Counter(f"{sample.dataset}/{sample.id}" for sample in samples)
    return ((key, n) for key, n in counts.items() if n > 1)


def _sample_of_row(row: dict[str, str]) -> Sample:
    return Sample(
        dataset=row["dataset"],
        id=row["id"],
        image=Path(row["image"]),
        mask=Path(row["mask"]),
        height=int(row["height"]),
        width=int(row["width"]),
        group=row["group"],
        part=parse_part(row["part"]),
        image_sha256=row["image_sha256"],
        mask_sha256=row["mask_sha256"],
    )

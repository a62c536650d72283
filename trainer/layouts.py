"""The folders that public datasets come in, each read into pairs of photograph and mask.

A reader lists what it finds and opens nothing but tables; `trainer.datasets.prepare` checks it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model_core.errors import DatasetError
from trainer.split import Part
from trainer.tables import read_table


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
    """Shared by photographs that belong on one side of any split."""
    official: Part | None = None
    """Side in the edition's own split, where it has one."""


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        pairs: Photographs with the masks they should have.
        problems: One line each on what cannot be a pair, such as a mask without photograph.
    """

    pairs: list[Pair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_manifest(folder: Path) -> Listing:
    """Pairs of a `MANIFEST.csv`, whose paths are relative to its own folder.

    Columns are `dataset, id, image, mask` and, where known, `near_dup_group`, `split` (the
    edition's own: train, val or test) and `geometry`: `full_frame_squashed` gets the aspect of
    `orig_width` and `orig_height` back.

    Raises:
        DatasetError: no manifest, or one without those columns.
    """
    path = folder / "MANIFEST.csv" if folder.is_dir() else folder
    found = Listing()
    for number, row in enumerate(read_table(path, ("dataset", "id", "image", "mask")), start=2):
        try:
            found.pairs.append(_pair_of_row(row, path.parent))
        except DatasetError as exc:
            found.problems.append(f"line {number}: {exc}")
    return found


def read_isic2016(folder: Path) -> Listing:
    """Pairs of ISIC 2016 Part 1: `ISBI2016_ISIC_Part1_<Part>_Data` and `..._GroundTruth`."""
    name = "ISBI2016_ISIC_Part1_{}_"
    parts: dict[str, Part] = {"Training": "train", "Test": "test"}
    return _challenge(folder, "isic2016", name + "Data", name + "GroundTruth", parts)


def read_isic2017(folder: Path) -> Listing:
    """Pairs of ISIC 2017 Part 1: `ISIC-2017_<Part>_Data` and `ISIC-2017_<Part>_Part1_GroundTruth`.

    The test set is the challenge's second edition, `Test_v2`.
    """
    name = "ISIC-2017_{}_"
    parts: dict[str, Part] = {"Training": "train", "Validation": "val", "Test_v2": "test"}
    return _challenge(folder, "isic2017", name + "Data", name + "Part1_GroundTruth", parts)


def read_isic2018(folder: Path) -> Listing:
    """Pairs of ISIC 2018 Task 1: `ISIC2018_Task1-2_<Part>_Input`, `ISIC2018_Task1_<Part>_...`."""
    parts: dict[str, Part] = {"Training": "train", "Validation": "val", "Test": "test"}
    photographs, masks = "ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth"
    return _challenge(folder, "isic", photographs, masks, parts)


def read_ph2(folder: Path) -> Listing:
    """Pairs of PH2: `<ID>/<ID>_Dermoscopic_Image/<ID>.bmp` and `<ID>/<ID>_lesion/<ID>_lesion.bmp`.

    They lie below `folder` or its `PH2 Dataset images`.
    """
    images = sorted(folder.glob("**/*_Dermoscopic_Image/*.bmp"))
    if not images:
        raise DatasetError(
            f"{folder} holds no ID/ID_Dermoscopic_Image/ID.bmp, the official layout of PH2"
        )
    pairs = [
        Pair(
            dataset="ph2",
            id=image.stem,
            image=image,
            mask=image.parents[1] / f"{image.stem}_lesion" / f"{image.stem}_lesion.bmp",
        )
        for image in images
    ]
    orphans = _orphans(folder.glob("**/*_lesion/*_lesion.bmp"), {pair.mask for pair in pairs})
    return Listing(pairs, orphans)


def read_ham10000(folder: Path) -> Listing:
    """Pairs of HAM10000 with Tschandl's masks.

    They are `ISIC_*.jpg` below `HAM10000_images_part_1`, `..._part_2` (or one `HAM10000_images`)
    and `ISIC_*_segmentation.png` below `HAM10000_segmentations_lesion_tschandl`. Where
    `HAM10000_metadata` (`.csv`) is there, photographs of one lesion share its `lesion_id` as
    their group.
    """
    masks = folder / "HAM10000_segmentations_lesion_tschandl"
    images = sorted(folder.glob("HAM10000_images*/ISIC_*.jpg"))
    if not images:
        raise DatasetError(
            f"{folder} holds no HAM10000_images_part_1/ISIC_*.jpg, the official layout of HAM10000"
        )
    lesions = _ham10000_lesions(folder)
    pairs = [
        Pair(
            dataset="ham10000",
            id=image.stem,
            image=image,
            mask=masks / f"{image.stem}_segmentation.png",
            near_dup_group=lesions.get(image.stem, ""),
        )
        for image in images
    ]
    return Listing(pairs, _orphans(masks.glob("ISIC_*.png"), {pair.mask for pair in pairs}))


LAYOUTS: dict[str, Callable[[Path], Listing]] = {
    "manifest": read_manifest,
    "isic2016": read_isic2016,
    "isic2017": read_isic2017,
    "isic2018": read_isic2018,
    "ph2": read_ph2,
    "ham10000": read_ham10000,
}
"""Readers by the name that `prepare --layout` takes."""


def _challenge(
    folder: Path, dataset: str, photographs: str, masks: str, parts: dict[str, Part]
) -> Listing:
    """Pairs of an ISIC challenge, for each part whose folder of photographs is there.

    Args:
        folder: Where the parts' folders are.
        dataset: Name of the set.
        photographs: Folder of a part's photographs, with `{}` for its name.
        masks: The same for its masks.
        parts: Side of each part.
    """
    found = Listing()
    for part, side in parts.items():
        # One edition writes _Segmentation.png, the others _segmentation.png.
        drawn = (folder / masks.format(part)).glob("ISIC_*.png")
        by_id = {path.name[:12]: path for path in sorted(drawn)}
        for image in sorted((folder / photographs.format(part)).glob("ISIC_*.jpg")):
            missing = folder / masks.format(part) / f"{image.stem}_segmentation.png"
            mask = by_id.pop(image.stem, missing)
            found.pairs.append(
                Pair(dataset=dataset, id=image.stem, image=image, mask=mask, official=side)
            )
        found.problems.extend(_orphans(by_id.values(), set()))
    if not found.pairs:
        wanted = ", ".join(photographs.format(part) for part in parts)
        raise DatasetError(
            f"{folder} holds no ISIC_*.jpg in {wanted}, the official layout of {dataset}"
        )
    return found


def _orphans(masks: Iterable[Path], known: set[Path]) -> list[str]:
    return [f"{mask.name}: a mask without photograph" for mask in sorted(set(masks) - known)]


def _ham10000_lesions(folder: Path) -> dict[str, str]:
    for name in ("HAM10000_metadata", "HAM10000_metadata.csv"):
        if (folder / name).is_file():
            rows = read_table(folder / name, ("image_id", "lesion_id"))
            return {row["image_id"]: row["lesion_id"] for row in rows}
    return {}


def _pair_of_row(row: dict[str, str], root: Path) -> Pair:
    for column in ("dataset", "id", "image", "mask"):
        if not row[column]:
            raise DatasetError(f"{column} is empty")
    squashed = row.get("geometry") == "full_frame_squashed"
    return Pair(
        dataset=row["dataset"],
        id=row["id"],
        image=root / row["image"],
        mask=root / row["mask"],
        aspect=_aspect(row) if squashed else None,
        near_dup_group=row.get("near_dup_group") or "",
        official=_OFFICIAL.get((row.get("split") or "").lower()),
    )


_OFFICIAL: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "validation": "val",
    "test": "test",
}


def _aspect(row: dict[str, str]) -> tuple[int, int]:
    try:
        height, width = int(row["orig_height"]), int(row["orig_width"])
    except (KeyError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise DatasetError(
            f"{row['id']} is squashed, but has no orig_width and orig_height of at least 1 px"
        )
    return height, width

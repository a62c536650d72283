"""The folders that public datasets come in, each read into pairs of photograph and mask.

A reader lists what it finds and opens nothing but tables; `trainer.data.prepare.prepare` checks it.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate
from pathlib import Path

from model_core.decimals import integer
from model_core.errors import DatasetError
from model_core.images.file_names import canonical, is_beside, is_litter
from trainer.data.groups import (
    ISIC_ID,
    SPELLINGS,
    Ties,
    image_key,
    lacking,
    misspelt_columns,
    own_groups,
    read_ties,
    tie_columns,
    ties_of,
)
from trainer.data.split import Part
from trainer.data.tables import named_file, numbered_rows

_OFFICIAL: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    "test": "test",
}
_OPTIONAL = ("split", "geometry", "orig_width", "orig_height")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A photograph and its mask as a layout lists them, before any file is opened."""

    dataset: str
    id: str
    image: Path
    mask: Path
    aspect: tuple[int, int] | None = None
    """(height, width) of the original where the file was squashed to another aspect ratio."""
    ties: tuple[str, ...] = ()
    """Names of its lesion, patient or group: photographs that share one belong on one side."""
    official: Part | None = None
    """Side in the edition's own split, where it has one."""


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        pairs: Photographs with the masks they should have.
        problems: One line each on what cannot be a pair, such as a mask without photograph.
        ungrouped: One line each on why photographs may lack what ties them together.
        notes: One line each on what a user may want to know.
        ties: What the folder's tables tie together, by `image_key`, for the photographs of other
            folders too.
    """

    pairs: list[Pair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ungrouped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ties: Mapping[str, set[str]] = field(default_factory=dict)


def read_manifest(folder: Path) -> Listing:
    """Read a `MANIFEST.csv`, whose paths are relative to its own folder.

    Columns are `dataset, id, image, mask` and, where known, those that tie photographs together
    (`near_dup_group`, `lesion_id`, `patient_id`; `groups` has more spellings), `split` (the
    edition's own: train, val or test) and `geometry`: `full_frame_squashed` gets the aspect of
    `orig_width` and `orig_height` back. Tables beside it, such as `METADATA.csv`, tie photographs
    by their ID.

    Raises:
        DatasetError: no manifest, or one without those columns.
    """
    path = manifest_in(folder) if folder.is_dir() else folder
    rows = numbered_rows(path, ("dataset", "id", "image", "mask"), _OPTIONAL)
    header = list(rows[0][1]) if rows else []
    columns = tie_columns(header)
    slips = [f"{path.name}: {slip}: is that {SPELLINGS}?" for slip in misspelt_columns(header)]
    beside = read_ties(path.parent, but=path)
    listing = Listing(
        ungrouped=[*slips, *beside.faults],
        notes=[*beside.keyless, *beside.unread],
        ties=beside.of_image,
    )
    for number, row in rows:
        try:
            pair = _pair_of_row({name: cell.strip() for name, cell in row.items()}, path.parent)
            ties = {*ties_of(row, columns), *beside.of_image.get(image_key(pair.id), ())}
            listing.pairs.append(replace(pair, ties=tuple(sorted(ties))))
        except DatasetError as exc:
            listing.problems.append(f"line {number}: {exc}")
    silent = sum(not beside.of_image.get(image_key(pair.id)) for pair in listing.pairs)
    listing.notes.extend(_silence(beside, silent, len(listing.pairs)))
    if listing.pairs and not any(pair.ties for pair in listing.pairs):
        listing.notes.append(
            f"{path.name} and the tables beside it have no {SPELLINGS}: only IDs and pixels tell "
            "what belongs together"
        )
    return listing


def manifest_in(folder: Path) -> Path:
    """Find a folder's `MANIFEST.csv`, whatever the case of its name; it may not be there."""
    manifests = (path for path in sorted(folder.glob("*")) if path.name.lower() == "manifest.csv")
    return next(manifests, folder / "MANIFEST.csv")


def read_isic2016(folder: Path) -> Listing:
    """Read ISIC 2016 Part 1: `ISBI2016_ISIC_Part1_<Part>_Data` and `..._GroundTruth`."""
    name = "ISBI2016_ISIC_Part1_{}_"
    parts: dict[str, Part] = {"Training": "train", "Test": "test"}
    return _challenge(folder, "isic2016", name + "Data", name + "GroundTruth", parts)


def read_isic2017(folder: Path) -> Listing:
    """Read ISIC 2017 Part 1: `ISIC-2017_<Part>_Data` and `ISIC-2017_<Part>_Part1_GroundTruth`.

    The test set is the challenge's second edition, `Test_v2`.
    """
    name = "ISIC-2017_{}_"
    parts: dict[str, Part] = {"Training": "train", "Validation": "val", "Test_v2": "test"}
    return _challenge(folder, "isic2017", name + "Data", name + "Part1_GroundTruth", parts)


def read_isic2018(folder: Path) -> Listing:
    """Read ISIC 2018 Task 1: `ISIC2018_Task1-2_<Part>_Input`, `ISIC2018_Task1_<Part>_...`."""
    parts: dict[str, Part] = {"Training": "train", "Validation": "val", "Test": "test"}
    photographs, masks = "ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth"
    return _challenge(folder, "isic", photographs, masks, parts)


def read_ph2(folder: Path) -> Listing:
    """Read PH2: `<ID>/<ID>_Dermoscopic_Image/<ID>.bmp` and `<ID>/<ID>_lesion/<ID>_lesion.bmp`.

    They lie below `folder` or its `PH2 Dataset images`.
    """
    pictures = _files(folder, "*.bmp")
    images = [path for path in pictures if path.parent.name.lower().endswith("_dermoscopic_image")]
    masks = {
        canonical(path.stem).lower().removesuffix("_lesion"): path
        for path in pictures
        if path.parent.name.lower().endswith("_lesion")
    }
    if not images:
        raise DatasetError(
            f"{folder} holds no ID/ID_Dermoscopic_Image/ID.bmp, the official layout of PH2"
        )
    pairs = [
        Pair(dataset="ph2", id=image.stem, image=image, mask=masks.get(
            _key(image), image.parents[1] / f"{image.stem}_lesion" / f"{image.stem}_lesion.bmp"))
        for image in images
    ]  # fmt: skip
    return tied(folder, Listing(pairs, _orphans(masks.values(), pairs)))


def read_ham10000(folder: Path) -> Listing:
    """Read HAM10000 with Tschandl's masks.

    They are `ISIC_*.jpg` below `HAM10000_images_part_1`, `..._part_2` (or one `HAM10000_images`)
    and `ISIC_*_segmentation.png` below `HAM10000_segmentations_lesion_tschandl`. Photographs of
    one lesion share the `lesion_id` of `HAM10000_metadata`, which may be any text table with that
    column; without it they are ungrouped.
    """
    images = [
        image
        for part in _folders(folder, "HAM10000_images*")
        for image in _files(part, "ISIC_*.jp*g", below=False)
    ]
    if not images:
        raise DatasetError(
            f"{folder} holds no HAM10000_images_part_1/ISIC_*.jpg, the official layout of HAM10000"
        )
    name = "HAM10000_segmentations_lesion_tschandl"
    masks = next(iter(_folders(folder, name)), folder / name)
    return tied(folder, _isic_pairs("ham10000", images, masks), required=True)


LAYOUTS: dict[str, Callable[[Path], Listing]] = {
    "manifest": read_manifest,
    "isic2016": read_isic2016,
    "isic2017": read_isic2017,
    "isic2018": read_isic2018,
    "ph2": read_ph2,
    "ham10000": read_ham10000,
}
"""Readers by the name that `prepare --layout` takes."""


def read_sources(folders: Sequence[Path], layout: str) -> Listing:
    """Read several folders as one, in their order; the tables of each tie photographs of all.

    The further photographs of a lesion may lie in another folder than the table that says so.
    Lesion and patient IDs mean the same in every folder, group names only in their own.

    Raises:
        DatasetError: one of the folders is not of this layout.
    """
    return join_listings(folders, [LAYOUTS[layout](folder) for folder in folders])


def join_listings(folders: Sequence[Path], listings: Sequence[Listing]) -> Listing:
    """Join the listings of several folders as `read_sources` does."""
    if len(listings) == 1:
        return listings[0]
    named = list(zip(map(str, folders), listings, strict=True))
    joined = Listing()
    for folder, listing in named:
        joined.problems.extend(f"{folder}: {line}" for line in listing.problems)
        joined.ungrouped.extend(f"{folder}: {line}" for line in listing.ungrouped)
        joined.notes.extend(f"{folder}: {line}" for line in listing.notes)
        others = [(name, other.ties) for name, other in named if name != folder]
        for pair in listing.pairs:
            ties = set(own_groups(pair.ties, folder))
            for name, tables in others:
                ties.update(own_groups(tables.get(image_key(pair.id), ()), name))
            joined.pairs.append(replace(pair, ties=tuple(sorted(ties))))
    return joined


def _challenge(
    folder: Path, dataset: str, photographs: str, masks: str, parts: dict[str, Part]
) -> Listing:
    """Read an ISIC challenge, each part whose folder of photographs is there.

    `photographs` and `masks` name a part's folders, with `{}` for its name; `parts` has the sides.
    """
    listing = Listing()
    for part, side in parts.items():
        images = _files(folder / photographs.format(part), "ISIC_*.jp*g", below=False)
        listed = _isic_pairs(dataset, images, folder / masks.format(part), side)
        listing.pairs.extend(listed.pairs)
        listing.problems.extend(listed.problems)
    if not listing.pairs:
        wanted = ", ".join(photographs.format(part) for part in parts)
        raise DatasetError(
            f"{folder} holds no ISIC_*.jpg in {wanted}, the official layout of {dataset}"
        )
    return tied(folder, listing)


def _isic_pairs(
    dataset: str, images: Iterable[Path], folder: Path, official: Part | None = None
) -> Listing:
    """Pair photographs of the ISIC archive with the masks in a folder, by `ISIC_` and number."""
    # One edition writes _Segmentation.png, the others _segmentation.png.
    masks = {_key(path)[:12]: path for path in _files(folder, "ISIC_*.png", below=False)}
    pairs = []
    for image in images:
        mask = masks.get(_key(image), folder / f"{image.stem}_segmentation.png")
        pairs.append(
            Pair(dataset=dataset, id=image.stem.upper(), image=image, mask=mask, official=official)
        )
    return Listing(pairs, _orphans(masks.values(), pairs))


def tied(folder: Path, listing: Listing, *, required: bool = False) -> Listing:
    """Tie the photographs of a listing by the tables of their folder."""
    ties = read_ties(folder)
    pairs = [
        replace(pair, ties=tuple(sorted(ties.of_image.get(image_key(pair.id), ()))))
        for pair in listing.pairs
    ]
    ungrouped = lacking(ties, (pair.id for pair in pairs), required=required)
    untied = sum(not pair.ties for pair in pairs)
    silence = _silence(ties, untied, len(pairs)) if untied < len(pairs) else []
    notes = [*listing.notes, *ties.unread, *silence]
    return replace(listing, pairs=pairs, ungrouped=ungrouped, notes=notes, ties=ties.of_image)


def _silence(ties: Ties, silent: int, count: int) -> list[str]:
    """Note that tables tie only some of the photographs; nothing where there is no table."""
    if not ties.tables or not silent:
        return []
    return [f"{', '.join(ties.tables)}: nothing for {silent} of {count} photographs"]


def _folders(folder: Path, pattern: str) -> list[Path]:
    """List folders of this name, or of it in other capitals where none has it exactly."""
    there = sorted(path for path in folder.glob("*") if path.is_dir() and not is_litter(path.name))
    for flags in (re.NOFLAG, re.IGNORECASE):
        if named := [path for path in there if re.match(translate(pattern), path.name, flags)]:
            return named
    return []


def _files(folder: Path, pattern: str, *, below: bool = True) -> list[Path]:
    """List files by name, in any case, but for what systems or data sets leave beside."""
    wanted = re.compile(translate(pattern), re.IGNORECASE)
    return sorted(
        path
        for path in folder.glob("**/*" if below else "*")
        if wanted.match(path.name)
        and not is_beside(path.name)
        and not is_litter(str(path.relative_to(folder)))
    )


def _key(path: Path) -> str:
    """Bring a file's ID into the form in which two are compared: without ending and case."""
    return canonical(path.stem).lower()


def known_id(text: str) -> str:
    """Write an ID as splits do: of the ISIC archive in capitals, without ending or folder."""
    key = image_key(text)
    return key.upper() if ISIC_ID.fullmatch(key) else canonical(text)


def _orphans(masks: Iterable[Path], pairs: Iterable[Pair]) -> list[str]:
    taken = {pair.mask for pair in pairs}
    return [f"{mask.name}: a mask without photograph" for mask in sorted(set(masks) - taken)]


def _pair_of_row(row: dict[str, str], root: Path) -> Pair:
    for column in ("dataset", "id", "image", "mask"):
        if not row[column]:
            raise DatasetError(f"{column} is empty")
    squashed = row.get("geometry", "").lower() == "full_frame_squashed"
    return Pair(
        dataset=row["dataset"],
        id=known_id(row["id"]),
        image=named_file(root, row["image"]),
        mask=named_file(root, row["mask"]),
        aspect=_aspect(row) if squashed else None,
        official=_OFFICIAL.get((row.get("split") or "").lower()),
    )


def _aspect(row: dict[str, str]) -> tuple[int, int]:
    try:
        height, width = integer(row["orig_height"]), integer(row["orig_width"])
    except (KeyError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise DatasetError(
            f"{row['id']} is squashed, but has no orig_width and orig_height of at least 1 px"
        )
    return height, width

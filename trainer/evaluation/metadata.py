"""What tables tell of photographs and of their readers, found by the tables' columns.

Of each image: diagnosis, age, sex and body site (the ISIC archive's metadata, HAM10000's), the tool
that its mask was drawn with, and how far two readers' masks of it agree (IMA++, arXiv:2512.21472).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model_core.errors import DatasetError
from trainer.data.groups import IMAGE_COLUMNS, column_called, image_key
from trainer.data.leaks import count_left_out
from trainer.data.samples import Sample
from trainer.data.tables import Row, read_table
from trainer.evaluation.strata import Groups

UNKNOWN = "not known"
AGREE_DICE = 0.85
"""Mean Dice between the readers of a photograph from which on they agree."""
AGREEMENT = (f"readers agree, Dice {AGREE_DICE:.2f} or more", "readers differ", "no second reader")
PATIENT_COLUMNS = {
    "diagnosis": ("dx", "diagnosis3", "diagnosis"),
    "age": ("ageapprox", "age"),
    "sex": ("sex", "gender"),
    "body site": ("anatomsitegeneral", "localization", "localisation", "bodysite"),
}
"""By kind, what its column is called, the likeliest first."""
_TABLES = (".csv", ".tab", ".tsv")
_HAM10000 = "ham10000_metadata"  # published without an ending
_DIAGNOSES = {
    "melanoma": ("mel",),  # and all that begin so
    "naevus": ("nevus", "naevus", "nv"),
    "benign keratosis": ("seborrheic keratosis", "benign keratosis", "bkl"),
    "basal cell carcinoma": ("basal cell carcinoma", "bcc"),
    "actinic keratosis or Bowen's disease": ("actinic keratosis", "akiec"),
    "dermatofibroma": ("dermatofibroma", "df"),
    "vascular lesion": ("vascular lesion", "vasc"),
}
_AGES = {30: "below 30 years", 50: "30–49 years", 70: "50–69 years"}
_OLDEST = "70 years and more"
_SEXES = ("female", "male")
_SITES = {
    "head and neck": ("head/neck", "face", "neck", "scalp", "ear"),
    "torso": ("anterior torso", "posterior torso", "lateral torso", "trunk", "back", "chest",
              "abdomen"),
    "arm and hand": ("upper extremity", "hand"),
    "leg and foot": ("lower extremity", "foot"),
}  # fmt: skip
_TOOLS = {
    "T1": "T1, polygon by hand",
    "T2": "T2, flood fill",
    "T3": "T3, automated or not named",
}
_SEVERAL = "several readers"
_NO_ANSWER = {"", "unknown", "nan", "none", "n/a"}


@dataclass(frozen=True)
class ReaderPair:
    """How far the masks of two readers of one photograph agree.

    Attributes:
        tools: What each drew with, such as T1, in alphabetical order.
        by_hand: Whether both are experts who drew a polygon by hand.
        dice: Between their masks, 0 to 1.
        jaccard: The same.
    """

    tools: tuple[str, str]
    by_hand: bool
    dice: float
    jaccard: float


@dataclass(frozen=True)
class Metadata:
    """What tables tell, each by `image_key` of the image's ID.

    Attributes:
        patients: By kind of `PATIENT_COLUMNS`, the name of the image's group.
        tools: Who drew each of its masks with what.
        pairs: All pairs of its readers.
    """

    patients: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    tools: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    pairs: dict[str, list[ReaderPair]] = field(default_factory=lambda: defaultdict(list))

    def notes(self, samples: Sequence[Sample]) -> list[str]:
        """Say for which images the tables lack what, one line for each kind."""
        known: dict[str, Collection[str]] = {
            **{kind: self.patients[kind] for kind in PATIENT_COLUMNS},
            "tool of the mask": self.tools,
            "second reader": self.pairs,
        }
        lacking = {
            what: [sample for sample in samples if image_key(sample.id) not in images]
            for what, images in known.items()
        }
        return [
            f"no {what} is known for {count_left_out(samples, out)}"
            for what, out in lacking.items()
            if out
        ]


def read_metadata(folders: Sequence[Path]) -> Metadata:
    """Read every table in these folders, not below them, that has an image ID and known columns.

    Where two tables tell of one image, the first counts.

    Raises:
        DatasetError: there is no such folder, a table cannot be read, or none tells anything.
    """
    metadata = Metadata()
    for folder in folders:
        if not folder.is_dir():
            raise DatasetError(f"no folder at {folder}, expected one of tables of images")
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in _TABLES or path.name.lower() == _HAM10000:
                _read_into(metadata, path)
    if not (metadata.tools or metadata.pairs or any(metadata.patients.values())):
        raise DatasetError(
            f"no table in {', '.join(map(str, folders))} tells of patients or readers, expected "
            "columns such as image_id and dx, age, sex, localization or tool"
        )
    return metadata


def group(samples: Sequence[Sample], metadata: Metadata) -> Groups:
    """Group images by diagnosis, age, sex, body site, tool of the mask, and readers' agreement."""
    keys = [image_key(sample.id) for sample in samples]
    names = {
        "diagnosis": (*_DIAGNOSES, "other"),
        "age": (*_AGES.values(), _OLDEST),
        "sex": _SEXES,
        "body site": (*_SITES, "other"),
    }
    groups: Groups = {
        kind: ((*names[kind], UNKNOWN), [metadata.patients[kind].get(key, UNKNOWN) for key in keys])
        for kind in PATIENT_COLUMNS
    }
    groups["tool"] = (
        (*_TOOLS.values(), _SEVERAL, UNKNOWN),
        [_tool_name(metadata.tools.get(key, [])) for key in keys],
    )
    groups["readers"] = (AGREEMENT, [_agreement(metadata.pairs.get(key, [])) for key in keys])
    return groups


def patient_name(kind: str, text: str) -> str:
    """Name the group of a table's cell, one of `PATIENT_COLUMNS`.

    Example:
        >>> patient_name("diagnosis", "Melanoma in situ"), patient_name("body site", "scalp")
        ('melanoma', 'head and neck')
        >>> patient_name("age", "30.0"), patient_name("sex", "")
        ('30–49 years', 'not known')
    """
    value = text.strip().casefold()
    if value in _NO_ANSWER:
        return UNKNOWN
    if kind == "age":
        return _age_name(value)
    if kind == "sex":
        return value if value in _SEXES else UNKNOWN
    if kind == "diagnosis" and value.startswith("melanoma"):
        return "melanoma"
    known: Mapping[str, Sequence[str]] = _DIAGNOSES if kind == "diagnosis" else _SITES
    return next((name for name, spellings in known.items() if value in spellings), "other")


def _age_name(value: str) -> str:
    try:
        years = float(value)
    except ValueError:
        return UNKNOWN
    return next((name for bound, name in _AGES.items() if years < bound), _OLDEST)


def _tool_name(tools: Sequence[str]) -> str:
    """Name the tool of the one reader; which of several drew the mask of record is not known."""
    if len(tools) > 1:
        return _SEVERAL
    return _TOOLS.get(tools[0], UNKNOWN) if tools else UNKNOWN


def _agreement(pairs: Sequence[ReaderPair]) -> str:
    agree, differ, alone = AGREEMENT
    if not pairs:
        return alone
    return agree if sum(pair.dice for pair in pairs) / len(pairs) >= AGREE_DICE else differ


def _read_into(metadata: Metadata, path: Path) -> None:
    rows = read_table(path, ())
    header = list(rows[0]) if rows else []
    image = column_called(header, IMAGE_COLUMNS)
    if image is None:
        return
    if {"tool1", "tool2", "dice", "jaccard"} <= set(header):
        for row in rows:
            metadata.pairs[image_key(row[image])].append(_pair_of_row(row, path))
        return
    if "tool" in header:
        for row in rows:
            metadata.tools[image_key(row[image])].append(row["tool"])
    for kind, names in PATIENT_COLUMNS.items():
        column = column_called(header, names)
        if column is None:
            continue
        for row in rows:
            name = patient_name(kind, row[column])
            if name != UNKNOWN:
                metadata.patients[kind].setdefault(image_key(row[image]), name)


def _pair_of_row(row: Row, path: Path) -> ReaderPair:
    first, second = sorted((row["tool1"], row["tool2"]))
    skills = {row.get("skill1"), row.get("skill2")}
    try:
        dice, jaccard = float(row["dice"]), float(row["jaccard"])
    except ValueError as exc:
        raise DatasetError(f"{path}: {exc}, expected a pair's Dice and Jaccard") from exc
    return ReaderPair(
        (first, second), (first, second, skills) == ("T1", "T1", {"S1"}), dice, jaccard
    )

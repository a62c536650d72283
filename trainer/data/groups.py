"""What ties photographs together: the columns of tables that name their lesion, patient or group.

Photographs that a name ties are on one side of every split (`trainer.data.prepare`).
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from model_core.errors import DatasetError
from model_core.images.file_names import IMAGE_SUFFIXES, canonical, is_litter
from trainer.data.tables import Row, read_table, squeezed

_NUMBER = "(id|ids|no|nr|num|number|code|key|uid|identifier)"
_KINDS = {
    "lesion": re.compile(f"(isic|ham|ham10000)?lesion{_NUMBER}"),
    "patient": re.compile(
        f"(isic)?((patient|subject|participant){_NUMBER}?|(person|case|pat){_NUMBER}|pid|mrn)"
    ),
    "group": re.compile(f"((near)?dup(licate)?s?)?group{_NUMBER}?|neardup(licate)?s?{_NUMBER}?"),
}
_SPELLINGS = ("lesionid", "patientid", "subjectid", "neardupgroup", "groupid")
SPELLINGS = "lesion_id, patient_id or near_dup_group"
"""What columns that tie photographs together are called, for messages."""
IMAGE_COLUMNS = (
    "imageid", "isicid", "isicimageid", "imagename", "imagefile", "filename", "image",
    "photographid", "photoid", "photograph", "photo", "img", "imgid", "imagepath", "path", "file",
    "id", "name",
)  # fmt: skip
"""Where an image's ID stands, the likeliest first."""
_TABLES = (".csv", ".tab", ".tsv", ".txt", "")
_OTHER_TABLES = (".xls", ".xlsx", ".ods", ".json", ".parquet", ".rda", ".sav")
_SPEAKING = re.compile("metadata|grouping", re.IGNORECASE)
"""In a file's name: it should say which photographs belong together."""
_UNKNOWN = {"", "na", "n/a", "nan", "none", "null", "unknown", "-", "?", "."}
ISIC_ID = re.compile(r"isic_\d{7}")
"""The `image_key` of a photograph of the ISIC archive."""
_SHOWN = 5


@dataclass
class Ties:
    """What the tables of a data set tie together.

    Attributes:
        of_image: Names of all that ties a photograph, by `image_key` of its ID.
        tables: Names of the tables that were understood, with their columns.
        faults: One line each on a table that has such names and was not understood.
        keyless: The same on a table that has such names and no image IDs beside them.
        unread: The same on a file that may be such a table, and is no text.
    """

    of_image: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    tables: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    keyless: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def tie_columns(header: Iterable[str]) -> dict[str, str]:
    """Find the columns that tie photographs together, and the kind of tie of each.

    Example:
        >>> tie_columns(["id", "Lesion-ID", "PatientID", "near_dup_group", "lesion_fraction"])
        {'Lesion-ID': 'lesion', 'PatientID': 'patient', 'near_dup_group': 'group'}
    """
    return {
        column: kind
        for column in header
        for kind, pattern in _KINDS.items()
        if pattern.fullmatch(squeezed(column))
    }


def misspelt_columns(header: Iterable[str]) -> list[str]:
    """Find columns that are one typing error away from one that ties photographs together.

    Example:
        >>> misspelt_columns(["lesoin_id", "lesion_id", "lesion_size"])
        ['lesoin_id']
    """
    return [
        column
        for column in header
        if not tie_columns([column])
        and any(_is_slip(squeezed(column), known) for known in _SPELLINGS)
    ]


def column_called(header: Iterable[str], names: Iterable[str]) -> str | None:
    """Find the column that has the first of these squeezed names that any column has."""
    by_name = {squeezed(column): column for column in reversed([*header])}
    return next((by_name[name] for name in names if name in by_name), None)


def ties_of(row: Row, columns: Mapping[str, str]) -> tuple[str, ...]:
    """Name all that ties a row's photograph; cells that say "not known" tie nothing."""
    names = ((kind, row[column].strip()) for column, kind in columns.items())
    return tuple(f"{kind} {name}" for kind, name in names if name.casefold() not in _UNKNOWN)


def image_key(text: str) -> str:
    """Bring an image ID into the form in which two are compared: no folder, ending or case.

    Example:
        >>> image_key(" images/ISIC_0024306.JPG"), image_key("isic_0024306")
        ('isic_0024306', 'isic_0024306')
    """
    name = canonical(re.split(r"[/\\]", text.strip())[-1]).casefold()
    stem, dot, ending = name.rpartition(".")
    return (stem if dot and f".{ending}" in IMAGE_SUFFIXES else name).removesuffix("_downsampled")


def read_ties(folder: Path, *, but: Path | None = None) -> Ties:
    """Read what all tables below a folder tie together; a table may have any name.

    With `but`, a manifest, they are those in its own folder, other than itself.
    """
    ties = Ties()
    for path in sorted(folder.glob("*") if but else folder.rglob("*")):
        if path == but:
            continue
        name, suffix = str(path.relative_to(folder)), path.suffix.lower()
        speaks = _SPEAKING.search(path.name) is not None
        if is_litter(name) or not (suffix in _TABLES and (suffix or speaks)) or not path.is_file():
            if speaks and suffix in _OTHER_TABLES:
                ties.unread.append(f"{name} is no text table: save it as CSV")
            continue
        try:
            _read_into(ties, name, read_table(path, ()))
        except DatasetError as exc:
            if speaks:
                ties.unread.append(str(exc))
    return ties


def lacking(ties: Ties, images: Iterable[str], *, required: bool) -> list[str]:
    """Say why photographs may be grouped less than they should be; nothing where all is clear.

    Where `required`, each photograph has to be tied by something, as in HAM10000.
    """
    keys = {image_key(image): image for image in images}
    faults = [*ties.faults, *ties.keyless]
    if ties.of_image and not any(key in ties.of_image for key in keys):
        others = sorted(ties.of_image)
        # The lists of another challenge may lie beside: photographs that are not here are no fault.
        if required or not any(ISIC_ID.fullmatch(key) for key in others):
            fault = f"{', '.join(ties.tables)} names none of the photographs, but {others[0]!r}"
            return [*faults, *ties.unread, fault]
    untied = [image for key, image in keys.items() if not ties.of_image.get(key)]
    if not required or not untied:
        return faults
    where = ", ".join(ties.tables) or "no table"
    some = ", ".join(untied[:_SHOWN]) + (", …" if len(untied) > _SHOWN else "")
    fault = f"{where} names the lesion of {len(untied)} photographs ({some})"
    return [*faults, *ties.unread, fault]


def _read_into(ties: Ties, name: str, rows: list[Row]) -> None:
    if not rows:
        return
    header = list(rows[0])
    columns = tie_columns(header)
    ties.faults += [
        f"{name} has a column {slip}: is that {SPELLINGS}?" for slip in misspelt_columns(header)
    ]
    if not columns:
        return
    image = column_called(header, IMAGE_COLUMNS)
    if image is None:
        ties.keyless.append(f"{name} has {', '.join(columns)}, but no column image_id: {header}")
        return
    ties.tables.append(f"{name} ({', '.join(columns)})")
    for row in rows:
        ties.of_image[image_key(row[image])].update(own_groups(ties_of(row, columns), name))


def own_groups(ties: Iterable[str], owner: str) -> tuple[str, ...]:
    """Limit the group names among ties to the table or folder that they are from.

    Lesion and patient IDs name the same lesion and patient everywhere; groups are numbered from 1
    in many tables.

    Example:
        >>> own_groups(["lesion L1", "group 1"], "METADATA.csv")
        ('lesion L1', 'group 1 of METADATA.csv')
    """
    return tuple(f"{tie} of {owner}" if tie.startswith("group ") else tie for tie in ties)


def _is_slip(one: str, other: str) -> bool:
    """Whether two names are the same but for a letter: another, one more or less, or its place."""
    return not _slips(one).isdisjoint(_slips(other))


def _slips(name: str) -> set[str]:
    return {name, *(name[:i] + name[i + 1 :] for i in range(len(name)))}

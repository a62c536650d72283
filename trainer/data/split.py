"""Which side of the split an image is on, and the file that says so for good.

`trainer/splits/*.csv` are committed: scores are comparable only on the same held-out images.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from model_core.errors import DatasetError
from model_core.images.file_names import canonical
from trainer.data.tables import read_table, write_table

Part = Literal["train", "val", "test", "external"]
EXTERNAL = frozenset({"ph2"})
"""Datasets that are never trained or tuned on."""
FIRST_SPLIT = Path(__file__).parents[1] / "splits" / "isic-ham10000-ph2.csv"
"""The split of versions up to 1.1.1. It began as the hash of `part_of`; then 19 pairs were united
that were found by their texture and by eye to be two photographs of one lesion, too different in
light or turn for `near_duplicates`. Where their sides differed both went to training."""
COMMITTED_SPLIT = FIRST_SPLIT.with_name("isic-ham10000-ph2-by-lesion.csv")
"""The split of ISIC 2016 to 2018, HAM10000 and PH2 as far as we had them: `FIRST_SPLIT`, where
photographs of one lesion or patient are on one side too, and the rest of HAM10000 is in training.
`prepare --extend-split` made it, so all test images are where they were; an older version that was
trained on one that joined them is scored without it (`evaluate --skip-bad`)."""

_TRAIN_SHARE, _VAL_SHARE = 0.8, 0.1


@dataclass(frozen=True)
class SplitEntry:
    """Where a split puts an ID: its side, and the first ID of its group, which shares the side."""

    group: str
    part: Part


def part_of(group: str, dataset: str) -> Part:
    """Choose the side of a group by its hash alone: 80 % train, 10 % val, 10 % test.

    So an image is on the same side in every dataset, on every machine, whatever is added later.
    """
    if dataset in EXTERNAL:
        return "external"
    fraction = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8]) / 2**64
    if fraction < _TRAIN_SHARE:
        return "train"
    return "val" if fraction < _TRAIN_SHARE + _VAL_SHARE else "test"


def write_split(rows: Iterable[tuple[str, str, Part]], path: Path) -> None:
    """Write (ID, group, part) of every image, sorted, one row an ID."""
    write_table(path, ("id", "group", "part"), sorted(set(rows)))


def read_split(path: Path) -> dict[str, SplitEntry]:
    """Read the group and side of every ID of a split file.

    Raises:
        DatasetError: no such file, an unknown part, or one ID or group on two sides.
    """
    entries: dict[str, SplitEntry] = {}
    sides_of_group: dict[str, set[str]] = defaultdict(set)
    for row in read_table(path, ("id", "group", "part")):
        entry = SplitEntry(row["group"], parse_part(row["part"]))
        if entries.setdefault(canonical(row["id"]), entry) != entry:
            raise DatasetError(f"{path}: {row['id']} has two places in the split")
        sides_of_group[entry.group].add(entry.part)
    torn = [group for group, parts in sides_of_group.items() if len(parts) > 1]
    if torn:
        raise DatasetError(f"{path}: near-duplicates on two sides of the split: {torn[:5]}")
    return entries


def parse_part(text: str) -> Part:
    """Parse the name of a part.

    Raises:
        DatasetError: there is no such part.
    """
    if text not in get_args(Part):
        raise DatasetError(f"part is {text!r}, expected one of {get_args(Part)}")
    return cast(Part, text)

"""Several dataset folders read as one: a table in one of them ties photographs of all.

    python -m trainer prepare data/first data/second --out data/skin

The further photographs of a lesion may lie in another folder than the first, with the table that
says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainer.data.groups import image_key, own_groups
from trainer.data.layouts import LAYOUTS, Listing


def read_sources(folders: Sequence[Path], layout: str) -> Listing:
    """Pairs of all folders, in their order, each tied by the tables of all of them.

    Lesion and patient IDs mean the same in every folder, group names only in their own.

    Raises:
        DatasetError: one of the folders is not of this layout.
    """
    listings = [LAYOUTS[layout](folder) for folder in folders]
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

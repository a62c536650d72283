"""Find the files that a command line names, pair them, and name the outputs."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from model_core.images.file_names import (
    HEAD_BYTES,
    IMAGE_SUFFIXES,
    announces_image,
    canonical,
    is_beside,
    is_litter,
)
from model_core.images.file_types import sniff

MASK_TYPES = ("PNG", "BMP", "TIFF")
_ENDINGS = ("_segmentation", "_lesion", "_mask", "_truth")
"""What ISIC, PH2 and others add to an image's name for its mask, in any case."""
_SHOWN = 20
"""Files passed over that are named."""


@dataclass(frozen=True)
class Kind:
    """Kind of file to look for in a folder.

    Attributes:
        name: For messages.
        suffixes: Endings that are enough, in lower case, with the dot.
        announces: Whether a file with any other ending is one, by its first `HEAD_BYTES`.
    """

    name: str
    suffixes: frozenset[str]
    announces: Callable[[bytes], bool]


IMAGES = Kind("image", IMAGE_SUFFIXES, announces_image)
MASKS = Kind(
    "mask",
    frozenset({".png", ".bmp", ".tif", ".tiff", ".json"}),
    lambda head: sniff(head) in MASK_TYPES,
)
_NO_PART_OF_A_NAME = (
    IMAGES.suffixes
    | MASKS.suffixes
    | {".jpe", ".jfif", ".mpo", ".dib", ".dicom", ".heic", ".heif", ".avif"}
)


class UsageError(Exception):
    """The command line asks for what cannot be done."""


def find_files(paths: Sequence[Path], kind: Kind) -> list[Path]:
    """Find the files of a command line, each once, in order, and print what is passed over.

    Args:
        paths: Files are taken as they are; of folders, sub-folders too, the files of the kind. A
            file that is not there is kept: opening it says so. What systems leave in folders is
            passed over in silence, any other file is named on standard error.
        kind: What to look for.

    Raises:
        UsageError: a folder holds none.
    """
    files: dict[str, Path] = {}
    passed_over: list[Path] = []
    for path in paths:
        inside = [path]
        if path.is_dir():
            below = _files_below(path)
            inside = [file for file in below if _is_of(kind, file)]
            passed_over += sorted(set(below) - set(inside))
        if not inside:
            wanted = f"no {kind.name}, by name ({', '.join(sorted(kind.suffixes))}) or content"
            raise UsageError(f"{shown(path)} holds {wanted}")
        # A file may be named beside its folder, or be linked to from another one.
        for file in inside:
            files.setdefault(os.path.realpath(file), file)
    for file in passed_over[:_SHOWN]:
        print(f"lesion: {shown(file)}: passed over, no {kind.name}", file=sys.stderr)
    if len(passed_over) > _SHOWN:
        print(f"lesion: {len(passed_over) - _SHOWN} files more passed over", file=sys.stderr)
    return list(files.values())


def outputs_of(files: Sequence[Path], out: Path, suffix: str) -> list[Path]:
    """Name each result: below `out`, with the input's own name and the suffix added.

    Files of several folders keep their folders' names from the deepest one that they share, so
    that no two results have one name and none lies outside `out`.

    Example:
        >>> [str(p) for p in outputs_of([Path("a/x.jpg"), Path("b/x.jpg")], Path("out"), ".png")]
        ['out/a/x.jpg.png', 'out/b/x.jpg.png']

    Raises:
        UsageError: two names differ only in upper and lower case, or in how an accent is written,
            which some disks take for one; or the inputs share no folder (two drives).
    """
    whole = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100  # keeps symlinks
    try:
        shared = os.path.commonpath([file.parent for file in whole]) if whole else ""
    except ValueError as exc:
        raise UsageError(f"the files share no folder: {exc}") from exc
    outputs = [out / f"{file.relative_to(shared)}{suffix}" for file in whole]
    names = Counter(canonical(str(output)).casefold() for output in outputs)
    twice = [name for name, n in names.items() if n > 1]
    if twice:
        raise UsageError(f"two results would be called {shown(twice[0])}: run them apart")
    return outputs


def pair_up(
    others: Sequence[Path], truths: Sequence[Path]
) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pair each image or prediction with the truth of the same name, and list the unpaired.

    One file on either side is a pair, whatever the names. Else `x.jpg`, `x_segmentation.png`,
    `x_mask.png` and `x.jpg.png` are all `x`, and names that look alike are the same (UAX #15).
    Where a folder has both `x.bmp` and `x_lesion.bmp`, as PH2 has, the latter is the truth.

    Raises:
        UsageError: two files of one side have the same name.
    """
    if len(others) == len(truths) == 1:
        return [(others[0], truths[0])], []
    left, right = _by_name(others, masks=False), _by_name(truths, masks=True)
    pairs = [(left[name], right[name]) for name in left if name in right]
    alone = [left[name] for name in left if name not in right]
    return pairs, alone + [right[name] for name in right if name not in left]


def shown(path: object) -> str:
    """Escape whatever in a path would control the terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))


def _files_below(folder: Path) -> list[Path]:
    """List the files of a folder and its sub-folders, without system litter."""
    return sorted(
        path
        for path in folder.rglob("*")
        if not is_litter(str(path.relative_to(folder))) and path.is_file()
    )


def _is_of(kind: Kind, file: Path) -> bool:
    if is_beside(file.name):
        return False
    if file.suffix.lower() in kind.suffixes:
        return True
    try:
        with file.open("rb") as opened:
            return kind.announces(opened.read(HEAD_BYTES))
    except OSError:
        return True  # reading it again says what is wrong


def _by_name(files: Sequence[Path], *, masks: bool) -> dict[str, Path]:
    """Index files by name; of an image and its mask in one folder, keep the one wanted."""
    named: dict[str, Path] = {}
    for file in files:
        name, marked = _name(file)
        if name in named and _name(named[name])[1] == marked:
            raise UsageError(f"{shown(named[name])} and {shown(file)} are both called {name}")
        if name not in named or marked == masks:
            named[name] = file
    return named


def _name(file: Path) -> tuple[str, bool]:
    """Return a file's name without endings, and whether the name says that it is a mask."""
    while file.suffix.lower() in _NO_PART_OF_A_NAME:
        file = file.with_suffix("")
    name = canonical(file.name)
    for end in _ENDINGS:
        if name.lower().endswith(end):
            return name[: -len(end)], True
    return name, False

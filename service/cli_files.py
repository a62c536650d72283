"""Which files a command line means, and what each output is called."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

PHOTOGRAPHS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm"})
MASKS = frozenset({".png", ".bmp", ".tif", ".tiff", ".json"})
_ENDINGS = ("_segmentation", "_lesion", "_mask", "_truth")
"""What ISIC, PH2 and others add to a photograph's name for its mask."""


class UsageError(Exception):
    """The command line asks for what cannot be done."""


def find_files(paths: Sequence[Path], suffixes: frozenset[str]) -> list[Path]:
    """The files of a command line, each once, in order.

    Args:
        paths: Files are taken as they are; of folders, sub-folders too, the files with one of the
            suffixes. A file that is not there is kept: opening it says so.
        suffixes: In lower case, with the dot.

    Raises:
        UsageError: a folder holds none.
    """
    found: dict[str, Path] = {}
    for path in paths:
        inside = sorted(_below(path, suffixes)) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"{shown(path)} holds no file named {', '.join(sorted(suffixes))}")
        for file in inside:
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def outputs_of(files: Sequence[Path], out: Path, suffix: str) -> list[Path]:
    """Where each result goes: below `out`, with the input's own name and the suffix added.

    Files of several folders keep their folders' names from the deepest one that they share, so
    that no two results have one name and none lies outside `out`.

    Example:
        >>> [str(p) for p in outputs_of([Path("a/x.jpg"), Path("b/x.jpg")], Path("out"), ".png")]
        ['out/a/x.jpg.png', 'out/b/x.jpg.png']

    Raises:
        UsageError: two names differ only in upper and lower case, which some disks take for one;
            or the inputs share no folder (two drives).
    """
    whole = [Path(os.path.abspath(file)) for file in files]  # noqa: PTH100  # keeps symlinks
    try:
        shared = os.path.commonpath([file.parent for file in whole]) if whole else ""
    except ValueError as exc:
        raise UsageError(f"the files share no folder: {exc}") from exc
    outputs = [out / f"{file.relative_to(shared)}{suffix}" for file in whole]
    twice = [name for name, n in Counter(str(o).casefold() for o in outputs).items() if n > 1]
    if twice:
        raise UsageError(f"two results would be called {shown(twice[0])}: run them apart")
    return outputs


def pair_up(
    others: Sequence[Path], truths: Sequence[Path]
) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Each photograph or prediction with the truth of the same name; then what has no partner.

    One file on either side is a pair, whatever the names. Else `x.jpg`, `x_segmentation.png`,
    `x_mask.png` and `x.jpg.png` are all `x`.

    Raises:
        UsageError: two files of one side have the same name.
    """
    if len(others) == len(truths) == 1:
        return [(others[0], truths[0])], []
    left, right = _by_name(others), _by_name(truths)
    pairs = [(left[name], right[name]) for name in left if name in right]
    alone = [left[name] for name in left if name not in right]
    return pairs, alone + [right[name] for name in right if name not in left]


def shown(path: object) -> str:
    """A path for the terminal: whatever in its name would steer the terminal is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))


def _below(folder: Path, suffixes: frozenset[str]) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in suffixes and path.is_file():
            yield path


def _by_name(files: Sequence[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for file in files:
        name = _name(file)
        if name in named:
            raise UsageError(f"{shown(named[name])} and {shown(file)} are both called {name}")
        named[name] = file
    return named


def _name(file: Path) -> str:
    while file.suffix.lower() in PHOTOGRAPHS | MASKS:
        file = file.with_suffix("")
    name = file.name
    return next((name.removesuffix(end) for end in _ENDINGS if name.endswith(end)), name)

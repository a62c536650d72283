"""Store a registry's files in a folder of this machine, or (`object_store`) at any fsspec URL.

A store knows files and folders, not models; paths are relative to its root, `/` between parts. A
folder appears under its name whole or not at all, and a small file is replaced in one step,
whenever the process is killed.
"""

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from model_core.atomic import replacing, sync
from model_core.errors import ConfigError, CorruptVersionError, VersionExistsError

CARD = "card.json"
"""A version exists exactly when its card does: it is written last."""
STAGING = ".publish-"
"""Prefix of the folders in which versions are prepared."""


class LocalStore:
    """Files below a folder of this machine: staged beside, synced, renamed, one writer at a time.

    Args:
        root: The folder; a reader's may be read-only.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Raise a ConfigError where the place is not there."""
        if not self.root.is_dir():
            raise ConfigError(f"{self.root.absolute()}, and there is no such folder")

    def folders(self, path: str = "") -> list[str]:
        """List the folders directly below `path` by name, sorted; none where it is not there."""
        folder = self.root / path
        if not folder.is_dir():
            return []
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())

    def holding(self, path: str, file: str) -> list[str]:
        """List those folders directly below `path` that hold a file of this name."""
        return sorted(held.parent.name for held in (self.root / path).glob(f"*/{file}"))

    def read(self, path: str) -> bytes:
        """Read a small file; FileNotFoundError where there is none."""
        return (self.root / path).read_bytes()

    def replace(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace a small file by what `change` makes of it (of None where there is none).

        `change` may be called again, when another process was quicker; what it raises leaves the
        file as it is. Of several processes at once none overwrites what it has not read.
        """
        target = self.root / path
        # The model's own folder: a version's holds what is signed, and nothing beside.
        outer = self.root.joinpath(*Path(path).parent.parts[:1])
        with _locked(outer):
            before = target.read_bytes() if target.is_file() else None
            after = change(before)
            if after != before:
                with replacing(target, beside=outer) as part:
                    part.write_bytes(after)
                sync(target.parent)

    def folder(self, path: str, key: str) -> Path:
        """Name the folder of this machine where `fetch` puts the files of the folder `path`."""
        return self.root / path

    def fetch(self, path: str, files: Mapping[str, str], key: str, *, again: bool = False) -> Path:
        """Bring files into a folder of this machine, and verify the hash of each.

        Args:
            path: The folder that they are in.
            files: SHA-256 by name.
            key: SHA-256 of the folder's card: two folders of one key hold the same.
            again: Read the place itself, whatever this machine keeps of it.

        Raises:
            CorruptVersionError: a file is missing or has another hash; the text has all of them.
        """
        folder = self.folder(path, key)
        raise_faults(fault_of(folder, name, files[name], path) for name in files)
        return folder

    def require_no_others(self, path: str, files: Collection[str]) -> None:
        """Require that a folder holds no file but these, and no link or device anywhere.

        Raises:
            CorruptVersionError: it does; the text has all of them.
        """
        folder = self.root / path
        others = []
        for entry in (folder, *sorted(folder.rglob("*"))):
            name = entry.relative_to(folder).as_posix()
            if entry.is_symlink():
                others.append(f"{path} holds a symbolic link: {name}")
            elif not entry.is_dir() and not (entry.is_file() and name in files):
                others.append(f"{path} holds {name}, which its card does not list")
        raise_faults(iter(others))

    @contextmanager
    def staging(self, path: str) -> Iterator[Path]:
        """Give an empty folder to fill; it becomes `path` when the block ends without an error.

        Raises:
            VersionExistsError: `path` is taken, before the block or by the time that it ends.
        """
        target = self.root / path
        _make_folder(target.parent)
        with _locked(target.parent):
            # A publisher at work holds the lock, which is ours now: these are of killed ones.
            for left in target.parent.glob(f"{STAGING}*"):
                shutil.rmtree(left)
            if target.exists():
                raise VersionExistsError(taken(path))
            with tempfile.TemporaryDirectory(prefix=STAGING, dir=target.parent) as beside:
                staged = Path(beside, target.name)
                staged.mkdir()
                yield staged
                for entry in (*staged.rglob("*"), staged):
                    sync(entry)
                staged.rename(target)
                sync(target.parent)

    def keep(self, path: str, files: Mapping[str, bytes]) -> None:
        """Write a folder of small files, which is there whole or not at all.

        Raises:
            VersionExistsError: `path` is taken.
        """
        with self.staging(path) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)

    def remove(self, path: str) -> None:
        """Remove a folder and all in it, where it is there."""
        folder = self.root / path
        with _locked(folder.parent):
            if folder.is_dir():
                # Away in one step: what a crash leaves, the next one who stages removes.
                away = folder.rename(folder.with_name(f"{STAGING}{folder.name}"))
                sync(folder.parent)
                shutil.rmtree(away)


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault_of(folder: Path, name: str, expected: str, path: str) -> str | None:
    """Say what is wrong with a file of a folder, which the text calls `path`; else None."""
    if not is_inside(name) or not (folder / name).is_file():
        return f"{path} lacks the file {name}"
    if (sha256 := file_sha256(folder / name)) != expected:
        return f"{path}/{name} has SHA-256 {sha256[:12]}…, the card says {expected[:12]}…"
    return None


def raise_faults(faults: Iterator[str | None]) -> None:
    """Raise a CorruptVersionError of all faults, where there is one."""
    if text := "; ".join(fault for fault in faults if fault):
        raise CorruptVersionError(text)


def is_inside(name: str) -> bool:
    """Tell whether a relative path stays below the folder that it is relative to."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def taken(path: str) -> str:
    """Word the error for a version that exists already."""
    name, _, version = path.rpartition("/")
    return (
        f"{name} {version} exists, and a version never changes: publish under a new number "
        "(where your own publishing was cut off, look: it may have succeeded)"
    )


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, so that it outlives a power cut."""
    for folder in reversed((path, *path.parents)):
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync(folder.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer below a folder at a time; a crash releases the lock."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""Replace files in one step, so that a crash leaves the old one or the new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, beside: Path | None = None) -> Iterator[Path]:
    """Give a path to write to, whose file takes the place of `path` when the block ends.

    It is flushed to the disk first: after a power cut, a new name with no content would be left.

    Args:
        path: The file to replace.
        beside: Folder of the same disk to write in; None for the file's own.
    """
    part = (beside or path.parent) / f".{path.name}.part"
    try:
        yield part
        with part.open("r+b") as file:  # for writing, without which Windows flushes nothing
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:  # a full disk keeps no half of a file
        part.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk; on Linux and macOS."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

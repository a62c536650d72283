"""Copy a version's files to where no other user can change them, before they are used."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from model_core.registry.local_store import fault_of, raise_faults


@contextmanager
def private_copy(
    folder: Path, files: Mapping[str, str], *, name: str = "version"
) -> Iterator[Path]:
    """Give a copy of files, each verified, until the block ends; readers may have it mapped longer.

    Args:
        folder: Where they are.
        files: SHA-256 by name; none leads out of the folder.
        name: What the copy's folder is called.

    Raises:
        CorruptVersionError: a copy has another hash.
    """
    with tempfile.TemporaryDirectory(prefix="lesion-") as beside:
        copy = Path(beside, name)
        copy.mkdir()
        for file in files:
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, copy / file)
        raise_faults(fault_of(copy, file, files[file], str(folder)) for file in files)
        yield copy

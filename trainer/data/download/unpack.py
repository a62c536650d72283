"""A ZIP file from elsewhere to a folder: all of it or nothing, and nothing outside the folder."""

import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from model_core.errors import DatasetError
from model_core.images.file_names import is_litter
from trainer.data.download.fetch import readable_bytes

MAX_UNPACKED_BYTES = 64 << 30  # the largest archive of the challenge has 11 GB
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile raises beside its own error for bytes that are no ZIP file; RuntimeError: encrypted.
DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, UnicodeError)


def unpack(archive: Path, target: Path) -> None:
    """Unpack a ZIP file into a new folder, which appears only when every file is there.

    Left out are what no reader wants: superpixels of the challenge's other task, and what systems
    leave (`model_core.images.file_names`), such as the `__MACOSX` folder of macOS.

    Args:
        archive: ZIP file. One that is damaged (by its own CRC-32s) is deleted, so that the next
            download fetches it again.
        target: Folder to make. A top folder of the same name in the archive becomes it.

    Raises:
        DatasetError: the archive is damaged, names a path outside the folder, holds a link,
            declares more than `MAX_UNPACKED_BYTES`, or more than the disk has room for.
    """
    beside = target.with_name(f"{target.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _wanted(opened.infolist(), archive)
            _check_size(entries, archive)
            # zipfile never gives more bytes than declared, and compares the CRC-32 at the last.
            for info in tqdm(entries, desc=target.name, unit="file", leave=False, disable=None):
                opened.extract(info, beside)
        top = beside / target.name
        (top if top.is_dir() else beside).replace(target)
    except DAMAGED as exc:
        archive.unlink()
        raise DatasetError(
            f"{archive} is damaged and was deleted, the same command fetches it again: {exc}"
        ) from exc
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _wanted(infos: list[zipfile.ZipInfo], archive: Path) -> list[zipfile.ZipInfo]:
    """Select the files to write, once every entry is seen to be safe."""
    entries: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in infos:
        path = _safe_path(info, archive)
        if path in entries:
            raise DatasetError(f"{archive} holds {info.filename!r} twice")
        if not (info.is_dir() or is_litter(str(path)) or path.name.endswith("_superpixels.png")):
            entries[path] = info
    if not entries:
        raise DatasetError(f"{archive} holds no files, expected photographs or masks")
    return list(entries.values())


def _safe_path(info: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    name, path = info.filename, PurePosixPath(info.filename)
    if not name or info.header_offset < 0 or info.compress_type not in COMPRESSIONS:
        raise zipfile.BadZipFile(f"the entry {name!r} is not stored or deflated, or lies nowhere")
    # Backslash and colon too: on Windows they separate folders and name a drive.
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise DatasetError(f"{archive} holds {name!r}, which leads out of the folder")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):  # 0: written where files have no such mode
        raise DatasetError(f"{archive} holds {name!r}, a link or device; expected plain files")
    return path


def _check_size(entries: list[zipfile.ZipInfo], archive: Path) -> None:
    total = sum(info.file_size for info in entries)
    if total > MAX_UNPACKED_BYTES:
        raise DatasetError(
            f"{archive} declares {readable_bytes(total)} unpacked, "
            f"expected at most {readable_bytes(MAX_UNPACKED_BYTES)}"
        )
    free = shutil.disk_usage(archive.parent).free
    if total > free:
        raise DatasetError(
            f"{archive} needs {readable_bytes(total)} to unpack, "
            f"its disk has {readable_bytes(free)} free"
        )

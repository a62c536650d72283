"""Store a registry's files in a bucket: at any fsspec URL, such as `s3://bucket/prefix`.

Object stores have no rename and no lock. So a version's files are uploaded first and its card last,
by a write that fails where there is a card already: of two publishers one wins. A file's name may
be taken, by a publisher that was killed or is at work; then ours goes to `<sha256>/<name>` beside
it. Nothing is ever overwritten by something else or deleted, so no publisher changes what a card
lists, and one that was killed blocks no number.

Readers keep verified copies in a cache folder: delete it whenever you like.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from model_core.errors import (
    ConfigError,
    ModelError,
    RegistryUnavailableError,
    SegmentationError,
    VersionExistsError,
)
from model_core.registry.local_store import (
    CARD,
    STAGING,
    LocalStore,
    fault_of,
    file_sha256,
    is_inside,
    raise_faults,
    taken,
)

_ATTEMPTS = 20
"""Processes that may change one small file at once before one of them gives up."""


def open_url(url: str) -> tuple[Any, str]:
    """Open the fsspec file system of a URL or path; give its own name of the place, too.

    Raises:
        ConfigError: no such protocol, or what it needs is not installed.
    """
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        fs, root = url_to_fs(url)
    except ImportError as exc:
        extra = '; install the extra "s3" of this package' if url.startswith("s3") else ""
        raise ConfigError(f"{url} cannot be opened: {exc}{extra}") from exc
    except ValueError as exc:
        raise ConfigError(f"{url} cannot be opened: {exc}") from exc
    return fs, str(root).rstrip("/")


def open_store(root: Path | str, cache: Path | None = None) -> "LocalStore | ObjectStore":
    """Make the store of a folder, or of a URL with a cache folder of this machine."""
    text = str(root).removeprefix("file://")
    return ObjectStore(text, cache) if "://" in text else LocalStore(Path(text))


class ObjectStore:
    """Files below a URL.

    Two writers at once are told apart where the store can create a file exclusively and replace it
    conditionally, as S3 can. Of other stores some let the later one win.

    Args:
        url: Any URL that fsspec opens; its libraries read their own environment variables and
            configuration files for endpoints and keys.
        cache: Folder for copies; None for `lesion-models` in the platform's cache folder.
    """

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self.url = url.rstrip("/")
        self._cache = cache

    def check(self) -> None:
        """Raise a ConfigError where there is nothing below the URL."""
        with self._reaching() as fs:
            if not fs.exists(self._key()):
                raise ConfigError(f"{self.url}, and there is nothing below that address")

    def folders(self, path: str = "") -> list[str]:
        """List the folders directly below `path` by name, sorted; none where it is not there."""
        with self._reaching() as fs, suppress(FileNotFoundError):
            entries = fs.ls(self._key(path), detail=True)
            names = (entry["name"] for entry in entries if entry["type"] == "directory")
            return sorted(name.rstrip("/").rpartition("/")[2] for name in names)
        return []

    def holding(self, path: str, file: str) -> list[str]:
        """List those folders directly below `path` that hold a file of this name."""
        key = self._key(path)
        with self._reaching() as fs, suppress(FileNotFoundError):
            parts = (file_key.removeprefix(f"{key}/").split("/") for file_key in fs.find(key))
            return sorted(folder for folder, *rest in parts if rest == [file])
        return []

    def read(self, path: str) -> bytes:
        """Read a small file; FileNotFoundError where there is none."""
        with self._reaching() as fs:
            return bytes(fs.cat_file(self._key(path)))

    def replace(self, path: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace a small file as `LocalStore.replace`, where nobody else did since it was read."""
        for _ in range(_ATTEMPTS):
            before, condition = self._read_for_replacing(path)
            after = change(before)
            if after == before:
                return
            with suppress(FileExistsError), self._reaching(writing=True) as fs:
                fs.pipe_file(self._key(path), after, **condition)
                return
        raise ModelError(f"{self.url}/{path} is being changed by others all the time; try again")

    def folder(self, path: str, key: str) -> Path:
        """Name the folder of the cache for the files of the card whose hash is `key`."""
        return self._cache_folder / key

    def fetch(self, path: str, files: Mapping[str, str], key: str, *, again: bool = False) -> Path:
        """Bring files into the cache as `LocalStore.fetch`; damaged copies are fetched again."""
        folder = self.folder(path, key)
        raise_faults(self._fetch(path, name, files[name], folder, again=again) for name in files)
        return folder

    def require_no_others(self, path: str, files: Collection[str]) -> None:
        """Require nothing: a bucket may hold what others left, and what is listed is fetched."""

    @contextmanager
    def staging(self, path: str) -> Iterator[Path]:
        """Give an empty folder to fill; it is uploaded when the block ends without an error."""
        with self._reaching() as fs:
            if fs.exists(self._key(path, CARD)):
                raise VersionExistsError(taken(path))
        with tempfile.TemporaryDirectory(prefix=STAGING, dir=self._cache_folder) as beside:
            staged = Path(beside, "version")
            staged.mkdir()
            yield staged
            # Into the cache first: what fails there must not fail once the version is public.
            folder = self.folder(path, file_sha256(staged / CARD))
            shutil.copytree(staged, folder, dirs_exist_ok=True)
            self._upload(staged, path)

    def keep(self, path: str, files: Mapping[str, bytes]) -> None:
        """Write a folder of small files, the last of which tells that all are there.

        Raises:
            FileExistsError: a file is there already; then those written before it are removed.
        """
        written: list[str] = []
        try:
            for name, data in files.items():
                with self._reaching(writing=True) as fs:
                    fs.pipe_file(self._key(path, name), data, mode="create")
                written.append(name)
        except BaseException:
            with suppress(SegmentationError), self._reaching() as fs:
                for name in written:
                    fs.rm_file(self._key(path, name))
            raise

    def remove(self, path: str) -> None:
        """Remove everything below a path, where there is anything."""
        with self._reaching() as fs, suppress(FileNotFoundError):
            fs.rm(self._key(path), recursive=True)

    def _upload(self, folder: Path, path: str) -> None:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file != folder / CARD:
                self._upload_file(file, path, file.relative_to(folder).as_posix())
        try:
            with self._reaching(writing=True) as fs:
                fs.pipe_file(self._key(path, CARD), (folder / CARD).read_bytes(), mode="create")
        except FileExistsError as exc:
            raise VersionExistsError(taken(path)) from exc

    def _upload_file(self, file: Path, path: str, name: str) -> None:
        key, sha256 = self._key(path, name), file_sha256(file)
        with suppress(FileExistsError), self._reaching(writing=True) as fs:
            fs.put_file(str(file), key, mode="create")
            return
        with self._reaching(writing=True) as fs:
            with fs.open(key, "rb") as other:
                if hashlib.file_digest(other, "sha256").hexdigest() == sha256:
                    return
            fs.put_file(str(file), self._key(path, sha256, name))

    def _fetch(self, path: str, name: str, sha256: str, folder: Path, *, again: bool) -> str | None:
        """Bring one file into the cache, where it is not; give the fault that it has there."""
        fault: str | None = f"{path} lacks the file {name}"
        if not is_inside(name):
            return fault
        if not again and fault_of(folder, name, sha256, path) is None:
            return None
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as beside:
            for source in (self._key(path, name), self._key(path, sha256, name)):
                part = Path(beside, name)
                part.parent.mkdir(parents=True, exist_ok=True)
                with self._reaching() as fs, suppress(FileNotFoundError):
                    fs.get_file(source, str(part))
                    fault = fault_of(Path(beside), name, sha256, path)
                    if fault is None:
                        part.replace(folder / name)
                        return None
        return fault

    def _read_for_replacing(self, path: str) -> tuple[bytes | None, dict[str, str]]:
        """Read a small file, and make the arguments of `pipe_file` that replace this very state."""
        key = self._key(path)
        with self._reaching() as fs:
            try:
                # The tag first: bytes newer than it are refused later, older ones cannot be.
                tag = fs.info(key).get("ETag")
                return bytes(fs.cat_file(key)), {"IfMatch": tag} if tag else {}
            except FileNotFoundError:
                return None, {"mode": "create"}

    def _key(self, *parts: str) -> str:
        return "/".join(part for part in (self._opened[1], *parts) if part)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        # Opened at the first use, so that a registry can be made before a fork.
        return open_url(self.url)

    @cached_property
    def _cache_folder(self) -> Path:
        try:
            caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            folder = self._cache or Path(caches, "lesion-models")
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError) as exc:
            raise ConfigError(
                f"no cache folder for {self.url}: {exc}; set XDG_CACHE_HOME to one to write in"
            ) from exc
        return folder

    @contextmanager
    def _reaching(self, *, writing: bool = False) -> Iterator[Any]:
        """Open the file system; what its libraries raise becomes an error of ours.

        But for a FileExistsError, of a condition that does not hold, and a FileNotFoundError; where
        we write that one means that there is no such bucket.
        """
        fs, _ = self._opened
        fs.invalidate_cache()
        try:
            yield fs
        except SegmentationError:
            raise
        except Exception as exc:  # each library has errors of its own
            if isinstance(exc, FileExistsError) or _is_refused(exc):
                raise FileExistsError(str(exc)) from exc
            if isinstance(exc, FileNotFoundError) and not writing:
                raise
            reason = " ".join(f"{type(exc).__name__}: {exc}".split())
            raise RegistryUnavailableError(f"{self.url} cannot be reached: {reason}") from exc


def _is_refused(error: Exception) -> bool:
    """Tell whether S3 refused a write because its If-Match or If-None-Match did not hold."""
    response = getattr(error.__cause__, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return code in ("PreconditionFailed", "ConditionalRequestConflict")

"""Where photographs are read from and results written to: a folder, or any fsspec URL."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from model_core.errors import ConfigError, DatasetError
from model_core.registry.object_store import open_url


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Turn what the libraries of remote file systems raise into an error of ours.

    Raises:
        DatasetError: the place cannot be reached.
    """
    try:
        yield
    except (OSError, DatasetError, ConfigError):
        raise
    except Exception as exc:  # each library has errors of its own
        reason = " ".join(f"{type(exc).__name__}: {exc}".split())
        raise DatasetError(f"{url} cannot be reached: {reason}") from exc


def absolute(url: str) -> str:
    """Make a path absolute, so that it means the same in every process; a URL stays as it is."""
    return url if "://" in url else str(Path(url).resolve())


class FileStore:
    """A folder or URL in which files appear whole or not at all.

    On an object store a file appears when its upload has ended; in a folder it is written beside
    and renamed.

    Folders are made where absent.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.folder = None if "://" in url else Path(url)
        self._fs, self._root = open_url(url)

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole, replacing one of that name."""
        if self.folder is None:
            with reaching(self.url):
                self._fs.pipe_file(self._key(name), data)
            return
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: a worker that was thought dead may still be writing the same file.
        beside = path.with_name(f".{uuid4().hex}.part")
        try:
            with beside.open("wb") as file:
                file.write(data)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def read(self, name: str) -> bytes:
        """Read a file's bytes; FileNotFoundError where there is none."""
        # fsspec remembers what it saw, and other workers write meanwhile.
        self._fs.invalidate_cache()
        with reaching(self.url):
            return bytes(self._fs.cat_file(self._key(name)))

    def names(self, folder: str) -> set[str]:
        """List the names of the files directly in a folder; none where that is not there."""
        self._fs.invalidate_cache()
        with reaching(self.url), suppress(FileNotFoundError):
            paths = self._fs.ls(self._key(folder), detail=False)
            names = (path.rpartition("/")[2] for path in paths)
            return {name for name in names if not name.startswith(".")}
        return set()

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with reaching(self.url), suppress(FileNotFoundError):
            self._fs.rm_file(self._key(name))

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}"

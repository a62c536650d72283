"""The photographs of a folder, a CSV manifest, Parquet, or any of them at an fsspec URL.

Listing reads names, and the first bytes of files whose names do not say what they are; `Reader`
fetches the bytes where they are needed.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, NamedTuple

from model_core.errors import ConfigError, DatasetError
from model_core.images.file_names import (
    HEAD_BYTES,
    IMAGE_SUFFIXES,
    announces_image,
    is_beside,
    is_litter,
)
from model_core.registry.object_store import open_url
from trainer.archive.file_store import absolute, reaching
from trainer.data.tables import decoded, named_file, rows_of, squeezed

COLUMN = "image"
_NAME = "name"
_SCHEMES = ("://", "::")
_AT_ONCE = 1_000
"""Files whose first bytes are asked for in one call: a bucket answers them side by side."""


class Photograph(NamedTuple):
    """One photograph of a source; small, for an archive has millions.

    Attributes:
        name: Unique in the source, `/` between parts, without `..`: its mask's name.
        url: The file that it is, or that it is in.
        row: Its row in that Parquet file; None where the file is the photograph.
        state: By what a changed file is told from an unchanged one; empty where nobody can tell.
    """

    name: str
    url: str
    row: int | None
    state: str


def list_photographs(
    source: str, on_other: Callable[[str], object] = lambda name: None
) -> list[Photograph]:
    """List every photograph of a source, sorted by name.

    In a folder these are the files that end or begin as one; what systems leave is passed over.

    Args:
        source: A folder of photographs or of Parquet files, a `.csv` or a `.parquet` file; a path
            or a URL. A table's column `image` holds paths (relative ones are beside the table) or,
            in Parquet, the photographs' own bytes; their names are then in a column `name`, or
            file and row.
        on_other: Called with the name of each other file in a folder.

    Raises:
        DatasetError: there is no such source, no photograph in it, or one name twice.
        ConfigError: the URL's protocol is not known here.
    """
    with reaching(source):
        photographs = sorted(_photographs(absolute(source), on_other), key=lambda p: p.name)
    if not photographs:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DatasetError(f"{source} holds no image, by name ({endings}) or content")
    # Of two photographs of one name, one mask would replace the other.
    for before, after in pairwise(photographs):
        if before.name == after.name:
            raise DatasetError(f"{source} names {after.name} twice")
    return photographs


def _photographs(source: str, on_other: Callable[[str], object]) -> Iterator[Photograph]:
    fs, root = open_url(source)
    fs.invalidate_cache()
    suffix = PurePosixPath(root).suffix.lower()
    if suffix in (".csv", ".parquet"):
        if not fs.isfile(root):
            raise DatasetError(f"no file at {source}, expected a table of photographs")
        return _in_csv(fs, root) if suffix == ".csv" else _in_parquet(fs, root, root)
    files = fs.find(root, detail=True) if fs.isdir(root) else None
    if files is None:
        raise DatasetError(f"no folder at {source}, expected one with photographs")
    return _in_folder(fs, root, files, on_other)


def _in_folder(
    fs: Any, root: str, files: dict[str, Any], on_other: Callable[[str], object]
) -> Iterator[Photograph]:
    kept = [path for path in files if not is_litter(path[len(root) + 1 :])]
    tables = {path for path in kept if path.lower().endswith(".parquet")}
    beside = {path for path in kept if is_beside(PurePosixPath(path).name)}
    rest = sorted(set(kept) - tables - beside)
    images = {path for path in rest if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES}
    unnamed = [path for path in rest if path not in images and files[path].get("size") != 0]
    images |= _photographs_by_content(fs, unnamed)
    if images and tables:
        raise DatasetError(f"{root} holds photographs and Parquet files: name one of the two")
    for path in sorted(set(kept) - tables - images):
        on_other(path[len(root) + 1 :])
    for path in images:
        yield Photograph(path[len(root) + 1 :], _url(fs, path), None, _state(files[path]))
    for path in tables:
        yield from _in_parquet(fs, path, root)


def _photographs_by_content(fs: Any, paths: Sequence[str]) -> set[str]:
    """Select the files that begin as a photograph does, and those that cannot be read.

    What is wrong with these is said when they are predicted.
    """
    photographs: set[str] = set()
    for start in range(0, len(paths), _AT_ONCE):
        some = list(paths[start : start + _AT_ONCE])
        heads = fs.cat_ranges(some, [0] * len(some), [HEAD_BYTES] * len(some), on_error="return")
        photographs |= {
            path
            for path, head in zip(some, heads, strict=True)
            if isinstance(head, Exception) or announces_image(bytes(head))
        }
    return photographs


def _in_csv(fs: Any, path: str) -> Iterator[Photograph]:
    with fs.open(path, "rb") as file, decoded(file) as lines:
        for _, row in rows_of(lines, path, [COLUMN]):
            yield _listed(fs, path, row[COLUMN].strip())


def _in_parquet(fs: Any, path: str, root: str) -> Iterator[Photograph]:
    from pyarrow import parquet, types

    with fs.open(path, "rb") as file:
        table = parquet.ParquetFile(file)
        columns = table.schema_arrow.names
        column = _image_column(columns, path)
        kind = table.schema_arrow.field(column).type
        if not (types.is_binary(kind) or types.is_large_binary(kind)):
            for batch in table.iter_batches(columns=[column]):
                yield from (_listed(fs, path, image.as_py()) for image in batch.column(0))
            return
        state = _state(fs.info(path))
        inner = path[len(root) + 1 :] or PurePosixPath(path).name
        count = table.metadata.num_rows
        if _NAME in columns:
            names = table.read(columns=[_NAME]).column(0).to_pylist()
        else:
            names = [f"{inner}/{row:08}" for row in range(count)]
    for row, name in enumerate(names):
        yield Photograph(_checked(str(name), path), _url(fs, path), row, state)


def _image_column(columns: Sequence[str], path: str) -> str:
    """Find what a Parquet file calls its column of photographs: `image`, in whatever case."""
    column = next((column for column in sorted(columns)[::-1] if squeezed(column) == COLUMN), None)
    if column is None:
        raise DatasetError(f"{path} has no column {COLUMN}; it has {columns}")
    return column


def _listed(fs: Any, table: str, image: str | None) -> Photograph:
    """Make the entry of a photograph that a row of a table names."""
    if not image:
        raise DatasetError(f"{table} has a row without {COLUMN}")
    if any(mark in image for mark in _SCHEMES):
        return Photograph(_checked(image.split("://")[-1], table), image, None, "")
    folder = table.rpartition("/")[0]
    if "://" in _url(fs, folder):  # where nobody looks whether a file is there
        image = image if "/" in image else image.replace("\\", "/")
        path = image if image.startswith("/") else f"{folder}/{image}"
    else:
        path = str(named_file(Path(folder), image))
        image = image if path.endswith(image) else image.replace("\\", "/")
    url = _url(fs, path)
    # A request for each file of a bucket would take hours; there a change goes unnoticed.
    state = "" if "://" in url else _state(fs.info(path) if fs.exists(path) else {})
    return Photograph(_checked(image.lstrip("/"), table), url, None, state)


def _checked(name: str, table: str) -> str:
    if not name or ".." in PurePosixPath(name).parts or name.startswith("/"):
        raise DatasetError(f"{table} holds {name!r}, expected a path without ..")
    return name


def _url(fs: Any, path: str) -> str:
    protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
    return path if protocol in ("file", "local") else str(fs.unstrip_protocol(path))


def _state(info: dict[str, Any]) -> str:
    mark = info.get("ETag") or info.get("mtime") or info.get("LastModified") or ""
    return f"{info.get('size', '')}:{mark}"


class Reader:
    """Fetches the bytes of photographs, for several threads at once.

    Of a Parquet file it keeps the last row group, as neighbours are asked for one after another.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._group: tuple[str, range, Any] = ("", range(0), None)

    def __call__(self, photograph: Photograph) -> bytes:
        """Fetch a photograph's bytes.

        Raises:
            FileNotFoundError, PermissionError: it is not to be had.
            OSError, DatasetError: its place cannot be reached.
        """
        if photograph.row is not None:
            with self._lock:
                return self._from_table(photograph.url, photograph.row)
        if not any(mark in photograph.url for mark in _SCHEMES):
            with open(photograph.url, "rb") as file:  # noqa: PTH123 (faster for millions)
                return file.read()
        with reaching(photograph.url):
            fs, path = open_url(photograph.url)
            return bytes(fs.cat_file(path))

    def _from_table(self, url: str, row: int) -> bytes:
        held, rows, column = self._group
        if held != url or row not in rows:
            with reaching(url):
                rows, column = _row_group(url, row)
            self._group = (url, rows, column)
        data = column[row - rows.start].as_py()
        if data is None:
            raise FileNotFoundError(f"row {row} of {url} is empty")
        return bytes(data)


def _row_group(url: str, row: int) -> tuple[range, Any]:
    from pyarrow import parquet

    fs, path = open_url(url)
    with fs.open(path, "rb") as file:
        table = parquet.ParquetFile(file)
        start = 0
        for number in range(table.num_row_groups):
            rows = range(start, start + table.metadata.row_group(number).num_rows)
            if row in rows:
                column = _image_column(table.schema_arrow.names, url)
                return rows, table.read_row_group(number, columns=[column]).column(0)
            start = rows.stop
    raise ConfigError(f"{url} has {start} rows, asked for row {row}: it was changed meanwhile")

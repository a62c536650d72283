"""CSV files: read as spreadsheets and other tools write them, and replaced whole when written."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from model_core.atomic import replacing
from model_core.errors import DatasetError
from model_core.images.file_names import canonical

Row = dict[str, str]
_SEPARATORS = (",", ";", "\t", "|")
_SAID_SEPARATOR = re.compile(r'"?sep=(.)"?\s*')
"""A first line by which Excel is told."""


def read_table(path: Path, columns: Iterable[str], optional: Iterable[str] = ()) -> list[Row]:
    """Read the rows of a CSV file, by column; cells that a row lacks are empty.

    Cells may be parted by comma, semicolon, tab or bar; a byte-order mark, as spreadsheets write
    it, is skipped, and UTF-16 read where there is its mark.

    Args:
        path: The file.
        columns: Those that must be there, in whatever case and with space, hyphen, underscore or
            nothing between their words; rows have them as they are called here.
        optional: Others that rows have as they are called here, where they are there at all.

    Raises:
        DatasetError: no such file, not text, or a column is missing or there twice.
    """
    return [row for _, row in numbered_rows(path, columns, optional)]


def numbered_rows(
    path: Path, columns: Iterable[str], optional: Iterable[str] = ()
) -> list[tuple[int, Row]]:
    """Read as `read_table`, each row with its line in the file."""
    try:
        with path.open("rb") as file, decoded(file) as lines:
            return list(rows_of(lines, str(path), columns, optional))
    except FileNotFoundError as exc:
        raise DatasetError(f"no file at {path}, expected a CSV file") from exc


def decoded(file: Any) -> TextIO:
    """Decode a table that was opened as bytes, by its byte-order mark; UTF-8 without one."""
    utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    file.seek(0)
    return io.TextIOWrapper(file, encoding="utf-16" if utf16 else "utf-8-sig", newline="")


def rows_of(
    lines: Iterable[str], name: str, columns: Iterable[str], optional: Iterable[str] = ()
) -> Iterator[tuple[int, Row]]:
    """Parse a table's lines into rows, each with its line, one at a time: it may have millions.

    `lines` are as `decoded` gives them, and `name` is for errors; else as `read_table`.

    Raises:
        DatasetError: as `read_table`.
    """
    columns, numbers = list(columns), _Counted(lines)
    try:
        first, separators = _first_line(numbers)
        separator = _separator(first, separators, columns)
        skipped = numbers.count - 1  # none, where there is no line at all
        rows = csv.reader(chain([first], numbers), delimiter=separator)
        header = _header(next(rows, []), name, columns, optional)
        for cells in rows:
            if any(cell.strip() for cell in cells):
                row = dict.fromkeys(header, "")
                yield max(0, skipped) + rows.line_num, row | dict(zip(header, cells, strict=False))
    except UnicodeDecodeError as exc:
        raise DatasetError(
            f"{name} is not UTF-8 text (byte {exc.start}): save it as CSV UTF-8"
        ) from exc
    except (csv.Error, UnicodeError) as exc:
        raise DatasetError(f"{name} is not a CSV file: {exc}") from exc


def squeezed(name: str) -> str:
    """Strip a column's name of case, and of what stands between its words.

    Example:
        >>> squeezed("Near-Dup group"), squeezed("lesionId")
        ('neardupgroup', 'lesionid')
    """
    return re.sub(r"[\W_]+", "", canonical(name).casefold())


def named_file(folder: Path, text: str) -> Path:
    """Find the file that a table names, relative to its own folder.

    As the text stands, else with Windows' backslashes between folders, else with its accents
    written in another way, as macOS does.
    """
    plain = text.replace("\\", "/")
    for spelling in dict.fromkeys((text, plain)):
        if (folder / spelling).exists():
            return folder / spelling
    path = folder / plain
    return path if plain.isascii() else _look_alike(path) or path


def other_case(path: Path) -> str:
    """Name a file beside `path` that differs in case or ending alone; empty without one."""
    if not path.parent.is_dir():
        return ""
    wanted = path.stem.casefold()
    return next((f.name for f in sorted(path.parent.iterdir()) if f.stem.casefold() == wanted), "")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows to a CSV file (its folder made where absent), replacing it whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    replace_text(path, text.getvalue())


def replace_text(path: Path, text: str) -> None:
    """Write a text to `path` in one step, its folder made where absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


class _Counted:
    """Lines, and how many of them were taken."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.count += 1
        return line


def _first_line(lines: Iterable[str]) -> tuple[str, Sequence[str]]:
    """Find the line with the names of columns, and what may stand between them."""
    separators: Sequence[str] = _SEPARATORS
    for line in lines:
        if said := _SAID_SEPARATOR.fullmatch(line):
            separators = (said[1],)
        elif line.strip(' \r\n"' + "".join(_SEPARATORS)):
            return line, separators
    return "", separators


def _separator(line: str, separators: Sequence[str], columns: Sequence[str]) -> str:
    """Choose the separator that gives the most of the columns, then the most cells."""
    wanted = {squeezed(column) for column in columns}

    def found(separator: str) -> tuple[int, int]:
        cells = next(csv.reader([line], delimiter=separator), [])
        return len(wanted & {squeezed(cell) for cell in cells}), len(cells)

    return max(separators, key=found)


def _header(
    cells: Sequence[str], name: str, columns: Sequence[str], optional: Iterable[str]
) -> list[str]:
    """Name the columns, those that were asked for as they were asked for."""
    header = [cell.strip() for cell in cells]
    for column in (*columns, *optional):
        places = [i for i, cell in enumerate(header) if squeezed(cell) == squeezed(column)]
        exact = [i for i in places if header[i] == column]
        if len(exact or places) > 1:
            raise DatasetError(f"{name} has several columns {column}: {header}")
        for place in exact or places:
            header[place] = column
    missing = sorted(set(columns) - set(header))
    if missing:
        raise DatasetError(f"{name} has no column {', '.join(missing)}; its first line is {header}")
    return header


def _look_alike(path: Path) -> Path | None:
    """Find the path that is there and canonically equivalent to one that is not (UAX #15)."""
    if path.exists() or path.parent == path:
        return path
    parent = _look_alike(path.parent)
    if parent is None or not parent.is_dir():
        return None
    wanted = canonical(path.name)
    return next((path for path in parent.iterdir() if canonical(path.name) == wanted), None)

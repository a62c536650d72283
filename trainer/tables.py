"""CSV files: UTF-8 with a header, checked on the way in, replaced whole on the way out."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from model_core.errors import DatasetError


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a CSV file, by column; cells that a row lacks are empty.

    Args:
        path: The file; a byte-order mark, as spreadsheets write it, is skipped.
        columns: Those that must be there; others may.

    Raises:
        DatasetError: no such file, not UTF-8 text, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, restval="")
            missing = set(columns) - set(rows.fieldnames or ())
            if missing:
                raise DatasetError(
                    f"{path} has no column {', '.join(sorted(missing))}; "
                    f"its first line is {rows.fieldnames}"
                )
            return list(rows)
    except FileNotFoundError as exc:
        raise DatasetError(f"no file at {path}, expected a CSV file") from exc
    except UnicodeDecodeError as exc:
        raise DatasetError(f"{path} is not UTF-8 text (byte {exc.start})") from exc
    except csv.Error as exc:
        raise DatasetError(f"{path} is not a CSV file: {exc}") from exc


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows to a CSV file (its folder made where absent), replacing it whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    replace_text(path, text.getvalue())


def replace_text(path: Path, text: str) -> None:
    """Write a text beside `path`, sync and rename it: a kill leaves the old file or the new."""
    beside = path.with_name(path.name + ".part")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)

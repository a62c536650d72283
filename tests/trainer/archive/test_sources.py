from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from model_core.errors import ConfigError, DatasetError
from trainer.archive.sources import Reader, list_photographs

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def fill(folder: Path, *names: str) -> Path:
    """Files whose bytes are their names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def read(source: str | Path) -> dict[str, bytes]:
    reader = Reader()
    return {found.name: reader(found) for found in list_photographs(str(source))}


def test_a_folder_gives_its_photographs_in_order(tmp_path: Path) -> None:
    fill(tmp_path, "b.png", "a.JPG", "c/a.tif", "notes.txt")
    found = read(tmp_path)
    assert list(found) == ["a.JPG", "b.png", "c/a.tif"]
    assert found == {name: name.encode() for name in found}


def test_a_manifest_names_photographs_beside_it_and_anywhere(tmp_path: Path) -> None:
    fill(tmp_path, "in/a.png", "elsewhere/b.png")
    fsspec.filesystem("memory").pipe_file("/bucket/c.png", b"c")
    table = tmp_path / "in" / "table.csv"
    rows = ("id,image", "1,a.png", f"2,{tmp_path}/elsewhere/b.png", "3,memory://bucket/c.png")
    table.write_text("\n".join(rows) + "\n")
    outside = f"{tmp_path}/elsewhere/b.png".lstrip("/")
    assert read(table) == {"a.png": b"in/a.png", outside: b"elsewhere/b.png", "bucket/c.png": b"c"}


def test_a_photograph_that_is_not_there_is_found_out_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image\nnone.png\n")
    (photograph,) = list_photographs(str(tmp_path / "table.csv"))
    with pytest.raises(FileNotFoundError):
        Reader()(photograph)
    fill(tmp_path, "none.png")
    assert list_photographs(str(tmp_path / "table.csv")) != [photograph]


def test_parquet_may_hold_the_photographs_themselves(tmp_path: Path) -> None:
    data = [f"photograph {number}".encode() for number in range(5)]
    names = [f"p{number}" for number in range(5)]
    table = pa.table({"image": data, "name": names})
    parquet.write_table(table, tmp_path / "named.parquet", row_group_size=2)
    assert read(tmp_path / "named.parquet") == dict(zip(names, data, strict=True))
    parquet.write_table(table.drop_columns("name"), tmp_path / "bare.parquet", row_group_size=2)
    found = read(tmp_path / "bare.parquet")
    assert list(found)[:2] == ["bare.parquet/00000000", "bare.parquet/00000001"]
    assert list(found.values()) == data


def test_parquet_may_hold_paths(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b/c.png")
    parquet.write_table(pa.table({"image": ["b/c.png", "a.png"]}), tmp_path / "table.parquet")
    assert read(tmp_path / "table.parquet") == {"a.png": b"a.png", "b/c.png": b"b/c.png"}


def test_a_folder_may_hold_parquet_files_and_not_both_kinds(tmp_path: Path) -> None:
    for part in range(2):
        table = pa.table({"image": [f"{part}{row}".encode() for row in range(2)]})
        parquet.write_table(table, tmp_path / f"{part}.parquet")
    assert list(read(tmp_path).values()) == [b"00", b"01", b"10", b"11"]
    fill(tmp_path, "a.png")
    with pytest.raises(DatasetError, match="photographs and Parquet"):
        list_photographs(str(tmp_path))


def test_an_empty_row_of_parquet_is_a_photograph_that_is_not_there(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([None, b"a"], pa.binary())})
    parquet.write_table(table, tmp_path / "t.parquet")
    first, second = list_photographs(str(tmp_path / "t.parquet"))
    with pytest.raises(FileNotFoundError, match="row 0"):
        Reader()(first)
    assert Reader()(second) == b"a"


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        pytest.param("id\n1\n", "no column image", id="no column"),
        pytest.param("image\na.png\na.png\n", "names a.png twice", id="one name twice"),
        pytest.param("image\n../a.png\n", "expected a path without", id="out of the folder"),
        pytest.param("id,image\n1,\n", "a row without image", id="an empty cell"),
        pytest.param("image\n", "holds no image", id="no row"),
    ],
)
def test_a_manifest_that_does_not_add_up_is_refused(
    tmp_path: Path, rows: str, problem: str
) -> None:
    (tmp_path / "table.csv").write_text(rows)
    with pytest.raises(DatasetError, match=problem):
        list_photographs(str(tmp_path / "table.csv"))


def test_a_source_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no file at"):
        list_photographs(str(tmp_path / "none.csv"))
    with pytest.raises(ConfigError, match="cannot be opened"):
        list_photographs("nowhere://archive")


def test_a_changed_photograph_is_told_from_the_one_before(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    (before,) = list_photographs(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"other")
    assert list_photographs(str(tmp_path)) != [before]

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


def test_a_folder_s_photographs_are_known_by_content_and_the_others_are_named(
    tmp_path: Path,
) -> None:
    fill(
        tmp_path, "a.jpg", "._a.jpg", "x/__MACOSX/a.jpg", "Thumbs.db", "a_superpixels.png", "n.txt"
    )
    for name in ("b.jfif", "IM000001", "1.2.840.5"):
        (tmp_path / name).write_bytes(
            b"\xff\xd8\xff\xe0" if name == "b.jfif" else bytes(128) + b"DICM"
        )
    (tmp_path / "empty").touch()
    others: list[str] = []
    found = list_photographs(str(tmp_path), others.append)
    assert [photograph.name for photograph in found] == ["1.2.840.5", "IM000001", "a.jpg", "b.jfif"]
    assert others == ["a_superpixels.png", "empty", "n.txt"]


def test_photographs_in_a_bucket_are_known_by_content_too() -> None:
    bucket = fsspec.filesystem("memory")
    files = {"a": bytes(128) + b"DICM", "b.txt": b"text", "c.PNG": b"", ".x/d.png": b"", "e": b""}
    for name, content in files.items():
        bucket.pipe_file(f"/by-content/{name}", content)
    others: list[str] = []
    found = list_photographs("memory://by-content", others.append)
    assert [photograph.name for photograph in found] == ["a", "c.PNG"]
    assert others == ["b.txt", "e"]


@pytest.mark.parametrize(
    "table",
    [
        pytest.param("id;Image\r\n1;in\\a.png\r\n;\r\n\r\n2;in\\u\u0308.png\r\n", id="Windows"),
        pytest.param("sep=\t\nIMAGE\tid\nin/a.png\t1\nin/\u00fc.png \t2\n", id="tabs"),
    ],
)
def test_a_table_is_read_however_it_was_saved(table: str, tmp_path: Path) -> None:
    fill(tmp_path, "in/a.png", "in/\u00fc.png")
    (tmp_path / "t.csv").write_text(table, encoding="utf-8-sig", newline="")
    assert list(read(tmp_path / "t.csv").values()) == [b"in/a.png", "in/\u00fc.png".encode()]


def test_a_column_of_parquet_may_be_in_capitals(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"Image": [b"a"], "name": ["x"]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == {"x": b"a"}


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
        pytest.param("image\n..\\a.png\n", "expected a path without", id="Windows' way out"),
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

import unicodedata
from pathlib import Path

import pytest

from model_core.errors import DatasetError
from trainer.data.tables import named_file, numbered_rows, other_case, read_table

ROWS = [("id", "near_dup_group"), ("a", "1"), ("b", "2")]
EXPECTED = [{"id": "a", "near_dup_group": "1"}, {"id": "b", "near_dup_group": "2"}]


def text(separator: str = ",", end: str = "\n") -> str:
    return end.join(separator.join(cells) for cells in ROWS) + end


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(text().encode(), id="plain"),
        pytest.param(text(";", "\r\n").encode("utf-8-sig"), id="semicolons, BOM"),
        pytest.param(text("\t").encode(), id="tabs"),
        pytest.param(text("|", "\r").encode(), id="bars, carriage returns"),
        pytest.param(text("\t", "\r\n").encode("utf-16"), id="Unicode text of a spreadsheet"),
        pytest.param(("sep=;\r\n" + text(";")).encode(), id="separator said"),
        pytest.param(text().replace("id", "ID").encode(), id="a column in capitals"),
        pytest.param(text().replace("near_dup_group", "NEAR-DUP GROUP").encode(), id="CAPITALS"),
        pytest.param(text().replace("near_dup_group", "nearDupGroup").encode(), id="camelCase"),
        pytest.param(b"\n,,\nid,near_dup_group\n\na,1\n , \nb,2\n,,,\n", id="empty rows"),
        pytest.param(text().replace("id", '"id"').encode(), id="quotes"),
    ],
)
def test_a_table_is_read_in_whatever_form_it_was_saved(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert read_table(tmp_path / "t.csv", ["id"], ["near_dup_group"]) == EXPECTED


def test_a_row_keeps_its_line_behind_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('\nid\n\na\n"b\nc"\n;\nd\n')
    lines = [number for number, _ in numbered_rows(tmp_path / "t.csv", ["id"])]
    assert lines == [4, 6, 7, 8]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "no column id; its first line is", id="empty"),
        pytest.param(b"a;b\n1;2\n", r"first line is \['a', 'b'\]", id="semicolons"),
        pytest.param(b"ID,Id\n1,2\n", "several columns id", id="twice"),
        pytest.param(b"id\n\xfcx\n", "is not UTF-8 text", id="Windows' letters"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_with_the_cause(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=problem):
        read_table(tmp_path / "t.csv", ["id"])


def test_a_column_in_the_very_letters_goes_before_one_in_others(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ID,id\n1,2\n")
    assert read_table(tmp_path / "t.csv", ["id"]) == [{"ID": "1", "id": "2"}]


def test_a_path_means_the_file_that_is_there(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Rücken é") for form in ("NFC", "NFD"))
    mixed = composed.partition(" ")[0] + " " + decomposed.partition(" ")[2]
    (tmp_path / decomposed).mkdir()
    file = tmp_path / decomposed / f"{mixed}.jpg"
    file.touch()
    for folder, name in ((composed, composed), (decomposed, decomposed), (mixed, mixed)):
        assert named_file(tmp_path, f"{folder}\\{name}.jpg") == file
    assert named_file(tmp_path, "none\\ü.jpg") == tmp_path / "none" / "ü.jpg"


def test_a_file_in_other_letters_is_named(tmp_path: Path) -> None:
    (tmp_path / "P0.JPG").touch()
    assert other_case(tmp_path / "p0.jpg") == "P0.JPG"
    assert other_case(tmp_path / "p1.jpg") == other_case(tmp_path / "none" / "p0.jpg") == ""

from pathlib import Path

import pytest

from tests.fixtures.discs import row, write_manifest, write_pair
from trainer.commands.main import main
from trainer.data.layouts import read_sources
from trainer.data.prepare import prepare
from trainer.data.samples import read_samples
from trainer.data.split import read_split, write_split


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two manifests, the discs a, b, c in the first and d, e, f in the second."""
    for place, names in (("first", "abc"), ("second", "def")):
        (tmp_path / place).mkdir()
        for name in names:
            write_pair(tmp_path / place, name, seed=ord(name))
        write_manifest(tmp_path / place, [row(name) for name in names])
    return tmp_path / "first", tmp_path / "second"


def groups(*folders: Path) -> dict[str, str]:
    samples = prepare(read_sources(folders, "manifest")).samples
    return {sample.id: sample.group for sample in samples}


def extended(folders: tuple[Path, ...], parts: dict[str, str], out: Path) -> dict[str, str]:
    """Sides of the split that `prepare` makes of one with these sides."""
    old, new = out / "old.csv", out / "new.csv"
    old.write_text("id,group,part\n" + "".join(f"{i},{i},{part}\n" for i, part in parts.items()))
    command = ["prepare", *map(str, folders), "--out", str(out / "data")]
    assert main([*command, "--extend-split", str(old), "--write-split", str(new)]) == 0
    found = {sample.id: str(sample.part) for sample in read_samples(out / "data")}
    assert {name: place.part for name, place in read_split(new).items()} == found
    return found


def test_without_tables_each_photograph_is_a_group_of_its_own(folders: tuple[Path, Path]) -> None:
    assert groups(*folders) == {name: name for name in "abcdef"}


@pytest.mark.parametrize(
    ("table", "header"),
    [
        pytest.param("METADATA.csv", "id,lesion_id", id="lesions"),
        pytest.param("lesions.tsv", "image_id,Lesion ID", id="other spelling"),
        pytest.param("METADATA.csv", "isic_id,patient_id", id="patients"),
    ],
)
def test_a_table_in_one_folder_ties_the_photographs_of_all(
    table: str, header: str, folders: tuple[Path, Path]
) -> None:
    (folders[1] / table).write_text(f"{header}\na,1\nb,2\nd,1\n")
    assert groups(*folders) == {"a": "a", "b": "b", "c": "c", "d": "a", "e": "e", "f": "f"}


def test_a_patient_with_two_lesions_is_one_group(folders: tuple[Path, Path]) -> None:
    (folders[0] / "METADATA.csv").write_text(
        "id,lesion_id,patient_id\na,1,x\nb,1,\nc,2,x\nd,3,y\ne,4,y\n"
    )
    assert groups(*folders) == dict(zip("abcdef", "aaaddf", strict=True))


def test_a_lesion_id_means_the_same_in_every_folder_and_a_group_s_number_does_not(
    folders: tuple[Path, Path],
) -> None:
    for folder, names in zip(folders, ("ab", "de"), strict=True):
        write_manifest(folder, [row(name, near_dup_group="1") for name in names])
        (folder / "lesions.csv").write_text("id,lesion_id\n")
    assert groups(*folders) == {"a": "a", "b": "a", "d": "d", "e": "d"}
    (folders[0] / "lesions.csv").write_text("id,lesion_id\nb,L\n")
    (folders[1] / "lesions.csv").write_text("id,lesion_id\ne,L\n")
    assert set(groups(*folders).values()) == {"a"}


def test_what_is_wrong_is_said_with_its_folder(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[1] / "METADATA.csv").write_text("id,lesoin_id\nd,1\n")
    (folders[0] / "patients.csv").write_text("patient_id,age\n1,50\n")
    command = ["prepare", *map(str, folders), "--out", str(folders[0] / "out")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"{folders[1]}: METADATA.csv has a column lesoin_id" in said
    assert f"note: {folders[0]}: patients.csv has patient_id, but no column image_id" in said
    assert main([*command, "--no-groups"]) == 0


def test_a_table_that_names_few_of_the_photographs_says_so(folders: tuple[Path, Path]) -> None:
    (folders[0] / "METADATA.csv").write_text("id,lesion_id\na,1\n")
    notes = read_sources(folders, "manifest").notes
    assert f"{folders[0]}: METADATA.csv (lesion_id): nothing for 2 of 3 photographs" in notes


def test_a_download_goes_into_one_folder(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["prepare", *map(str, folders), "--download", "isic2018", "--out", "o"]
    assert main(command) == 2
    assert "--download fetches into one SOURCE folder, found 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param({"a": "train", "b": "test"}, "test", id="no test image moves"),
        pytest.param({"a": "val", "b": "test"}, "test", id="nor for validation"),
        pytest.param({"a": "train", "b": "val"}, "train", id="what was trained on never validates"),
        pytest.param({"a": "val", "b": "val"}, "val", id="one side"),
    ],
)
def test_a_group_that_an_older_split_parts_goes_whole_to_one_side(
    parts: dict[str, str], expected: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (folders[0] / "METADATA.csv").write_text("id,lesion_id\na,1\nb,1\n")
    found = extended(folders[:1], parts | {"c": "test"}, tmp_path)
    assert found == {"a": expected, "b": expected, "c": "test"}


def test_new_photographs_are_trained_on_unless_their_lesion_or_patient_is_held_out(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (folders[1] / "lesions.csv").write_text("id,lesion_id,patient_id\na,1,\nd,1,\nb,,x\ne,,x\n")
    found = extended(folders, {"a": "test", "b": "val", "c": "train"}, tmp_path)
    assert found == dict(
        zip("abcdef", ("test", "val", "train", "test", "val", "train"), strict=True)
    )


def test_a_split_is_extended_the_same_in_whatever_order_folders_are_named(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (folders[1] / "lesions.csv").write_text("id,lesion_id\na,1\ne,1\nd,2\nc,2\n")
    parts = {"a": "test", "b": "val", "c": "train"}
    extended(folders, parts, tmp_path)
    first = (tmp_path / "new.csv").read_bytes()
    extended((folders[1], folders[0]), parts, tmp_path)
    assert (tmp_path / "new.csv").read_bytes() == first
    # What it gave is followed, and extending it again changes nothing.
    again = {name: place.part for name, place in read_split(tmp_path / "new.csv").items()}
    assert extended(folders, dict(again), tmp_path) == again


def test_a_split_is_not_extended_without_all_its_photographs(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split([("a", "a", "test"), ("d", "d", "val")], tmp_path / "old.csv")
    command = ["prepare", str(folders[0]), "--extend-split", str(tmp_path / "old.csv")]
    assert main([*command, "--out", str(tmp_path / "data"), "--skip-bad"]) == 2
    assert "1 of the 2 photographs of the split to extend, such as d, are not" in (
        capsys.readouterr().err
    )


def test_an_older_split_can_be_followed_to_the_letter(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[0] / "METADATA.csv").write_text("id,lesion_id\na,1\nb,1\n")
    write_split([("a", "a", "test"), ("b", "b", "train"), ("c", "c", "val")], tmp_path / "old.csv")
    command = ["prepare", str(folders[0]), "--split", str(tmp_path / "old.csv")]
    command += ["--out", str(tmp_path / "data")]
    assert main(command) == 2
    assert "discs/b: in train, while its ID or a near-duplicate of it" in capsys.readouterr().err
    assert main([*command, "--no-groups"]) == 0
    found = [(sample.id, sample.part) for sample in read_samples(tmp_path / "data")]
    assert found == [("a", "test"), ("b", "train"), ("c", "val")]


def test_ph2_stays_external_in_an_extended_split(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    write_manifest(folders[0], [row("a", dataset="ph2"), row("b"), row("c")])
    found = extended(folders[:1], {"b": "test", "c": "train"}, tmp_path)
    assert found == {"a": "external", "b": "test", "c": "train"}

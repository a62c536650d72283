from collections.abc import Callable
from pathlib import Path

import pytest

from model_core.errors import DatasetError
from tests.fixtures.discs import row as manifest_row
from tests.fixtures.discs import write_manifest, write_pair
from tests.trainer.data.test_layouts import place
from trainer.commands.main import main
from trainer.data import layouts
from trainer.data.groups import image_key, misspelt_columns, tie_columns, ties_of
from trainer.data.prepare import prepare

IDS = [f"ISIC_002430{number}" for number in range(4)]
MASKS = "HAM10000_segmentations_lesion_tschandl"
Rename = Callable[[str], str]


@pytest.fixture
def ham(tmp_path: Path) -> Path:
    """HAM10000's layout without a table: four photographs."""
    for number, name in enumerate(IDS):
        image = f"HAM10000_images_part_{1 + number // 2}/{name}.jpg"
        place(tmp_path, image, f"{MASKS}/{name}_segmentation.png", seed=number)
    return tmp_path


def table(separator: str = ",", image: Rename = str, header: str = "lesion_id,image_id,dx") -> str:
    rows = [f"HAM_{number // 2},{image(name)},nv" for number, name in enumerate(IDS)]
    return "\n".join([header, *rows, ""]).replace(",", separator)


def groups(listing: layouts.Listing) -> list[str]:
    assert listing.ungrouped == []
    return [sample.group for sample in prepare(listing).samples]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("HAM10000_metadata", table(), id="as published"),
        pytest.param("HAM10000_metadata.tab", table("\t"), id="Dataverse"),
        pytest.param("ham10000_METADATA.CSV", table(";"), id="case, semicolons"),
        pytest.param("m/HAM10000_metadata.tsv", table("\t"), id="a folder below"),
        pytest.param("HAM10000_metadata.txt", "\ufeff" + table("|"), id="BOM, bars"),
        pytest.param("metadata.csv", table(image="images/{}.jpg".format), id="paths"),
        pytest.param("metadata.csv", table(image=str.lower), id="IDs in lower case"),
        pytest.param("metadata.csv", table(header="Lesion ID,Image,dx"), id="Title"),
        pytest.param("metadata.csv", table(header="patient_id,isic_id,dx"), id="ISIC's patients"),
        pytest.param("LesionGroupings.csv", table(header="lesion_id,image,dx"), id="ISIC 2018"),
    ],
)
def test_what_ties_photographs_together_is_read_in_its_known_forms(
    name: str, text: str, ham: Path
) -> None:
    (ham / name).parent.mkdir(exist_ok=True)
    (ham / name).write_text(text)
    assert groups(layouts.read_ham10000(ham)) == [IDS[0], IDS[0], IDS[2], IDS[2]]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        pytest.param("readme.txt", "nothing", "no table names the lesion of 4", id="none"),
        pytest.param("HAM10000_metadata.xlsx", "PK", "xlsx is no text table", id="spreadsheet"),
        pytest.param("m.csv", table(image=lambda n: n[5:]), "but '0024300'", id="other IDs"),
        pytest.param("m.csv", table(header="lesion_id,dx,x"), "no column image_id", id="no IDs"),
        pytest.param("m.csv", table(header="lesoin_id,image,x"), "lesoin_id", id="misspelt"),
        pytest.param("m.csv", table().replace("HAM_1", "unknown"), "lesion of 2", id="not known"),
        pytest.param("m.csv", table(image=lambda n: n.replace("01", "09")), "of 1 ", id="one"),
    ],
)
def test_groups_that_cannot_be_known_are_a_problem_unless_it_is_said_to_be_none(
    name: str, text: str, said: str, ham: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ham / name).write_text(text)
    command = ["prepare", str(ham), "--layout", "ham10000", "--out", str(ham / "out")]
    assert main([*command, "--skip-bad"]) == 2
    problem = capsys.readouterr().err
    assert said in problem
    assert "--no-groups" in problem
    assert not (ham / "out" / "samples.csv").exists()
    assert main([*command, "--no-groups"]) == 0
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "column", ["near_dup_group", "NEAR_DUP_GROUP", "Lesion ID", "patientId", "group", "lesion-no"]
)
def test_every_spelling_of_a_manifest_s_column_ties(column: str, tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        write_pair(tmp_path, name, seed=seed)
    rows = [f"clinic,{name},{name}.png,{name}_mask.png,{name == 'c'}" for name in "abc"]
    text = "\n".join([f"Dataset,ID,Image,Mask,{column}", *rows])
    (tmp_path / "MANIFEST.csv").write_text(text)
    assert groups(layouts.read_manifest(tmp_path)) == ["a", "a", "c"]


def test_a_lesion_and_a_patient_tie_a_chain(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        write_pair(tmp_path, name, seed=seed)
    rows = ["a,1,", "b,1,x", "c,,x"]
    text = [f"clinic,{row[0]}.png,{row[0]}_mask.png,{row}" for row in rows]
    (tmp_path / "t.csv").write_text(
        "\n".join(["dataset,image,mask,id,lesion_id,patient_id", *text])
    )
    assert groups(layouts.read_manifest(tmp_path / "t.csv")) == ["a", "a", "a"]


def test_a_manifest_that_names_no_group_is_taken_and_says_so(tmp_path: Path) -> None:
    write_manifest(tmp_path, [manifest_row("a")])
    found = layouts.read_manifest(tmp_path)
    assert (len(found.pairs), found.ungrouped) == (1, [])
    (note,) = found.notes
    assert note.startswith("MANIFEST.csv and the tables beside it have no lesion_id, patient_id")


def test_tables_beside_a_manifest_tie_its_photographs(tmp_path: Path) -> None:
    for seed, name in enumerate("abcd"):
        write_pair(tmp_path, name, seed=seed)
    write_manifest(tmp_path, [manifest_row(name) for name in "abcd"])
    (tmp_path / "METADATA.csv").write_text("id,age,lesion_id,patient_id\nB,9,1,\nc.png,9,1,x\n")
    (tmp_path / "more.tab").write_text("photo\tsubject\na\tx\nd\tn/a\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "METADATA.csv").write_text("id,lesion_id\na,7\nd,7\n")
    assert groups(layouts.read_manifest(tmp_path)) == ["a", "a", "a", "d"]


def test_tables_beside_a_manifest_without_such_columns_tie_nothing(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_pair(tmp_path, name, seed=seed)
    write_manifest(tmp_path, [manifest_row(name, near_dup_group=name) for name in "ab"])
    (tmp_path / "READERS.csv").write_text("id,annotator,tool\na,A04,T3\nb,A04,T3\n")
    (tmp_path / "METADATA.csv").write_text("id,age_approx,sex\na,55,male\nb,55,male\n")
    found = layouts.read_manifest(tmp_path)
    assert (groups(found), found.notes) == (["a", "b"], [])


def test_an_id_of_isic_is_the_split_s_however_it_is_written(tmp_path: Path) -> None:
    names = ("ISIC_0000225", "isic_0014778.jpg", "images/ISIC_0000226.JPG", "R\u0075\u0308.jpg")
    (tmp_path / "Manifest.CSV").write_text(
        "dataset,id,image,mask\n" + "".join(f"x,{name},a.png,b.png\n" for name in names)
    )
    ids = [pair.id for pair in layouts.read_manifest(tmp_path).pairs]
    assert ids == ["ISIC_0000225", "ISIC_0014778", "ISIC_0000226", "R\u00fc.jpg"]


def test_a_list_that_lacks_some_photographs_says_so(tmp_path: Path) -> None:
    part = "ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"
    for number in range(2):
        name = f"ISIC_000000{number}"
        place(tmp_path, f"{part[0]}/{name}.jpg", f"{part[1]}/{name}_segmentation.png", seed=number)
    (tmp_path / "metadata.csv").write_text("isic_id,patient_id\nISIC_0000000,IP_1\n")
    found = layouts.read_isic2017(tmp_path)
    assert ([pair.ties for pair in found.pairs], found.ungrouped) == ([("patient IP_1",), ()], [])
    assert found.notes == ["metadata.csv (patient_id): nothing for 1 of 2 photographs"]


def test_a_manifest_s_misspelt_column_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", seed=0)
    (tmp_path / "t.csv").write_text("dataset,id,image,mask,leison_id\nx,a,a.png,a_mask.png,1\n")
    with pytest.raises(DatasetError, match="leison_id: is that lesion_id"):
        prepare(layouts.read_manifest(tmp_path / "t.csv"))


def test_a_challenge_s_folder_may_have_lists_of_other_photographs_beside(tmp_path: Path) -> None:
    part = "ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"
    place(tmp_path, f"{part[0]}/ISIC_0000000.JPG", f"{part[1]}/ISIC_0000000_SEGMENTATION.PNG")
    (tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(
        "image,lesion_id,diagnosis_confirm_type\nISIC_0024306,HAM_0000550,follow_up\n"
    )
    (tmp_path / "dataset-metadata.json").write_text("{}")
    assert groups(layouts.read_isic2018(tmp_path)) == ["ISIC_0000000"]


def test_only_names_of_lesion_patient_or_group_tie() -> None:
    others = ["lesion_fraction", "lesion", "lesion_side", "patient_age", "age_group", "image_id"]
    assert tie_columns(others) == {}
    assert misspelt_columns(others) == []
    row, kinds = {"lesion_id": " L1 ", "pid": "n/a"}, {"lesion_id": "lesion", "pid": "patient"}
    assert ties_of(row, kinds) == ("lesion L1",)
    assert image_key("a/ISIC_1.tar.JPG") == "isic_1.tar"

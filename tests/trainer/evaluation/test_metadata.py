from pathlib import Path

import pytest

from model_core.errors import DatasetError
from trainer.data.samples import Sample
from trainer.evaluation.metadata import (
    AGREEMENT,
    Metadata,
    ReaderPair,
    group,
    patient_name,
    read_metadata,
)

ISIC = """id,diagnosis_3,age_approx,sex,anatom_site_general
ISIC_0000001,Melanoma in situ,70.0,female,posterior torso
ISIC_0000002,Nevus,25.0,male,
"""
HAM = """image_id,lesion_id,dx,age,sex,localization
ISIC_0024306,HAM_1,bcc,49.0,unknown,scalp
"""
READERS = """id,annotator,tool,skill_level
ISIC_0000001,A1,T1,S1
ISIC_0000002,A1,T1,S1
ISIC_0000002,A2,T2,S2
"""
PAIRS = """id,tool1,skill1,tool2,skill2,dice,jaccard
ISIC_0000002,T2,S2,T1,S1,0.9,0.818182
ISIC_0000002,T1,S1,T1,S1,0.8,0.666667
"""


def sample_of(name: str, dataset: str = "isic") -> Sample:
    return Sample(
        dataset=dataset,
        id=name,
        image=Path(f"{name}.jpg"),
        mask=Path(f"{name}.png"),
        height=8,
        width=8,
        group=name,
        part="test",
        image_sha256="",
        mask_sha256="",
    )


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """Two folders of tables, as people have them of ISIC and of HAM10000."""
    first, second = tmp_path / "isic", tmp_path / "ham"
    first.mkdir()
    second.mkdir()
    (first / "METADATA.csv").write_text(ISIC)
    (first / "READERS.csv").write_text(READERS)
    (first / "READER_PAIRS.csv").write_text(PAIRS)
    (first / "README.txt").write_text("no table\n")
    (second / "HAM10000_metadata").write_text(HAM)
    return [first, second]


def test_tables_are_found_by_their_columns(tables: list[Path]) -> None:
    metadata = read_metadata(tables)
    assert metadata.patients["diagnosis"] == {
        "isic_0000001": "melanoma",
        "isic_0000002": "naevus",
        "isic_0024306": "basal cell carcinoma",
    }
    assert metadata.patients["body site"] == {
        "isic_0000001": "torso",
        "isic_0024306": "head and neck",
    }
    assert metadata.tools == {"isic_0000001": ["T1"], "isic_0000002": ["T1", "T2"]}
    assert metadata.pairs == {
        "isic_0000002": [
            ReaderPair(("T1", "T2"), by_hand=False, dice=0.9, jaccard=0.818182),
            ReaderPair(("T1", "T1"), by_hand=True, dice=0.8, jaccard=0.666667),
        ]
    }


def test_images_are_grouped_in_their_order(tables: list[Path]) -> None:
    samples = [sample_of(f"ISIC_{n}") for n in ("0024306", "0000001", "0000002", "0000003")]
    groups = group(samples, read_metadata(tables))
    members = {kind: of for kind, (_, of) in groups.items()}
    unknown = "not known"
    assert members["age"] == ["30–49 years", "70 years and more", "below 30 years", unknown]
    assert members["sex"] == [unknown, "female", "male", unknown]
    assert members["tool"] == [unknown, "T1, polygon by hand", "several readers", unknown]
    agree, _, alone = AGREEMENT
    assert members["readers"] == [alone, alone, agree, alone]  # (0.9 + 0.8) / 2 is 0.85
    assert all(set(of) <= set(names) for names, of in groups.values())


def test_what_the_tables_do_not_tell_is_counted_by_set(tables: list[Path]) -> None:
    samples = [sample_of("ISIC_0000001"), sample_of("ISIC_0000002"), sample_of("IMD1", "ph2")]
    notes = read_metadata(tables).notes(samples)
    assert "no diagnosis is known for 1 of 3 images (ph2 test 1 of 1)" in notes
    assert "no body site is known for 2 of 3 images (isic test 1 of 2, ph2 test 1 of 1)" in notes
    assert len(notes) == 6
    assert Metadata().notes([]) == []


@pytest.mark.parametrize(
    ("kind", "text", "name"),
    [
        pytest.param("diagnosis", "Melanoma, NOS", "melanoma", id="melanoma of any kind"),
        pytest.param("diagnosis", "Atypical melanocytic neoplasm", "other", id="other"),
        pytest.param("age", "30", "30–49 years", id="a bound belongs to what is above it"),
        pytest.param("age", "adult", "not known", id="no age"),
        pytest.param("body site", "genital", "other", id="another site"),
        pytest.param("sex", "Female", "female", id="case"),
        pytest.param("sex", "", "not known", id="empty"),
    ],
)
def test_cells_are_named_alike_in_all_data_sets(kind: str, text: str, name: str) -> None:
    assert patient_name(kind, text) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "no folder at", id="no folder"),
        pytest.param("image_id,width\nISIC_0000001,3\n", "tells of patients or", id="nothing"),
        pytest.param("id,tool1,tool2,dice,jaccard\nx,T1,T1,,\n", "expected a pair's", id="empty"),
    ],
)
def test_tables_that_tell_nothing_are_refused(text: str | None, said: str, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    if text is not None:
        folder.mkdir()
        (folder / "a.csv").write_text(text)
    with pytest.raises(DatasetError, match=said):
        read_metadata([folder])


def test_the_real_tables_tell_of_most_isic_images(real_data: Path) -> None:
    if not (real_data / "READER_PAIRS.csv").is_file():
        pytest.skip(f"no tables of patients and readers: {real_data} has no READER_PAIRS.csv")
    metadata = read_metadata([real_data])
    images = {path.stem.lower() for path in (real_data / "isic" / "images").iterdir()}
    for known in (metadata.patients["diagnosis"], metadata.patients["age"], metadata.tools):
        assert len(images & set(known)) > 0.8 * len(images)
    assert len(images & set(metadata.pairs)) > 800
    assert all(0 <= pair.jaccard <= pair.dice for own in metadata.pairs.values() for pair in own)
    assert "other" not in metadata.patients["sex"].values()

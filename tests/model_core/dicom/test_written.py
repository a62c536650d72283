"""Objects made of a DICOM photograph: valid by the standard, and read back to the same pixels."""

import io
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.color import CIELabColor
from pydicom import uid
from pydicom.dataset import Dataset

from model_core.arrays import Mask
from model_core.dicom import derived
from model_core.dicom.derived import Author
from model_core.dicom.report import Findings, write_report
from model_core.dicom.secondary_capture import write_secondary_capture
from model_core.dicom.segmentation import COLOUR, write_segmentation
from model_core.errors import ConfigError, ShapeMismatchError, UnreadableImageError
from model_core.masks.outline import LINE, draw_outline
from model_core.version import VERSION
from tests.fixtures.dicom_files import (
    DERMOSCOPIC,
    INSTANCE_UID,
    PATIENT,
    SECONDARY_CAPTURE,
    SERIES_UID,
    STUDY_UID,
    dicom,
    dicom_jpeg,
)
from tests.fixtures.pictures import lesion

AUTHOR = Author("lesion-unet", "1.0.0", "ab" * 32, 0.45)
PICTURE = lesion(47, 65)  # neither the rows nor the pixels fill whole bytes
MASK: Mask = np.asarray(PICTURE)[..., 0] < 128
LIMIT = 10**6
SOURCES = {
    "VL": dicom(PICTURE),
    "dermoscopic": dicom(PICTURE, SOPClassUID=DERMOSCOPIC, PixelSpacing=[0.02, 0.03]),
    "secondary capture": dicom(PICTURE, SOPClassUID=SECONDARY_CAPTURE, LossyImageCompression="01"),
    "implicit": dicom(PICTURE, uid.ImplicitVRLittleEndian),
    "big endian": dicom(PICTURE, uid.ExplicitVRBigEndian),
    "JPEG": dicom_jpeg(PICTURE, "YBR_FULL_422"),
}
every_source = pytest.mark.parametrize("data", SOURCES.values(), ids=SOURCES)


def segmentation(data: bytes, mask: Mask = MASK, author: Author = AUTHOR) -> bytes:
    return write_segmentation(data, mask, author, max_pixels=LIMIT)


def capture(data: bytes, author: Author = AUTHOR) -> bytes:
    picture = draw_outline(np.asarray(PICTURE), MASK)
    return write_secondary_capture(data, picture, author, max_pixels=LIMIT)


def report(data: bytes, mask: Mask = MASK, author: Author = AUTHOR, score: float = 0.8) -> bytes:
    findings = Findings({"area_px": 1.0, "score": score}, "review", ["blurred"])
    return write_report(data, mask, author, findings, max_pixels=LIMIT)


def read(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def check_against_the_standard(data: bytes, path: Path) -> None:
    """By David Clunie's dciodvfy, of Debian's dicom3tools."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy: apt-get install dicom3tools")
    path.write_bytes(data)
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
    said = (run.stdout + run.stderr).splitlines()
    assert [line for line in said if line.startswith("Error")] == []
    assert {"Segmentation", "SCImage", "EnhancedSR"} & {line.strip() for line in said}


@every_source
def test_what_is_written_is_valid(data: bytes, tmp_path: Path) -> None:
    check_against_the_standard(segmentation(data), tmp_path / "seg.dcm")
    check_against_the_standard(capture(data), tmp_path / "sc.dcm")
    check_against_the_standard(report(data), tmp_path / "sr.dcm")
    check_against_the_standard(report(data, np.zeros_like(MASK)), tmp_path / "none.dcm")


@every_source
@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(MASK, id="lesion"),
        pytest.param(np.zeros_like(MASK), id="nothing"),
        pytest.param(np.ones_like(MASK), id="all"),
        pytest.param(np.arange(MASK.size).reshape(MASK.shape) == 64, id="a pixel in a corner"),
    ],
)
def test_highdicom_and_pydicom_read_the_very_same_pixels(data: bytes, mask: Mask) -> None:
    written = segmentation(data, mask)
    assert np.array_equal(read(written).pixel_array.squeeze() > 0, mask)
    found = highdicom.seg.segread(io.BytesIO(written))
    by_source = found.get_pixels_by_source_instance([INSTANCE_UID], combine_segments=True)
    assert np.array_equal(by_source[0] > 0, mask)


@every_source
def test_patient_and_study_are_copied_and_the_source_is_named(data: bytes) -> None:
    for ds in (read(segmentation(data)), read(capture(data)), read(report(data))):
        assert (ds.PatientName, ds.PatientID) == (PATIENT, "PLANTED-4711")
        assert (ds.PatientBirthDate, ds.PatientSex) == ("19700101", "O")
        assert (ds.StudyInstanceUID, ds.StudyDate, ds.StudyID) == (STUDY_UID, "20260102", "7")
        assert (ds.AccessionNumber, ds.ReferringPhysicianName) == ("A-1", "Doctor^Planted")
        assert {ds.SeriesInstanceUID, ds.SOPInstanceUID}.isdisjoint({SERIES_UID, INSTANCE_UID})
        if ds.Modality != "SR":  # test_report.py has its references
            assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == INSTANCE_UID
    (series,) = read(segmentation(data)).ReferencedSeriesSequence
    assert series.SeriesInstanceUID == SERIES_UID


def test_a_segmentation_says_what_it_shows_and_who_found_it() -> None:
    (segment,) = read(segmentation(SOURCES["VL"])).SegmentSequence
    codes = [
        (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        for item in (
            segment.SegmentedPropertyCategoryCodeSequence[0],
            segment.SegmentedPropertyTypeCodeSequence[0],
            segment.AnatomicRegionSequence[0],
            segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence[0],
        )
    ]
    assert codes == [
        ("49755003", "SCT", "Morphologically Abnormal Structure"),
        ("95324001", "SCT", "Skin lesion"),
        ("39937001", "SCT", "Skin"),
        ("123110", "DCM", "Artificial Intelligence"),
    ]
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("lesion-unet", "1.0.0")
    assert f"card_sha256={'ab' * 32}" in algorithm.AlgorithmParameters
    assert "threshold=0.45" in algorithm.AlgorithmParameters
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    shown = CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb()
    assert shown == LINE == COLOUR


def test_a_capture_shows_the_outline_and_says_that_it_is_burned_in() -> None:
    ds = read(capture(SOURCES["dermoscopic"]))
    assert np.array_equal(ds.pixel_array, draw_outline(np.asarray(PICTURE), MASK))
    assert (ds.BurnedInAnnotation, ds.ImageType[0]) == ("YES", "DERIVED")
    assert f"card_sha256={'ab' * 32}" in ds.DerivationDescription
    assert (ds.SOPClassUID, ds.Modality) == (SECONDARY_CAPTURE, "OT")


def test_millimetres_are_there_only_where_the_source_has_pixel_spacing() -> None:
    with_spacing, without = (read(segmentation(SOURCES[name])) for name in ("dermoscopic", "VL"))
    (shared,) = with_spacing.SharedFunctionalGroupsSequence
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.02, 0.03]
    # They are those of a frame of reference (PS3.3 A.51.5), along the rows and the columns.
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert shared.PlanePositionSequence[0].ImagePositionPatient == [0, 0, 0]
    assert uid.UID(with_spacing.FrameOfReferenceUID).is_valid
    assert "FrameOfReferenceUID" not in without
    assert "PixelSpacing" not in str(without)
    assert "Pixel Spacing" not in str(without)
    assert read(capture(SOURCES["dermoscopic"])).PixelSpacing == [0.02, 0.03]
    assert "PixelSpacing" not in read(capture(SOURCES["VL"]))
    magnified = dicom(PICTURE, OpticalMagnificationFactor=10, ImagerPixelSpacing=[0.003, 0.003])
    assert "Pixel Spacing" not in str(read(segmentation(magnified)))


def test_a_spacing_longer_than_a_decimal_string_may_be_is_rounded() -> None:
    long = dicom(PICTURE, PixelSpacing=[0.012345678901234567, 0.02])
    (shared,) = read(segmentation(long)).SharedFunctionalGroupsSequence
    (measures,) = shared.PixelMeasuresSequence
    spacing = [*measures.PixelSpacing, *read(capture(long)).PixelSpacing, measures.SliceThickness]
    rounded = "0.01234567890123"
    assert [str(side) for side in spacing] == [rounded, "0.02", rounded, "0.02", rounded]


PLACED: dict[str, Any] = {
    "PixelSpacing": [0.02, 0.03],
    "FrameOfReferenceUID": "1.2.3.4",
    "ImagePositionPatient": ["-1.5", "2", "1e1"],
    "ImageOrientationPatient": ["0", "1", "0", "0", "0", "-1"],
}


def test_a_segmentation_lies_where_its_image_says_to_lie(tmp_path: Path) -> None:
    written = segmentation(dicom(PICTURE, SOPClassUID=SECONDARY_CAPTURE, **PLACED))
    check_against_the_standard(written, tmp_path / "seg.dcm")
    ds = read(written)
    (shared,) = ds.SharedFunctionalGroupsSequence
    assert ds.FrameOfReferenceUID == "1.2.3.4"
    assert shared.PlanePositionSequence[0].ImagePositionPatient == [-1.5, 2, 10]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == [0, 1, 0, 0, 0, -1]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"FrameOfReferenceUID": ""}, id="no frame of reference"),
        pytest.param({"FrameOfReferenceUID": "Quillfeather"}, id="no UID"),
        pytest.param({"ImagePositionPatient": []}, id="no position"),
        pytest.param({"ImagePositionPatient": ["1", "2"]}, id="two numbers"),
        pytest.param({"ImageOrientationPatient": ["0"] * 6}, id="no direction"),
        pytest.param({"ImageOrientationPatient": ["1", "0", "0"] * 2}, id="one direction twice"),
        pytest.param({"ImageOrientationPatient": []}, id="no numbers"),
    ],
)
def test_what_says_no_place_has_one_of_its_own(wrong: dict[str, Any]) -> None:
    ds = read(segmentation(dicom(PICTURE, **PLACED | wrong)))
    own = read(segmentation(dicom(PICTURE, PixelSpacing=[0.02, 0.03])))
    assert ds.FrameOfReferenceUID == own.FrameOfReferenceUID
    assert ds.SharedFunctionalGroupsSequence == own.SharedFunctionalGroupsSequence


def test_the_same_request_gives_the_same_object_apart_from_its_dates() -> None:
    for write in (segmentation, capture, report):
        first, again = read(write(SOURCES["VL"])), read(write(SOURCES["VL"]))
        for ds in (first, again):
            for element in ds.iterall():
                if element.VR in ("DA", "TM", "DT"):
                    element.value = ""
        assert first == again


def test_another_mask_version_threshold_or_photograph_has_another_identifier() -> None:
    others = [
        segmentation(SOURCES["VL"], ~MASK),
        segmentation(SOURCES["VL"], author=Author("lesion-unet", "1.0.0", "cd" * 32, 0.45)),
        segmentation(SOURCES["VL"], author=Author("lesion-unet", "1.0.0", "ab" * 32, 0.5)),
        segmentation(dicom(PICTURE, SOPInstanceUID="1.2.3")),
        segmentation(SOURCES["VL"]),
        capture(SOURCES["VL"]),
        report(SOURCES["VL"]),
        report(SOURCES["VL"], ~MASK),
        report(SOURCES["VL"], score=0.81),
    ]
    found = [read(data) for data in others]
    assert len({ds.SOPInstanceUID for ds in found}) == len(others)
    assert all(uid.UID(ds.SOPInstanceUID).is_valid for ds in found)
    # Photographs of one series have their masks in one series of each version.
    assert found[0].SeriesInstanceUID == found[3].SeriesInstanceUID == found[4].SeriesInstanceUID
    assert len({ds.SeriesInstanceUID for ds in found}) == 5


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        pytest.param("ISO_IR 192", "Müller^Jürgen", id="UTF-8"),
        pytest.param("ISO_IR 100", "Müller^Jürgen", id="Latin 1"),
        pytest.param(["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", id="Japanese"),
    ],
)
def test_names_survive_in_their_own_character_set(
    characters: str | list[str], name: str, tmp_path: Path
) -> None:
    data = dicom(PICTURE, SpecificCharacterSet=characters, PatientName=name)
    for written in (segmentation(data), capture(data), report(data)):
        assert read(written).PatientName == name
        check_against_the_standard(written, tmp_path / "x.dcm")


def test_a_source_without_a_patient_gives_an_object_without_one(tmp_path: Path) -> None:
    anonymous: dict[str, Any] = dict.fromkeys(
        ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate",
         "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientOrientation"]
    )  # fmt: skip
    data = dicom(PICTURE, **anonymous, PatientIdentityRemoved="YES")
    for written in (segmentation(data), capture(data), report(data)):
        ds = read(written)
        assert (ds.PatientName, ds.PatientID, ds.StudyDate) == ("", "", "")
        assert ds.DeidentificationMethod == "As in the source image"
        check_against_the_standard(written, tmp_path / "x.dcm")


@pytest.mark.parametrize("identifier", [STUDY_UID, SERIES_UID, INSTANCE_UID])
@pytest.mark.parametrize("value", ["", "Quillfeather"])
def test_without_identifiers_there_is_nothing_to_refer_to(identifier: str, value: str) -> None:
    found = identifier.encode()
    data = SOURCES["VL"].replace(found, value.encode().ljust(len(found), b"\0"))
    with pytest.raises(UnreadableImageError, match="no valid") as caught:
        segmentation(data)
    assert "Quillfeather" not in str(caught.value)


@pytest.mark.parametrize(
    "term",
    ["ISO IR 192", "ISO-IR 100", "utf-8", "hex", "utf_16", "QUILLFEATHER", "\\ISO2022 IR 87"],
)
def test_a_misspelt_character_set_is_copied_unread_and_so_are_texts(term: str) -> None:
    name = b"M\xfc\xc3\xbcller^J\x1b$B;3\xff  "  # of no character set at all
    said = term.encode() + b" " * (len(term) % 2)
    head = b"\x08\0\x05\0CS"
    data = dicom(PICTURE, PatientName="X" * len(name), SpecificCharacterSet="ISO_IR 192")
    data = data.replace(b"X" * len(name), name)
    data = data.replace(head + b"\x0a\0ISO_IR 192", head + bytes([len(said), 0]) + said)
    for written in (segmentation(data), capture(data), report(data)):
        assert b"\x10\0\x10\0PN" + bytes([len(name), 0]) + name in written
        assert head + bytes([len(said), 0]) + said in written
        with warnings.catch_warnings(action="ignore"):
            assert read(written).SOPInstanceUID.startswith("2.25.")


def test_a_number_that_no_instance_can_have_is_not_cut_short() -> None:
    plain = dicom(PICTURE, InstanceNumber=7)
    assert read(capture(plain)).InstanceNumber == 7
    short, long = b"\x20\x00\x13\x00IS\x02\x007 ", b"\x20\x00\x13\x00IS\x0c\x00123456789012"
    assert plain.count(short) == 1
    assert read(capture(plain.replace(short, long))).InstanceNumber == 1


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeMismatchError, match=r"the mask is \(65, 47\)"):
        segmentation(SOURCES["VL"], MASK.T)


@pytest.mark.parametrize("library", ["highdicom.seg", "pydicom.dataset"])
def test_without_its_libraries_nothing_is_written_and_the_extra_is_named(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, library, None)
    write = segmentation if library == "highdicom.seg" else capture
    with pytest.raises(ConfigError, match=r"pip install 'lesion-segmentation\[dicom\]'"):
        write(SOURCES["VL"])


def test_the_software_has_the_version_of_the_package() -> None:
    assert derived.SOFTWARE_VERSION == VERSION

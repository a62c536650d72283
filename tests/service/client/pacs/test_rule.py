import pytest

from service.client.pacs.rule import Attributes, Rule
from tests.fixtures.dicom_files import (
    DERMOSCOPIC,
    INSTANCE_UID,
    SECONDARY_CAPTURE,
    SERIES_UID,
    STUDY_UID,
    VL_PHOTOGRAPHIC,
    dicom,
)
from tests.fixtures.pictures import lesion

PHOTO = Attributes(
    sop_class=VL_PHOTOGRAPHIC,
    modality="XC",
    station="DERM-1",
    series_description="Left arm",
    study_description="Dermoscopy",
    study_date="20260102",
    manufacturer="Maker",
)


def changed(**changes: str | None) -> Attributes:
    return Attributes(**(vars(PHOTO) | changes))


@pytest.mark.parametrize(
    ("rule", "found", "reason"),
    [
        pytest.param(Rule(), PHOTO, "", id="a photograph"),
        pytest.param(Rule(), changed(sop_class=DERMOSCOPIC, modality="DMS"), "", id="dermoscopic"),
        pytest.param(Rule(), changed(sop_class=SECONDARY_CAPTURE), "", id="secondary capture"),
        pytest.param(Rule(), changed(sop_class="1.2.840.10008.5.1.4.1.1.2"), "no photograph"),
        pytest.param(Rule(), changed(modality="OT"), "modality"),
        pytest.param(Rule([]), changed(modality="OT"), "", id="any modality"),
        pytest.param(Rule([]), changed(manufacturer="lesion-segmentation"), "made by this project"),
        pytest.param(Rule(stations=["derm-*"]), PHOTO, "", id="a pattern, in any case"),
        pytest.param(Rule(stations=["CT*", "DERM-2"]), PHOTO, "station"),
        pytest.param(Rule(descriptions=["*scop*"]), PHOTO, "", id="of the study"),
        pytest.param(Rule(descriptions=["left*"]), PHOTO, "", id="of the series"),
        pytest.param(Rule(descriptions=["right*"]), PHOTO, "description"),
        pytest.param(Rule(earliest="20260102"), PHOTO, "", id="of the first day"),
        pytest.param(Rule(earliest="20260103"), PHOTO, "study date"),
        pytest.param(Rule(earliest="20260103"), changed(study_date=""), "", id="without a date"),
        pytest.param(
            Rule(stations=["x"], descriptions=["y"]), Attributes(), "", id="nothing is known yet"
        ),
        pytest.param(Rule(stations=["x"]), changed(station=""), "station", id="known to be empty"),
    ],
)
def test_the_rule_says_why_it_passes_over_an_object(
    rule: Rule, found: Attributes, reason: str
) -> None:
    assert rule.passes_over(found) == reason


def test_the_attributes_of_a_file_are_known_where_they_are_empty_too() -> None:
    data = dicom(lesion(8, 8), StationName="Gerät 1", SpecificCharacterSet="ISO_IR 192")
    found = Attributes.of_file(data)
    assert (found.study, found.series, found.instance) == (STUDY_UID, SERIES_UID, INSTANCE_UID)
    assert (found.station, found.modality, found.study_date) == ("Gerät 1", "XC", "20260102")
    assert (found.series_description, found.manufacturer) == ("", "Drawn")


def test_what_one_source_does_not_know_another_fills_in() -> None:
    found = Attributes(station="a").filled(Attributes(station="b", modality="XC"))
    assert (found.station, found.modality, found.series) == ("a", "XC", None)

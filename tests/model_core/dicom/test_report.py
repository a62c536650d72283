"""A measurement report: what it says, in which codes, and of which segmentation."""

import io
import re
from pathlib import Path
from typing import Any, get_args

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.coding import Code

from model_core.arrays import Mask
from model_core.dicom.derived import Author
from model_core.dicom.report import (
    ADVICE,
    ADVICES,
    MEASUREMENTS,
    PRIVATE,
    REASON,
    REASONS,
    Findings,
    write_report,
)
from model_core.dicom.segmentation import write_segmentation
from model_core.errors import ShapeMismatchError
from model_core.processing.advice import Advice, Reason
from tests.fixtures.dicom_files import INSTANCE_UID, dicom
from tests.fixtures.pictures import lesion

AUTHOR = Author("lesion-unet", "1.0.0", "ab" * 32, 0.45)
PICTURE = lesion(47, 65)
MASK: Mask = np.asarray(PICTURE)[..., 0] < 128
DATA = dicom(PICTURE)
NUMBERS = {"area_mm2": 1 / 3, "feret_diameter_px": 1e-9, "orientation_deg": -200 / 3, "score": 0.1}
FINDINGS = Findings(NUMBERS, "review", ["blurred", "cut_by_frame"])
TERMS = [
    *(term for pair in MEASUREMENTS.values() for term in pair),
    *(ADVICE, REASON, *ADVICES.values(), *REASONS.values()),
]
DOCS = (Path(__file__).parents[3] / "docs/dicom.md").read_text(encoding="utf-8")


def report(mask: Mask = MASK, findings: Findings = FINDINGS) -> Any:
    written = write_report(DATA, mask, AUTHOR, findings, max_pixels=10**6)
    return highdicom.sr.srread(io.BytesIO(written))


def test_every_number_is_read_back_exactly_with_its_concept_and_its_unit() -> None:
    (group,) = report().content.get_planar_roi_measurement_groups()
    found = {(item.name, item.unit): item.value for item in group.get_measurements()}
    expected = {
        tuple(Code(*term) for term in MEASUREMENTS[name]): value for name, value in NUMBERS.items()
    }
    assert found == expected


def test_advice_and_reasons_are_coded() -> None:
    (group,) = report().content.get_planar_roi_measurement_groups()
    for name, values in ((ADVICE, ["REVIEW"]), (REASON, ["BLURRED", "CUT_BY_FRAME"])):
        found = group.get_qualitative_evaluations(highdicom.sr.CodedConcept(*name))
        assert [(item.value.value, item.value.scheme_designator) for item in found] == [
            (value, PRIVATE) for value in values
        ]


def test_a_report_refers_to_the_segmentation_that_another_request_gives() -> None:
    written = write_segmentation(DATA, MASK, AUTHOR, max_pixels=10**6)
    segmentation = pydicom.dcmread(io.BytesIO(written))
    found = report()
    (group,) = found.content.get_planar_roi_measurement_groups()
    region, source = group.referenced_segmentation_frame
    assert region.referenced_sop_instance_uid == segmentation.SOPInstanceUID
    assert region.referenced_frame_numbers == [1]
    assert source.referenced_sop_instance_uid == INSTANCE_UID
    (tracked,) = segmentation.SegmentSequence
    assert (group.tracking_uid, group.tracking_identifier) == (
        tracked.TrackingUID,
        tracked.TrackingID,
    )
    image = pydicom.dcmread(io.BytesIO(DATA))
    assert sorted(found.get_evidence()) == sorted(
        (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID, ds.SOPClassUID)
        for ds in (image, segmentation)
    )


def test_a_report_names_the_version_its_digest_and_its_threshold() -> None:
    found = report()
    said = [element.value for element in found.iterall() if element.keyword == "TextValue"]
    assert {"lesion-unet", "1.0.0"} <= set(said)
    digest = "ab" * 32
    assert f"card_sha256={digest}, threshold=0.45; for research, not for diagnosis" in said
    assert (found.VerificationFlag, found.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    (device,) = found.content.get_observer_contexts()
    assert device.observer_identifying_attributes.serial_number == AUTHOR.sha256
    (scheme,) = found.CodingSchemeIdentificationSequence
    assert (scheme.CodingSchemeDesignator, scheme.CodingSchemeVersion) == (PRIVATE, "1")


def test_each_item_is_to_be_shown_by_itself() -> None:
    said = {item.value for item in report().iterall() if item.keyword == "ContinuityOfContent"}
    assert said == {"SEPARATE"}


def test_without_a_lesion_there_is_neither_finding_nor_region() -> None:
    found = report(np.zeros_like(MASK), Findings({}, "reject", ["nothing_found"]))
    assert found.content.get_planar_roi_measurement_groups() == []
    (group,) = found.content.get_image_measurement_groups()
    assert group.finding_type is None
    assert group.get_measurements() == []
    assert [image.referenced_sop_instance_uid for image in group.source_images] == [INSTANCE_UID]
    assert [uids[2] for uids in found.get_evidence()] == [INSTANCE_UID]


def test_every_advice_and_every_reason_has_a_code() -> None:
    assert set(ADVICES) == set(get_args(Advice))
    assert set(REASONS) == set(get_args(Reason))


def test_codes_fit_and_none_is_used_twice() -> None:
    assert all(len(term.value) <= 16 and len(term.meaning) <= 64 for term in TERMS)
    private = {term for term in TERMS if term.scheme == PRIVATE}
    assert len({term.value for term in private}) == len(private)


def test_every_code_is_listed_in_the_docs() -> None:
    listed = {term: f"({term.value}, {term.scheme}, {term.meaning})" in DOCS for term in TERMS}
    assert [term for term, found in listed.items() if not found] == []


def test_the_docs_list_no_private_code_that_is_not_there() -> None:
    listed = set(re.findall(rf"\((\w+), {PRIVATE}, ", DOCS))
    assert listed == {term.value for term in TERMS if term.scheme == PRIVATE}


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeMismatchError, match=r"the mask is \(65, 47\)"):
        report(MASK.T)

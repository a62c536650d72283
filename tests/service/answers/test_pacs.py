"""A photograph's way out of a real archive, through the service, and its mask's way back in."""

import io
from collections.abc import Callable, Iterator

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from starlette.testclient import TestClient

from tests.fixtures.dicom_files import (
    DERMOSCOPIC,
    INSTANCE_UID,
    PATIENT,
    SERIES_UID,
    STUDY_UID,
    dicom,
    dicom_jpeg,
)
from tests.fixtures.orthanc import Orthanc, serve_orthanc
from tests.fixtures.pictures import lesion

pytestmark = pytest.mark.foreign

PICTURE = lesion(300, 401)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with serve_orthanc(tmp_path_factory.mktemp("orthanc")) as archive:
        yield archive


@pytest.mark.parametrize(
    ("number", "make"),
    [
        pytest.param(1, lambda **ids: dicom(PICTURE, **ids), id="VL photograph"),
        pytest.param(
            2, lambda **ids: dicom_jpeg(PICTURE, "YBR_FULL_422", SOPClassUID=DERMOSCOPIC, **ids),
            id="dermoscopic JPEG",
        ),
        pytest.param(
            3, lambda **ids: dicom(PICTURE, uid.JPEG2000Lossless, PixelSpacing=[0.02, 0.02], **ids),
            id="JPEG 2000",
        ),
    ],
)  # fmt: skip
def test_a_mask_is_stored_beside_its_photograph(
    archive: Orthanc, client: TestClient, number: int, make: Callable[..., bytes]
) -> None:
    study, series, instance = (f"{each}.{number}" for each in (STUDY_UID, SERIES_UID, INSTANCE_UID))
    sent = make(StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=instance)
    archive.store(sent)

    source = archive.retrieve(study, series, instance)
    answers = {
        form: client.post(
            f"/segment?format={form}",
            content=source,
            headers={"Content-Type": "application/dicom"},
        ).content
        for form in ("png", "dicom-seg", "dicom-sc", "dicom-sr")
    }
    for form in ("dicom-seg", "dicom-sc", "dicom-sr"):
        archive.store(answers[form])
        archive.store(answers[form])  # twice, and there is still one

    found = archive.find(study)
    assert sorted(each["00080060"]["Value"][0] for each in found) == ["OT", "SEG", "SR", "XC"]
    assert {each["00100010"]["Value"][0]["Alphabetic"] for each in found} == {PATIENT}
    assert len({each["0020000E"]["Value"][0] for each in found}) == 4
    written = pydicom.dcmread(io.BytesIO(answers["dicom-seg"]))
    back = archive.retrieve(study, written.SeriesInstanceUID, written.SOPInstanceUID)
    mask = np.asarray(Image.open(io.BytesIO(answers["png"]))) > 0
    segmentation = highdicom.seg.segread(io.BytesIO(back))
    pixels = segmentation.get_pixels_by_source_instance([instance], combine_segments=True)[0]
    assert np.array_equal(pixels > 0, mask)
    assert mask.any()

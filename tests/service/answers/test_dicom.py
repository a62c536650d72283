import io
import sys
import zipfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from starlette.testclient import TestClient

from model_core.masks.outline import draw_outline
from service.app import create_app
from service.settings import Settings
from tests.fixtures.dicom_files import PATIENT, STUDY_UID, dicom, dicom_jpeg
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.problems import assert_problem

PICTURE = lesion(48, 64)
DICOM = dicom(PICTURE)


def mask_of(content: bytes) -> list[list[int]]:
    rows: list[list[int]] = np.asarray(Image.open(io.BytesIO(content))).tolist()
    return rows


@pytest.mark.parametrize("declared", ["application/dicom", "application/octet-stream", None])
def test_a_dicom_file_gets_the_mask_of_the_png_of_its_pixels(
    client: TestClient, declared: str | None
) -> None:
    expected = client.post("/segment", files={"image": encode(PICTURE)})
    if declared is None:
        response = client.post("/segment", files={"image": ("x.dcm", DICOM, "application/dicom")})
    else:
        response = client.post("/segment", content=DICOM, headers={"Content-Type": declared})
    assert response.status_code == 200, response.text
    assert mask_of(response.content) == mask_of(expected.content)


def test_distances_are_in_mm_where_the_file_has_pixel_spacing(client: TestClient) -> None:
    truth = client.post("/segment", files={"image": encode(lesion(48, 64))}).content
    shifted = dicom(PICTURE.rotate(10), PixelSpacing=[0.02, 0.02])
    item = client.post("/evaluate", files={"image": shifted, "truth": truth}).json()["items"][0]
    assert item["assd_mm"] == pytest.approx(item["assd_px"] * 0.02)
    asked = client.post("/evaluate?spacing_mm=1,1", files={"image": shifted, "truth": truth})
    assert asked.json()["items"][0]["assd_mm"] == pytest.approx(item["assd_px"])
    files = [("image", shifted), ("truth", truth)]
    mixed = [("image", encode(PICTURE)), ("truth", truth), *files]
    summary = client.post("/evaluate", files=mixed).json()["summary"]["per_image"]
    assert summary["assd_mm"]["mean"] == pytest.approx(item["assd_mm"])


def test_measurements_are_in_mm_where_the_file_has_pixel_spacing(client: TestClient) -> None:
    target = "/segment?format=rle&measurements=true"
    for data, expected in ((dicom(PICTURE, PixelSpacing=[0.5, 0.5]), (0.5, 0.5)), (DICOM, None)):
        found = client.post(target, files={"image": data}).json()["measurements"]
        assert found["spacing_mm"] == (list(expected) if expected else None)
        assert found["area_mm2"] == (found["area_px"] / 4 if expected else None)
    sent = client.post(target + "&spacing_mm=1,1", files={"image": dicom(PICTURE)}).json()
    assert sent["measurements"]["area_mm2"] == sent["measurements"]["area_px"]


@pytest.mark.parametrize("form", ["dicom-seg", "dicom-sc"])
def test_the_mask_as_a_dicom_object(client: TestClient, form: str) -> None:
    response = client.post(f"/segment?format={form}", files={"image": DICOM})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/dicom"
    ds = pydicom.dcmread(io.BytesIO(response.content))
    assert (ds.StudyInstanceUID, ds.PatientName) == (STUDY_UID, PATIENT)
    png = client.post("/segment?format=png", files={"image": DICOM}).content
    mask = np.asarray(Image.open(io.BytesIO(png))) > 0
    card = client.get("/models/production").json()
    if form == "dicom-seg":
        assert np.array_equal(ds.pixel_array.squeeze() > 0, mask)
        (segment,) = ds.SegmentSequence
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("lesion-unet", "1.0.0")
        assert f"card_sha256={card['sha256']}" in algorithm.AlgorithmParameters
    else:
        assert np.array_equal(ds.pixel_array, draw_outline(np.asarray(PICTURE), mask))


def test_accept_may_ask_for_the_segmentation(client: TestClient) -> None:
    headers = {"Accept": "application/dicom", "Content-Type": "application/dicom"}
    response = client.post("/segment", content=DICOM, headers=headers)
    ds = pydicom.dcmread(io.BytesIO(response.content))
    assert ds.Modality == "SEG"


def test_a_zip_may_hold_them(client: TestClient) -> None:
    target = "/segment?format=zip&include=png,dicom-seg,dicom-sc,dicom-sr"
    response = client.post(target, files={"image": DICOM})
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == [
            "mask.png", "segmentation.dcm", "outlined.dcm", "report.dcm"
        ]  # fmt: skip
        for name, modality in (
            ("segmentation.dcm", "SEG"),
            ("outlined.dcm", "OT"),
            ("report.dcm", "SR"),
        ):
            assert pydicom.dcmread(io.BytesIO(archive.read(name))).Modality == modality


def test_no_lesion_is_an_empty_segment(client: TestClient) -> None:
    blank = dicom(Image.new("RGB", (31, 21), "white"))
    response = client.post("/segment?format=dicom-seg", files={"image": blank})
    ds = pydicom.dcmread(io.BytesIO(response.content))
    assert (ds.NumberOfFrames, ds.Rows, ds.Columns) == (1, 21, 31)
    assert not ds.pixel_array.any()


@pytest.mark.parametrize("form", ["dicom-seg", "dicom-sc", "dicom-sr"])
def test_a_photograph_without_patient_and_study_gets_no_dicom_object(
    client: TestClient, form: str
) -> None:
    response = client.post(f"/segment?format={form}", files={"image": encode(PICTURE)})
    problem = assert_problem(response, 422, "invalid-request")
    assert problem.detail == (
        f"format: {form} belongs to the patient and study of a DICOM image, "
        "a PNG file has none; ask for png, rle or another format"
    )


@pytest.mark.parametrize(
    ("form", "library"),
    [
        ("dicom-seg", "highdicom.seg"),
        ("dicom-sc", "pydicom.dataset"),
        ("dicom-sr", "highdicom.sr"),
    ],
)
def test_without_the_extra_the_answer_names_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, form: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    response = client.post(f"/segment?format={form}", files={"image": DICOM})
    problem = assert_problem(response, 422, "invalid-request")
    assert problem.detail == (
        f"format: {form}: this installation writes no DICOM: "
        "pip install 'lesion-segmentation[dicom]'"
    )


def test_a_dicom_file_without_identifiers_still_has_a_mask(client: TestClient) -> None:
    data = DICOM.replace(STUDY_UID.encode(), b"\0" * len(STUDY_UID))
    assert client.post("/segment", files={"image": data}).status_code == 200
    response = client.post("/segment?format=dicom-seg", files={"image": data})
    problem = assert_problem(response, 422, "unreadable-image")
    assert "no valid Study Instance UID" in str(problem.detail)


def test_a_jpeg_within_dicom(client: TestClient) -> None:
    response = client.post("/segment", files={"image": dicom_jpeg(PICTURE, "YBR_FULL_422")})
    assert mask_of(response.content)[24][32] == 255


def test_a_process_that_only_decodes_reads_every_encoding_too(settings: Settings) -> None:
    apart = settings.model_copy(update={"decode_processes": 1})
    with TestClient(create_app(apart)) as client:
        for syntax in (uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGLSLossless):
            data = dicom(PICTURE, syntax, PixelSpacing=[0.5, 0.5])
            target = "/segment?format=rle&measurements=true"
            answer = client.post(target, files={"image": data})
            assert answer.status_code == 200, answer.text
            assert answer.json()["measurements"]["spacing_mm"] == [0.5, 0.5]


def test_frames_are_refused(client: TestClient) -> None:
    response = client.post("/segment", files={"image": dicom(PICTURE, NumberOfFrames=2)})
    problem = assert_problem(response, 422, "multi-frame-image")
    expected = "expected an image in one: split it into an object for each"
    assert problem.detail == f"the DICOM file has 2 frames, {expected}"

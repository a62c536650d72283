import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.dicom_files import dicom, dicom_jpeg
from tests.pictures import encode, lesion
from tests.service.problems import assert_problem

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


def test_a_jpeg_within_dicom(client: TestClient) -> None:
    response = client.post("/segment", files={"image": dicom_jpeg(PICTURE, "YBR_FULL_422")})
    assert mask_of(response.content)[24][32] == 255


def test_frames_are_refused(client: TestClient) -> None:
    response = client.post("/segment", files={"image": dicom(PICTURE, NumberOfFrames=2)})
    problem = assert_problem(response, 422, "multi-frame-image")
    assert problem.detail == "the DICOM file has 2 frames, expected a photograph in one"

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from httpx2 import Response
from PIL import Image
from pycocotools import mask as coco
from starlette.testclient import TestClient

from model_core.processing.calibration import Calibration
from model_core.processing.postprocess import PostprocessConfig
from model_core.scores.metrics import jaccard
from service.app import create_app
from service.settings import Settings
from tests.fixtures.models import CARD, tiny_registry
from tests.fixtures.pictures import encode, lesion, turned
from tests.fixtures.service.problems import assert_problem

PNG = encode(lesion(48, 64))


def segment(client: TestClient, data: bytes, query: str = "", **headers: str) -> Response:
    response = client.post(f"/segment{query}", files={"image": ("lesion", data)}, headers=headers)
    assert response.status_code == 200, response.text
    return response


def pixels(response: Response) -> npt.NDArray[np.uint8]:
    assert response.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(response.content)))


def test_the_mask_has_the_size_of_the_photograph_and_finds_the_lesion(client: TestClient) -> None:
    mask = pixels(segment(client, PNG))
    assert mask.dtype == np.uint8
    assert mask.shape == (48, 64)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[24, 32], mask[0, 0]) == (255, 0)


def test_every_form_holds_the_same_mask(client: TestClient) -> None:
    grey = pixels(segment(client, PNG)) > 0
    bilevel = Image.open(io.BytesIO(segment(client, PNG, "?format=png1").content))
    assert bilevel.mode == "1"
    annotation = segment(client, PNG, "?format=rle").json()
    assert np.array_equal(np.asarray(bilevel), grey)
    assert np.array_equal(coco.decode(annotation["segmentation"]), grey)


def test_a_calibrated_version_says_how_good_its_mask_may_be(tmp_path: Path) -> None:
    calibration = Calibration(scale=1.0, bias=0.0, score_scale=1.0, score_bias=0.0)
    registry = tiny_registry(tmp_path, card=replace(CARD, calibration=calibration))
    with TestClient(create_app(Settings(model_registry=registry.root))) as client:
        answer = segment(client, PNG, "?format=rle")
        assert 0.9 < answer.json()["score"] < 1
        for form in ("png", "png1", "rle"):
            said = segment(client, PNG, f"?format={form}").headers["x-predicted-jaccard"]
            assert float(said) == pytest.approx(answer.json()["score"], abs=1e-4)
        blank = segment(client, encode(Image.new("RGB", (64, 48), "white")), "?format=rle").json()
        assert (blank["score"], blank["lesion_found"]) == (0, False)


def test_without_a_calibration_no_score_is_made_up(client: TestClient) -> None:
    answer = segment(client, PNG, "?format=rle")
    assert answer.json()["score"] is None
    assert "x-predicted-jaccard" not in answer.headers


def test_the_json_is_a_coco_annotation(client: TestClient) -> None:
    answer = segment(client, PNG, "?format=rle").json()
    rle = answer["segmentation"]
    assert (answer["id"], answer["image_id"], answer["category_id"]) == (1, 1, 1)
    assert (answer["iscrowd"], answer["score"]) == (0, None)
    assert rle["size"] == [48, 64]
    assert answer["area"] == coco.area(rle)
    assert answer["bbox"] == coco.toBbox(rle).tolist() == [16, 12, 32, 24]
    assert answer["image"] == {
        "height": 48,
        "width": 64,
        "sha256": hashlib.sha256(PNG).hexdigest(),
    }
    assert answer["threshold"] == 0.5
    assert answer["lesion_found"] is True


def test_pycocotools_reads_the_annotation_within_a_dataset(client: TestClient) -> None:
    from pycocotools.coco import COCO

    answer = segment(client, PNG, "?format=rle").json()
    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": 1, "height": 48, "width": 64}],
        "categories": [{"id": 1, "name": "lesion"}],
        "annotations": [answer],
    }
    dataset.createIndex()
    (annotation,) = dataset.loadAnns(dataset.getAnnIds(imgIds=[1]))
    assert dataset.annToMask(annotation).sum() == answer["area"]


def test_no_lesion_is_an_empty_mask(client: TestClient) -> None:
    skin = encode(Image.new("RGB", (30, 20), "white"))
    assert not pixels(segment(client, skin)).any()
    answer = segment(client, skin, "?format=rle").json()
    assert (answer["area"], answer["bbox"], answer["lesion_found"]) == (0, [0, 0, 0, 0], False)


@pytest.mark.parametrize(
    ("query", "accept", "expected"),
    [
        pytest.param("", None, "image/png", id="default"),
        pytest.param("", "application/json", "application/json", id="Accept asks for JSON"),
        pytest.param("?format=png", "application/json", "image/png", id="format beats Accept"),
        pytest.param("?format=rle", "text/html", "application/json", id="even an impossible one"),
    ],
)
def test_the_form_is_negotiated(
    client: TestClient, query: str, accept: str | None, expected: str
) -> None:
    response = segment(client, PNG, query, **({"Accept": accept} if accept else {}))
    assert response.headers["content-type"] == expected
    assert response.headers["vary"] == "Accept"


def test_an_accept_that_cannot_be_served_is_refused(client: TestClient) -> None:
    response = client.post("/segment", files={"image": PNG}, headers={"Accept": "text/html"})
    assert_problem(response, 406, "not-acceptable")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("declared", ["right", "application/octet-stream", "image/gif"])
def test_a_raw_body_is_taken_whatever_type_it_declares(
    client: TestClient, kind: str, declared: str
) -> None:
    media_type = f"image/{kind.lower()}" if declared == "right" else declared
    data = encode(lesion(48, 64), kind)
    response = client.post("/segment", content=data, headers={"Content-Type": media_type})
    assert np.array_equal(pixels(response), pixels(segment(client, data)))


def test_a_raw_body_needs_no_declared_type(client: TestClient) -> None:
    assert np.array_equal(
        pixels(client.post("/segment", content=PNG)), pixels(segment(client, PNG))
    )


def test_an_image_sent_as_a_text_field_is_the_same_image(client: TestClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + PNG + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = client.post("/segment", content=body, headers=headers)
    assert np.array_equal(pixels(response), pixels(segment(client, PNG)))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_mask_of_a_turned_camera_lies_in_the_upright_photograph(
    client: TestClient, orientation: int
) -> None:
    upright = Image.new("RGB", (80, 60), "white")
    upright.paste((40, 20, 20), (8, 8, 40, 28))
    expected = np.asarray(upright)[..., 0] < 128
    mask = pixels(segment(client, turned(upright, orientation, "JPEG", quality=95))) > 0
    assert mask.shape == (60, 80)
    assert jaccard(expected, mask) > 0.9


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(lesion(48, 64).convert("CMYK"), "JPEG", quality=95), id="CMYK JPEG"),
        pytest.param(encode(lesion(48, 64).convert("L"), "JPEG", quality=95), id="grey JPEG"),
        pytest.param(encode(lesion(48, 64).convert("P")), id="palette PNG"),
        pytest.param(encode(lesion(48, 64).convert("RGBA")), id="PNG with alpha"),
        pytest.param(
            encode(
                Image.fromarray(np.asarray(lesion(48, 64).convert("L")).astype(np.uint16) * 257)
            ),
            id="16-bit PNG",
        ),
    ],
)
def test_the_colour_model_of_the_file_does_not_matter(client: TestClient, data: bytes) -> None:
    assert jaccard(pixels(segment(client, PNG)) > 0, pixels(segment(client, data)) > 0) > 0.95


@pytest.mark.parametrize(("colour", "expected"), [("black", 255), ("white", 0)])
def test_one_pixel_is_a_photograph_too(client: TestClient, colour: str, expected: int) -> None:
    data = encode(Image.new("RGB", (1, 1), colour))
    assert pixels(segment(client, data)).tolist() == [[expected]]


def test_a_higher_threshold_finds_less(client: TestClient) -> None:
    grey = Image.linear_gradient("L").resize((64, 64))
    low, default, high = (
        json.loads(segment(client, encode(grey), f"?format=rle&threshold={value}").content)
        for value in (0.01, 0.5, 0.99)
    )
    assert low["area"] > default["area"] > high["area"] > 0
    assert (low["threshold"], high["threshold"]) == (0.01, 0.99)


def test_a_margin_is_one_of_the_version_s_own_thresholds(tmp_path: Path) -> None:
    rules = PostprocessConfig(threshold=0.5, tight_threshold=0.9, loose_threshold=0.1)
    registry = tiny_registry(tmp_path, card=replace(CARD, postprocess=rules))
    grey = encode(Image.linear_gradient("L").resize((64, 64)))
    with TestClient(create_app(Settings(model_registry=registry.root))) as client:
        loose, middle, tight, default = (
            segment(client, grey, f"?format=rle{query}").json()
            for query in ("&margin=loose", "&margin=middle", "&margin=tight", "")
        )
    assert loose["area"] > middle["area"] > tight["area"] > 0
    assert [answer["threshold"] for answer in (loose, middle, tight)] == [0.1, 0.5, 0.9]
    assert default["segmentation"] == middle["segmentation"]


def test_a_margin_that_the_version_lacks_is_refused_with_what_it_has(client: TestClient) -> None:
    answer = client.post("/segment?margin=tight", files={"image": ("lesion", PNG)})
    problem = assert_problem(answer, 422, "invalid-request")
    assert "has no margin tight, only middle: take that, or a threshold" in (problem.detail or "")


def test_a_margin_and_a_threshold_are_one_too_many(client: TestClient) -> None:
    url = "/segment?margin=loose&threshold=0.4"
    problem = assert_problem(
        client.post(url, files={"image": ("lesion", PNG)}), 422, "invalid-request"
    )
    assert [fault.field for fault in problem.errors or []] == ["margin"]


def test_an_interval_of_the_score_is_told_where_the_version_has_one(tmp_path: Path) -> None:
    calibration = Calibration(
        scale=1.0, bias=0.0, score_scale=1.0, score_bias=0.0, score_spread=0.5
    )
    registry = tiny_registry(tmp_path, card=replace(CARD, calibration=calibration))
    with TestClient(create_app(Settings(model_registry=registry.root))) as client:
        for format in ("rle", "polygon", "geojson"):
            answer = segment(client, PNG, f"?format={format}").json()
            low, high = answer["score_interval"]
            assert 0 <= low < answer["score"] < high <= 1
        blank = segment(client, encode(Image.new("RGB", (64, 48), "white")), "?format=rle").json()
        assert blank["score_interval"] is None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        pytest.param("", "1.0.0", id="production by default"),
        pytest.param("?model=production", "1.0.0", id="alias"),
        pytest.param("?model=1.0.0", "1.0.0", id="version in production"),
        pytest.param("?model=0.9.0", "0.9.0", id="another version"),
        pytest.param("?model=lesion-unet@0.8.0", "0.8.0", id="name and version"),
        pytest.param("?model=lesion-unet@production", "1.0.0", id="name and alias"),
    ],
)
def test_a_request_names_its_version(client: TestClient, reference: str, expected: str) -> None:
    response = segment(client, PNG, reference)
    assert response.headers["x-model-version"] == f"lesion-unet@{expected}"
    assert response.headers["x-backend"].startswith("pytorch-")


def test_the_headers_say_where_the_time_went(client: TestClient) -> None:
    timing = segment(client, PNG).headers["server-timing"]
    names = [entry.partition(";dur=")[0] for entry in timing.split(", ")]
    assert names == ["decode", "queue", "infer", "encode"]
    assert all(float(entry.partition(";dur=")[2]) >= 0 for entry in timing.split(", "))

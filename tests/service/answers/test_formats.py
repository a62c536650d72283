"""The forms of an answer beside the mask itself, each by a reader of its format."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from httpx2 import Response
from PIL import Image
from pycocotools import mask as coco
from shapely.geometry import shape
from starlette.testclient import TestClient

from model_core.masks.outline import LINE, RIM
from model_core.processing.calibration import Calibration
from service.app import create_app
from service.settings import Settings
from tests.fixtures.models import CARD, tiny_registry
from tests.fixtures.pictures import encode, lesion, turned
from tests.fixtures.service.problems import assert_problem
from trainer.data.drawn import draw_lesion

PNG = encode(lesion(48, 64))
SKIN = encode(Image.new("RGB", (30, 20), "white"))


def segment(client: TestClient, query: str, data: bytes = PNG, **headers: str) -> Response:
    response = client.post(f"/segment{query}", files={"image": data}, headers=headers)
    assert response.status_code == 200, response.text
    return response


def mask(client: TestClient, data: bytes = PNG) -> npt.NDArray[np.bool_]:
    return picture(segment(client, "?format=png", data)) > 0


def picture(response: Response) -> npt.NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(response.content)))


def filled(polygons: list[list[float]]) -> npt.NDArray[np.bool_]:
    whole: npt.NDArray[np.uint8] = coco.decode(coco.merge(coco.frPyObjects(polygons, 48, 64)))
    return whole.astype(bool)


def test_polygons_are_the_mask_again(client: TestClient) -> None:
    answer = segment(client, "?format=polygon&tolerance_px=0").json()
    assert np.array_equal(filled(answer["segmentation"]), mask(client))
    rle = segment(client, "?format=rle").json()
    assert answer == rle | {"segmentation": answer["segmentation"], "tolerance_px": 0}
    assert rle["tolerance_px"] is None


def test_a_coco_tool_reads_the_polygons(client: TestClient) -> None:
    from pycocotools.coco import COCO

    dataset = COCO()
    dataset.dataset = {
        "images": [{"id": 1, "height": 48, "width": 64}],
        "categories": [{"id": 1, "name": "lesion"}],
        "annotations": [segment(client, "?format=polygon&tolerance_px=0").json()],
    }
    dataset.createIndex()
    assert np.array_equal(dataset.annToMask(dataset.loadAnns([1])[0]), mask(client))


def test_the_tolerance_is_one_pixel_by_default(client: TestClient) -> None:
    fine, default, coarse = (
        segment(client, f"?format=polygon{more}").json()
        for more in ("&tolerance_px=0", "", "&tolerance_px=4")
    )
    assert (fine["tolerance_px"], default["tolerance_px"], coarse["tolerance_px"]) == (0, 1, 4)
    lengths = [len(each["segmentation"][0]) for each in (fine, default, coarse)]
    assert lengths[0] > lengths[1] > lengths[2] >= 6


def test_geojson_is_one_feature_with_the_lesion_s_outline(client: TestClient) -> None:
    response = segment(client, "?format=geojson&tolerance_px=0")
    assert response.headers["content-type"] == "application/geo+json"
    answer = response.json()
    (feature,) = answer["features"]
    outline = shape(feature["geometry"])
    assert outline.is_valid
    assert outline.exterior.is_ccw
    assert outline.area == feature["properties"]["area"] == mask(client).sum()
    assert answer["image"]["height"] == 48
    assert answer["lesion_found"] is True


def test_no_lesion_has_no_polygons(client: TestClient) -> None:
    assert segment(client, "?format=polygon", SKIN).json()["segmentation"] == []
    answer = segment(client, "?format=geojson", SKIN).json()
    assert (answer["features"], answer["lesion_found"]) == ([], False)


@pytest.mark.parametrize(
    ("form", "kind"), [("overlay", "image/png"), ("overlay-jpeg", "image/jpeg")]
)
def test_the_overlay_is_the_upright_photograph_with_the_outline(
    client: TestClient, form: str, kind: str
) -> None:
    response = segment(client, f"?format={form}", turned(lesion(48, 64), 6, "PNG"))
    assert response.headers["content-type"] == kind
    found = picture(response).astype(int)
    photograph = np.asarray(lesion(48, 64)).astype(int)
    assert found.shape == photograph.shape
    loss = 0 if form == "overlay" else 12
    assert np.abs(found[:8] - photograph[:8]).max() <= loss  # nothing is drawn there
    line = np.abs(found - LINE).max(axis=2) <= 6 * loss
    rim = np.abs(found - RIM).max(axis=2) <= 6 * loss
    assert line.sum() > 80
    assert rim.sum() > 80


def test_the_image_by_itself_is_upright_and_nothing_is_drawn_on_it(client: TestClient) -> None:
    response = segment(client, "?format=image-jpeg", turned(lesion(48, 64), 6, "PNG"))
    assert response.headers["content-type"] == "image/jpeg"
    found, photograph = picture(response).astype(int), np.asarray(lesion(48, 64)).astype(int)
    assert found.shape == photograph.shape
    assert np.abs(found - photograph).mean() < 2  # of JPEG


@pytest.mark.parametrize(("bits", "white"), [("", 255), ("&bits=8", 255), ("&bits=16", 65535)])
def test_the_probability_is_cut_to_the_mask(client: TestClient, bits: str, white: int) -> None:
    grey = picture(segment(client, f"?format=probability{bits}"))
    assert grey.dtype == (np.uint16 if white > 255 else np.uint8)
    assert grey.shape == (48, 64)
    assert np.array_equal(grey > white / 2, mask(client))
    assert grey[24, 32] > 0.95 * white
    assert grey[0, 0] < 0.05 * white


@pytest.mark.parametrize("form", ["rle", "polygon", "geojson"])
def test_json_says_whether_to_trust_the_mask(client: TestClient, form: str) -> None:
    quality = segment(client, f"?format={form}").json()["quality"]
    assert (quality["advice"], quality["reasons"]) == ("review", ["not_calibrated"])
    assert quality["uncertainty"]["share"] > 0
    quality = segment(client, f"?format={form}", SKIN).json()["quality"]
    assert (quality["advice"], quality["uncertainty"]) == ("reject", None)
    assert quality["reasons"][0] == "nothing_found"


def test_a_version_with_a_limit_accepts(tmp_path: Path) -> None:
    calibration = Calibration(scale=1.0, bias=0.0, score_scale=1.0, score_bias=0.0)
    card = replace(CARD, calibration=calibration, accept_score=0.6)
    registry = tiny_registry(tmp_path, card=card)
    pixels, _ = draw_lesion(3, height=192, width=256, hair=False)
    with TestClient(create_app(Settings(model_registry=registry.root))) as own:
        answer = segment(own, "?format=rle", encode(Image.fromarray(pixels))).json()
    assert answer["score"] > 0.6
    assert (answer["quality"]["advice"], answer["quality"]["reasons"]) == ("accept", [])


@pytest.mark.parametrize("form", ["rle", "polygon", "geojson"])
def test_measurements_come_where_they_are_asked_for(client: TestClient, form: str) -> None:
    assert segment(client, f"?format={form}").json()["measurements"] is None
    found = segment(client, f"?format={form}&measurements=true").json()["measurements"]
    assert found["area_px"] == mask(client).sum()
    assert found["bbox_px"] == [16, 12, 32, 24]
    assert found["solidity"] > 0.9
    assert found["colour_spread"] < 40  # its edge is blurred on the way to the network
    assert {found[name] for name in found if "_mm" in name and "bbox" not in name} == {None}


def test_a_spacing_adds_millimetres(client: TestClient) -> None:
    query = "?format=rle&measurements=true&spacing_mm=0.1,0.05"
    found = segment(client, query).json()["measurements"]
    assert found["spacing_mm"] == [0.1, 0.05]
    assert found["area_mm2"] == pytest.approx(found["area_px"] * 0.005)
    assert found["bbox_mm"] == pytest.approx([0.8, 1.2, 1.6, 2.4])
    assert found["orientation_deg"] == pytest.approx(90)  # 24 rows are 2.4 mm, 32 columns 1.6 mm


def test_nothing_found_has_no_measurements(client: TestClient) -> None:
    query = "?format=rle&measurements=true&spacing_mm=0.1,0.1"
    found = segment(client, query, SKIN).json()["measurements"]
    assert {name for name, value in found.items() if value is not None} == {"spacing_mm"}


def test_a_zip_holds_the_mask_and_the_annotation_by_default(client: TestClient) -> None:
    response = segment(client, "?format=zip")
    assert response.headers["content-type"] == "application/zip"
    files = unpacked(response)
    assert list(files) == ["mask.png", "annotation.json"]
    assert files["mask.png"] == segment(client, "?format=png").content
    assert files["annotation.json"] == segment(client, "?format=rle").content


def test_a_zip_holds_each_form_as_it_is_by_itself(client: TestClient) -> None:
    names = "png,png1,rle,polygon,geojson,image-jpeg,overlay,overlay-jpeg,probability"
    query = f"?format=zip&include={names}&tolerance_px=2&bits=16"
    files = list(unpacked(segment(client, query)).values())
    more = {"polygon": "&tolerance_px=2", "geojson": "&tolerance_px=2", "probability": "&bits=16"}
    for name, data in zip(names.split(","), files, strict=True):
        assert data == segment(client, f"?format={name}{more.get(name, '')}").content, name


def test_the_same_request_gives_the_same_zip_in_whichever_order(client: TestClient) -> None:
    first, again = (
        segment(client, f"?format=zip&include={names}").content
        for names in ("overlay,png", "png,overlay")
    )
    assert first == again


def test_nothing_of_the_caller_s_is_in_the_zip(client: TestClient) -> None:
    files = {"image": ("Jane Doe.png", PNG)}
    assert b"Jane" not in client.post("/segment?format=zip", files=files).content


def unpacked(response: Response) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/geo+json", "application/geo+json"),
        ("application/zip", "application/zip"),
        ("application/*", "application/json"),
        ("image/*", "image/png"),
        ("application/json, application/geo+json;q=0.9", "application/json"),
        ("text/html, */*;q=0.1", "image/png"),
    ],
)
def test_accept_chooses_among_the_types(client: TestClient, accept: str, expected: str) -> None:
    assert segment(client, "", Accept=accept).headers["content-type"] == expected


def test_a_mask_is_never_a_jpeg(client: TestClient) -> None:
    response = client.post("/segment", files={"image": PNG}, headers={"Accept": "image/jpeg"})
    assert_problem(response, 406, "not-acceptable")


WRONG = [
    pytest.param("format=polygons", "format", "Input should be", id="misspelt"),
    pytest.param("format=polygon&tolerance_px=-1", "tolerance_px", "greater", id="below 0"),
    pytest.param("format=polygon&tolerance_px=nan", "tolerance_px", "decimal number", id="NaN"),
    pytest.param("tolerance_px=1", "tolerance_px", "only with geojson or polygon", id="png"),
    pytest.param("format=probability&bits=12", "bits", "8 or 16", id="12 bits"),
    pytest.param("format=zip&bits=8", "bits", "only with probability, found zip", id="zip"),
    pytest.param("format=rle&include=png", "include", "only with zip, found rle", id="rle"),
    pytest.param(
        "measurements=true",
        "measurements",
        "or geojson or polygon or rle, found png",
        id="measured PNG",
    ),
    pytest.param("format=rle&spacing_mm=1,1", "spacing_mm", "measurements=true", id="only mm"),
    pytest.param(
        "format=rle&measurements=true&spacing_mm=1", "spacing_mm", "height and width", id="one side"
    ),
    pytest.param("format=zip&include=", "include", "1 that is no format", id="nothing"),
    pytest.param("format=zip&include=png,zip", "include", "1 that is no format", id="zip in zip"),
    pytest.param("format=zip&include=png,png", "include", "a format twice", id="twice"),
]


@pytest.mark.parametrize(("query", "field", "detail"), WRONG)
def test_a_wish_that_cannot_be_met_is_refused(
    client: TestClient, query: str, field: str, detail: str
) -> None:
    response = client.post(f"/segment?{query}", files={"image": PNG})
    problem = assert_problem(response, 422, "invalid-request")
    assert problem.errors is not None
    assert [fault.field for fault in problem.errors] == [field]
    assert detail in problem.errors[0].detail
    assert json.loads(response.content)["errors"][0]["in"] == "query"

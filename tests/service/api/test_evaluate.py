import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from httpx2 import Response
from PIL import Image
from starlette.testclient import TestClient

from model_core.arrays import Mask
from model_core.masks.png import encode_mask
from model_core.masks.rle import encode_rle
from model_core.scores.metrics import METRICS, score_image
from model_core.scores.summary import summarise
from service.answers.overlay import FALSE_NEGATIVE, FALSE_POSITIVE, GREY, TRUE_POSITIVE
from tests.fixtures.drawing import draw
from tests.fixtures.pictures import encode, lesion, turned
from tests.fixtures.service.problems import assert_problem

TRUTH, PRED = draw("##.. ##.. ...."), draw("###. ##.. ....")


def evaluate(client: TestClient, fields: list[tuple[str, Any]], query: str = "") -> Response:
    response = client.post(f"/evaluate{query}", files=fields)
    assert response.status_code == 200, response.text
    return response


def uncompressed(mask: Mask) -> bytes:
    """COCO RLE whose counts are a list, column by column, background first."""
    values = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(values)) + 1
    counts = np.diff([0, *edges, values.size]).tolist()
    return json.dumps(
        {"size": mask.shape, "counts": [0, *counts] if values[0] else counts}
    ).encode()


FORMS: dict[str, Callable[[Mask], bytes]] = {
    "8-bit PNG": encode_mask,
    "1-bit PNG": lambda mask: encode_mask(mask, bits=1),
    "RLE": lambda mask: json.dumps(encode_rle(mask)).encode(),
    "uncompressed RLE": uncompressed,
    "annotation": lambda mask: json.dumps({"segmentation": encode_rle(mask)}).encode(),
}


SQUARE = {"segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}  # the truth
SIZED = {**SQUARE, "image": {"height": 3, "width": 4}}


@pytest.mark.parametrize(
    ("truth", "pred"),
    [
        pytest.param(json.dumps(SQUARE).encode(), encode_mask(TRUTH), id="beside a PNG"),
        pytest.param(encode_mask(TRUTH, bits=1), json.dumps(SQUARE).encode(), id="beside a 1-bit"),
        pytest.param(FORMS["RLE"](TRUTH), json.dumps(SQUARE).encode(), id="beside run lengths"),
        pytest.param(json.dumps(SQUARE).encode(), json.dumps(SIZED).encode(), id="one has a size"),
        pytest.param(json.dumps(SIZED).encode(), json.dumps(SQUARE).encode(), id="the other has"),
    ],
)
def test_polygons_are_as_large_as_what_they_are_compared_with(
    client: TestClient, truth: bytes, pred: bytes
) -> None:
    (item,) = evaluate(client, [("truth", truth), ("pred", pred)]).json()["items"]
    assert item["dice"] == 1


def test_our_own_polygons_are_a_truth_of_their_photograph(client: TestClient) -> None:
    photograph = turned(lesion(48, 64), 6)
    sent = {"image": photograph}
    polygons = client.post("/segment?format=polygon&tolerance_px=0", files=sent).content
    unsized = json.dumps({"segmentation": json.loads(polygons)["segmentation"]}).encode()
    for truth in (polygons, unsized):
        (item,) = evaluate(client, [("truth", truth), ("image", photograph)]).json()["items"]
        assert item["dice"] == 1


def test_polygons_of_unknown_size_are_refused_with_a_way_out(client: TestClient) -> None:
    fields = [(name, json.dumps(SQUARE).encode()) for name in ("truth", "pred")]
    problem = assert_problem(client.post("/evaluate", files=fields), 422, "invalid-rle")
    assert '"image": {"height": ..., "width": ...}' in (problem.detail or "")


@pytest.mark.parametrize("pred_form", FORMS)
@pytest.mark.parametrize("truth_form", FORMS)
def test_the_form_of_a_mask_does_not_matter(
    client: TestClient, truth_form: str, pred_form: str
) -> None:
    fields = [("truth", FORMS[truth_form](TRUTH)), ("pred", FORMS[pred_form](PRED))]
    (item,) = evaluate(client, fields).json()["items"]
    assert item["index"] == 0
    assert item["jaccard"] == pytest.approx(4 / 5)
    assert item["dice"] == pytest.approx(8 / 9)
    assert item["sensitivity"] == 1
    assert item["specificity"] == pytest.approx(7 / 8)


def test_distances_are_in_pixels_and_with_the_size_of_a_pixel_in_mm(client: TestClient) -> None:
    fields = [("truth", encode_mask(TRUTH)), ("pred", encode_mask(PRED))]
    without = evaluate(client, fields).json()
    (item,) = without["items"]
    # Three columns against two: one pixel of five is one away, none of four.
    assert item["hausdorff_95_px"] == pytest.approx(np.percentile([1, 0, 0, 0, 0], 95))
    assert item["assd_px"] == pytest.approx(1 / 9)
    assert "assd_mm" not in item
    assert without["summary"]["n_distances"] == 1
    with_mm = evaluate(client, fields, "?spacing_mm=0.5,0.02").json()
    assert with_mm["items"][0]["assd_mm"] == pytest.approx(0.02 / 9)
    assert with_mm["summary"]["per_image"]["assd_mm"]["mean"] == pytest.approx(0.02 / 9)


def test_square_pixels_scale_the_distances(client: TestClient) -> None:
    fields = [("truth", encode_mask(TRUTH)), ("pred", encode_mask(PRED))]
    (item,) = evaluate(client, fields, "?spacing_mm=0.02,0.02").json()["items"]
    for name in ("hausdorff_95", "assd"):
        assert item[f"{name}_mm"] == pytest.approx(0.02 * item[f"{name}_px"])


def test_a_picture_takes_no_spacing(client: TestClient) -> None:
    fields = [("truth", encode_mask(TRUTH)), ("pred", encode_mask(PRED))]
    response = client.post("/evaluate?format=png&spacing_mm=1,1", files=fields)
    (fault,) = assert_problem(response, 422, "invalid-request").errors or []
    assert fault.field == "spacing_mm"


def test_an_empty_mask_has_no_distance(client: TestClient) -> None:
    fields = [("truth", encode_mask(TRUTH)), ("pred", encode_mask(np.zeros_like(TRUTH)))]
    answer = evaluate(client, fields, "?spacing_mm=1,1").json()
    assert {answer["items"][0][f"assd_{unit}"] for unit in ("px", "mm")} == {None}
    assert answer["summary"]["per_image"]["hausdorff_95_px"] is None
    assert answer["summary"]["n_distances"] == 0


@pytest.mark.parametrize(
    "spacing",
    ["0.02", "0,1", "-1,1", "nan,1", "inf,1", "1,2,3", "a,b", "1e3,1", "0_1,1", "", "1;1"],
)
def test_a_spacing_that_is_none_is_refused_with_an_example(
    client: TestClient, spacing: str
) -> None:
    fields = [("truth", encode_mask(TRUTH)), ("pred", encode_mask(PRED))]
    response = client.post("/evaluate", params={"spacing_mm": spacing}, files=fields)
    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert fault["field"] == "spacing_mm"
    assert (fault["in"], response.json()["type"]) == ("query", "/problems/invalid-request")
    assert fault["detail"].startswith("expected the height and width")
    assert fault["detail"].endswith("such as 0.02,0.02")


def test_an_rle_may_be_a_text_field(client: TestClient) -> None:
    rle = json.dumps(encode_rle(TRUTH))
    fields = [("truth", (None, rle)), ("pred", (None, rle))]
    assert evaluate(client, fields).json()["items"][0]["dice"] == 1


def test_a_set_gives_what_model_core_gives(client: TestClient) -> None:
    empty = np.zeros_like(TRUTH)
    pairs = [(TRUTH, PRED), (TRUTH, empty), (empty, empty)]
    fields = [
        (name, encode_mask(mask))
        for truth, pred in pairs
        for name, mask in (("truth", truth), ("pred", pred))
    ]
    answer = evaluate(client, fields).json()
    scores = [score_image(truth, pred) for truth, pred in pairs]
    assert answer["items"] == [
        {"index": i, **score.metrics, **score.distances} for i, score in enumerate(scores)
    ]
    assert answer["summary"] == summarise(scores)
    assert (answer["model"], answer["threshold"]) == (None, None)


def test_fields_pair_by_order_however_they_are_interleaved(client: TestClient) -> None:
    fields = [
        ("pred", encode_mask(PRED)),
        ("pred", encode_mask(TRUTH)),
        ("truth", encode_mask(TRUTH)),
        ("truth", encode_mask(TRUTH)),
    ]
    items = evaluate(client, fields).json()["items"]
    assert [item["dice"] for item in items] == [pytest.approx(8 / 9), 1.0]


def test_a_photograph_is_segmented_by_the_version_that_answers(client: TestClient) -> None:
    photograph = encode(lesion(48, 64))
    rle = client.post("/segment?format=rle&threshold=0.4", files={"image": photograph}).content
    fields = [("image", photograph), ("truth", rle)]
    response = evaluate(client, fields, "?threshold=0.4&model=0.9.0")
    answer = response.json()
    assert [answer["items"][0][name] for name in METRICS] == [1.0] * 7
    assert answer["threshold"] == 0.4
    assert answer["model"]["version"] == "0.9.0"
    assert response.headers["x-model-version"] == "lesion-unet@0.9.0"
    assert "infer;dur=" in response.headers["server-timing"]


def test_the_threshold_of_the_card_is_reported(client: TestClient) -> None:
    photograph = encode(lesion(48, 64))
    mask = client.post("/segment", files={"image": photograph}).content
    answer = evaluate(client, [("image", photograph), ("truth", mask)]).json()
    assert (answer["threshold"], answer["model"]["name"]) == (0.5, "lesion-unet")


def test_the_truth_of_a_turned_photograph_is_upright(client: TestClient) -> None:
    photograph = turned(lesion(40, 60), 6, "JPEG")
    truth = client.post("/segment", files={"image": photograph}).content
    answer = evaluate(client, [("image", photograph), ("truth", truth)]).json()
    assert answer["items"][0]["dice"] == 1


def blended(below: int, colour: tuple[int, int, int]) -> list[int]:
    return [(below + value) // 2 for value in colour]


def test_the_picture_of_two_masks_is_drawn_over_grey(client: TestClient) -> None:
    fields = [("truth", encode_mask(draw("##."))), ("pred", encode_mask(draw("#.#")))]
    response = evaluate(client, fields, "?format=png")
    assert response.headers["content-type"] == "image/png"
    assert np.asarray(Image.open(io.BytesIO(response.content))).tolist() == [
        [
            blended(GREY, TRUE_POSITIVE),
            blended(GREY, FALSE_NEGATIVE),
            blended(GREY, FALSE_POSITIVE),
        ]
    ]


def test_the_picture_of_a_photograph_is_drawn_over_it_at_full_size(client: TestClient) -> None:
    photograph = lesion(300, 400)
    truth = encode_mask(np.zeros((300, 400), bool))
    fields = [("image", encode(photograph)), ("truth", truth)]
    response = client.post("/evaluate", files=fields, headers={"Accept": "image/png"})
    picture = np.asarray(Image.open(io.BytesIO(response.content)))
    skin, middle = np.asarray(photograph)[0, 0], np.asarray(photograph)[150, 200]
    assert picture.shape == (300, 400, 3)
    assert picture[0, 0].tolist() == skin.tolist()
    assert picture[150, 200].tolist() == [
        (int(below) + value) // 2 for below, value in zip(middle, FALSE_POSITIVE, strict=True)
    ]


def test_a_field_in_which_no_file_was_chosen_is_not_sent_as_far_as_we_care(
    client: TestClient,
) -> None:
    png = encode(lesion(48, 64))
    mask = client.post("/segment?format=png", files={"image": png}).content
    for name, other, content in (("image", "pred", png), ("pred", "image", mask)):
        fields = [(name, content), (other, b""), ("truth", mask)]
        response = client.post("/evaluate", files=[(f, ("", c)) for f, c in fields])
        assert response.json()["items"][0]["dice"] == 1.0, response.text


def test_a_mask_over_the_limit_is_refused_before_any_pair_is_worked_on(
    client: TestClient,
) -> None:
    huge = b'{"size": [10000, 10000], "counts": [100000000]}'
    damaged = b"no mask: would be refused first, if it were looked at"
    masks = [("pred", damaged), ("truth", damaged), ("pred", encode_mask(PRED)), ("truth", huge)]
    response = client.post("/evaluate", files=masks)
    problem = assert_problem(response, 413, "image-too-large")
    assert problem.detail == "pair 1: truth has 100000000 pixels, the limit is 50000000"

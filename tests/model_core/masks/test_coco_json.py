"""Masks as COCO JSON: polygons cover what pycocotools fills, and what is no mask is named."""

import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from model_core.errors import ImageTooLargeError, InputError, InvalidRleError
from model_core.masks.coco_json import decode_coco
from model_core.masks.polygons import coco_polygons, polygons_of
from model_core.masks.rle import encode_rle
from tests.fixtures.drawing import draw

SHAPE = (9, 12)
SQUARE = [2, 1, 6, 1, 6, 5, 2, 5]
SIZED = {"image": {"height": 9, "width": 12}}


def decoded(value: Any, shape: tuple[int, int] | None = None) -> np.ndarray:
    return decode_coco(json.dumps(value).encode(), max_pixels=10_000, shape=shape)


@pytest.mark.parametrize(
    "polygons",
    [
        pytest.param([SQUARE], id="a square"),
        pytest.param([SQUARE, [7.5, 6, 11.2, 6.4, 9, 8.9]], id="two"),
        pytest.param([SQUARE, [4, 2, 9, 2, 9, 4, 4, 4], [0, 0, 3, 0, 3, 9]], id="that overlap"),
        pytest.param([[-3, -2, 14, 4, 5, 11.5]], id="beyond the photograph's edges"),
        pytest.param([[1, 1, 1, 1, 1, 1]], id="a point"),
        pytest.param([[0, 0, 12, 0, 12, 9, 0, 9]], id="all of it"),
    ],
)
def test_polygons_cover_what_pycocotools_fills(polygons: list[list[float]]) -> None:
    filled = coco.decode(coco.merge(coco.frPyObjects(polygons, *SHAPE))).astype(bool)
    annotation = {"id": 1, "segmentation": polygons}
    assert np.array_equal(decoded({**annotation, **SIZED}), filled)
    assert np.array_equal(decoded(annotation, SHAPE), filled)
    assert np.array_equal(decoded(polygons, SHAPE), filled)


@pytest.mark.parametrize("rows", ["....", "###. #.#. ###. ...#", "#...#...#", "#### ####"])
def test_our_own_polygons_and_run_lengths_come_back_as_the_mask(rows: str) -> None:
    mask = draw(rows)
    image = {"image": {"height": mask.shape[0], "width": mask.shape[1], "sha256": "0"}}
    polygons = coco_polygons(polygons_of(mask, 0))
    assert np.array_equal(decoded({"segmentation": polygons, **image}), mask)
    assert np.array_equal(decoded({"segmentation": encode_rle(mask), **image}), mask)
    assert np.array_equal(decoded(encode_rle(mask)), mask)


def test_a_size_of_its_own_is_believed_before_that_of_the_partner() -> None:
    assert decoded({"segmentation": [SQUARE], **SIZED}, (100, 100)).shape == SHAPE


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param({"segmentation": [SQUARE]}, "do not say how large", id="no size"),
        pytest.param({"images": [], "annotations": []}, "a whole COCO data set, send", id="set"),
        pytest.param([{"segmentation": [SQUARE]}] * 2, "a list of 2 annotations", id="list"),
        pytest.param({"type": "FeatureCollection", "features": []}, "GeoJSON", id="GeoJSON"),
        pytest.param({"shapes": [], "imageHeight": 9}, "labelme", id="labelme"),
        pytest.param({"a": 1}, "expected a COCO annotation", id="something else"),
        pytest.param(SQUARE, "expected a COCO annotation", id="a flat list"),
        pytest.param({"segmentation": "x", **SIZED}, "expected a COCO annotation", id="a text"),
        pytest.param({"segmentation": [SQUARE], "image": {"height": 9}}, "no height", id="half"),
        pytest.param({"segmentation": [SQUARE], "image": {"height": 9.0, "width": True}},
                     "no height and width", id="no integers"),
        pytest.param({"segmentation": [[1, 2, 3, 4]], **SIZED}, "at least 3 corners", id="a box"),
        pytest.param({"segmentation": [[*SQUARE, 1]], **SIZED}, "9 entries", id="odd"),
        pytest.param({"segmentation": [[*SQUARE, "1", 2]], **SIZED}, "all numbers", id="text"),
        pytest.param({"segmentation": [[*SQUARE, True, 2]], **SIZED}, "all numbers", id="a truth"),
        pytest.param({"segmentation": [[*SQUARE, 1e300, 2]], **SIZED}, "leaves its", id="far away"),
        pytest.param({"segmentation": [[*SQUARE, 10**400, 2]], **SIZED}, "leaves", id="farther"),
        pytest.param({"segmentation": [[*SQUARE, float("nan"), 2]], **SIZED}, "leaves", id="NaN"),
        pytest.param({"segmentation": [[0, 0, 12, 9] * 90_000], **SIZED}, "too long", id="scrawl"),
        pytest.param({"segmentation": [SQUARE] * 10_001, **SIZED}, "10001 polygons", id="many"),
    ],
)  # fmt: skip
def test_what_is_no_mask_is_refused_by_name(value: object, reason: str) -> None:
    with pytest.raises(InvalidRleError, match=reason):
        decoded(value)


def test_a_photograph_that_is_too_large_is_refused_before_anything_is_filled() -> None:
    with pytest.raises(ImageTooLargeError, match="50000x50000"):
        decoded({"segmentation": [SQUARE], "image": {"height": 50_000, "width": 50_000}})


@pytest.mark.parametrize("data", [b"{", b'{"segmentation": [[', b"[" * 100_000, b"[NaN]", b"\xff"])
def test_json_that_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        decode_coco(data, max_pixels=100)


def test_many_polygons_are_merged_in_time() -> None:
    specks = [[x, y, x + 1, y, x + 1, y + 1, x, y + 1] for x in range(0, 80, 2) for y in range(40)]
    mask = decode_coco(json.dumps(specks).encode(), max_pixels=10_000, shape=(40, 80))
    assert mask[:, 0::2].all()
    assert not mask[:, 1::2].any()

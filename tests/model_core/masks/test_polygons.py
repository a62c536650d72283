"""Polygons against the readers of their formats: pycocotools, scikit-image, Shapely."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco
from scipy import ndimage
from shapely.geometry import MultiPolygon, shape
from skimage.draw import polygon2mask

from model_core.arrays import Mask
from model_core.masks.polygons import coco_polygons, geojson_geometry, polygons_of
from tests.fixtures.drawing import draw

any_mask = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=14))


def blobs(seed: int, height: int = 60, width: int = 80) -> Mask:
    """Smooth regions with holes and bays, some cut by the frame."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random((height, width)), rng.uniform(1, 6))
    mask: Mask = noise > np.quantile(noise, rng.uniform(0.1, 0.95))
    return mask


def filled_by_coco(polygons: list[list[float]], mask: Mask) -> Mask:
    if not polygons:
        return np.zeros(mask.shape, bool)
    height, width = mask.shape
    filled: npt.NDArray[np.uint8] = coco.decode(
        coco.merge(coco.frPyObjects(polygons, height, width))
    )
    return filled.astype(bool)


def filled_by_skimage(polygons: MultiPolygon, mask: Mask) -> Mask:
    """Pixels whose middle lies within; between corners and middles is half a pixel."""
    filled = np.zeros(mask.shape, bool)
    for part in polygons.geoms:
        for ring in (part.exterior, *part.interiors):
            corners = np.asarray(ring.coords)[:, ::-1] - 0.5
            filled ^= polygon2mask(mask.shape, corners)  # type: ignore[no-untyped-call]
    return filled


def depth(mask: Mask) -> npt.NDArray[np.float64]:
    """Distance of each pixel's middle from the mask's outline, px, at least 0.5."""
    within = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    without = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
    distance: npt.NDArray[np.float64] = np.where(mask, within, without) - 0.5
    return distance


@given(mask=any_mask)
def test_at_no_tolerance_every_reader_gets_the_very_mask_back(mask: Mask) -> None:
    polygons = polygons_of(mask, 0)
    assert polygons.area == mask.sum()
    assert np.array_equal(filled_by_coco(coco_polygons(polygons), mask), mask)
    assert np.array_equal(filled_by_skimage(polygons, mask), mask)


@given(mask=any_mask, tolerance=st.floats(0, 5))
def test_rings_are_valid_closed_and_wound_as_rfc_7946_asks(mask: Mask, tolerance: float) -> None:
    polygons = polygons_of(mask, tolerance)
    assert polygons.is_valid, shapely.is_valid_reason(polygons)
    assert polygons.is_empty == (not mask.any())
    for part in polygons.geoms:
        assert part.exterior.is_ccw
        assert not any(hole.is_ccw for hole in part.interiors)
        assert all(ring.coords[0] == ring.coords[-1] for ring in (part.exterior, *part.interiors))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), tolerance=st.sampled_from([0.3, 0.5, 1, 2, 5]))
def test_no_pixel_changes_side_beyond_the_tolerance(seed: int, tolerance: float) -> None:
    mask = blobs(seed)
    polygons = polygons_of(mask, tolerance)
    exact = polygons_of(mask, 0)
    assert shapely.hausdorff_distance(polygons.boundary, exact.boundary, 0.05) <= tolerance + 1e-9
    for filled in (
        filled_by_coco(coco_polygons(polygons), mask),
        filled_by_skimage(polygons, mask),
    ):
        # COCO's tools fill to a fifth of a pixel.
        assert (depth(mask)[filled != mask] <= tolerance + 0.2).all()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), tolerance=st.sampled_from([0, 1, 3]))
def test_coco_gets_pieces_without_holes_that_do_not_overlap(seed: int, tolerance: float) -> None:
    polygons = polygons_of(blobs(seed), tolerance)
    pieces = [
        shapely.Polygon(np.reshape(flat, (-1, 2)).tolist()) for flat in coco_polygons(polygons)
    ]
    assert all(piece.is_valid for piece in pieces)
    assert sum(piece.area for piece in pieces) == pytest.approx(polygons.area, rel=1e-3)
    assert shapely.union_all(pieces).symmetric_difference(polygons).area < 0.01 * polygons.area


def test_a_larger_tolerance_needs_fewer_points() -> None:
    rows, columns = np.ogrid[:200, :300]
    ellipse = np.hypot((rows - 90) / 80, (columns - 140) / 120) < 1
    counts = [shapely.get_num_coordinates(polygons_of(ellipse, each)) for each in (0, 1, 3)]
    assert counts[0] > 8 * counts[1] > 8 * counts[2] > 8 * 6


def test_a_hole_is_a_hole_in_geojson_and_stays_empty_in_coco() -> None:
    mask = draw("#### #..# #..# ####")
    geometry = geojson_geometry(polygons_of(mask, 0))
    assert geometry["type"] == "Polygon"
    outer, hole = geometry["coordinates"]
    assert sorted(outer[:-1]) == [[0, 0], [0, 4], [4, 0], [4, 4]]
    assert sorted(hole[:-1]) == [[1, 1], [1, 3], [3, 1], [3, 3]]
    assert shape(geometry).area == 12
    polygons = coco_polygons(polygons_of(mask, 0))
    assert len(polygons) == 2
    assert np.array_equal(filled_by_coco(polygons, mask), mask)


def test_a_thousand_holes_in_a_row_are_cut_apart() -> None:
    mask = np.ones((3, 2403), bool)
    mask[1, 1:2402:2] = False
    assert np.array_equal(filled_by_coco(coco_polygons(polygons_of(mask, 0)), mask), mask)


@pytest.mark.parametrize(
    ("drawing", "kind", "parts"),
    [
        pytest.param("#", "Polygon", 1, id="one pixel"),
        pytest.param("##.. ..##", "MultiPolygon", 2, id="two that meet in a corner"),
        pytest.param("#.# ### #.#", "Polygon", 1, id="one of several arms"),
        pytest.param("...", "MultiPolygon", 0, id="nothing"),
        pytest.param(".##. #..# .##.", "MultiPolygon", 4, id="a ring of corners"),
    ],
)
def test_the_kind_of_geometry(drawing: str, kind: str, parts: int) -> None:
    polygons = polygons_of(draw(drawing), 0)
    geometry: dict[str, Any] = geojson_geometry(polygons)
    assert (geometry["type"], len(polygons.geoms)) == (kind, parts)


def test_a_mask_away_from_the_corner_keeps_its_place() -> None:
    mask = np.zeros((50, 70), bool)
    mask[20:30, 40:45] = True
    assert polygons_of(mask).bounds == (40, 20, 45, 30)

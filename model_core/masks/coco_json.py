"""Read masks sent as COCO JSON: run lengths, or polygons, alone or in their annotation.

pycocotools fills polygons, so that they cover the very pixels that every COCO tool says. Its C code
trusts what it is given: corners are checked one by one before.
"""

import json
from collections.abc import Iterator

import numpy as np
from pycocotools import mask as coco

from model_core.arrays import Mask
from model_core.errors import InvalidRleError, check_pixels
from model_core.masks.rle import decode_rle

_MAX_POLYGONS = 10_000
"""Filled each on its own, and then merged; a lesion's mask has a handful."""
_MAX_AROUND_PX = 2_000_000
"""Longest way round one polygon: pycocotools lists five points for each pixel of it."""
_MAX_AROUND_ALL_PX = 20_000_000
_EXPECTED = (
    'expected a COCO annotation, its "segmentation" alone, run lengths {"size": [height, width], '
    '"counts": ...} or polygons [[x, y, x, y, ...]]'
)


def decode_coco(data: bytes, *, max_pixels: int, shape: tuple[int, int] | None = None) -> Mask:
    """Decode the mask of a COCO annotation, or of its segmentation alone.

    Args:
        data: JSON.
        max_pixels: Limit on height times width.
        shape: Height and width of polygons that do not say themselves how large their image is;
            those that do have it as `{"image": {"height": 600, "width": 800}, ...}`.

    Raises:
        InvalidRleError: no such JSON, or a mask that does not fit together.
        ImageTooLargeError: more than `max_pixels`.

    Example:
        >>> decode_coco(b'{"segmentation": [[1, 0, 3, 0, 3, 1, 1, 1]]}', max_pixels=9, shape=(1, 4))
        array([[False,  True,  True, False]])
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise InvalidRleError(f"the mask's JSON cannot be read: {exc}") from exc
    segmentation = value
    if isinstance(value, dict):
        shape = _own_shape(value) or shape
        segmentation = value.get("segmentation", value)
    try:
        return decode_segmentation(segmentation, max_pixels=max_pixels, shape=shape)
    except _NoSegmentationError as exc:
        raise InvalidRleError(f"{_found(value)}{_EXPECTED}") from exc


class _NoSegmentationError(InvalidRleError):
    """Neither run lengths nor polygons."""


def decode_segmentation(
    segmentation: object, *, max_pixels: int, shape: tuple[int, int] | None
) -> Mask:
    """Decode a COCO segmentation that was parsed already: run lengths, or polygons.

    Arguments and errors are as those of `decode_coco`.
    """
    if isinstance(segmentation, list) and all(isinstance(part, list) for part in segmentation):
        return _fill(segmentation, shape, max_pixels)
    if isinstance(segmentation, dict) and "counts" in segmentation:
        return decode_rle(segmentation, max_pixels=max_pixels)
    raise _NoSegmentationError(_EXPECTED)


def _found(value: object) -> str:
    """Name JSON that is not one COCO annotation, and how to convert it; empty where unknown."""
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return f"found a list of {len(value)} annotations, send the one of this image: "
    if not isinstance(value, dict):
        return ""
    if "annotations" in value:
        return "found a whole COCO data set, send the annotation of this image alone: "
    if value.get("type") in ("FeatureCollection", "Feature", "Polygon", "MultiPolygon"):
        return "found GeoJSON, ask for format=rle or polygon, or convert it: "
    if "shapes" in value:
        return "found a file of labelme, convert it to COCO or PNG: "
    return ""


def _own_shape(annotation: dict[str, object]) -> tuple[int, int] | None:
    image = annotation.get("image")
    if not isinstance(image, dict):
        return None
    height, width = image.get("height"), image.get("width")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return height, width
    raise InvalidRleError('"image" has no height and width, two positive integers')


def _fill(polygons: list[list[object]], shape: tuple[int, int] | None, max_pixels: int) -> Mask:
    if shape is None:
        raise InvalidRleError(
            "the polygons do not say how large their image is: add "
            '"image": {"height": ..., "width": ...} to the annotation, or send run lengths or a PNG'
        )
    height, width = shape
    check_pixels("polygons' image", height, width, max_pixels)
    if len(polygons) > _MAX_POLYGONS:
        raise InvalidRleError(f"found {len(polygons)} polygons, the limit is {_MAX_POLYGONS}")
    checked = list(_checked(polygons, height, width))
    parts = coco.frPyObjects(checked, height, width) if checked else []
    while len(parts) > 1:  # two by two: one after the other would walk through all again and again
        parts = [coco.merge(parts[i : i + 2]) for i in range(0, len(parts), 2)]
    if not parts:
        return np.zeros(shape, np.bool_)
    mask: Mask = coco.decode(parts[0]).view(np.bool_)
    return np.ascontiguousarray(mask)


def _checked(polygons: list[list[object]], height: int, width: int) -> Iterator[list[float]]:
    """Yield polygons that pycocotools can fill: finite corners near the image, not too many."""
    around_all = 0.0
    for index, polygon in enumerate(polygons):
        numbers = [n for n in polygon if type(n) in (int, float)]
        if len(numbers) != len(polygon) or len(polygon) % 2 or len(polygon) < 6:
            raise InvalidRleError(
                f"polygon {index} has {len(polygon)} entries, expected x, y, x, y, ... of at least "
                "3 corners, all numbers"
            )
        xs, ys = polygon[0::2], polygon[1::2]
        if not (_near(xs, width) and _near(ys, height)):
            raise InvalidRleError(
                f"polygon {index} leaves its image of {width}x{height} pixels by more than "
                "its size: are its coordinates in pixels of it?"
            )
        corners = np.array(polygon, np.float64).reshape(-1, 2)
        steps = np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1)
        around = float(steps.sum()) + len(corners)
        around_all += around
        if around > _MAX_AROUND_PX or around_all > _MAX_AROUND_ALL_PX:
            raise InvalidRleError(f"polygon {index} is too long to be an outline")
        yield corners.ravel().tolist()


def _near(places: list[object], side: int) -> bool:
    return all(-side <= place <= 2 * side for place in places)  # type: ignore[operator]

"""Read labelme's JSON files, one a photograph: polygons and masks."""

import base64
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model_core.arrays import Mask
from model_core.errors import DatasetError, check_pixels
from model_core.images.decode import MAX_PIXELS
from model_core.masks.png import decode_mask
from trainer.data.exports.entry import Entry, Export, Shape, Size, parse_json, polygons, size_of

_EXPECTED = 'expected a file of labelme, {"shapes": [...], "imagePath": ..., "imageHeight": ...}'


def read_labelme(path: Path) -> Export:
    """Read files of labelme.

    Args:
        path: One, or a folder of them, which may lie in sub-folders.

    Raises:
        DatasetError: no such file.
    """
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    export, others = Export(), 0
    for file in files:
        document = parse_json(file)
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            others += 1
            continue
        # Its photograph stands beside it, wherever labelme was started.
        name = str(document.get("imagePath", "")).replace("\\", "/")
        near = file.parent.relative_to(path) / name if path.is_dir() else Path(name)
        try:
            size = size_of(document, "imageHeight", "imageWidth", file.name)
            check_pixels("image", *size, MAX_PIXELS)
            shapes = [_shape(shape, size) for shape in document["shapes"]]
            export.entries.append(Entry(name=near.as_posix(), shapes=shapes, size=size))
        except DatasetError as exc:
            export.problems.append(f"{file.name}: {exc}")
    if not export.entries and not export.problems:
        raise DatasetError(f"{path} holds no such .json: {_EXPECTED}")
    if others:
        export.notes.append(f"{others} .json files are not of labelme, and are passed over")
    return export


def _shape(shape: dict[str, Any], size: Size) -> Shape:
    kind, label = shape.get("shape_type", "polygon"), str(shape.get("label", ""))
    try:
        points = [(float(x), float(y)) for x, y in shape["points"]]
    except (KeyError, OverflowError, TypeError, ValueError) as exc:
        raise DatasetError(f"its {kind} has no points [[x, y], …]") from exc
    if kind == "polygon":
        return Shape((label,), polygons([[side for point in points for side in point]], size))
    if kind == "mask" and len(points) == 2:
        return Shape((label,), partial(_mask, shape.get("mask"), points, size))
    raise DatasetError(f"its {kind} is no outline, expected a polygon or a mask")


def _mask(text: object, points: list[tuple[float, float]], size: Size) -> Mask:
    """Draw a mask: a PNG of the box between two corners, both of which are within."""
    try:
        (left, top), (right, bottom) = ((int(x), int(y)) for x, y in points)
        data = base64.b64decode(str(text), validate=True)
    except (OverflowError, ValueError) as exc:
        raise DatasetError(f"its mask is not base64 between two corners: {exc}") from exc
    png = decode_mask(data, max_pixels=MAX_PIXELS)
    mask = np.zeros(size, np.bool_)
    box = mask[max(top, 0) : bottom + 1, max(left, 0) : right + 1]
    if box.shape != png.shape:
        raise DatasetError(
            f"its mask is {png.shape}, its box {box.shape} (height, width) in an image of {size}"
        )
    box[:] = png
    return mask

"""Read Label Studio's JSON export: polygons, brushes and bitmasks of tasks with one photograph."""

import io
from base64 import b64decode
from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from PIL import Image as Pillow

from model_core.arrays import Mask
from model_core.errors import DatasetError, check_pixels
from model_core.images.decode import MAX_PIXELS
from model_core.images.file_names import IMAGE_SUFFIXES
from model_core.masks.brush import HALF_COVERED, decode_brush
from trainer.data.exports.entry import Entry, Export, Shape, Size, parse_json, polygons, size_of

_EXPECTED = 'expected Label Studio\'s export "JSON", a list of tasks with "data" and "annotations"'
_SUFFIXES = IMAGE_SUFFIXES | {".heic", ".avif"}
_BESIDE = {"", "keypoint", "choices", "textarea", "rating", "number", "datetime", "taxonomy"}
"""Results that say something beside the outline, or about the whole photograph."""


def read_label_studio(path: Path) -> Export:
    """Read an export of a project.

    Of a task's annotations the one that is marked as ground truth counts, else the last.

    Args:
        path: Its JSON, or a folder with it.

    Raises:
        DatasetError: no such file, or another kind of JSON.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    export, counts = Export(), Counter[str]()
    tasks = [task for file in files for task in _tasks(file)]
    if not files:
        raise DatasetError(f"{path} holds no .json: {_EXPECTED}")
    for task in tasks:
        try:
            entry = _entry(task, counts)
            export.entries.extend([entry] if entry else [])
        except DatasetError as exc:
            export.problems.append(f"task {task.get('id')}: {exc}")
    export.notes.extend(f"{count} of {len(tasks)} tasks {what}" for what, count in counts.items())
    return export


def photograph_of(url: str) -> str:
    """Give the path of a photograph that Label Studio names by URL, without host and escapes.

    Example:
        >>> photograph_of("/data/local-files/?d=clinic/a%20b.jpg")
        'clinic/a b.jpg'
        >>> photograph_of("https://example.org/data/upload/1/0a1b2c3d-x.jpg?token=1")
        '/data/upload/1/0a1b2c3d-x.jpg'
    """
    parts = urlsplit(url)
    local = parse_qs(parts.query).get("d", [])
    return (
        local[0]
        if local and parts.path.rstrip("/").endswith("local-files")
        else unquote(parts.path)
    )


def _tasks(path: Path) -> list[dict[str, Any]]:
    document = parse_json(path)
    if isinstance(document, list) and all(isinstance(task, dict) for task in document):
        if all({"data", "annotations"} <= task.keys() for task in document):
            return document
        if any("annotation_id" in task for task in document):
            raise DatasetError(f'{path} is the export "JSON-MIN", which lacks tasks; {_EXPECTED}')
    raise DatasetError(f"{path}: {_EXPECTED}")


def _entry(task: dict[str, Any], counts: Counter[str]) -> Entry | None:
    done = [each for each in task["annotations"] if not each.get("was_cancelled")]
    if not done:
        counts["have no annotation, or were skipped"] += 1
        return None
    if len(done) > 1:
        counts["have several annotations: ground truth counts, else the last"] += 1
    chosen = [each for each in done if each.get("ground_truth")] or done
    annotation = max(chosen, key=lambda each: (str(each.get("updated_at")), each.get("id", 0)))
    results = annotation.get("result") or []
    by_region = {each.get("id"): _names(each) for each in results if each.get("type") == "labels"}
    shapes = [
        _shape(result, by_region)
        for result in results
        if str(result.get("type")).removesuffix("labels") not in _BESIDE and result.get("value")
    ]
    upload = PurePosixPath(str(task.get("file_upload") or "")).name
    name = _photograph(task["data"])
    return Entry(
        name=name,
        shapes=shapes,
        empty=not shapes,
        renamed=bool(upload) and PurePosixPath(name).name == upload,
    )


def _photograph(data: dict[str, Any]) -> str:
    """Find the one field of a task's data that names a photograph."""
    paths = [photograph_of(value) for value in data.values() if isinstance(value, str)]
    named = [path for path in paths if PurePosixPath(path.lower()).suffix in _SUFFIXES]
    if len(named) != 1:
        raise DatasetError(f"names {len(named)} photographs, expected one")
    return named[0]


def _names(result: dict[str, Any]) -> tuple[str, ...]:
    names = result["value"].get(str(result.get("type")), [])
    return tuple(str(name) for name in names)


def _shape(result: dict[str, Any], by_region: dict[Any, tuple[str, ...]]) -> Shape:
    kind, value = str(result.get("type")), result["value"]
    height, width = size = size_of(result, "original_height", "original_width", f"its {kind}")
    if result.get("image_rotation"):
        raise DatasetError("was turned in Label Studio: turn the photograph itself instead")
    labels = _names(result) or by_region.get(result.get("id"), ())
    if kind in ("polygon", "polygonlabels"):
        try:
            scale = width / 100, height / 100  # from percent
            ring = [side for x, y in value["points"] for side in (x * scale[0], y * scale[1])]
        except (KeyError, OverflowError, TypeError, ValueError) as exc:
            raise DatasetError(f"its {kind} has no points [[x, y], …] in percent") from exc
        return Shape(labels, polygons([ring], size))
    if kind in ("brush", "brushlabels") and value.get("format") == "rle":
        rle = value.get("rle")
        draw = partial(decode_brush, rle, height=height, width=width, max_pixels=MAX_PIXELS)
        return Shape(labels, draw)
    if kind in ("bitmask", "bitmasklabels"):
        return Shape(labels, partial(_bitmask, str(value.get("imageDataURL")), size))
    raise DatasetError(f"its {kind} is not read, expected a polygon, a brush or a bitmask")


def _bitmask(url: str, size: Size) -> Mask:
    """Draw a bitmask: a PNG whose alpha channel says where the pen was."""
    check_pixels("bitmask's image", *size, MAX_PIXELS)
    _, base64, text = url.partition("data:image/png;base64,")
    try:
        png = Pillow.open(io.BytesIO(b64decode(text, validate=True)), formats=["PNG"])
        if not base64 or png.size != size[::-1]:  # before a pixel is decoded
            raise DatasetError(f"its bitmask is no PNG of its photograph's size, {size}")
        mask: Mask = np.asarray(png.convert("RGBA"))[..., 3] >= HALF_COVERED
    except (ValueError, OSError, SyntaxError, Pillow.DecompressionBombError) as exc:
        raise DatasetError("its bitmask is no PNG in base64, or a damaged one") from exc
    return mask

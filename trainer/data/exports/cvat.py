"""Read CVAT's export "CVAT for images 1.1": polygons and masks, which a brush draws."""

import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

import numpy as np

from model_core.arrays import Mask
from model_core.decimals import decimal, integer
from model_core.errors import DatasetError, check_pixels
from model_core.images.decode import MAX_PIXELS
from trainer.data.exports.entry import Entry, Export, Shape, Size, polygons

_EXPECTED = 'expected annotations.xml of CVAT\'s export "CVAT for images 1.1"'
_DRAWN = {"box", "ellipse", "polyline", "points", "cuboid", "skeleton"}


def read_cvat(path: Path) -> Export:
    """Read an export of a task or project.

    Args:
        path: Its `annotations.xml`, or a folder with one.

    Raises:
        DatasetError: no such file, or another kind of XML.
    """
    file = path / "annotations.xml" if path.is_dir() else path
    if not file.is_file():
        raise DatasetError(f"no {file}: {_EXPECTED}, unpacked")
    root = _parse(file)
    if root.find("track") is not None:
        raise DatasetError(f'{file} is the export "CVAT for video", {_EXPECTED}')
    export = Export()
    for image in root.iter("image"):
        name = image.get("name", "")
        try:
            size = _whole(image, "height"), _whole(image, "width")
            check_pixels("image", *size, MAX_PIXELS)
            shapes = [_shape(each, size) for each in image if each.tag in {"polygon", "mask"}]
            if others := sorted({each.tag for each in image} & _DRAWN):
                raise DatasetError(f"its {others[0]} is no outline, expected a polygon or a mask")
            export.entries.append(Entry(name=name, shapes=shapes, size=size))
        except ValueError as exc:
            export.problems.append(f"{name}: {exc}")
        except DatasetError as exc:
            export.problems.append(f"{name}: {exc}")
    return export


def _parse(path: Path) -> ET.Element:
    data = path.read_bytes()
    # Entities make a huge file of a small one; UTF-16 would hide their declaration.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        raise DatasetError(f"{path} declares entities, or is not in UTF-8, {_EXPECTED}")
    try:
        root = ET.fromstring(data)  # noqa: S314  # without entities there is nothing to expand
    except (ET.ParseError, LookupError, ValueError) as exc:  # the latter of its encoding
        raise DatasetError(f"{path} is not XML: {exc}; {_EXPECTED}") from exc
    if root.tag != "annotations":
        raise DatasetError(f"{path} begins with <{root.tag}>, {_EXPECTED}")
    return root


def _shape(element: ET.Element, size: Size) -> Shape:
    labels = (element.get("label", ""),)
    if element.tag == "mask":
        return Shape(labels, partial(_mask, dict(element.attrib), size))
    ring = []
    for point in element.get("points", "").split(";"):
        x, comma, y = point.partition(",")
        if not comma:
            raise DatasetError(f"its polygon has the point {point!r}, expected x,y;x,y;…")
        ring += [decimal(x), decimal(y)]
    return Shape(labels, polygons([ring], size))


def _mask(attributes: dict[str, str], size: Size) -> Mask:
    """Draw a mask: run lengths row by row within its box, background first."""
    try:
        left, top, width, height = (
            integer(attributes[name]) for name in ("left", "top", "width", "height")
        )
        runs = [integer(run) for run in attributes["rle"].split(",")]
    except (KeyError, ValueError) as exc:
        raise DatasetError(f"its mask lacks a number: {exc}") from exc
    mask = np.zeros(size, np.bool_)
    inside = 0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]
    if not inside or min(runs) < 0 or sum(runs) != width * height:
        raise DatasetError(
            f"its mask has {sum(runs)} pixels in a box of {width}x{height} at {left},{top} of an "
            f"image of {size[1]}x{size[0]}: that does not fit together"
        )
    lesion = np.arange(len(runs)) % 2 == 1
    mask[top : top + height, left : left + width] = np.repeat(lesion, runs).reshape(height, width)
    return mask


def _whole(element: ET.Element, name: str) -> int:
    number = integer(element.get(name, ""))
    if number < 1:
        raise DatasetError(f"its {name} is {number}, expected at least 1 px")
    return number

"""Read COCO's JSON for objects: polygons and run lengths, as pycocotools reads them."""

from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from model_core.arrays import Mask
from model_core.errors import DatasetError
from model_core.images.decode import MAX_PIXELS
from model_core.masks.coco_json import decode_segmentation
from trainer.data.exports.entry import Entry, Export, Shape, Size, parse_json, size_of

_EXPECTED = 'expected a COCO data set, {"images": [...], "annotations": [...], "categories": [...]}'


def read_coco(path: Path) -> Export:
    """Read a COCO data set.

    Args:
        path: Its JSON, or a folder of JSON files, such as one for training and one for validation.

    Raises:
        DatasetError: no such file, or another kind of JSON.
    """
    export = Export()
    files = [path]
    if path.is_dir():
        found = sorted([*path.glob("*.json"), *path.glob("annotations/*.json")])
        files = [file for file in found if _is_coco(parse_json(file))]
        if not files:
            raise DatasetError(f"{path} holds no such .json: {_EXPECTED}")
    for file in files:
        _read_into(export, file)
    return export


def _is_coco(document: Any) -> bool:
    return isinstance(document, dict) and all(
        isinstance(document.get(name), list) for name in ("images", "annotations")
    )


def _read_into(export: Export, path: Path) -> None:
    document = parse_json(path)
    if not _is_coco(document):
        raise DatasetError(f"{path}: {_EXPECTED}")
    names = {each.get("id"): str(each.get("name")) for each in document.get("categories", [])}
    shapes: dict[Any, list[Shape]] = defaultdict(list)
    faults: dict[Any, str] = {}
    sizes: dict[Any, Size] = {}
    images = Counter(image.get("id") for image in document["images"])
    for image in document["images"]:
        name = image.get("file_name")
        if images[image.get("id")] > 1:
            faults[image.get("id")] = f"its id {image.get('id')} is another photograph's, too"
        try:
            sizes[image.get("id")] = size_of(image, "height", "width", str(name))
        except DatasetError as exc:
            export.problems.append(f"{path.name}: {exc}")
    for annotation in document["annotations"]:
        owner = annotation.get("image_id")
        if owner not in sizes:
            fault = f"annotation {annotation.get('id')} is of image {owner}, which is not listed"
            export.problems.append(f"{path.name}: {fault}")
            continue
        segmentation = annotation.get("segmentation")
        if not segmentation and annotation.get("area") != 0:  # an empty one of area 0 is none
            faults[owner] = f"annotation {annotation.get('id')} has a box and no outline"
            continue
        label = names.get(annotation.get("category_id"), str(annotation.get("category_id")))
        draw = partial(_draw, segmentation or [], sizes[owner])
        shapes[owner].append(Shape((label,), draw))
    for image in document["images"]:
        name, owner = str(image.get("file_name")), image.get("id")
        if owner in faults:
            export.problems.append(f"{name}: {faults[owner]}")
        elif owner in sizes:
            export.entries.append(Entry(name=name, shapes=shapes[owner], size=sizes[owner]))


def _draw(segmentation: object, size: Size) -> Mask:
    mask = decode_segmentation(segmentation, max_pixels=MAX_PIXELS, shape=size)
    if mask.shape != size:
        raise DatasetError(f"its run lengths are of {mask.shape}, its image is {size}")
    return mask

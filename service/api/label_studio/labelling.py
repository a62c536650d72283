"""Where a Label Studio project wants the outline of a lesion, by its labelling configuration."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from model_core.arrays import Mask
from model_core.masks.brush import encode_brush
from model_core.masks.polygons import coco_polygons, polygons_of
from service.contract.errors import Fault, InvalidRequestError

_MAX_CHARACTERS = 1_000_000
_KINDS = ("BrushLabels", "PolygonLabels")
"""Tags that can hold an outline, the one that keeps every pixel first."""
_LESION = "lesion"
Region = dict[str, Any]


@dataclass(frozen=True)
class Labelling:
    """The tag that a prediction is for.

    Attributes:
        kind: `brushlabels` or `polygonlabels`.
        control: Name of the tag.
        image: Name of the tag of the photograph.
        field: Which field of a task's data names the photograph.
        label: What the lesion is called.
    """

    kind: str
    control: str
    image: str
    field: str
    label: str

    def regions(self, mask: Mask, score: float | None) -> list[Region]:
        """Write a mask as regions; none where it is empty."""
        if not mask.any():
            return []
        height, width = mask.shape
        values: list[dict[str, Any]]
        if self.kind == "brushlabels":
            values = [{"format": "rle", "rle": encode_brush(mask)}]
        else:
            # Label Studio's polygons have no holes: they are cut into pieces without any.
            rings = coco_polygons(polygons_of(mask))
            percent = np.array([100 / width, 100 / height])
            values = [
                {"points": (np.reshape(ring, (-1, 2)) * percent).tolist(), "closed": True}
                for ring in rings
            ]
        return [
            {
                "from_name": self.control,
                "to_name": self.image,
                "type": self.kind,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": {**value, self.kind: [self.label]},
                **({} if score is None else {"score": score}),
            }
            for value in values
        ]


def parse_labelling(config: object, field: str) -> Labelling:
    """Find where a labelling configuration wants the outline.

    Args:
        config: XML, as Label Studio sends it.
        field: What the request calls it, for errors.

    Raises:
        InvalidRequestError: it is no such XML, or has no place for a lesion's outline, or several.
    """

    def refuse(detail: str) -> NoReturn:
        raise InvalidRequestError(Fault(field, detail))

    if not isinstance(config, str) or len(config) > _MAX_CHARACTERS:
        refuse("expected a labelling configuration, XML as text")
    # By which a short text becomes a long one; no configuration has them.
    if "<!DOCTYPE" in config or "<!ENTITY" in config:
        refuse("declares entities, expected a labelling configuration without")
    try:
        root = ET.fromstring(config)  # noqa: S314  # without entities there is nothing to expand
    except (ET.ParseError, ValueError):
        refuse("is not XML, expected a labelling configuration")
    images = {tag.get("name"): tag.get("value", "") for tag in root.iter("Image")}
    for kind in _KINDS:
        tags = list(root.iter(kind))
        if not tags:
            continue
        if len(tags) > 1:
            refuse(f"has {len(tags)} {kind}, expected one")
        (tag,) = tags
        name, image = tag.get("name"), tag.get("toName")
        if not name or image not in images or not images[image].startswith("$"):
            refuse(f'its {kind} belongs to no <Image name="…" value="$…">')
        label = _lesion([each.get("value", "") for each in tag.iter("Label")])
        if label is None:
            refuse(f"its {kind} has several labels, expected one, or one that is called {_LESION}")
        return Labelling(kind.lower(), name, str(image), images[image].removeprefix("$"), label)
    return refuse(f"has no {' and no '.join(_KINDS)}: no place for an outline")


def _lesion(labels: list[str]) -> str | None:
    """Choose the label that a lesion gets: the only one, or the one that says so."""
    if len(labels) == 1:
        return labels[0]
    return next((label for label in labels if label.casefold() == _LESION), None)

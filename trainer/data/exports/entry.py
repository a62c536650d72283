"""What readers of annotation tools' exports find: photographs by name, each with its shapes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_core.arrays import Mask
from model_core.errors import DatasetError
from model_core.images.decode import MAX_PIXELS
from model_core.masks.coco_json import decode_segmentation

Size = tuple[int, int]
"""Height and width, px."""


@dataclass(frozen=True)
class Shape:
    """One outline or brushed region of a photograph.

    Attributes:
        labels: What the annotator called it; empty where the tool has no labels.
        draw: Makes its mask, of the photograph's size; raises an InputError where it cannot.
    """

    labels: tuple[str, ...]
    draw: Callable[[], Mask]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One photograph of an export.

    Attributes:
        name: As the export calls it: a file's name, a path or a URL.
        shapes: What was drawn on it.
        size: As the export says it; None where it does not.
        empty: An annotator said that nothing is there, which other tools cannot say.
        renamed: The tool put eight characters and a hyphen before the file's own name.
    """

    name: str
    shapes: Sequence[Shape] = ()
    size: Size | None = None
    empty: bool = False
    renamed: bool = False


@dataclass(frozen=True)
class Export:
    """All that an export holds.

    Attributes:
        entries: Its photographs.
        problems: One line each on what cannot be read.
        notes: One line each on what a user may want to know.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def polygons(rings: Sequence[Sequence[float]], size: Size) -> Callable[[], Mask]:
    """Make what fills polygons `x, y, x, y, …` in px as COCO's tools do, and unites them."""
    flat = [list(ring) for ring in rings]
    return lambda: decode_segmentation(flat, max_pixels=MAX_PIXELS, shape=size)


def parse_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises:
        DatasetError: it is none.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise DatasetError(f"{path} is not JSON: {exc}") from exc


def size_of(owner: dict[str, Any], height: str, width: str, what: str) -> Size:
    """Read a height and width that must be there.

    Raises:
        DatasetError: they are not two positive integers.
    """
    size = owner.get(height), owner.get(width)
    if all(type(side) is int and side > 0 for side in size):
        return size  # type: ignore[return-value]
    raise DatasetError(f"{what} has no {height} and {width}, two positive integers")

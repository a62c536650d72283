"""Draw the viewer: a Streamlit component of our own, bundled from src/ into bundle/.

The browser gets the photograph and the mask; zoom, outline, edits and undo happen there, and the
page hears of them when a person saves a correction, sets a scale or chooses another photograph.
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

Mask = npt.NDArray[np.bool_]

KEY = "viewer"
_BUNDLE = Path(__file__).with_name("bundle")
_mount = st.components.v2.component(
    "lesion_viewer",
    js=(_BUNDLE / "viewer.js").read_text(encoding="utf-8"),
    css=(_BUNDLE / "style.css").read_text(encoding="utf-8"),
    isolate_styles=False,  # as part of the page: its focus marks, and its tests
)


@dataclass(frozen=True)
class Shown:
    """One photograph and its outline, as the viewer component is given them.

    Attributes:
        key: Tells one photograph from another.
        picture: The upright photograph, JPEG.
        mask: bool (H, W), True = lesion.
        mask_key: Tells one mask of the photograph from another.
        spacing_mm: Height and width of a pixel, mm; None where unknown.
        described: The picture in words.
    """

    key: str
    picture: bytes
    mask: Mask
    mask_key: str
    spacing_mm: tuple[float, float] | None
    described: str


@dataclass(frozen=True)
class Small:
    """One of several photographs to choose from.

    Attributes:
        key: As in `Shown`.
        name: The file's.
        url: A small picture, as a data URL.
        note: Advice, in a word.
    """

    key: str
    name: str
    url: str
    note: str


def show(
    shown: Shown, strip: Sequence[Small], *, on_event: Callable[[str, dict[str, Any]], None]
) -> None:
    """Draw the viewer.

    Args:
        shown: The photograph to look at.
        strip: All photographs, where there are several.
        on_event: Called before the page is drawn again, with `choose` and `{"key"}`, `spacing` and
            `{"key", "mm"}` or `save` and `{"key", "mask", "counts", "seconds", "annotator"}`.
    """
    height, width = shown.mask.shape
    photo = {
        "key": shown.key,
        "mask": shown.mask_key,
        "url": data_url(shown.picture),
        "width": width,
        "height": height,
        "counts": counts_of(shown.mask),
        "spacing_mm": shown.spacing_mm,
        "alt": shown.described,
    }

    def pass_on(event: str) -> None:
        value = getattr(st.session_state[KEY], event)
        if value:
            on_event(event, value)

    _mount(
        key=KEY,
        data={"photo": photo, "strip": [asdict(small) for small in strip]},
        on_choose_change=lambda: pass_on("choose"),
        on_spacing_change=lambda: pass_on("spacing"),
        on_save_change=lambda: pass_on("save"),
    )


def data_url(jpeg: bytes) -> str:
    """Return a JPEG as a URL that holds it."""
    return "data:image/jpeg;base64," + b64encode(jpeg).decode()


def counts_of(mask: Mask) -> list[int]:
    """Encode a mask as COCO's uncompressed run lengths.

    Example:
        >>> counts_of(np.array([[False, True], [True, True]]))
        [1, 3]
    """
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def mask_of(counts: Sequence[int], shape: tuple[int, int]) -> Mask:
    """Decode COCO's uncompressed run lengths to a mask.

    Args:
        counts: Run lengths, of background first, column by column.
        shape: (height, width).

    Raises:
        ValueError: they are not the run lengths of a mask of this shape.

    Example:
        >>> mask_of([1, 3], (2, 2)).tolist()
        [[False, True], [True, True]]
    """
    if min(counts, default=-1) < 0 or sum(counts) != shape[0] * shape[1]:
        raise ValueError(f"found run lengths of {sum(counts)} px, expected {shape} px")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(shape, order="F")

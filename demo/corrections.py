"""Save a corrected outline: send it to the service, or offer it as a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from demo import asking, results
from demo.asking import Photograph, Wish
from demo.pictures import encode_png
from demo.viewer.component import Mask, mask_of
from service.client import ClientError, Segmentation

_OFF = "corrections-off"


@dataclass
class Correction:
    """A mask as a person left it.

    Attributes:
        counts: COCO's uncompressed run lengths, as the browser sent them.
        seconds: Spent on it.
        annotator: Pseudonym; may be empty.
        kept: Whether the service keeps it.
        error: Why it does not; None where it was not asked yet.
    """

    counts: tuple[int, ...]
    seconds: float
    annotator: str
    kept: bool = False
    error: ClientError | None = None


def receive(sent: dict[str, Any]) -> None:
    """Take what the viewer sent; of one photograph the last counts."""
    correction = Correction(tuple(sent["counts"]), float(sent["seconds"]), sent["annotator"])
    _received()[sent["key"]] = correction


def corrected(photograph: Photograph, answer: Segmentation) -> Mask | None:
    """Return the corrected mask of a photograph, bool (H, W); None where there is none."""
    correction = _received().get(photograph.key)
    height, width = answer.mask.shape
    return None if correction is None else mask_of(correction.counts, (height, width))


def show(photograph: Photograph, answer: Segmentation, wish: Wish) -> None:
    """Hand a photograph's correction to the service, say whether it is kept, and offer the file."""
    correction, mask = _received().get(photograph.key), corrected(photograph, answer)
    if correction is None or mask is None:
        return
    if not correction.kept and (correction.error is None or st.session_state.get("again")):
        _send(photograph, correction, mask, answer, wish)
    if correction.kept:
        st.success("**Saved.** The service keeps the photograph with the corrected mask.")
    elif isinstance(correction.error, ClientError):
        if getattr(correction.error, "slug", None) == _OFF:
            st.info("**Not sent:** this service keeps no corrections. Download the mask instead.")
        else:
            asking.explain(correction.error)
            st.caption("Nothing is lost: download the mask, or press *Save correction* once more.")
    name = f"{Path(photograph.name).stem}_corrected.png"
    results.download("Corrected mask (PNG)", encode_png(mask), name)


def _send(
    photograph: Photograph, correction: Correction, mask: Mask, answer: Segmentation, wish: Wish
) -> None:
    try:
        asking.client().correct(
            photograph.data, encode_png(mask), annotator=correction.annotator,
            seconds=correction.seconds, model=answer.model.label, threshold=wish.threshold,
        )  # fmt: skip
        correction.kept, correction.error = True, None
        st.toast("Correction saved.", icon=":material/check:")
    except ClientError as exc:
        correction.error = exc
        st.toast("Not saved: see below the picture.", icon=":material/warning:")


def _received() -> dict[str, Correction]:
    received: dict[str, Correction] = st.session_state.setdefault("corrections", {})
    return received

"""What the page asks the service, and how it says that something went wrong.

Answers are kept for the visit: as they came, without the photograph, so that many stay small. With
a photograph's first answer comes the picture that a browser can show, of DICOM and HEIC too.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

import streamlit as st

from demo.pictures import thumbnail
from service.client import (
    DEFAULT_URL,
    AccessError,
    BusyError,
    Client,
    ClientError,
    ProblemError,
    RefusedError,
    Retries,
    Segmentation,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    segmentation_of,
)

URL = os.environ.get("LESION_CLIENT_URL", DEFAULT_URL)
_AT_A_TIME = 4
_KEPT = 2_000
_KEPT_PICTURE_BYTES = 100_000_000
_PATIENCE = Retries(attempts=3, longest_wait_s=5.0)

T = TypeVar("T")


@dataclass(frozen=True)
class Photograph:
    """A file that was dropped on the page.

    Attributes:
        name: As the visitor's machine calls it; it is not sent.
        key: Tells one upload from another.
        data: Its bytes.
    """

    name: str
    key: str
    data: bytes


@dataclass(frozen=True)
class Wish:
    """Parameters of a segmentation.

    Attributes:
        model: Version or alias; None for the production version.
        threshold: None for the version's own.
        spacing_mm: Side of a pixel, mm; None where unknown.
    """

    model: str | None = None
    threshold: float | None = None
    spacing_mm: float | None = None

    def query(self) -> dict[str, Any]:
        """Return the parameters that the client takes."""
        query = {"model": self.model, "threshold": self.threshold, "measurements": "true"}
        if self.spacing_mm:
            query["spacing_mm"] = f"{self.spacing_mm:.6f},{self.spacing_mm:.6f}"
        return query


def client() -> Client:
    """Return a client with the visitor's key, or the page's own."""
    key = st.session_state.get("api_key") or os.environ.get("LESION_CLIENT_KEY")
    if st.session_state.get("client_key", "") != (key or ""):
        st.session_state.pop("client", None)
    if "client" not in st.session_state:
        st.session_state.client = Client(URL, api_key=key, timeout_s=60, retries=_PATIENCE)
        st.session_state.client_key = key or ""
    visitors: Client = st.session_state.client
    return visitors


def segment_all(
    photographs: Sequence[Photograph], wish: Wish
) -> Iterator[tuple[Photograph, Segmentation | ClientError]]:
    """Yield every photograph's answer, in order; several are under way at a time."""
    answers, asker, small, large = _answers(), client(), thumbnails(), _pictures()
    wishes = {photograph.key: measured_by(photograph, wish) for photograph in photographs}

    def ask(photograph: Photograph) -> Segmentation | ClientError:
        query = wishes[photograph.key].query()
        try:
            if photograph.key in small:
                return asker.segment(photograph.data, **query)
            files = asker.segment_as(photograph.data, "zip", include="rle,image-jpeg", **query)
            with zipfile.ZipFile(io.BytesIO(files)) as file:
                annotation, large[photograph.key] = map(file.read, sorted(file.namelist()))
            small[photograph.key] = thumbnail(large[photograph.key])
            return segmentation_of(json.loads(annotation))
        except (zipfile.BadZipFile, ValueError, OSError) as exc:
            return UnexpectedAnswerError(f"{URL}/segment answered with what is no ZIP: {exc}")
        except ClientError as exc:
            return exc

    new = [photo for photo in photographs if (photo.key, wishes[photo.key]) not in answers]
    pool = ThreadPoolExecutor(_AT_A_TIME)
    try:
        asked = pool.map(ask, new)
        for photograph in photographs:
            kept = answers.get((photograph.key, wishes[photograph.key]))
            if kept is not None:
                yield photograph, segmentation_of(kept)
                continue
            answer = next(asked)
            if isinstance(answer, Segmentation):
                answers[photograph.key, wishes[photograph.key]] = answer.annotation
            yield photograph, answer
    finally:  # the visitor changed something meanwhile: what was not begun is not needed
        pool.shutdown(wait=False, cancel_futures=True)


def segment(photograph: Photograph, wish: Wish) -> Segmentation:
    """Return one photograph's answer.

    Raises:
        ClientError: there is none.
    """
    ((_, answer),) = segment_all([photograph], wish)
    if isinstance(answer, ClientError):
        raise answer
    return answer


def rulers() -> dict[str, float]:
    """Return the side of a pixel, mm, by the key of each photograph whose ruler was measured."""
    sides: dict[str, float] = st.session_state.setdefault("rulers", {})
    return sides


def measured_by(photograph: Photograph, wish: Wish) -> Wish:
    """Return the wish with the scale of the photograph's own ruler, where that was measured."""
    return replace(wish, spacing_mm=rulers().get(photograph.key, wish.spacing_mm))


def made(photograph: Photograph, wish: Wish, format: str) -> bytes:
    """Return a photograph's answer as a file of another format."""
    return client().segment_as(photograph.data, format, model=wish.model, threshold=wish.threshold)


def picture(photograph: Photograph) -> bytes:
    """Return the upright photograph as the service decodes it, a JPEG."""
    kept = _pictures()
    if photograph.key not in kept:
        kept[photograph.key] = client().segment_as(photograph.data, "image-jpeg")
    return kept[photograph.key]


def thumbnails() -> dict[str, bytes]:
    """Return this visit's small pictures, JPEG, by the photograph's key."""
    kept: dict[str, bytes] = st.session_state.setdefault("thumbnails", {})
    return kept


def once(key: tuple[object, ...], ask: Callable[[], T]) -> T:
    """Return the answer of this visit's first call with the same key."""
    kept: dict[tuple[object, ...], Any] = st.session_state.setdefault("kept", {})
    if key not in kept:
        if len(kept) >= 64:
            kept.clear()
        kept[key] = ask()
    answer: T = kept[key]
    return answer


def explain(error: ClientError) -> None:
    """Say on the page what went wrong, and what the visitor can do."""
    if isinstance(error, ServiceUnreachableError):
        st.error(
            f"**The service is away.** Nothing answers at `{URL}`.\n\n"
            "Start it with `make serve` (or `make demo`, which starts both), then try again.",
            icon=":material/cloud_off:",
        )
        st.button("Try again", key="again", type="primary")
    elif isinstance(error, AccessError):
        st.error(
            f"**A key is needed.** {_said(error)} Open the settings at the top left, and enter one "
            "under *Connection*."
        )
    elif isinstance(error, BusyError):
        st.warning(f"**The service cannot answer now.** {_said(error)}")
        st.button("Try again", key="again", type="primary")
    elif isinstance(error, RefusedError):
        st.error(f"**{error.title}.** {_said(error)}{_more_on(error)}")
    elif isinstance(error, UnexpectedAnswerError):
        st.error(
            f"**What answers at `{URL}` is not this service,** or one of another version. "
            f"{error}\n\n"
            "`LESION_CLIENT_URL` names another address."
        )
        st.button("Try again", key="again", type="primary")
    else:
        st.error(f"**Something went wrong.** {error}")


def in_a_word(error: ClientError) -> str:
    """Return a reason that fits into a table."""
    if isinstance(error, ProblemError):
        return error.detail or error.title
    return "the service is away" if isinstance(error, ServiceUnreachableError) else str(error)


def is_for_all(error: ClientError) -> bool:
    """Return whether the error is of the service, not of one photograph."""
    return not isinstance(error, RefusedError) or isinstance(error, AccessError)


def _answers() -> dict[tuple[str, Wish], Any]:
    answers: dict[tuple[str, Wish], Any] = st.session_state.setdefault("answers", {})
    while len(answers) > _KEPT:
        del answers[next(iter(answers))]
    return answers


def _pictures() -> dict[str, bytes]:
    pictures: dict[str, bytes] = st.session_state.setdefault("pictures", {})
    while sum(map(len, pictures.values())) > _KEPT_PICTURE_BYTES and len(pictures) > 1:
        del pictures[next(iter(pictures))]
    return pictures


def _said(error: ProblemError) -> str:
    text = error.detail or error.title
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _more_on(error: ProblemError) -> str:
    """Return a link to the problem's page where the visitor's browser can reach the service."""
    if urlsplit(URL).hostname not in ("127.0.0.1", "localhost", "::1"):
        return ""
    return f" ([what this means]({URL.rstrip('/')}/problems/{error.slug}))"

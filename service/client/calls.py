"""What a client asks, as values: both clients send the same and read the answers alike."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import quote

import httpx
import numpy as np

from model_core.arrays import Mask
from model_core.masks.png import encode_mask
from service.client.errors import (
    ProblemError,
    ServiceUnreachableError,
    UnexpectedAnswerError,
    error_of,
)
from service.client.results import Health, Segmentation, parse, segmentation_of
from service.client.retries import retry_after_s
from service.contract.schemas import Evaluation, VersionDetail, VersionList

T = TypeVar("T")
Spacing: TypeAlias = tuple[float, float]
"""Height and width of a pixel, mm."""
Photograph: TypeAlias = bytes | str | os.PathLike[str]
"""A file's bytes, or its path."""
SentMask: TypeAlias = Photograph | Mask
"""A PNG's or a COCO JSON's bytes or path, or bool (H, W), True = lesion."""
Files: TypeAlias = list[tuple[str, tuple[str, bytes]]]


DEFAULT_URL = "http://127.0.0.1:8000"
_CONNECT_S = 5.0


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and how its answer is read.

    Attributes:
        method: HTTP method. Every call only asks: it can be sent again without harm.
        path: Below the service's address.
        read: Makes the result of a response with status 200.
        params: Query; those that are None are left out.
        content: The body as it stands.
        files: The parts of a form. Their names are not those of the files: a name may hold a
            patient's.
        accept: Media type to ask for.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: dict[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    files: Files = field(default_factory=list)
    accept: str = "application/json"

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """As httpx sends it."""
        headers = {"Accept": self.accept}
        if self.content is not None:
            headers["Content-Type"] = "application/octet-stream"
        return client.build_request(
            self.method,
            self.path,
            params={name: value for name, value in self.params.items() if value is not None},
            content=self.content,
            files=self.files or None,
            headers=headers,
        )


def segment(
    image: Photograph, threshold: float | None, model: str | None, more: dict[str, Any]
) -> Call[Segmentation]:
    """`POST /segment` as JSON."""
    params = {"format": "rle", "threshold": threshold, "model": model, **more}
    return Call(
        "POST", "segment", lambda r: segmentation_of(_json(r)), params, content=_bytes(image)
    )


def segment_as(image: Photograph, params: dict[str, Any]) -> Call[bytes]:
    """`POST /segment` in a format of the caller's choice."""
    return Call("POST", "segment", _content, params, content=_bytes(image), accept="*/*")


def evaluate(
    truths: Sequence[SentMask],
    images: Sequence[Photograph],
    preds: Sequence[SentMask],
    params: dict[str, Any],
) -> Call[Evaluation]:
    """`POST /evaluate` as JSON."""
    files = _form(truths, images, preds)
    params = {"format": "json", **params}
    return Call("POST", "evaluate", lambda r: parse(Evaluation, _json(r)), params, files=files)


def evaluation_picture(
    truth: SentMask, image: Photograph | None, pred: SentMask | None, params: dict[str, Any]
) -> Call[bytes]:
    """`POST /evaluate` of one pair as a picture."""
    files = _form([truth], [] if image is None else [image], [] if pred is None else [pred])
    params = {"format": "png", **params}
    return Call("POST", "evaluate", _content, params, files=files, accept="image/png")


def models() -> Call[VersionList]:
    """`GET /models`."""
    return Call("GET", "models", lambda response: parse(VersionList, _json(response)))


def model(reference: str) -> Call[VersionDetail]:
    """`GET /models/{version}`."""
    path = f"models/{quote(reference, safe='@')}"
    return Call("GET", path, lambda response: parse(VersionDetail, _json(response)))


def ready() -> Call[None]:
    """`GET /readyz`."""
    return Call("GET", "readyz", _ready)


def options(url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """Arguments of either httpx client."""
    headers: dict[str, str | bytes] = {"User-Agent": "lesion-client"}
    if api_key:  # as bytes: whether letters beyond ASCII are a key is for the service to say
        headers["Authorization"] = f"Bearer {api_key}".encode(errors="surrogateescape")
    return {
        "base_url": url,
        "headers": headers,
        "timeout": httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
    }


def evaluate_params(
    threshold: float | None, model: str | None, spacing_mm: Spacing | None
) -> dict[str, Any]:
    """The query of `/evaluate`."""
    spacing = f"{spacing_mm[0]},{spacing_mm[1]}" if spacing_mm else None
    return {"threshold": threshold, "model": model, "spacing_mm": spacing}


def result(
    call: Call[T], response: httpx.Response | None, error: Exception | None, url: httpx.URL
) -> T:
    """What the last attempt brought: a result, or the error that it stands for."""
    if response is None:
        why = str(error) or type(error).__name__
        raise ServiceUnreachableError(f"no answer from {url}: {why}") from error
    if response.status_code == httpx.codes.OK:
        return call.read(response)
    raise error_of(response, retry_after_s(response))


def unwell(error: ServiceUnreachableError | ProblemError) -> Health:
    """How a service is that could not be asked whether it is ready, or said no."""
    return Health(alive=isinstance(error, ProblemError), ready=False, detail=str(error))


def _form(
    truths: Sequence[SentMask], images: Sequence[Photograph], preds: Sequence[SentMask]
) -> Files:
    parts = [("truth", _mask_bytes(truth)) for truth in truths]
    parts += [("image", _bytes(image)) for image in images]
    parts += [("pred", _mask_bytes(pred)) for pred in preds]
    return [(name, (name, data)) for name, data in parts]


def _bytes(source: Photograph) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def _mask_bytes(mask: SentMask) -> bytes:
    if isinstance(mask, np.ndarray):
        return encode_mask(np.ascontiguousarray(mask, np.bool_))
    return _bytes(mask)


def _content(response: httpx.Response) -> bytes:
    return response.content


def _ready(response: httpx.Response) -> None:
    """Take the service's own word alone: other servers answer any path with 200."""
    if _json(response).get("status") != "ok":
        raise UnexpectedAnswerError(
            f"{response.url} answered 200 with other JSON than the service's: is this the address "
            "of the service itself?"
        )


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError as exc:
        raise UnexpectedAnswerError(f"{response.request.url} did not answer with JSON") from exc
    if not isinstance(body, dict):
        raise UnexpectedAnswerError(f"{response.request.url} answered with JSON that is no object")
    return body

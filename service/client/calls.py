"""One request and the reading of its answer, as a value that either client can send."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

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
from service.client.results import Health
from service.client.retries import retry_after_s

T = TypeVar("T")
Spacing: TypeAlias = tuple[float, float]
"""Height and width of a pixel, mm."""
SentImage: TypeAlias = bytes | str | os.PathLike[str]
"""A file's bytes, or its path."""
SentMask: TypeAlias = SentImage | Mask
"""A PNG's or a COCO JSON's bytes or path, or bool (H, W), True = lesion."""
Files: TypeAlias = list[tuple[str, tuple[str, bytes]]]

DEFAULT_URL = "http://127.0.0.1:8000"
_CONNECT_S = 5.0


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and how its answer is read.

    Attributes:
        method: HTTP method. Each call can be sent again without harm: none changes anything but
            that of a correction, and the same one twice is kept once.
        path: Below the service's address.
        read: Makes the result of a response with a status of 200 to 299.
        params: Query; those that are None are left out.
        content: The body as it stands.
        files: The parts of a form.
        accept: Media type to ask for.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: dict[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    files: Files | None = None
    accept: str = "application/json"

    def request(self, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Build the request that httpx sends."""
        headers = {"Accept": self.accept}
        if self.content is not None:  # whatever it is, the service looks at its bytes
            headers["Content-Type"] = "application/octet-stream"
        return client.build_request(
            self.method,
            self.path,
            params={name: value for name, value in self.params.items() if value is not None},
            content=self.content,
            files=self.files,
            headers=headers,
        )

    def result(self, response: httpx.Response | None, error: Exception | None, url: httpx.URL) -> T:
        """Read what the last attempt brought, or raise the error that it stands for."""
        if response is None:
            reason = str(error) or type(error).__name__
            raise ServiceUnreachableError(f"no answer from {url}: {reason}") from error
        if response.is_success:
            return self.read(response)
        raise error_of(response, retry_after_s(response))


def httpx_options(url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """Return the arguments of either httpx client."""
    headers: dict[str, str | bytes] = {"User-Agent": "lesion-client"}
    if api_key:  # as bytes: the service decides whether letters beyond ASCII are a key
        headers["Authorization"] = f"Bearer {api_key}".encode(errors="surrogateescape")
    return {
        "base_url": url,
        "headers": headers,
        "timeout": httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
    }


def unhealthy(error: ServiceUnreachableError | ProblemError) -> Health:
    """Return the state of a service that did not answer, or answered that it is not ready."""
    return Health(alive=isinstance(error, ProblemError), ready=False, detail=str(error))


def form(
    truths: Sequence[SentMask], images: Sequence[SentImage], preds: Sequence[SentMask]
) -> Files:
    """Return the parts of an evaluation's form.

    The file names are the fields' names: a file's own name may hold a patient's.
    """
    parts = [("truth", _mask_bytes(truth)) for truth in truths]
    parts += [("image", file_bytes(image)) for image in images]
    parts += [("pred", _mask_bytes(pred)) for pred in preds]
    return [(name, (name, data)) for name, data in parts]


def correction_form(
    image: SentImage, mask: SentMask, annotator: str, seconds: float | None
) -> Files:
    """Return the parts of a correction's form; no file's own name is among them."""
    parts = [("image", file_bytes(image)), ("mask", _mask_bytes(mask))]
    parts.append(("annotator", annotator.encode()))
    if seconds is not None:
        parts.append(("seconds", repr(float(seconds)).encode()))
    return [(name, (name, data)) for name, data in parts]


def file_bytes(source: SentImage) -> bytes:
    """Return a file's bytes, read where its path is given."""
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def _mask_bytes(mask: SentMask) -> bytes:
    if isinstance(mask, np.ndarray):  # such as a model's 0 and 1 of any type
        return encode_mask(np.ascontiguousarray(mask, np.bool_))
    return file_bytes(mask)


def read_content(response: httpx.Response) -> bytes:
    """Return the body as it is."""
    return response.content


def read_ready(response: httpx.Response) -> None:
    """Accept only the service's own answer: other servers answer any path with 200."""
    if read_json(response).get("status") != "ok":
        raise UnexpectedAnswerError(
            f"{response.url} answered 200 with other JSON than the service's: is this the address "
            "of the service itself?"
        )


def read_json(response: httpx.Response) -> dict[str, Any]:
    """Return the body's JSON object."""
    try:
        body = response.json()
    except ValueError as exc:
        raise UnexpectedAnswerError(f"{response.request.url} did not answer with JSON") from exc
    if not isinstance(body, dict):
        raise UnexpectedAnswerError(f"{response.request.url} answered with JSON that is no object")
    return body

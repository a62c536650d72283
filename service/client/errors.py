"""Errors between a client and the service; docs/client.md shows their tree."""

from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class FaultFound:
    """One thing that the service found wrong with a request.

    Attributes:
        place: `query`, `path` or `body`.
        field: Name of the parameter or form field.
        detail: What was found and what was expected.
    """

    place: str
    field: str
    detail: str


class ClientError(Exception):
    """Anything that keeps a client from its answer."""


class ServiceUnreachableError(ClientError):
    """No answer: nobody listens, the connection broke, or it took too long."""


class UnexpectedAnswerError(ClientError):
    """An answer that is none of this API, such as a proxy's page."""


class ProblemError(ClientError):
    """The service answered with a problem document.

    Attributes:
        status: HTTP status.
        slug: Kind of problem, a heading of docs/errors.md: program against this.
        title: The same for every occurrence.
        detail: What was found and what was expected, for people; empty where nothing is said.
        request_id: Names the request in the service's log.
        faults: Each fault of an invalid request.
        retry_after_s: When the service said that trying again makes sense, s.
    """

    def __init__(
        self,
        *,
        status: int,
        slug: str,
        title: str,
        detail: str = "",
        request_id: str = "",
        faults: tuple[FaultFound, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{status} {slug}: {detail or title}")
        self.status = status
        self.slug = slug
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.faults = faults
        self.retry_after_s = retry_after_s


class RefusedError(ProblemError):
    """4xx: the request has to change before it can be answered."""


class AccessError(RefusedError):
    """401, 403: the key is missing, wrong, or lacks the scope."""


class BusyError(ProblemError):
    """429, 503, 504, after all retries: the same request may succeed later."""


class FailedError(ProblemError):
    """Any other 5xx: the service's log says why, under `request_id`."""


_KINDS = {
    401: AccessError,
    403: AccessError,
    429: BusyError,
    503: BusyError,
    504: BusyError,
}


def error_of(response: httpx.Response, retry_after_s: float | None = None) -> ClientError:
    """Return the error that a response of status 400 or above stands for.

    Args:
        response: Read to its end.
        retry_after_s: What its `Retry-After` says.
    """
    status, body = response.status_code, _problem_of(response)
    if body is None:  # a proxy's page, or another server: its text would tell nothing of the call
        media_type = response.headers.get("content-type", "no Content-Type")
        return UnexpectedAnswerError(
            f"{response.request.url} answered {status} with {media_type}, expected "
            "application/problem+json: is this the address of the service itself?"
        )
    return _KINDS.get(status, RefusedError if status < 500 else FailedError)(
        status=status,
        slug=str(body.get("type", "")).rpartition("/")[2],
        title=str(body.get("title", "")),
        detail=str(body.get("detail", "")),
        request_id=str(body.get("request_id", "")),
        faults=tuple(_fault(entry) for entry in body.get("errors") or ()),
        retry_after_s=retry_after_s,
    )


def is_problem(response: httpx.Response) -> bool:
    """Return whether an error is the service's own, and not that of a proxy before it."""
    kind: str = response.headers.get("content-type", "")
    return kind.startswith("application/problem+json")


def _problem_of(response: httpx.Response) -> dict[str, Any] | None:
    if not is_problem(response):
        return None
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _fault(entry: Any) -> FaultFound:
    values = entry if isinstance(entry, dict) else {}
    # A newer service may say more, or a proxy rewrite it: that must not hide the problem itself.
    return FaultFound(*(str(values.get(key, "")) for key in ("in", "field", "detail")))

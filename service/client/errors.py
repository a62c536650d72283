"""What can go wrong between a client and the service.

ClientError
├── ServiceUnreachableError     no answer: nobody listens, the connection broke, it took too long
├── UnexpectedAnswerError       an answer that is none of this API (a proxy's page, say)
└── ProblemError                the service's own words (RFC 9457): status, slug, detail
    ├── RefusedError                4xx: the request has to change
    │   └── AccessError                 401, 403: the key is missing, wrong, or not enough
    ├── BusyError                   429, 503, 504: later it may work, and was tried until now
    └── FailedError                 any other 5xx: the service's log says why
"""

from dataclasses import dataclass
from typing import Any

import httpx

_BUSY = (429, 503, 504)
_ACCESS = (401, 403)


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
    """No answer came."""


class UnexpectedAnswerError(ClientError):
    """An answer came that is none of this API."""


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
    """The request has to change before it can be answered."""


class AccessError(RefusedError):
    """The key is missing, wrong, or not enough for this."""


class BusyError(ProblemError):
    """The service could not answer now."""


class FailedError(ProblemError):
    """Something failed in the service that should not."""


def error_of(response: httpx.Response, retry_after_s: float | None = None) -> ClientError:
    """The error that a response of status 400 or above stands for.

    Args:
        response: Read to its end.
        retry_after_s: What its `Retry-After` says.
    """
    body = _problem_of(response)
    if body is None:
        found = response.headers.get("content-type", "no Content-Type")
        return UnexpectedAnswerError(
            f"{response.request.url} answered {response.status_code} with {found}, expected "
            "application/problem+json: is this the address of the service itself?"
        )
    return _kind(response.status_code)(
        status=response.status_code,
        slug=str(body.get("type", "")).rpartition("/")[2],
        title=str(body.get("title", "")),
        detail=str(body.get("detail", "")),
        request_id=str(body.get("request_id", "")),
        faults=tuple(_fault(entry) for entry in body.get("errors") or ()),
        retry_after_s=retry_after_s,
    )


def is_problem(response: httpx.Response) -> bool:
    """Whether an error is the service's own, and not that of a proxy before it."""
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


def _kind(status: int) -> type[ProblemError]:
    if status in _BUSY:
        return BusyError
    if status in _ACCESS:
        return AccessError
    return RefusedError if status < 500 else FailedError


def _fault(entry: Any) -> FaultFound:
    values = entry if isinstance(entry, dict) else {}
    return FaultFound(*(str(values.get(key, "")) for key in ("in", "field", "detail")))

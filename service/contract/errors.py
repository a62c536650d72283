"""The service's own errors; `service.contract.problems` says how each is answered.

Those below `InputError` the caller can fix, those below `UnavailableError` pass by themselves.
"""

from collections.abc import Mapping
from typing import NamedTuple

from model_core.errors import InputError, SegmentationError
from service.contract.quoting import known_field


class Fault(NamedTuple):
    """One thing that is wrong with a request.

    Attributes:
        field: Name of the parameter or form field.
        detail: What was found and what was expected.
        place: Where it is: `body`, `query` or `path`.
    """

    field: str
    detail: str
    place: str = "body"


class InvalidRequestError(InputError):
    """A parameter or field is missing, unknown or out of range."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = [fault._replace(field=known_field(fault.field)) for fault in faults]
        super().__init__("; ".join(f"{fault.field}: {fault.detail}" for fault in self.faults))


class MalformedBodyError(InputError):
    """The body is not the multipart form it claims to be."""


class BodyTooLargeError(InputError):
    """The body has more bytes than the limit."""


class MalformedRequestError(InputError):
    """The bytes on the connection are no HTTP request."""


class HeadTooSlowError(InputError):
    """The head of the request comes more slowly than the limit."""


class HeadTooLargeError(InputError):
    """The head of the request is longer, or has more headers, than the limit."""


class BodyTooSlowError(InputError):
    """The body's bytes come more slowly than the limits."""


class TooManyPixelsError(InputError):
    """The images and masks of a request have more pixels in all than the limit."""


class _WithHeadersError(InputError):
    """An error whose answer has HTTP headers of its own, `headers`."""

    def __init__(self, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.headers = headers or {}


class UnsupportedMediaTypeError(_WithHeadersError):
    """The body is of a Content-Type or Content-Encoding that this route does not take."""


class NotAcceptableError(InputError):
    """The Accept header leaves nothing that this route can answer with."""


class NoSuchRouteError(InputError):
    """No route has this path."""


class CorrectionsOffError(InputError):
    """The operator has named no place that corrections are kept in."""


class MethodNotAllowedError(InputError):
    """The route of this path does not know this method."""


class InvalidKeyError(_WithHeadersError):
    """The request has no API key, or an unknown or expired one."""


class MissingScopeError(_WithHeadersError):
    """The API key is valid, but not for this route."""


class RateLimitedError(_WithHeadersError):
    """This caller's requests come faster than its limit."""


class UnavailableError(SegmentationError):
    """The service cannot answer now, but can later.

    Attributes:
        headers: `Retry-After`, where it is known better than in the table.
    """

    def __init__(self, detail: str = "", *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}


class QueueFullError(UnavailableError):
    """As many requests, pixels or bytes as allowed are being worked on or waiting."""


class OverloadedError(UnavailableError):
    """At the current rate, the request's turn would come after its deadline."""


class DeadlineError(UnavailableError):
    """The request was not answered in time, and what was left of its work is dropped."""


class EngineFailedError(UnavailableError):
    """The network failed; what it was asked is not the reason."""


class DecoderFailedError(UnavailableError):
    """The process that decoded the image was ended from outside; the file is not to blame."""


class StorageFullError(UnavailableError):
    """The disk has no room for what is to be kept."""


class StorageUnavailableError(UnavailableError):
    """The folder or bucket of the corrections cannot be reached, read or written."""


class LabelStudioError(UnavailableError):
    """Label Studio does not give the photograph of one of its tasks."""


class DeadError(UnavailableError):
    """The process cannot recover and should be killed."""


class NotReadyError(UnavailableError):
    """No model is loaded."""

"""What may be told of a request: sizes, times and outcomes, never what it was about.

No file name, no pixel, no query value, no text of a file and no raw path appears here: any of them
may name a person. The log, the audit log and the counters know a request only through this.
"""

import re
import uuid
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from starlette.datastructures import Headers

from service.telemetry.prometheus import Stages

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context, level 1: version, trace ID, parent ID, flags; a later version may go on.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_MAX_IMAGES = 256
"""Sizes noted of one request at most."""


@dataclass
class RequestRecord:
    """One request, filled in by whoever learns something of it.

    Attributes:
        request_id: The caller's where it may be one, else a new one.
        trace_id: Of the caller's `traceparent`, 32 hexadecimal digits; None without a valid one.
        key_id: Name of the caller's API key; None without one.
        problem: Slug of the problem that it was answered with.
        model_sha256: Of the card of the version that answered.
        sizes: Height and width of each photograph, px, in the order they were done.
        stages: Seconds of all of them.
        bytes_in: Of the body, as far as it was read.
        bytes_out: Of the answer's body.
    """

    request_id: str
    trace_id: str | None = None
    key_id: str | None = None
    problem: str | None = None
    model_sha256: str | None = None
    sizes: list[tuple[int, int]] = field(default_factory=list)
    stages: Stages = field(default_factory=Stages)
    bytes_in: int = 0
    bytes_out: int = 0

    def saw(self, size: tuple[int, int], stages: Stages, model_sha256: str) -> None:
        """Note one photograph that was done."""
        self.model_sha256 = model_sha256
        self.stages.add(stages)
        if len(self.sizes) < _MAX_IMAGES:
            self.sizes.append(size)


_CURRENT: ContextVar[RequestRecord | None] = ContextVar("request", default=None)


def begin_record(headers: Headers) -> RequestRecord:
    """Make the record of a request, current from now on in its task and those that it starts."""
    record = RequestRecord(
        request_id=_request_id(headers.get("x-request-id", "")),
        trace_id=trace_id_of(headers.getlist("traceparent")),
    )
    _CURRENT.set(record)
    return record


def current_record() -> RequestRecord | None:
    """The record of the request that this code runs for; None outside of one."""
    return _CURRENT.get()


def trace_id_of(values: Sequence[str]) -> str | None:
    """The trace ID of a request's `traceparent` headers; None where it is not exactly one, valid.

    Example:
        >>> trace_id_of(["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
        '0af7651916cd43dd8448eb211c80319c'
        >>> trace_id_of(["00-00000000000000000000000000000000-b7ad6b7169203331-01"])
    """
    found = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    if not found:
        return None
    version, trace_id, parent_id, more = found.groups()
    if (
        version == "ff"
        or (version == "00" and more)
        or not (int(trace_id, 16) and int(parent_id, 16))
    ):
        return None
    return str(trace_id)


def _request_id(proposed: str) -> str:
    return proposed if _REQUEST_ID.fullmatch(proposed) else uuid.uuid4().hex

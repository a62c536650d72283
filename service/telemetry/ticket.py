"""One ticket a request: what is known of it, from its first byte to its line in the log.

It holds sizes, times and outcomes, never what the request was about: no file name, no pixel, no
query value, no text of a file and no raw path, for any of them may name a person. The log, the
audit log and the counters know a request only through this.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# W3C Trace Context, level 1: version, trace ID, parent ID, flags; a later version may go on.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_MAX_IMAGES = 256
"""Sizes noted of one request at most."""
_KEY = "lesion.ticket"
"""Where an ASGI scope has the request's ticket."""


def no_seconds() -> dict[str, float]:
    """Start to count the seconds of each stage of an image."""
    return {"decode": 0.0, "queue": 0.0, "infer": 0.0, "encode": 0.0}


@dataclass(eq=False, slots=True)
class Ticket:
    """One request, filled in by each layer that learns something of it.

    Attributes:
        id: The caller's where it may be one, else a new one.
        trace_id: Of the caller's `traceparent`, 32 hexadecimal digits; None without a valid one.
        caller: Name of the caller's API key; None without one.
        expected_at: When `service.access.admission` let its body come, by the event loop's clock,
            s; None as long as it was not asked.
        units: What others wait for because of it, see `service.access.admission`.
        deadline_s: Time from its last byte to its answer; 0 as long as it has no slot.
        broken: What is wrong with the bytes of its body; None where nothing is.
        answer_headers: What its answer carries whatever it is.
        problem: Slug of the problem that it was answered with.
        model_sha256: Of the card of the version that answered.
        sizes: Height and width of each image, px, in the order they were done.
        seconds: Of each stage, all images together.
        bytes_in: Of the body, as far as it was read.
        bytes_out: Of the answer's body.
    """

    id: str
    trace_id: str | None = None
    caller: str | None = None
    expected_at: float | None = None
    units: float = 1.0
    deadline_s: float = 0.0
    broken: Exception | None = None
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None
    model_sha256: str | None = None
    sizes: list[tuple[int, int]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=no_seconds)
    bytes_in: int = 0
    bytes_out: int = 0

    def add_image(
        self, size: tuple[int, int], seconds: Mapping[str, float], model_sha256: str
    ) -> None:
        """Note one image that was done."""
        self.model_sha256 = model_sha256
        for stage, spent in seconds.items():
            self.seconds[stage] += spent
        if len(self.sizes) < _MAX_IMAGES:
            self.sizes.append(size)

    def timing(self) -> str:
        """Write the seconds as the value of `Server-Timing`, in ms.

        Example:
            >>> Ticket("a").timing()
            'decode;dur=0.0, queue;dur=0.0, infer;dur=0.0, encode;dur=0.0'
        """
        return ", ".join(f"{name};dur={s * 1000:.1f}" for name, s in self.seconds.items())


def ticket_of(scope: Any) -> Ticket:  # of any type: starlette and uvicorn have each their own
    """Get the ticket of a request's ASGI scope; the outermost layer that asks makes it."""
    ticket: Ticket | None = scope.get(_KEY)
    if ticket is None:
        headers = Headers(scope=scope)
        proposed = headers.get("x-request-id", "")
        ticket = scope[_KEY] = Ticket(
            id=proposed if _REQUEST_ID.fullmatch(proposed) else uuid.uuid4().hex,
            trace_id=trace_id_of(headers.getlist("traceparent")),
        )
    return ticket


def trace_id_of(values: Sequence[str]) -> str | None:
    """Get the trace ID of `traceparent` headers; None where it is not exactly one, valid.

    Example:
        >>> trace_id_of(["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"])
        '0af7651916cd43dd8448eb211c80319c'
        >>> trace_id_of(["00-00000000000000000000000000000000-b7ad6b7169203331-01"])
    """
    match = _TRACEPARENT.fullmatch(values[0]) if len(values) == 1 else None
    if not match:
        return None
    version, trace_id, parent_id, more = match.groups()
    if (
        version == "ff"
        or (version == "00" and more)
        or not (int(trace_id, 16) and int(parent_id, 16))
    ):
        return None
    return str(trace_id)

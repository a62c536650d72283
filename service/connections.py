"""One connection of the HTTP server: how long and how much it may take until a request is there.

uvicorn bounds none of that: not how slowly the head of a request may come, nor how long it may be,
nor how long a caller may take to read its answer, nor how much it may still send after it.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from model_core.errors import InputError, SegmentationError
from service.admission import Admission
from service.condition import Condition
from service.error_handlers import PROBLEM_JSON, problem_body
from service.errors import (
    PROBLEMS,
    HeadTooLargeError,
    HeadTooSlowError,
    MalformedRequestError,
    UnavailableError,
)
from service.response_headers import HEADERS
from service.settings import Settings
from service.telemetry import Telemetry

_MAX_HEADERS = 100
_SPARE = 64
"""Connections beyond the limit that are told so; further ones are closed at once."""
_LINGER_S = 2.0
"""How long what is still sent is thrown away after the answer, so that the answer can be read."""
_LAST_CALL_S = 0.5
"""How long an idle connection is kept when the server stops: a request may be on its way."""

logger = logging.getLogger("service.connections")


@dataclass(frozen=True)
class Rules:
    """What holds for all connections of a server."""

    settings: Settings
    telemetry: Telemetry
    condition: Condition
    admission: Admission


class Connection(HttpToolsProtocol):
    """A connection whose callers have to keep to `Rules`.

    Args:
        rules: The limits.
        options: uvicorn's.
    """

    def __init__(self, rules: Rules, **options: Any) -> None:
        super().__init__(**options)
        self._rules = rules
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head = True
        self._begun = self._advanced = False
        self._chunks_bytes = self._head_bytes = self._headers = 0
        self._refusal: InputError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head of the first request."""
        super().connection_made(transport)
        beyond = len(self.connections) - self._rules.settings.max_connections
        if beyond > _SPARE:
            self._rules.telemetry.refusals.labels("connections").inc()
            transport.abort()
        elif beyond > 0:  # service.intake refuses its photographs, and lets its probes through
            self.app_state = {**self.app_state, "crowded": True}
        self._start_timer(self._rules.settings.header_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before a request is there."""
        if self._in_head and self._timer is None:
            self._start_timer(self._rules.settings.header_seconds, self._too_slow)
        self._advanced = False
        super().data_received(data)
        # The parser tells of a header or a trailer once it is whole, which one without end never
        # is. Of a chunk that ends something it is not known how much belongs to what comes next.
        self._chunks_bytes = 0 if self._advanced else self._chunks_bytes + len(data)
        if not self.transport.is_closing():
            self._refuse_over_limit(self._chunks_bytes)
            if self._refusal and self._in_head:
                self.send_400_response("")
            elif self._refusal:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin with the next request."""
        super().on_message_begin()
        self._in_head = self._begun = True
        self._head_bytes = self._headers = 0

    def on_url(self, url: bytes) -> None:
        """Take a piece of the path."""
        super().on_url(url)
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; raises, which the parser takes as an end, where it is one too many."""
        self._headers += 1
        self._head_bytes += len(name) + len(value)
        self._refuse_over_limit(self._head_bytes)
        if self._refusal:
            raise self._refusal
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request on; its body is `service.intake`'s."""
        self._in_head = False
        self._advanced = True
        self._stop_timer()
        app = self.app
        if self.parser.get_method() == b"POST":
            try:
                self._rules.admission.check()
            except UnavailableError as exc:
                # A tenth of the cost of asking the application, which says the same: under ten
                # times its load, a server does little else.
                self.app = self._refusing(exc)
        super().on_headers_complete()
        self.app = app
        if self._rules.condition.draining or self.app_state.get("crowded"):
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; its size is `service.intake`'s."""
        super().on_body(body)
        self._advanced = True

    def on_message_complete(self) -> None:
        """The body is whole: what comes next is another request."""
        super().on_message_complete()
        self._in_head = self._advanced = True
        self._begun = False
        self._stop_timer()
        if self.cycle.response_complete:  # uvicorn's own timer ended with the bytes thrown away
            self._start_timer(self.timeout_keep_alive, self._too_slow)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody wants any more."""
        super().on_response_complete()
        if self.cycle.response_complete and not self._in_head:
            self._start_timer(_LINGER_S, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request with a problem, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # an answer would end up in the one that is being written
            return
        error = self._refusal or MalformedRequestError("the bytes are no HTTP/1.1 request")
        self.transport.write(self._problem(error))
        self.transport.close()

    def pause_writing(self) -> None:
        """The caller does not read its answer: give it some time."""
        super().pause_writing()
        seconds = self._rules.settings.send_seconds
        self._write_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It does."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def shutdown(self) -> None:
        """The server stops: end with the request under way, or the one that may be on its way."""
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        else:
            self._start_timer(_LAST_CALL_S, self._too_slow)

    def _refuse_over_limit(self, size: int) -> None:
        limit = self._rules.settings.max_header_bytes
        if size > limit:
            self._refusal = HeadTooLargeError(f"the head has more than {limit} bytes, the limit")
        elif self._headers > _MAX_HEADERS:
            self._refusal = HeadTooLargeError(f"more than {_MAX_HEADERS} headers, the limit")

    def _too_slow(self) -> None:
        self._timer = None
        if not self._begun:
            self.transport.close()
            return
        seconds = self._rules.settings.header_seconds
        self._refusal = HeadTooSlowError(f"the head was not whole after {seconds:g} s, the limit")
        self.send_400_response("")

    def _start_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _problem(self, error: InputError) -> bytes:
        status, headers, body = self._answer(error)
        logger.info("problem=%d request_id=%s", status, headers["X-Request-Id"])
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _refusing(self, error: UnavailableError) -> Any:
        """An application that answers with nothing but this error."""
        status, headers, body = self._answer(error)
        headers |= {"Retry-After": str(PROBLEMS[type(error)].retry_after_s), **error.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": body})

        return refuse

    def _answer(self, error: SegmentationError) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a problem for which there is no request yet."""
        problem, request_id = PROBLEMS[type(error)], uuid.uuid4().hex
        telemetry = self._rules.telemetry
        telemetry.problems.labels(problem.slug).inc()
        telemetry.requests.labels("refused", "other", problem.status).inc()
        value = problem_body(problem, detail=str(error), instance="/", request_id=request_id)
        body = json.dumps(value).encode()
        headers = {
            "Content-Type": PROBLEM_JSON,
            "Content-Length": str(len(body)),
            "X-Request-Id": request_id,
            **HEADERS,
        }
        return problem.status, headers, body

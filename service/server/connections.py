"""Bound the time and bytes of an HTTP connection where uvicorn does not.

uvicorn bounds neither how slowly nor how long the head of a request may come, nor how long a caller
may take to read its answer, nor how much it may still send after it. States of a connection:

    connected --> in a head --> in a body --> answering --> answered --> in a head (the next one)
                     |              |             |             |
                     |              |             |             +- nothing comes: closed
                     |              |             +- the caller does not read: aborted
                     |              +- broken: the application answers 400 --+
                     +- broken, too slow, too large, too much load: early error
                                                                  |          |
                                                            lingering <------+  --> closed

A next head that is broken is answered once the answers before it have been sent. While a connection
lingers (`early_errors`) nothing more is parsed, so nothing more can become a request. Bodies are
bounded by `service.access.body_limits`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr

from model_core.errors import InputError, SegmentationError
from service.access.admission import Admission
from service.contract.errors import (
    HeadTooLargeError,
    HeadTooSlowError,
    MalformedRequestError,
    QueueFullError,
    UnavailableError,
)
from service.pipeline.health import HealthState
from service.server.early_errors import LINGER_S, EarlyErrors, LingeringClose
from service.server.framing import answer_http_1_0, check_head, head_without_upgrade
from service.settings import Settings
from service.telemetry.prometheus import Telemetry
from service.telemetry.ticket import ticket_of

_MAX_HEADERS = 100
_HEAD_END = b"\r\n\r\n"
_SPARE = 64
"""Connections beyond the limit that are told so; further ones are closed at once."""
_LAST_CALL_S = 0.5
"""How long an idle connection is kept when the server stops: a request may be on its way."""


@dataclass
class Rules:
    """The limits, and the objects that all connections of a server share."""

    settings: Settings
    telemetry: Telemetry
    health: HealthState
    admission: Admission
    early_errors: EarlyErrors = field(init=False)
    lingering: LingeringClose = field(init=False)

    def __post_init__(self) -> None:
        """Make the objects that all connections share."""
        self.early_errors = EarlyErrors(self.settings, self.telemetry)
        self.lingering = LingeringClose(self.settings.max_connections)


class Connection(HttpToolsProtocol):
    """A connection that holds its caller to `Rules`.

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
        self._begun = self._advanced = self._crowded = self._given_up = False
        self._chunks_bytes = self._head_bytes = self._headers = 0
        self._refusal: InputError | None = None
        self._answered: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head of the first request."""
        # As uvicorn's, but for the names of both ends, a tenth of what it costs to refuse someone.
        self.transport, self.flow, self.scheme = transport, FlowControl(transport), "http"
        self.connections.add(self)
        others = len(self.connections) - len(self._rules.lingering)
        beyond = others - self._rules.settings.max_connections
        if beyond > _SPARE:
            self._rules.telemetry.refusals.labels("connections").inc()
            transport.abort()
        self._crowded = beyond > 0
        self._start_timer(self._rules.settings.header_seconds, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers of a connection that has ended."""
        self._stop_timer()
        self.resume_writing()
        self._rules.lingering.forget(self.transport)
        if self._answered is not None:  # uvicorn tells only the last of pipelined requests
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser, and count those that make no request yet."""
        if self._given_up:
            self._rules.lingering.received(self.transport)
            return
        if self._in_head and self._timer is None:
            self._start_timer(self._rules.settings.header_seconds, self._too_slow)
        self._advanced = False
        self._feed(data)
        # The parser tells of a header or a trailer once it is whole, which one without end never
        # is. Of a chunk that ends something it is not known how much belongs to what comes next.
        self._chunks_bytes = 0 if self._advanced else self._chunks_bytes + len(data)
        if not (self._given_up or self.transport.is_closing()):
            self._refuse_over_limit(self._chunks_bytes)
            if self._refusal and self._in_head:
                self.send_400_response("")
            elif self._refusal:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin to count the next request's head."""
        super().on_message_begin()
        self._in_head = self._begun = True
        self._head_bytes = self._headers = 0

    def on_url(self, url: bytes) -> None:
        """Count a piece of the path."""
        super().on_url(url)
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; raises, which the parser takes as an end, where it is one too many."""
        self._headers += 1
        self._head_bytes += len(name) + len(value)
        self._refuse_over_limit(self._head_bytes)
        if self._refusal:
            raise self._refusal
        if self._in_head:  # a trailer must not pass for a header: no limit and no key looked at it
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request on; its body is `body_limits`'s. Raises where there is no request."""
        method, version = self.parser.get_method(), self.parser.get_http_version()
        check_head(method, self.url, version, self.headers)
        if self.parser.should_upgrade():  # `_parse` comes back with a head that does not ask for it
            return
        self._in_head = False
        self._advanced = True
        self._stop_timer()
        if method == b"POST" and not self._is_answering():
            try:
                self._let_in()
            except UnavailableError as exc:
                # A twentieth of what it costs to ask the application: under ten times its load, a
                # server does little else.
                self._give_up(exc)
                raise  # else the parser went on to a next request in the same bytes
        if self.server is None:
            self.server, self.client = (
                get_local_addr(self.transport),
                get_remote_addr(self.transport),
            )
        self.scope["server"], self.scope["client"] = self.server, self.client
        super().on_headers_complete()
        # A caller who waits for leave and is refused may keep its body back: what comes then could
        # be that or a next request.
        self.cycle.keep_alive = self._stays_open() and not self.expect_100_continue
        if version == "1.0":
            answer_http_1_0(self.cycle)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; its size is `service.access.body_limits`'s."""
        if self._given_up:
            return
        super().on_body(body)
        self._advanced = True
        if self.expect_100_continue and not self.cycle.response_started:
            self.cycle.keep_alive = self._stays_open()

    def on_message_complete(self) -> None:
        """Expect another request after a body that is whole."""
        if self._given_up or self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._in_head = self._advanced = True
        self._begun = False
        self._stop_timer()
        if self.cycle.response_complete:  # uvicorn's own timer ended with the bytes thrown away
            self._start_timer(self.timeout_keep_alive, self._too_slow)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody wants any more."""
        is_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._given_up and is_last and self._in_head and self._refusal:
            self._give_up(self._refusal)
        elif self._given_up and is_last:
            self._rules.lingering.begin(self.transport)
        elif self.cycle.response_complete and not self._in_head:
            self._start_timer(LINGER_S, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request with a problem, after what came before it, and close."""
        if self._given_up:
            return
        self._refusal = self._refusal or MalformedRequestError(msg)
        if self._in_head and not self._is_answering():
            self._give_up(self._refusal)
            return
        self._given_up = True
        self._stop_timer()
        if not self._is_answering():  # a second answer would be taken for that to a next request
            self._rules.lingering.begin(self.transport)
        elif not self._in_head:
            # `service.access.body_limits` raises it.
            ticket_of(self.cycle.scope).broken = self._refusal
            self.cycle.message_event.set()

    def pause_writing(self) -> None:
        """Abort the connection if its caller reads nothing for `LESION_SEND_SECONDS`."""
        super().pause_writing()
        seconds = self._rules.settings.send_seconds
        self._write_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the timer of `pause_writing`: the caller reads its answer."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def shutdown(self) -> None:
        """End after the request under way, or the one that may be on its way: the server stops."""
        if self._is_answering():
            super().shutdown()
        else:
            self._start_timer(_LAST_CALL_S, self._too_slow)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        """Feed the parser a head by itself, so that no refused body is ever copied."""
        rest: bytes | memoryview = data
        if self._in_head and (end := data.find(_HEAD_END)) >= 0:
            self._parse(data[: end + len(_HEAD_END)])
            rest = memoryview(data)[end + len(_HEAD_END) :]
        if rest and not (self._given_up or self.transport.is_closing()):
            self._parse(rest)

    def _parse(self, data: bytes | memoryview) -> None:
        """Parse requests, those too that ask for another protocol, which is never granted.

        There httptools passes over the body and stops: so it gets the head again without the wish.
        """
        self._unset_keepalive_if_required()
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                    return
                except httptools.HttpParserUpgrade as exc:
                    data = memoryview(data)[exc.args[0] :]
                    method, version = self.parser.get_method(), self.parser.get_http_version()
                    head = head_without_upgrade(method, self.url, version, self.headers)
                    # The old one expects nothing more where the connection is to close.
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                    self.parser.feed_data(head)
        except httptools.HttpParserError as exc:
            if isinstance(exc.__context__, InputError):  # one that was raised in here
                self._refusal = exc.__context__
            # Texts of the parser's own are fixed ones, such as "Invalid character in chunk size".
            self.send_400_response(f"the bytes are no HTTP/1.1 request: {exc}")

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _stays_open(self) -> bool:
        """Say whether the connection may live on after the answer to this request."""
        if self._rules.health.stopping or self._crowded:
            return False
        return self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()

    def _let_in(self) -> None:
        """Let the request's body come; raises an `UnavailableError` where the load forbids it."""
        rules = self._rules
        if self._crowded:
            rules.telemetry.refusals.labels("connections").inc()
            raise QueueFullError("as many other connections are open as may be")
        rules.admission.check()  # first: it costs less than a ticket
        rules.admission.expect(ticket_of(self.scope))

    def _give_up(self, error: SegmentationError) -> None:
        """Answer with a problem, and throw away whatever comes after it."""
        self._given_up = True
        self._stop_timer()
        origins = [value for name, value in self.headers or () if name == b"origin"]
        origin = origins[0].decode("latin-1") if origins else ""
        self.transport.write(self._rules.early_errors.answer(error, origin))
        self._rules.lingering.begin(self.transport)

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

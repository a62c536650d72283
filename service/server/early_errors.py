"""Answer errors before there is a request for the application, and close so that callers read it.

A socket that is closed with bytes unread is reset, and the answer lost if its caller has not read
it yet. So a connection lingers after such an answer: it is read a little at a time, and the bytes
thrown away, until the caller closes or its time is over. Nothing is read at first: a caller who
sees its answer stops sending, and what was under way is then never copied out of the kernel.
"""

import asyncio
import json
import logging
import uuid
from http import HTTPStatus

from model_core.errors import SegmentationError
from service.contract.problem import PROBLEM_JSON, problem_body
from service.contract.problems import PROBLEMS
from service.server.headers import HEADERS, shared_with
from service.settings import Settings
from service.telemetry.prometheus import Telemetry

_TICK_S = 0.1
LINGER_S = 2.0
"""How long a caller may take to read its answer and close."""

logger = logging.getLogger("service.connections")


class EarlyErrors:
    """Write and count answers that no application is asked for.

    Args:
        settings: Whose pages may read them.
        telemetry: Where they are counted.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._origins = settings.origins()
        self._telemetry = telemetry
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())

    def answer(self, error: SegmentationError, origin: str = "") -> bytes:
        """Get the bytes of a whole answer, after which the connection ends.

        Args:
            error: What to tell.
            origin: Of the page that asks; empty where none is known.
        """
        problem, request_id = PROBLEMS[type(error)], uuid.uuid4().hex
        self._telemetry.problems.labels(problem.slug).inc()
        self._telemetry.requests.labels("refused", "other", problem.status).inc()
        value = problem_body(problem, detail=str(error), instance="/", request_id=request_id)
        body = json.dumps(value).encode()
        headers = {
            "Connection": "close",
            "Content-Type": PROBLEM_JSON,
            "Content-Length": len(body),
            "X-Request-Id": request_id,
            **shared_with(origin, self._origins),
        }
        if problem.retry_after_s is not None:
            headers["Retry-After"] = problem.retry_after_s
        headers |= getattr(error, "headers", {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        first = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
        logger.debug("problem=%s request_id=%s", problem.slug, request_id)
        return f"{first}{lines}{self._fixed}\r\n".encode() + body


class LingeringClose:
    """Close connections that have their last answer, and may still send.

    Args:
        limit: How many may linger; beyond it the oldest is closed at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._since: dict[asyncio.Transport, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._since)

    def begin(self, transport: asyncio.Transport) -> None:
        """Let a connection linger whose answer has been written."""
        loop = asyncio.get_running_loop()
        transport.write_eof()
        transport.pause_reading()
        self._since[transport] = loop.time()
        if len(self._since) > self._limit:
            oldest = next(iter(self._since))
            self.forget(oldest)
            oldest.abort()
        if self._timer is None:
            self._timer = loop.call_later(_TICK_S, self._tick, loop)

    def received(self, transport: asyncio.Transport) -> None:
        """Throw away what came, and read no more until the next tick."""
        if not transport.is_closing():
            transport.pause_reading()

    def forget(self, transport: asyncio.Transport) -> None:
        """Drop a connection that is closed."""
        self._since.pop(transport, None)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for transport, since in list(self._since.items()):
            if now - since > LINGER_S:
                self.forget(transport)
                transport.abort()
            elif not transport.is_closing():
                transport.resume_reading()
        self._timer = loop.call_later(_TICK_S, self._tick, loop) if self._since else None

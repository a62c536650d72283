"""Bounds what comes in before a route or parser sees it: bytes, their sum, and their time.

Nothing is refused before a route asks for the body, so a caller's key comes first; then, before a
byte of the body is read, whatever the load does not allow.
"""

import asyncio
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.admission import Admission
from service.errors import BodyTooLargeError, BodyTooSlowError, QueueFullError
from service.settings import Settings
from service.telemetry import Telemetry

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


@dataclass
class Buffered:
    """The bodies that are in memory, all requests together.

    Attributes:
        bytes: Their sum.
    """

    bytes: int = 0


class Intake:
    """ASGI middleware: bounds the body of every request.

    Args:
        app: The application inside.
        settings: The limits.
        admission: Who is let in.
        telemetry: Where refusals are counted.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, admission: Admission, telemetry: Telemetry
    ) -> None:
        self.app = app
        self._settings = settings
        self._admission = admission
        self._telemetry = telemetry
        self._buffered = Buffered()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its body bounded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, scope, receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self._buffered.bytes -= body.received

    def begin(self, scope: Scope) -> None:
        """See whether a body may come at all.

        Raises:
            BodyTooLargeError: it says of itself that it is too large.
            UnavailableError: the load does not allow it.
        """
        announced = Headers(scope=scope).get("content-length", "0")
        # The server has refused what is no number; one of many digits is too large in any case.
        if len(announced) > 18 or int(announced) > self._settings.max_body_bytes:
            raise self._too_large()
        if scope.get("state", {}).get("crowded"):
            self._telemetry.refusals.labels("connections").inc()
            limit = self._settings.max_connections
            raise QueueFullError(f"{limit} other connections are open, the limit")
        if scope["method"] in _WITH_BODY:
            self._admission.check()

    def add(self, count: int, received: int) -> None:
        """Count bytes of a body that had `received` before."""
        self._buffered.bytes += count
        if received + count > self._settings.max_body_bytes:
            raise self._too_large()
        limit = self._settings.max_buffered_bytes
        others = self._buffered.bytes - received - count
        if others and self._buffered.bytes > limit:
            self._telemetry.refusals.labels("bytes").inc()
            raise QueueFullError(
                f"{others} bytes of other bodies are in memory, the limit is {limit}"
            )

    def until(self, began: float, now: float) -> float:
        """When at the latest the next bytes must be there."""
        return min(began + self._settings.body_seconds, now + self._settings.body_idle_seconds)

    def too_slow(self, began: float, now: float) -> BodyTooSlowError:
        """What to say to a body of which nothing came until now."""
        whole_s, idle_s = self._settings.body_seconds, self._settings.body_idle_seconds
        if now >= began + whole_s:
            return BodyTooSlowError(f"the body was not whole after {whole_s:g} s, the limit")
        return BodyTooSlowError(f"no byte of the body came for {idle_s:g} s, the limit")

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"the body has more than {self._settings.max_body_bytes} bytes, the limit"
        )


class _Body:
    """One request's body on its way in."""

    def __init__(self, intake: Intake, scope: Scope, receive: Receive) -> None:
        self.received = 0
        self._intake = intake
        self._scope = scope
        self._receive = receive
        self._began: float | None = None
        self._whole = False

    async def receive(self) -> Message:
        """The server's next message; raises where the body breaks a limit."""
        if self._whole:
            return await self._receive()
        time = asyncio.get_running_loop().time
        if self._began is None:
            self._began = time()
            self._intake.begin(self._scope)
        try:
            async with asyncio.timeout_at(self._intake.until(self._began, time())):
                message = await self._receive()
        except TimeoutError as exc:
            raise self._intake.too_slow(self._began, time()) from exc
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            try:
                self._intake.add(count, self.received)
            finally:
                self.received += count
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

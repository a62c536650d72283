"""Bound request bodies before a route or parser sees them: bytes, their sum, and their time.

Nothing is refused before a route asks for the body, so a caller's key comes first; then, before a
byte of the body is read, whatever the load does not allow.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.admission import Admission
from service.contract.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    QueueFullError,
    UnsupportedMediaTypeError,
)
from service.settings import Settings
from service.telemetry.prometheus import Telemetry
from service.telemetry.ticket import ticket_of

STREAMED = "/segment/batch"
"""The route whose body is never whole in memory: its images are cut out as they come."""
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class BodyByteBudget:
    """Count the bytes of bodies in memory, of all requests together, and hold them to a limit.

    Args:
        limit: Bytes at most; one request by itself is always let in.
        telemetry: Where refusals are counted.
    """

    def __init__(self, limit: int, telemetry: Telemetry) -> None:
        self.bytes = 0
        self._limit = limit
        self._telemetry = telemetry

    def take(self, count: int, held: int) -> None:
        """Count bytes of a request that holds `held` already.

        Raises:
            QueueFullError: with those of others they are too many; they are counted all the same.
        """
        self.bytes += count
        others = self.bytes - held - count
        if others and self.bytes > self._limit:
            self._telemetry.refusals.labels("bytes").inc()
            raise QueueFullError(
                f"{others} bytes of other bodies are in memory, the limit is {self._limit}"
            )

    def release(self, count: int) -> None:
        """Count bytes that are no longer in memory."""
        self.bytes -= count


class BatchBytes:
    """Count the bytes of one batch: images that are worked on, and one on its way in.

    Args:
        budget: What they are taken from.
    """

    def __init__(self, budget: BodyByteBudget) -> None:
        self._budget = budget
        self._held = self._in_work = self._coming = 0
        self._closed = False

    def work_on(self, count: int) -> None:
        """Count an image of so many bytes that has come whole; raises as `BodyByteBudget.take`."""
        self._in_work += count
        self._count()

    def done_with(self, count: int) -> None:
        """Release an image of so many bytes, which is answered."""
        self._in_work -= count
        self._count()

    def await_rest(self, count: int) -> None:
        """Set how many bytes wait for the rest of an image; raises as `BodyByteBudget.take`."""
        self._coming = count
        self._count()

    def close(self) -> None:
        """Release everything: the batch has ended."""
        self._budget.release(self._held)
        self._held, self._closed = 0, True

    def _count(self) -> None:
        if self._closed:  # what was cancelled ends a little later
            return
        more, held = self._in_work + self._coming - self._held, self._held
        self._held += more
        if more > 0:
            self._budget.take(more, held)
        else:
            self._budget.release(-more)


class BodyLimits:
    """ASGI middleware: bounds the body of every request.

    Args:
        app: The application inside.
        settings: The limits.
        admission: Asked whether the load allows a body.
        budget: Where the bytes of all bodies are counted.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, admission: Admission, budget: BodyByteBudget
    ) -> None:
        self.app = app
        self.settings = settings
        self.admission = admission
        self.budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its body bounded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, scope, receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.budget.release(body.held)
            self.admission.forget(body.ticket)


class _Body:
    """Watch one request's body on its way in."""

    def __init__(self, limits: BodyLimits, scope: Scope, receive: Receive) -> None:
        settings = limits.settings
        self.held = 0
        self.ticket = ticket_of(scope)
        self._limits = limits
        self._scope = scope
        self._receive = receive
        self._streamed = scope["path"] == STREAMED
        self._max_bytes = settings.max_batch_bytes if self._streamed else settings.max_body_bytes
        self._received = 0
        self._began: float | None = None
        self._whole = False

    async def receive(self) -> Message:
        """Get the server's next message; raises where the body breaks a limit."""
        if self._whole:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = now
            self._check_head()
        until, too_slow = self._patience(self._began, now)
        try:
            async with asyncio.timeout_at(until):
                message = await self._receive()
        except TimeoutError as exc:
            raise too_slow from exc
        if self.ticket.broken:  # so said `service.server.connections`
            raise self.ticket.broken
        if message["type"] == "http.request":
            self._count(len(message.get("body", b"")))
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    def _check_head(self) -> None:
        """Refuse a body before a byte of it is read, where its head or the load says no.

        Raises:
            BodyTooLargeError: it says of itself that it is too large.
            UnsupportedMediaTypeError: it is compressed on the way.
            UnavailableError: the load does not allow it.
        """
        headers = Headers(scope=self._scope)
        announced = headers.get("content-length", "0")
        # The server has refused what is no number; one of many digits is too large in any case.
        if len(announced) > 18 or int(announced) > self._max_bytes:
            raise _too_large(self._max_bytes)
        if set(headers.getlist("content-encoding")) - {"", "identity"}:
            # Not unpacked: images are compressed already, and a bomb never is let in.
            raise UnsupportedMediaTypeError(
                "the body has a Content-Encoding, expected none: send the file as it is",
                {"Accept-Encoding": "identity"},
            )
        if self._scope["method"] in _WITH_BODY:
            self._limits.admission.expect(self.ticket)

    def _patience(self, began: float, now: float) -> tuple[float, BodyTooSlowError]:
        """Get the time by which the next bytes must be there, and the error if they are not."""
        settings = self._limits.settings
        whole_s, idle_s = settings.body_seconds, settings.body_idle_seconds
        # Not to be read off the clock afterwards: a timer may be a little early.
        if not self._streamed and began + whole_s <= now + idle_s:
            error = BodyTooSlowError(f"the body was not whole after {whole_s:g} s, the limit")
            return began + whole_s, error
        # A batch's body has no limit as a whole: it is read no faster than it is worked on.
        error = BodyTooSlowError(f"no byte of the body came for {idle_s:g} s, the limit")
        return now + idle_s, error

    def _count(self, count: int) -> None:
        self._received += count
        if not self._streamed:  # the route cuts that up, and counts what it keeps
            held, self.held = self.held, self.held + count
            self._limits.budget.take(count, held)
        if self._received > self._max_bytes:
            raise _too_large(self._max_bytes)


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body has more than {limit} bytes, the limit")

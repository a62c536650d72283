"""Bounds what comes in before a route or parser sees it: bytes, their sum, and their time.

Nothing is refused before a route asks for the body, so a caller's key comes first; then, before a
byte of the body is read, whatever the load does not allow.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.admission import Admission
from service.access.buffered import Buffered
from service.contract.errors import BodyTooLargeError, BodyTooSlowError, UnsupportedMediaTypeError
from service.settings import Settings

STREAMED = "/segment/batch"
"""The route whose body is never whole in memory: its photographs are cut out as they come."""
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Intake:
    """ASGI middleware: bounds the body of every request.

    Args:
        app: The application inside.
        settings: The limits.
        admission: Who is let in.
        buffered: Where the bytes of all bodies are counted.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, admission: Admission, buffered: Buffered
    ) -> None:
        self.app = app
        self._settings = settings
        self._admission = admission
        self.buffered = buffered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, its body bounded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, scope, receive)
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.buffered.let_go(body.held)

    def begin(self, scope: Scope) -> None:
        """See whether a body may come at all.

        Raises:
            BodyTooLargeError: it says of itself that it is too large.
            UnsupportedMediaTypeError: it is compressed on the way.
            UnavailableError: the load does not allow it.
        """
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        # The server has refused what is no number; one of many digits is too large in any case.
        limit = self.limit_bytes(scope)
        if len(announced) > 18 or int(announced) > limit:
            raise _too_large(limit)
        if set(headers.getlist("content-encoding")) - {"", "identity"}:
            # Not unpacked: photographs are compressed already, and a bomb never is let in.
            raise UnsupportedMediaTypeError(
                "the body has a Content-Encoding, expected none: send the file as it is",
                {"Accept-Encoding": "identity"},
            )
        # What came through `connections` was asked there already, and is expected since.
        if scope["method"] in _WITH_BODY and "arrival" not in scope.get("state", {}):
            self._admission.check()

    def limit_bytes(self, scope: Scope) -> int:
        """The most bytes that a request's body may have."""
        settings = self._settings
        return settings.max_batch_bytes if _streams(scope) else settings.max_body_bytes

    def patience(self, scope: Scope, began: float, now: float) -> tuple[float, BodyTooSlowError]:
        """When at the latest the next bytes must be there, and what to say if they are not."""
        whole_s, idle_s = self._settings.body_seconds, self._settings.body_idle_seconds
        # Not to be read off the clock afterwards: a timer may be a little early.
        if not _streams(scope) and began + whole_s <= now + idle_s:
            error = BodyTooSlowError(f"the body was not whole after {whole_s:g} s, the limit")
            return began + whole_s, error
        # A batch's body has no limit as a whole: it is read no faster than it is worked on.
        error = BodyTooSlowError(f"no byte of the body came for {idle_s:g} s, the limit")
        return now + idle_s, error


class _Body:
    """One request's body on its way in."""

    def __init__(self, intake: Intake, scope: Scope, receive: Receive) -> None:
        self.held = 0
        self._received = 0
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
        until, too_slow = self._intake.patience(self._scope, self._began, time())
        try:
            async with asyncio.timeout_at(until):
                message = await self._receive()
        except TimeoutError as exc:
            raise too_slow from exc
        if broken := self._scope.get("state", {}).get("broken"):  # by `service.server.connections`
            raise broken
        if message["type"] == "http.request":
            self._count(len(message.get("body", b"")))
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    def _count(self, count: int) -> None:
        self._received += count
        if not _streams(self._scope):  # the route cuts that up, and counts what it keeps
            held, self.held = self.held, self.held + count
            self._intake.buffered.add(count, held)
        limit = self._intake.limit_bytes(self._scope)
        if self._received > limit:
            raise _too_large(limit)


def _streams(scope: Scope) -> bool:
    path: str = scope["path"]
    return path == STREAMED


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body has more than {limit} bytes, the limit")

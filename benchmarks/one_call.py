"""A caller that costs its machine little: one request, one connection, no client library.

Under overload most of what a generator does is sending bodies that nobody reads. This one stops as
soon as it has its answer, as RFC 9112 (section 9.5) asks of clients.
"""

import asyncio
from dataclasses import dataclass

from benchmarks.bodies import MULTIPART


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: The answer's, or what became of the connection instead.
        retry_after_s: As the answer says; 0 where it says nothing.
    """

    status: str
    retry_after_s: int = 0


async def post(host: str, port: int, path: str, body: bytes, *, timeout_s: float) -> Reply:
    """Post a form, and wait for the whole answer; nothing is raised."""
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[Reply] = loop.create_future()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: image/png\r\n"
        f"Content-Type: {MULTIPART}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(timeout_s):
            call = _Call(head.encode(), body, reply)
            transport, _ = await loop.create_connection(lambda: call, host, port)
            try:
                return await reply
            finally:
                transport.abort()
    except (OSError, TimeoutError) as exc:
        return Reply(type(exc).__name__)


class _Call(asyncio.Protocol):
    def __init__(self, head: bytes, body: bytes, reply: "asyncio.Future[Reply]") -> None:
        self._request = (head, body)
        self._reply = reply
        self._answer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.writelines(self._request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, end, content = self._answer.partition(b"\r\n\r\n")
        if end and not self._reply.done():
            first, *lines = head.decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            if len(content) >= int(headers["content-length"]):
                status = first.split(" ")[1]
                self._reply.set_result(Reply(status, int(headers.get("retry-after", 0))))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._reply.done():
            self._reply.set_result(Reply(type(exc).__name__ if exc else "closed"))

"""Send the answer to a batch while it is made: lines of JSON, or the entries of a ZIP."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Literal

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.answers.zip import ZipStream
from service.api.batch.work import Files
from service.server.error_handlers import error_body

BatchFormat = Literal["ndjson", "zip"]
MEDIA_TYPES: Mapping[BatchFormat, str] = {
    "ndjson": "application/x-ndjson",
    "zip": "application/zip",
}
PROBLEM = "problem.json"


class BatchResponse(Response):
    """Send each answer as soon as it and all before it are there.

    Args:
        request: What is answered.
        first: The first answer.
        more: The others; where they end in an error, that is the last thing that is sent.
        format: Lines or a ZIP.
        headers: Of the answer.
        held: What must not be let go before the end.
    """

    def __init__(
        self,
        request: Request,
        first: Files,
        more: AsyncIterator[Files],
        *,
        format: BatchFormat,
        headers: Mapping[str, str],
        held: AsyncExitStack,
    ) -> None:
        super().__init__(headers=dict(headers), media_type=MEDIA_TYPES[format])
        del self.headers["content-length"]
        self._request = request
        self._first = first
        self._more = more
        self._archive = ZipStream() if format == "zip" else None
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all; a caller who leaves ends the work."""
        async with self._held:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        encode: Callable[[Files], bytes] = _lines if self._archive is None else self._entries
        yield encode(self._first)
        try:
            async for files in self._more:
                yield encode(files)
        except ClientDisconnect:
            return
        except Exception as exc:  # the status is sent: what went wrong is said where it went wrong
            body = {"index": None} | error_body(self._request, exc)
            yield encode({PROBLEM: json.dumps(body).encode()})
        if self._archive is not None:
            yield self._archive.close()

    def _entries(self, files: Files) -> bytes:
        if self._archive is None:
            raise RuntimeError("this answer is no ZIP")
        return b"".join(self._archive.add(name, data) for name, data in files.items())


def _lines(files: Files) -> bytes:
    return b"".join(data + b"\n" for data in files.values())

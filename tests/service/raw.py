"""A caller who speaks HTTP byte by byte, so that it can speak it badly."""

import http.client
import io
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.service.slow_backend import TIMEOUT_S


class Answer(NamedTuple):
    """One answer of a connection."""

    status: int
    headers: http.client.HTTPMessage
    content: bytes


class Raw:
    """One connection to a server.

    Args:
        url: `http://host:port` of the server.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_S)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def head(self, path: str = "/segment", *lines: str) -> None:
        """Send the head of a POST."""
        text = "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", ""])
        self.send(text.encode())

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON (or bytes) of the answer."""
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        content: Any = response.read()
        if "json" in headers.get("content-type", ""):
            content = json.loads(content)
        return response.status, headers, content

    def problem(self) -> tuple[int, str]:
        """Status and slug of the problem that is answered."""
        status, _, body = self.answer()
        return status, body["type"].removeprefix("/problems/")

    def trickle(self, data: bytes, pieces: int) -> None:
        """Send bytes in as many packets."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = max(1, -(-len(data) // pieces))
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
            time.sleep(0.001)

    def answers(self) -> list[Answer]:
        """Every answer that comes until the server closes the connection, in order."""
        received, found = _Received(), []
        while data := self.socket.recv(65_536):
            received.write(data)
        length = received.tell()
        received.seek(0)
        while received.tell() < length:
            response = http.client.HTTPResponse(received)  # type: ignore[arg-type]
            response.begin()
            found.append(Answer(response.status, response.headers, response.read()))
        return found

    def is_closed(self) -> bool:
        """Wait until the server closes the connection; what comes before is thrown away."""
        try:
            while self.socket.recv(65_536):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True


class _Received(io.BytesIO):
    """Bytes in the place of a socket, for several answers one behind the other."""

    def makefile(self, mode: str) -> "_Received":
        return self

    def close(self) -> None:
        """Stay open: an answer that is read closes what it was read from."""


@contextmanager
def raw(url: str) -> Iterator[Raw]:
    """A connection, closed at the end."""
    caller = Raw(url)
    with caller.socket:
        yield caller

"""A caller who speaks HTTP byte by byte, so that it can speak it badly."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.service.slow_backend import TIMEOUT_S


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


@contextmanager
def raw(url: str) -> Iterator[Raw]:
    """A connection, closed at the end."""
    caller = Raw(url)
    with caller.socket:
        yield caller

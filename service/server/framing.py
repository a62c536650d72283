"""Decide where a request and an answer end, where the parser and uvicorn leave RFC 9112 open.

A server and a proxy before it that see different ends see different requests: what one takes for a
body, the other takes for a request and executes it (request smuggling). So whatever can be read in
two ways is refused, and the connection ends.
"""

from collections.abc import Sequence
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.contract.errors import MalformedRequestError

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, and values."""


def check_head(method: bytes, target: bytes, version: str, headers: Headers) -> None:
    """Refuse a head that does not say for sure where its body ends, or whom it is for.

    Raises:
        MalformedRequestError: it does not.

    Example:
        >>> check_head(b"POST", b"/", "1.1", [(b"transfer-encoding", b"gzip, chunked")])
        Traceback (most recent call last):
        service.contract.errors.MalformedRequestError: Transfer-Encoding is not chunked alone
    """
    if method == b"CONNECT":
        raise MalformedRequestError("CONNECT is for proxies, which this server is not")
    try:
        path = httptools.parse_url(target).path
    except httptools.HttpParserInvalidURLError:
        path = None
    if not path:  # uvicorn would find that once the load has let the request in
        raise MalformedRequestError("the target of the request is neither a path nor a URL")
    if version not in ("1.0", "1.1"):
        raise MalformedRequestError("the version of HTTP is neither 1.1 nor 1.0")
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and version == "1.0":
        raise MalformedRequestError("HTTP/1.0 has no Transfer-Encoding")
    if codings not in ([], [b"chunked"]):
        raise MalformedRequestError("Transfer-Encoding is not chunked alone")
    if sum(name == b"host" for name, _ in headers) > 1:
        raise MalformedRequestError("there is more than one Host")


def head_without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    r"""Build the same head again, without asking for another protocol.

    Example:
        >>> head_without_upgrade(b"GET", b"/", "1.1", [(b"host", b"x"), (b"upgrade", b"h2c")])
        b'GET / HTTP/1.1\r\nhost: x\r\n\r\n'
    """
    first = b"%s %s HTTP/%s" % (method, target, version.encode())
    lines = [b"%s: %s" % field for field in headers if field[0] != b"upgrade"]
    return b"\r\n".join([first, *lines, b"", b""])


def answer_http_1_0(cycle: RequestResponseCycle) -> None:
    """Send what HTTP/1.0 has: no leave to go on (`100 Continue`), and no transfer coding.

    Args:
        cycle: Of a request whose connection closes after the answer; that ends an answer whose
            length is not known before (RFC 9112, section 6.3).
    """
    send, is_open_ended = cycle.send, False
    cycle.waiting_for_100_continue = False

    async def send_plain(message: Any) -> None:
        nonlocal is_open_ended
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            is_open_ended = b"content-length" not in names
            if is_open_ended:
                cycle.chunked_encoding = False
        elif is_open_ended:  # uvicorn counts against an announced length: of this piece, its own
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    cycle.send = send_plain  # type: ignore[method-assign]

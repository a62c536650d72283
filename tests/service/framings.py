"""Requests whose ends are spelt in many ways, and the service's own count of what it saw."""

from collections import Counter

from service.telemetry import Telemetry
from tests.fixtures.pictures import encode, lesion

PNG = encode(lesion(48, 64))
HIDDEN = b"GET /models HTTP/1.1\r\nHost: x\r\n\r\n"
"""A body that would be a request."""
LAST = b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
"""Sent behind everything else; it is answered unless the connection was given up."""
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def post(*lines: bytes, path: bytes = b"/segment", version: bytes = b"1.1") -> bytes:
    """The head of a POST."""
    first = b"POST %s HTTP/%s\r\nHost: x\r\n" % (path, version)
    return b"".join([first, *(line.rstrip(b"\r\n") + b"\r\n" for line in lines), b"\r\n"])


def length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


def chunks(body: bytes, extension: bytes = b"", end: bytes = b"\r\n") -> bytes:
    half = len(body) // 2
    first = b"%x%s%s%s\r\n" % (half, extension, end, body[:half])
    return first + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body) - half, body[half:])


def framed(body: bytes, framing: str, *lines: bytes, path: bytes = b"/segment") -> bytes:
    if framing == "chunked":
        return post(*lines, CHUNKED, path=path) + chunks(body)
    return post(*lines, length(body), path=path) + body


def upgrading(protocol: bytes) -> tuple[bytes, bytes]:
    return b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol


AMBIGUOUS = {
    "length and chunks": post(length(PNG), CHUNKED) + chunks(PNG),
    "chunks and length": post(CHUNKED, length(PNG)) + chunks(PNG),
    "two equal lengths": post(length(PNG), length(PNG)) + PNG,
    "two lengths": post(b"Content-Length: 0", length(HIDDEN)) + HIDDEN,
    "a list of lengths": post(b"Content-Length: 5, 5") + b"hello",
    "a length with a sign": post(b"Content-Length: +5") + b"hello",
    "a hexadecimal length": post(b"Content-Length: 0x5") + b"hello",
    "two numbers as length": post(b"Content-Length: 0 33") + HIDDEN,
    "an empty length": post(b"Content-Length:") + HIDDEN,
    "a length of 23 digits": post(b"Content-Length: " + b"9" * 23) + HIDDEN,
    "a space before the colon of a length": post(b"Content-Length : 5") + b"hello",
    "a space before the colon of chunks": post(b"Transfer-Encoding : chunked") + chunks(PNG),
    "a tab before a colon": post(b"X-A\t: b", length(PNG)) + PNG,
    "a folded header": post(b"X-A: a\r\n b", length(PNG)) + PNG,
    "a folded length": post(b"Content-Length:\r\n 33") + HIDDEN,
    "folded chunks": post(b"Transfer-Encoding:\r\n\tchunked") + chunks(PNG),
    "a first header with a space": post(b" X-A: b", length(PNG)) + PNG,
    "bare line feeds": post(length(PNG)).replace(b"\r\n", b"\n") + PNG,
    "a bare line feed in a header": post(b"X-A: a\nContent-Length: 0", length(PNG)) + PNG,
    "a bare line feed ends the head": post(length(HIDDEN))[:-2] + b"\n" + HIDDEN,
    "a bare carriage return": post(b"X-A: a\rTransfer-Encoding: chunked", length(PNG)) + PNG,
    "a bare carriage return ends the head": post(length(PNG))[:-2] + b"\r\r\n" + PNG,
    "a NUL in a header": post(b"X-A: a\0b", length(PNG)) + PNG,
    "gzip and chunks": post(b"Transfer-Encoding: gzip, chunked") + chunks(PNG),
    "chunks and gzip": post(b"Transfer-Encoding: chunked, gzip") + chunks(PNG),
    "identity": post(b"Transfer-Encoding: identity") + HIDDEN,
    "identity and a length": post(b"Transfer-Encoding: identity", length(PNG)) + PNG,
    "a coding that ends in chunked": post(b"Transfer-Encoding: xchunked") + chunks(PNG),
    "chunks with a parameter": post(b"Transfer-Encoding: chunked;q=1") + chunks(PNG),
    "chunks in quotes": post(b'Transfer-Encoding: "chunked"') + chunks(PNG),
    "chunks after a vertical tab": post(b"Transfer-Encoding: \x0bchunked") + chunks(PNG),
    "chunks twice": post(CHUNKED, CHUNKED) + chunks(PNG),
    "identity, then chunks": post(b"Transfer-Encoding: identity", CHUNKED) + chunks(PNG),
    "no coding": post(b"Transfer-Encoding:", length(PNG)) + PNG,
    "chunks of HTTP/1.0": post(CHUNKED, version=b"1.0") + chunks(PNG),
    "two hosts": post(b"Host: y", length(PNG)) + PNG,
    "HTTP/0.9": b"GET /models\r\n\r\n",
    "HTTP/2.0": post(length(HIDDEN), version=b"2.0") + HIDDEN,
    "a tunnel": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
    "a tunnel with a body": post(length(HIDDEN)).replace(b"POST", b"CONNECT") + HIDDEN,
}


CLEAR = {
    "spaces around a length": (post(b"Content-Length: \t33  ") + HIDDEN, 415),
    "chunks in capitals": (post(b"Transfer-Encoding: CHUNKED") + chunks(PNG), 200),
    "an extension": (post(CHUNKED) + chunks(PNG, b';a="b;c"'), 200),
    "a trailer": (post(CHUNKED) + chunks(PNG)[:-2] + b"X-A: b\r\n\r\n", 200),
    "an upgrade in a trailer": (
        post(CHUNKED) + chunks(PNG)[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        200,
    ),
    "a size with zeros": (post(CHUNKED) + b"000" + chunks(PNG), 200),
    "an underscore": (post(b"Transfer_Encoding: chunked", length(PNG)) + PNG, 200),
    "an empty line after a body": (post(length(PNG)) + PNG + b"\r\n", 200),
    "a GET with a body": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + length(HIDDEN) + b"\r\n" + HIDDEN,
        200,
    ),
    "a GET with chunks": (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"\r\n" + chunks(HIDDEN),
        200,
    ),
    "OPTIONS with a body": (
        b"OPTIONS /segment HTTP/1.1\r\nHost: x\r\n" + length(HIDDEN) + b"\r\n" + HIDDEN,
        405,
    ),
    "no such route": (post(length(HIDDEN), path=b"/nowhere") + HIDDEN, 404),
    "too large": (post(length(HIDDEN * 4_000)) + HIDDEN * 4_000, 413),
    "too large in chunks": (post(CHUNKED) + chunks(HIDDEN * 4_000), 413),
}


BROKEN = {
    "no size": b"\r\n" + HIDDEN,
    "a size with 0x": b"0x" + chunks(PNG),
    "a size with a sign": b"-" + chunks(PNG),
    "a size with a space": chunks(PNG, b" "),
    "a size of 68 bits": b"1" + b"0" * 16 + b"5\r\nhello\r\n0\r\n\r\n",
    "a size and a line feed": chunks(PNG, end=b"\n"),
    "a line feed in an extension": chunks(PNG, b";a\nb"),
    "a carriage return in an extension": chunks(PNG, b";a\rb"),
    "a chunk that is too long": b"5\r\nhello!\r\n0\r\n\r\n",
    "a line feed after a chunk": b"5\r\nhello\n0\r\n\r\n",
    "line feeds at the end": b"5\r\nhello\r\n0\n\n",
    "a length in the trailer": chunks(PNG)[:-2] + b"Content-Length: 5\r\n\r\n",
    "a coding in the trailer": chunks(PNG)[:-2] + b"Transfer-Encoding: chunked\r\n\r\n",
    "a folded trailer": chunks(PNG)[:-2] + b"X-A: a\r\n b\r\n\r\n",
}


def seen(telemetry: Telemetry, label: str = "status") -> Counter[str]:
    """How many requests were answered with each status or of each route, as the service counts."""
    samples = [each for metric in telemetry.requests.collect() for each in metric.samples]
    count: Counter[str] = Counter()
    for sample in samples:
        if sample.name.endswith("_total"):
            count[sample.labels[label]] += int(sample.value)
    return count

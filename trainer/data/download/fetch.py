"""One URL to one file, over connections that break and servers that stop half way."""

import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TypeVar
from urllib import request
from urllib.error import HTTPError

from tqdm import tqdm

TIMEOUT_S = 60.0  # without a byte; S3 answers within one
TRIES = 5  # in a row without getting further; with the pauses about 15 s
CHUNK_BYTES = 1 << 20
BUSY = {408, 429}  # beside 5xx: answers that may differ a moment later

Result = TypeVar("Result")


class FetchError(Exception):
    """A file that could not be fetched: what was tried and what happened."""


class _BrokenError(Exception):
    """One try that failed and may succeed when made again."""


def size_of(url: str, *, backoff_s: float) -> int:
    """Bytes of the file at a URL, as its server says without sending it.

    Raises:
        FetchError: no server, no such file, or no size given.
    """

    def ask() -> int:
        with _open(url, method="HEAD") as answer:
            return _length(answer, url)

    return _patiently(ask, url, got=lambda: 0, backoff_s=backoff_s)


def fetch(url: str, path: Path, *, size_bytes: int, backoff_s: float) -> None:
    """Write the file at a URL to `path`, which appears only when every byte is there.

    Until then the bytes lie in `part_of(path)`, and their ETag beside. A later try, or a later
    call, asks for the rest only, under the condition that the file still has that ETag (RFC 9110,
    13.1.5 If-Range); where it has not, or the server sends no ETag or ignores ranges, it starts
    again.

    Args:
        url: An http or https URL.
        path: File to write.
        size_bytes: Size the server gave (`size_of`).
        backoff_s: First pause after a broken connection, s; doubled after each one in a row.

    Raises:
        FetchError: the server refuses the file, or contradicts `size_bytes`, or breaks off
            `TRIES` times in a row without getting further.
    """
    part = part_of(path)
    _patiently(
        lambda: _fetch_rest(url, part, size_bytes),
        url,
        got=lambda: part.stat().st_size if part.is_file() else 0,
        backoff_s=backoff_s,
    )
    part.replace(path)
    _etag_of(part).unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Where the bytes of `path` lie until it is whole."""
    return path.with_name(f"{path.name}.part")


def readable_bytes(count: int) -> str:
    """A count of bytes as people read it, in powers of 1000.

    Example:
        >>> readable_bytes(10_400_000_000)
        '10.4GB'
    """
    text: str = tqdm.format_sizeof(count, "B")
    return text


def _etag_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _fetch_rest(url: str, part: Path, size: int) -> None:
    tag = _etag_of(part)
    start = part.stat().st_size if part.is_file() else 0
    etag = tag.read_text(encoding="utf-8").strip() if tag.is_file() else ""
    resume = {"Range": f"bytes={start}-", "If-Range": etag} if start and etag else {}
    with _open(url, headers=resume) as answer:
        if answer.status == 416 and start == size:
            return  # killed after the last byte: there is no rest to ask for
        if answer.status == 206:
            _check_range(answer, part, f"bytes {start}-{size - 1}/{size}", etag)
        elif answer.status == 416:
            part.unlink(missing_ok=True)
            raise _BrokenError(f"there is no rest after byte {start} of {size}, starting again")
        else:
            start = 0
            if (length := _length(answer, url)) != size:
                raise FetchError(f"{url}: the server said {size} bytes, and then {length}")
            # In this order: a kill in between must not leave old bytes under the new ETag.
            part.write_bytes(b"")
            tag.write_text(answer.headers.get("ETag", ""), encoding="utf-8")
        _append(answer, part, start, size)


def _check_range(answer: HTTPResponse | HTTPError, part: Path, expected: str, etag: str) -> None:
    """Refuse a rest that would not fit, and start again with the next try."""
    got = answer.headers.get("Content-Range"), answer.headers.get("ETag")
    if got != (expected, etag):
        part.unlink(missing_ok=True)
        raise _BrokenError(f"the server sent {got}, expected {(expected, etag)}")


def _append(answer: HTTPResponse | HTTPError, part: Path, start: int, size: int) -> None:
    label = part.stem
    with (
        part.open("ab") as file,
        tqdm(
            total=size,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=label,
            leave=False,
            disable=None,
        ) as bar,
    ):
        while chunk := _read(answer):
            file.write(chunk)
            bar.update(len(chunk))
    if (got := part.stat().st_size) != size:
        raise _BrokenError(f"the connection broke after {got} of {size} bytes")


def _read(answer: HTTPResponse | HTTPError) -> bytes:
    try:
        return answer.read1(CHUNK_BYTES)
    except (OSError, HTTPException) as exc:
        raise _BrokenError(_reason(exc)) from exc


def _length(answer: HTTPResponse | HTTPError, url: str) -> int:
    length: str = answer.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()):
        raise FetchError(f"{url}: the server does not say how large it is (Content-Length)")
    return int(length)


def _open(
    url: str, *, method: str = "GET", headers: dict[str, str] | None = None
) -> HTTPResponse | HTTPError:
    """The server's answer of status 2xx or 416, its body still to be read."""
    asked = request.Request(url, method=method, headers=headers or {})  # noqa: S310 checked by us
    try:
        answer: HTTPResponse = _opener().open(asked, timeout=TIMEOUT_S)
    except HTTPError as exc:
        if exc.code == 416:
            return exc
        with exc:
            what = f"the server answered {exc.code} {exc.reason}"
            if exc.code >= 500 or exc.code in BUSY:
                raise _BrokenError(what) from exc
            raise FetchError(f"{url}: {what}") from exc
    except (OSError, HTTPException) as exc:
        raise _BrokenError(_reason(exc)) from exc
    return answer


def _opener() -> request.OpenerDirector:
    """What `urlopen` uses, less its handlers of file:, ftp: and data:, also after a redirect."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _reason(exc: Exception) -> str:
    """What happened, without urllib's wrapping: `<urlopen error [Errno 111] ...>`."""
    inner = getattr(exc, "reason", exc)
    return str(inner) or type(inner).__name__


def _patiently(
    work: Callable[[], Result], url: str, *, got: Callable[[], int], backoff_s: float
) -> Result:
    """Do `work`, again after each broken try, until `TRIES` in a row got no further."""
    failures, furthest = 0, got()
    while True:
        try:
            return work()
        except _BrokenError as exc:
            # Further than ever, or a server without ranges could start again for ever.
            failures = 1 if got() > furthest else failures + 1
            furthest = max(furthest, got())
            if failures == TRIES:
                raise FetchError(f"{url}: {exc} (tried {TRIES} times)") from exc
            time.sleep(backoff_s * 2 ** (failures - 1))

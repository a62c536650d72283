"""Download one URL to one file, going on where a broken connection stopped.

A ZIP file's own CRC-32s (`unpack`) say whether the parts fit: the archives come without hashes.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
from tqdm import tqdm

TIMEOUT_S = 60.0  # without a byte; S3 answers within one
TRIES = 5  # in a row without getting further; with the pauses about 15 s
BUSY = {408, 429}  # beside 5xx: answers that may differ a moment later

Result = TypeVar("Result")


class FetchError(Exception):
    """A file that could not be fetched: what was tried and what happened."""


def size_of(client: httpx.Client, url: str, *, backoff_s: float) -> int:
    """Ask the server for the size of a file, in bytes, without downloading it.

    Raises:
        FetchError: no server, no such file, or no size given.
    """
    return _retried(lambda: _length(_checked(client.head(url))), url, lambda: 0, backoff_s)


def fetch(client: httpx.Client, url: str, path: Path, *, size_bytes: int, backoff_s: float) -> None:
    """Download a URL to `path`, which appears only when every byte is there.

    Until then the bytes lie in `part_of(path)`; a later try, or a later call, asks for the rest
    only. Where the server ignores ranges or contradicts itself, the file starts again.

    Args:
        client: Follows redirects.
        url: An http or https URL.
        path: File to write.
        size_bytes: Size the server gave (`size_of`).
        backoff_s: First pause after a broken connection, s; doubled after each one in a row.

    Raises:
        FetchError: the server refuses the file, or contradicts `size_bytes`, or breaks off
            `TRIES` times in a row without getting further.
    """
    part = part_of(path)
    if bytes_of(part) > size_bytes:
        part.unlink()
    _retried(
        lambda: _fetch_rest(client, url, part, size_bytes), url, lambda: bytes_of(part), backoff_s
    )
    part.replace(path)


def part_of(path: Path) -> Path:
    """Name the file that holds the bytes of `path` until it is whole."""
    return path.with_name(f"{path.name}.part")


def bytes_of(path: Path) -> int:
    """Size of a file, in bytes; 0 where it is not there."""
    return path.stat().st_size if path.is_file() else 0


def readable_bytes(count: int) -> str:
    """Format a count of bytes in powers of 1000.

    Example:
        >>> readable_bytes(10_400_000_000)
        '10.4GB'
    """
    text: str = tqdm.format_sizeof(count, "B")
    return text


def _fetch_rest(client: httpx.Client, url: str, part: Path, size: int) -> None:
    start = bytes_of(part)
    if start == size:
        return  # killed after the last byte: there is no rest to ask for
    headers = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", url, headers=headers) as answer:
        fits = answer.headers.get("Content-Range") == f"bytes {start}-{size - 1}/{size}"
        if answer.status_code == 416 or (answer.status_code == 206 and not fits):
            part.unlink(missing_ok=True)
            raise httpx.RemoteProtocolError(f"no rest after byte {start} of {size}")
        if _checked(answer).status_code != 206:
            start = 0
            if (length := _length(answer)) != size:
                raise FetchError(f"{url}: the server said {size} bytes, and then {length}")
        with (
            part.open("ab" if start else "wb") as file,
            tqdm(total=size, initial=start, unit="B", unit_scale=True, desc=part.stem, leave=False,
                 disable=None) as bar,
        ):  # fmt: skip
            for chunk in answer.iter_raw():
                file.write(chunk)
                bar.update(len(chunk))


def _checked(answer: httpx.Response) -> httpx.Response:
    if not answer.is_success:
        what = f"the server answered {answer.status_code} {answer.reason_phrase}"
        raise httpx.HTTPStatusError(what, request=answer.request, response=answer)
    return answer


def _length(answer: httpx.Response) -> int:
    length = answer.headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()):
        raise FetchError(f"{answer.url}: the server does not say how large it is (Content-Length)")
    return int(length)


def _retried(
    work: Callable[[], Result], url: str, got: Callable[[], int], backoff_s: float
) -> Result:
    """Do `work`, again after each broken try, until `TRIES` in a row got no further."""
    failures, furthest = 0, got()
    while True:
        try:
            return work()
        except httpx.HTTPError as exc:
            if isinstance(exc, httpx.HTTPStatusError):
                status = exc.response.status_code
                if status < 500 and status not in BUSY:
                    raise FetchError(f"{url}: {exc}") from exc
            # Further than ever, or a server without ranges could start again for ever.
            failures = 1 if got() > furthest else failures + 1
            furthest = max(furthest, got())
            if failures == TRIES:
                what = str(exc) or type(exc).__name__
                raise FetchError(f"{url}: {what} (tried {TRIES} times)") from exc
            time.sleep(backoff_s * 2 ** (failures - 1))

"""Decide when a request is sent again, and after how long.

`httpx-retries` (0.6) cannot replace this: it waits out a `Retry-After` above its limit, cut to the
limit, instead of giving up; it does not retry where the connection breaks inside an answer's body;
and as a transport it turns httpx's proxy settings off, and sleeps while a call holds its place on
the wire.
"""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from service.client.errors import is_problem

_AGAIN = (429, 503)
_PROXY_AGAIN = (500, 502)
"""Where no problem of ours comes with it, a proxy says that the service behind it broke off."""
_BROKEN = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
)
"""The connection failed. A read that timed out is not among them: who asks again what takes too
long only makes it take longer."""


@dataclass(frozen=True)
class Retries:
    """Limits on sending a request again while the service is busy or away.

    Attributes:
        attempts: Times that a request is sent at most; 1 never tries again.
        longest_wait_s: A `Retry-After` above this is not waited for: the error comes at once.
        first_wait_s: Mean wait before the second attempt where the service names none; it doubles
            from attempt to attempt, and each is drawn between half and one and a half of it, so
            that many clients do not come back together.
    """

    attempts: int = 4
    longest_wait_s: float = 30.0
    first_wait_s: float = 0.5

    def wait_s(
        self, attempt: int, *, response: httpx.Response | None, error: Exception | None
    ) -> float | None:
        """Return the wait before the next attempt, s; None where there should be none.

        Args:
            attempt: Number of the one that just ended, from 1.
            response: Its answer, if any.
            error: Why there is no answer.
        """
        if attempt >= self.attempts:
            return None
        told = None
        if response is not None:
            if not _is_temporary(response):
                return None
            told = retry_after_s(response)
        elif not isinstance(error, _BROKEN):
            return None
        if told is not None:
            return told if told <= self.longest_wait_s else None
        wait: float = self.first_wait_s * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        return min(wait, self.longest_wait_s)


ONCE = Retries(attempts=1)


def _is_temporary(response: httpx.Response) -> bool:
    """Return whether the same request may succeed soon.

    A 504 is not among them, for the reason that a read that timed out is not.
    """
    if response.status_code in _PROXY_AGAIN:
        return not is_problem(response)
    return response.status_code in _AGAIN


def retry_after_s(response: httpx.Response) -> float | None:
    """Return the seconds that a response's `Retry-After` asks for, at least 0, or None.

    Example:
        >>> retry_after_s(httpx.Response(503, headers={"Retry-After": "2"}))
        2.0
    """
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())

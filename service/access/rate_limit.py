"""Limit how often one caller may ask, with a token bucket each.

Not pyrate-limiter: that keeps a time stamp of every request, where a bucket is one number a caller.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

_MAX_CALLERS = 50_000
"""Buckets kept at most, about 10 MB; the caller who was quiet longest starts with a full one."""


class Allowance(NamedTuple):
    """The answer of a bucket to one request.

    Attributes:
        wait_s: Time until the next request is admitted; 0 where this one was.
        remaining: Requests admitted at once after this one.
    """

    wait_s: float
    remaining: int


class RateLimit:
    """Admit `rate` requests a second of each caller, and `burst` at once of one who was quiet.

    Args:
        rate: Requests a second, above 0.
        burst: Requests, at least 1.
        clock: Monotonic time, s.
    """

    def __init__(
        self, rate: float, burst: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self.burst = burst
        self._clock = clock
        # When each caller's bucket is full again, s: all that has to be known of it.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: str) -> Allowance:
        """Count a request of a caller, unless its bucket is empty.

        Example:
            >>> limit = RateLimit(0.5, 2, clock=lambda: 100.0)
            >>> [limit.take("a") for _ in range(3)][-1], limit.take("b").wait_s
            (Allowance(wait_s=2.0, remaining=0), 0.0)
        """
        now = self._clock()
        full_at = max(self._full_at.get(caller, now), now) + 1 / self.rate
        wait_s = full_at - now - self.burst / self.rate
        if wait_s > 1e-9:
            return Allowance(wait_s, 0)
        self._full_at[caller] = full_at
        self._full_at.move_to_end(caller)
        if len(self._full_at) > _MAX_CALLERS:
            self._full_at.popitem(last=False)
        return Allowance(0.0, int(-wait_s * self.rate + 1e-6))


def caller_of_address(address: str) -> str:
    """Name an anonymous caller's bucket: one IPv6 subscriber has 2**64 addresses.

    Example:
        >>> caller_of_address("192.0.2.7"), caller_of_address("2001:db8:1:2:3::4")
        ('192.0.2.7', '2001:db8:1:2::/64')
    """
    try:
        if ipaddress.ip_address(address).version == 6:
            return str(ipaddress.ip_network((address, 64), strict=False))
    except ValueError:
        pass  # a socket's path, or whatever a proxy wrote
    return address[:64]

"""Connections that have their last answer, and may still send.

A socket that is closed with bytes unread is reset, and the answer lost if its caller has not read
it yet. So each is read a little at a time, and the bytes thrown away, until the caller closes or
its time is over. Nothing is read at first: a caller who sees its answer stops sending, and what was
under way is then never copied out of the kernel.
"""

import asyncio

_TICK_S = 0.1
LINGER_S = 2.0
"""How long a caller may take to read its answer and close."""


class Lingering:
    """All of them.

    Args:
        limit: How many there may be; beyond it the oldest is closed at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._since: dict[asyncio.Transport, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._since)

    def add(self, transport: asyncio.Transport) -> None:
        """Let a connection linger whose answer has been written."""
        loop = asyncio.get_running_loop()
        transport.write_eof()
        transport.pause_reading()
        self._since[transport] = loop.time()
        if len(self._since) > self._limit:
            oldest = next(iter(self._since))
            self.forget(oldest)
            oldest.abort()
        if self._timer is None:
            self._timer = loop.call_later(_TICK_S, self._tick, loop)

    def received(self, transport: asyncio.Transport) -> None:
        """Throw away what came, and read no more until the next tick."""
        if not transport.is_closing():
            transport.pause_reading()

    def forget(self, transport: asyncio.Transport) -> None:
        """The connection is closed."""
        self._since.pop(transport, None)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for transport, since in list(self._since.items()):
            if now - since > LINGER_S:
                self.forget(transport)
                transport.abort()
            elif not transport.is_closing():
                transport.resume_reading()
        self._timer = loop.call_later(_TICK_S, self._tick, loop) if self._since else None

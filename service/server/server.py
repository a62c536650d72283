"""The HTTP server, and how it stops without losing a request.

1. SIGTERM: `/readyz` says 503 from now on, everything is still answered, and each answer ends its
   connection, so that load balancers and callers go elsewhere.
2. After the setting's seconds no new connection begins; those that have begun are accepted.
3. The socket is closed, what has been accepted is answered, and the process ends.
"""

import asyncio
import ctypes
import functools
import logging
import select
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.access.admission import Admission
from service.pipeline.health import Condition
from service.server.connections import Connection, Rules
from service.settings import Settings
from service.telemetry.audit import AuditLog

_HANDSHAKE_S = 0.25
"""How long a connection that has begun may take until it can be accepted: a round trip or two."""
_BACKLOG_S = 2.0
_TICK_S = 0.1
"""Between two calls of `on_tick`, by uvicorn."""
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it
# A classic BPF program over the TCP header: drop what has SYN and not ACK, let the rest through.
_NO_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load the byte of the flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # let it through
)

logger = logging.getLogger("service.server")


class Server(uvicorn.Server):
    """uvicorn's server with our connections and our way to stop.

    Args:
        app: The application.
        settings: Its settings.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._condition: Condition = app.state.condition
        self._audit: AuditLog | None = app.state.audit
        self._admission: Admission = app.state.engine.admission
        self._ticked_s: float | None = None
        rules = Rules(settings, app.state.telemetry, self._condition, self._admission)
        super().__init__(
            uvicorn.Config(
                app,
                http=functools.partial(Connection, rules),  # type: ignore[arg-type]
                lifespan="on",
                ws="none",
                log_config=None,
                access_log=False,  # it prints raw paths; request_log logs each request
                server_header=False,
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_graceful_shutdown=settings.grace_seconds,
            )
        )
        self._drain_s = settings.drain_seconds
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first SIGTERM; stop at once at SIGINT, or when told again."""
        if sig == signal.SIGTERM and not self._condition.draining:
            self._captured_signals.append(sig)
            self._condition.drain()
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: see whether it is time to stop, and how late the loop is."""
        now, before = asyncio.get_running_loop().time(), self._ticked_s
        self._ticked_s = now
        if before is not None:
            self._admission.lagged(max(0.0, now - before - _TICK_S))
        if self._condition.draining and self._draining is None:
            logger.info("draining=%gs", self._drain_s)
            self._draining = asyncio.create_task(self._drain())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept what has begun to connect, then close the sockets and end all connections."""
        self._condition.drain()
        if self._draining is not None:
            self._draining.cancel()
        await _empty(sockets or [])
        await super().shutdown(sockets)
        if self._audit is not None:  # the application's own end is left out where there is haste
            await asyncio.to_thread(self._audit.flush)

    async def _drain(self) -> None:
        await asyncio.sleep(self._drain_s)
        self.should_exit = True


async def _empty(listeners: Sequence[socket.socket]) -> None:
    """Come back once no connection waits on a listening socket, and none can any more.

    A connection that waits there when the socket is closed is reset, and its request lost. Where
    the system cannot keep new ones away, those of the last instant still are.
    """
    for listener in listeners:
        _refuse_new(listener)
    loop = asyncio.get_running_loop()
    until = loop.time() + _BACKLOG_S
    await asyncio.sleep(_HANDSHAKE_S)
    while loop.time() < until and select.select(listeners, [], [], 0)[0]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def _refuse_new(listener: socket.socket) -> None:
    """Let nobody begin to connect; callers try again, and find another server or a closed port."""
    if sys.platform != "linux":
        return
    program = (ctypes.c_uint64 * len(_NO_NEW_CONNECTIONS))(
        *(code | jt << 16 | jf << 24 | k << 32 for code, jt, jf, k in _NO_NEW_CONNECTIONS)
    )
    pointer = ctypes.addressof(program).to_bytes(ctypes.sizeof(ctypes.c_void_p), sys.byteorder)
    length = len(_NO_NEW_CONNECTIONS).to_bytes(2, sys.byteorder)
    padding = bytes(len(pointer) - len(length))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, length + padding + pointer)
    except OSError as exc:
        logger.warning("new connections cannot be kept away while stopping: %s", exc)

"""Run the HTTP server, and stop it without losing a request.

1. SIGTERM, or a network that is stuck or failing: `/readyz` says 503 from now on, everything is
   still answered, and each answer ends its connection, so that load balancers and callers go
   elsewhere.
2. After the setting's seconds, what waits to be accepted is, and the port is closed.
3. What has been accepted is answered, and the process ends.

Who connects between the last look at what waits and the closing of the port, microseconds later, is
reset; that nobody still comes by then is what the first step is for.
"""

import asyncio
import functools
import logging
import select
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.access.admission import Admission
from service.pipeline.health import HealthState
from service.server.connections import Connection, Rules
from service.settings import Settings
from service.telemetry.audit import AuditLog

_BACKLOG_S = 2.0
"""How long a stopping server goes on accepting while more and more connections wait."""
_TICK_S = 0.1
"""Between two calls of `on_tick`, by uvicorn."""

logger = logging.getLogger("service.server")


class Server(uvicorn.Server):
    """uvicorn's server with our connections and our way to stop.

    Args:
        app: The application.
        settings: Its settings.
    """

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._health: HealthState = app.state.parts.health
        self._audit: AuditLog | None = app.state.audit
        self._admission: Admission = app.state.parts.admission
        self._ticked_s: float | None = None
        rules = Rules(settings, app.state.parts.telemetry, self._health, self._admission)
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
        if sig == signal.SIGTERM and not self._health.draining:
            self._captured_signals.append(sig)
            self._health.drain()
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """See ten times a second whether it is time to stop, and how late the loop is."""
        now, before = asyncio.get_running_loop().time(), self._ticked_s
        self._ticked_s = now
        if before is not None:
            self._admission.lagged(max(0.0, now - before - _TICK_S))
        if self._health.stopping and self._draining is None:
            logger.info("draining=%gs", self._drain_s)
            self._draining = asyncio.create_task(self._drain())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections that wait, then close the sockets and end all connections."""
        self._health.drain()
        if self._draining is not None:
            self._draining.cancel()
        await _stop_listening(sockets or [])
        await super().shutdown(sockets)
        if self._audit is not None:  # the application's own end is left out where there is haste
            await asyncio.to_thread(self._audit.flush)

    async def _drain(self) -> None:
        await asyncio.sleep(self._drain_s)
        self.should_exit = True


async def _stop_listening(listeners: Sequence[socket.socket]) -> None:
    """Let the event loop accept all that wait on listening sockets, then close these to others.

    A connection that waits there when the socket is closed is reset, and its request lost.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _BACKLOG_S
    while loop.time() < until and select.select(listeners, [], [], 0)[0]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    for listener in listeners:
        # At once, where a socket that the event loop uses is closed only at its next turn. Not all
        # systems know it for listening sockets.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RD)

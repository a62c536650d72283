"""Know whether the service can answer: what the probes say, and when the process has to end.

A thread cannot be ended from outside: one that is stuck stays, with what it holds, until the
process ends. So a stuck or failing network is not mended in place: `/healthz` says 503, the server
ends the process with exit code 3, and what deploys it starts another.

    ready --SIGTERM--> draining --> the process ends
      |                                 ^
      +--stuck or failing--> faulty ----+
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Literal
from weakref import WeakKeyDictionary

from model_core.backends.protocol import Backend
from service.contract.errors import DeadError, EngineFailedError, NotReadyError

FAILURES = 3
"""Runs of a network that fail in a row before it is given up."""

Fault = Literal["stuck", "failing"]

logger = logging.getLogger("service.health")


class HealthState:
    """Hold the state that load balancer and orchestrator act on, and watch runs of the network.

    Args:
        stuck_s: A run that takes longer never comes back.

    Attributes:
        draining: The process was told to stop: it answers all that comes, and asks for no more.
        fault: What is wrong with the network for good; None where nothing is.
    """

    def __init__(self, *, stuck_s: float) -> None:
        self.draining = False
        self.fault: Fault | None = None
        self._stuck_s = stuck_s
        self._lock = threading.Lock()
        self._began: dict[object, float] = {}
        # Weak, so that a version that has made room is not kept in memory by its failures.
        self._failures: WeakKeyDictionary[Backend, int] = WeakKeyDictionary()

    @property
    def stopping(self) -> bool:
        """Whether the process is about to end, for whatever reason."""
        return self.draining or self.fault is not None

    def drain(self) -> None:
        """Mark the service not ready."""
        self.draining = True

    def check_ready(self) -> None:
        """Raise a `NotReadyError` where no more requests should come."""
        if self.draining:
            raise NotReadyError("the service is stopping")
        if self.fault:
            raise NotReadyError(f"the network is {self.fault}")

    def check_alive(self) -> None:
        """Raise a `DeadError` where only another process would help."""
        if self.fault:
            raise DeadError(f"the network is {self.fault}; start another process")

    @contextmanager
    def running(self, backend: Backend, *, again: bool = False) -> Iterator[None]:
        """Watch one run of a network.

        Args:
            backend: The network.
            again: It is for an image of a batch that has failed, which counts already.

        Raises:
            EngineFailedError: it raised something.
        """
        run = object()
        with self._lock:
            self._began[run] = time.monotonic()
        try:
            yield
        except Exception as exc:
            with self._lock:
                self._failures[backend] = self._failures.get(backend, 0) + (not again)
            logger.exception("backend=%s failed", backend.name)
            raise EngineFailedError("the network failed; try again") from exc
        else:
            with self._lock:
                self._failures.pop(backend, None)
        finally:
            with self._lock:
                del self._began[run]

    @asynccontextmanager
    async def watching(
        self, is_live: Callable[[Backend], bool], drop: Callable[[Backend], None]
    ) -> AsyncIterator[None]:
        """Look for stuck and failing networks, until the first fault.

        Args:
            is_live: Whether a network is in production.
            drop: Lets go of another network that fails: that one is loaded again for the next who
                asks for it, and nobody else is disturbed.
        """
        watch = asyncio.create_task(self._watch(is_live, drop))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(
        self, is_live: Callable[[Backend], bool], drop: Callable[[Backend], None]
    ) -> None:
        while self.fault is None:
            await asyncio.sleep(min(0.5, self._stuck_s / 4))
            self._look(is_live, drop)
        logger.critical("network=%s, the process ends", self.fault)

    def _look(self, is_live: Callable[[Backend], bool], drop: Callable[[Backend], None]) -> None:
        with self._lock:
            oldest = min(self._began.values(), default=None)
            failing = [backend for backend, count in self._failures.items() if count >= FAILURES]
        if oldest is not None and time.monotonic() - oldest > self._stuck_s:
            self.fault = "stuck"
        for backend in failing:
            if is_live(backend):
                self.fault = self.fault or "failing"
                continue
            with self._lock:
                self._failures.pop(backend, None)
            logger.error("backend=%s of a version beside production is let go", backend.name)
            drop(backend)

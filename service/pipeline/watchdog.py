"""Watches the network: stuck or failing, it is loaded anew; in vain, the process ends.

A thread cannot be ended from outside: one that is stuck stays, with what it holds, until the
process ends. So there are few attempts, and then whoever looks after the process has to start
another.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from model_core.arrays import Batch, Logits
from model_core.backends.protocol import Backend
from service.contract.errors import EngineFailedError
from service.pipeline.health import Condition
from service.telemetry.prometheus import Telemetry

FAILURES = 3
"""Batches that fail in a row before the network is loaded anew."""
ATTEMPTS = 3
"""Times that it is loaded anew in vain before the process is given up."""
LAST_S = 20.0
"""How long `/healthz` says so before the process ends itself."""

logger = logging.getLogger("service.watchdog")


class Watchdog:
    """Knows since when each batch runs, and how many have failed in a row.

    Args:
        telemetry: Where restarts are counted.
        condition: What the probes say.
        stuck_s: A batch that runs for longer never comes back.
    """

    def __init__(self, telemetry: Telemetry, condition: Condition, *, stuck_s: float) -> None:
        self._telemetry = telemetry
        self._condition = condition
        self._stuck_s = stuck_s
        self._lock = threading.Lock()
        self._began: dict[object, float] = {}
        self._failing: set[_Watched] = set()
        self._attempts = 0
        self._is_live: Callable[[Backend], bool] = lambda _: True
        self.abandoned = 0

    def watched(self, backend: Backend) -> Backend:
        """The backend, its batches watched."""
        return _Watched(backend, self)

    def run(self, watched: "_Watched", batch: Batch) -> Logits:
        """Run a batch and remember how that went.

        Raises:
            EngineFailedError: the backend raised something.
        """
        token = object()
        with self._lock:
            self._began[token] = time.monotonic()
        try:
            logits = watched.backend.run(batch)
        except Exception as exc:
            with self._lock:
                watched.failures += 1
                if watched.failures >= FAILURES:
                    self._failing.add(watched)
            logger.exception("backend=%s failed", watched.name)
            raise EngineFailedError(
                "the network failed; it is tried again, or loaded anew"
            ) from exc
        else:
            with self._lock:
                if token in self._began:  # else it was given up, and another took its place
                    watched.failures = 0
                    self._failing.discard(watched)
                    if self._is_live(watched):
                        self._attempts = 0
            return logits
        finally:
            with self._lock:
                self._began.pop(token, None)

    def trouble(self) -> str | None:
        """What is wrong: `stuck` or `failed`; None where nothing is."""
        with self._lock:
            oldest = min(self._began.values(), default=None)
            if oldest is not None and time.monotonic() - oldest > self._stuck_s:
                return "stuck"
            return "failed" if any(map(self._is_live, self._failing)) else None

    @asynccontextmanager
    async def watching(
        self,
        restart: Callable[[], Awaitable[None]],
        *,
        is_live: Callable[[Backend], bool],
        drop: Callable[[Backend], None],
    ) -> AsyncIterator[None]:
        """Look all the time, and restart where need be.

        Args:
            restart: Loads the network anew that is in production.
            is_live: Whether a network is in production.
            drop: Lets another network go that fails; whoever asks for it next has it loaded anew.
        """
        self._is_live = is_live
        watch = asyncio.create_task(self._watch(restart, drop))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(
        self, restart: Callable[[], Awaitable[None]], drop: Callable[[Backend], None]
    ) -> None:
        while self._attempts < ATTEMPTS:
            await asyncio.sleep(min(0.5, self._stuck_s / 4))
            self._drop_others(drop)
            trouble = self.trouble()
            if trouble or self._condition.trouble:
                await self._restart(trouble or "failed", restart)
        self._condition.dead = True
        logger.critical("restarts=%d in vain, ending in %g s", self._attempts, LAST_S)
        await asyncio.sleep(LAST_S)
        os.kill(os.getpid(), signal.SIGTERM)

    def _drop_others(self, drop: Callable[[Backend], None]) -> None:
        """A version that only some ask for fails: that is no reason to disturb the one of all."""
        with self._lock:
            others = {each for each in self._failing if not self._is_live(each)}
            self._failing -= others
        for watched in others:
            logger.error("backend=%s of a version beside production is let go", watched.name)
            drop(watched)

    async def _restart(self, trouble: str, restart: Callable[[], Awaitable[None]]) -> None:
        self._condition.trouble = f"the network is {trouble} and loaded anew"
        self._attempts += 1
        with self._lock:
            self.abandoned += len(self._began)
            self._began.clear()
            self._failing.clear()
        logger.error("network=%s restart=%d", trouble, self._attempts)
        try:
            async with asyncio.timeout(max(60.0, 2 * self._stuck_s)):
                await restart()
        except Exception:
            self._telemetry.restarts.labels(trouble, "failed").inc()
            logger.exception("restart=failed")
            await asyncio.sleep(min(self._stuck_s, 2.0**self._attempts))
        else:
            self._telemetry.restarts.labels(trouble, "ok").inc()
            self._condition.trouble = None


class _Watched:
    """A backend whose batches a watchdog sees."""

    def __init__(self, backend: Backend, watchdog: Watchdog) -> None:
        self.streams, self.batch = backend.streams, backend.batch
        self.backend = backend
        self.failures = 0  # in a row
        self._watchdog = watchdog

    @property
    def name(self) -> str:
        return self.backend.name

    def run(self, batch: Batch) -> Logits:
        return self._watchdog.run(self, batch)

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        return self.backend.forms

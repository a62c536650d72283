"""Follow the alias of production: switch to what it points to, or tell the reason why not."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from model_core.errors import SegmentationError
from model_core.registry.registry import PRODUCTION
from service.pipeline.threads import background_pool
from service.pipeline.versions import Versions
from service.telemetry.prometheus import Telemetry

MAX_PAUSE = 3
"""Polls at most between two loads of what failed: a folder may be half copied still."""

logger = logging.getLogger("service.hot_reload")


@dataclass(frozen=True)
class Failure:
    """Why the version that the alias points to is not the one that serves.

    Attributes:
        wanted: That version; None where not even that could be found out.
        error: What was found and what was expected.
        since: When this was first seen, UTC.
    """

    wanted: str | None
    error: str
    since: datetime


class _Target(NamedTuple):
    """A version, and the hash of its card, which differs where the registry was made again."""

    version: str
    sha256: str


class Reloader:
    """Poll the alias, and switch the version in production where it has moved.

    Args:
        versions: Whose production version follows the alias.
        telemetry: Where attempts are counted.
        name: Model whose alias it is.
        reference: The alias; or a version, whose card may be replaced.
    """

    def __init__(
        self, versions: Versions, telemetry: Telemetry, name: str, reference: str = PRODUCTION
    ) -> None:
        self.failure: Failure | None = None
        self.reference = reference
        self._versions = versions
        self._telemetry = telemetry
        self._name = name
        self._wanted: str | None = None
        self._failed: _Target | None = None
        self._tries = 0
        self._pause = 0
        # The registry may be far away, or hang. Not asyncio's own pool, whose threads it waits for.
        self._reader = background_pool(1, "reload")

    @asynccontextmanager
    async def following(self, interval_s: float) -> AsyncIterator[None]:
        """Poll every `interval_s` seconds; never, where it is 0."""
        watch = asyncio.create_task(self._watch(interval_s)) if interval_s else None
        try:
            yield
        finally:
            if watch is not None:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch
            self._reader.shutdown(wait=False, cancel_futures=True)

    async def poll(self) -> None:
        """Look at the alias once; whatever goes wrong, the version that serves goes on serving."""
        target = None
        try:
            loop = asyncio.get_running_loop()
            target = await loop.run_in_executor(self._reader, self._read)
            former = self._serving()
            if target == former:
                self._settle()
            elif not self._pauses(target):
                await self._versions.switch(*target)
                self._telemetry.reloads.labels("ok").inc()
                logger.info("production=%s was=%s", target.version, former and former.version)
                self._settle()
        except Exception as exc:
            self._fail(target, exc)

    async def _watch(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            await self.poll()

    def _read(self) -> _Target:
        registry = self._versions.registry
        self._wanted = None
        self._wanted = registry.aliases(self._name).get(self.reference)
        version = registry.resolve(self._name, self.reference)
        return _Target(version, registry.card(self._name, version)[1])

    def _serving(self) -> _Target | None:
        # Not the version itself: a reference to that keeps it in memory.
        version = self._versions.production
        return _Target(version.card.version, version.sha256) if version else None

    def _pauses(self, target: _Target) -> bool:
        """Say whether what failed before is left alone for now: loading costs, polling does not."""
        if target != self._failed:
            self._failed, self._tries, self._pause = None, 0, 0
        self._pause -= 1
        return self._pause >= 0

    def _settle(self) -> None:
        if self.failure is not None:
            logger.info("reload=settled wanted=%s", self.failure.wanted)
        self.failure = self._failed = None

    def _fail(self, target: _Target | None, exc: Exception) -> None:
        self._telemetry.reloads.labels("failed").inc()
        if target is not None:
            self._failed, self._tries = target, self._tries + 1
            self._pause = min(2 ** (self._tries - 1) - 1, MAX_PAUSE)
        error = _explain(exc)
        if self.failure and (self.failure.wanted, self.failure.error) == (self._wanted, error):
            return  # one line a reason, not one a poll
        self.failure = Failure(self._wanted, error, datetime.now(UTC))
        former = self._serving()
        logger.error(
            "reload=failed wanted=%s serving=%s reason=%s",
            self._wanted,
            former and former.version,
            _one_line(exc),
        )


def _explain(exc: Exception) -> str:
    """Say what `GET /models` may tell everyone; an error not of ours may quote paths or keys."""
    if isinstance(exc, SegmentationError):
        return _one_line(exc)
    return f"{type(exc).__name__} while reading or loading it; the service's log says more"


def _one_line(exc: Exception) -> str:
    text = " ".join(str(exc).split())
    return text if isinstance(exc, SegmentationError) else f"{type(exc).__name__}: {text}"

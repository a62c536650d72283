"""Follow an archive and answer its photographs, whatever fails on the way.

    waiting ──► answered   its answers are in the archive
       │  ▲ └─► refused    the service names what is wrong with it
       │  │ └─► passed     the rule does not select it, or this project made it
       └──┘ later: that photograph failed, or a server is away, busy or full

Only this thread touches the state file; workers fetch, ask and store.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from service.client.pacs.answers import Answered, Answerer
from service.client.pacs.errors import PhotographError, RefusedPhotographError, Side, SideError
from service.client.pacs.feed import Feed
from service.client.pacs.state import State, Waiting
from service.client.pacs.telemetry import Telemetry, write_health

_TURN_S = 0.5
"""Longest time without a look around."""
_REPORT_S, _HEALTH_S = 30.0, 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_TRIES = 4
"""Failures in a row, of a server or a photograph, after which a single round goes on without."""
logger = logging.getLogger("service.pacs")


@dataclass
class _Pause:
    """How long a server is left alone after failures in a row."""

    failures: int = 0
    until: float = 0.0
    reason: str = ""


class Loop:
    """The loop, run by one thread until `stop` is set.

    Args:
        feed: Makes the feed; raises `SideError` while the archive is away.
        answerer_of: Makes the answerer once there is a feed.
        state: The state file.
        telemetry: Counts.
        jobs: Photographs under way at a time.
        every_s: Between looks at the feed, s.
        health: File to write, if any.
        once: End when all that is there now is answered or refused, or has failed several times.
    """

    def __init__(
        self, feed: Callable[[], Feed], answerer_of: Callable[[Feed], Answerer], state: State,
        telemetry: Telemetry, *, jobs: int, every_s: float, health: Path | None, once: bool,
    ) -> None:  # fmt: skip
        self._choose, self._answerer_of = feed, answerer_of
        self._state, self._telemetry = state, telemetry
        self._jobs, self._every_s, self._health, self._once = jobs, every_s, health, once
        self.stop = threading.Event()
        self._feed: Feed | None = None
        self._answerer: Answerer | None = None
        self._pauses: dict[Side, _Pause] = {"archive": _Pause(), "service": _Pause()}
        self._under_way: dict[Future[Answered], Waiting] = {}
        self._ended: list[tuple[Waiting, Future[Answered]]] = []
        self._poll_at = self._report_at = self._health_at = 0.0
        self._rate: tuple[float, int] = (time.monotonic(), 0)
        self._settled = 0

    def run(self) -> None:
        """Turn until told to stop, or until the end of a single round."""
        unwritten = 0
        with ThreadPoolExecutor(self._jobs, "photograph") as pool:
            while True:
                try:
                    self._turn(pool)
                    unwritten = 0
                    if self._once and self._is_through():
                        break
                except sqlite3.Error as exc:  # the disk is full: nothing is done that is not noted
                    unwritten += 1
                    self._telemetry.failures.labels("state").inc()
                    logger.error("the state file cannot be written: %s", exc)
                    self.stop.wait(_FIRST_PAUSE_S)
                    if self._once and unwritten > _TRIES:
                        break
                if self.stop.is_set() and not self._under_way and (unwritten or not self._ended):
                    break
        self._report(time.monotonic())

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        self._settle()
        now = time.monotonic()
        if not self.stop.is_set():
            if now >= max(self._poll_at, self._pauses["archive"].until):
                self._poll(now)
            if self._answerer and all(now >= pause.until for pause in self._pauses.values()):
                self._start(pool, self._answerer)
        if now >= self._report_at:
            self._report(now)
        if self._health and now >= self._health_at:
            self._write_health(self._health, now)
        if self._under_way:
            done, _ = wait(self._under_way, _TURN_S, FIRST_COMPLETED)
            self._ended += [(self._under_way.pop(future), future) for future in done]
        elif self._ended:
            pass
        elif not (self._once and self._is_through()):
            self.stop.wait(_TURN_S)

    def _poll(self, now: float) -> None:
        """Look at the archive's feed, once it is known which kind there is."""
        try:
            if self._feed is None:
                self._feed = self._choose()
                self._answerer = self._answerer_of(self._feed)
            more = self._feed.poll(self._state)
        except (SideError, PhotographError) as exc:
            self._pause("archive", exc.reason if isinstance(exc, SideError) else str(exc))
            return
        self._pauses["archive"] = _Pause()
        self._telemetry.polled.set_to_current_time()
        self._poll_at = now if more else now + self._every_s
        if self._once and not more:
            self._poll_at = float("inf")

    def _start(self, pool: ThreadPoolExecutor, answerer: Answerer) -> None:
        """Hand out photographs, up to the number of jobs."""
        free = self._jobs - len(self._under_way)
        if free:
            numbers = [waiting.number for waiting in self._under_way.values()]
            for waiting in self._state.next(free, but=numbers):
                self._under_way[pool.submit(answerer.answer, waiting)] = waiting

    def _settle(self) -> None:
        """Write down what became of those that ended, one after the other."""
        while self._ended:
            waiting, future = self._ended[0]
            self._note(waiting, future)
            del self._ended[0]

    def _note(self, waiting: Waiting, future: Future[Answered]) -> None:
        error = future.exception()
        if error is None:
            found = future.result()
            if found.state == "answered":
                self._pauses = {"archive": _Pause(), "service": _Pause()}
        elif isinstance(error, RefusedPhotographError):
            found = Answered("refused", reason=str(error))
            logger.warning("photograph=%d refused: %s", waiting.number, error)
        else:
            self._later(waiting, error)
            return
        self._state.settle(waiting.number, found.state, found.version, found.reason)
        self._telemetry.settled.labels(found.state).inc()
        self._settled += 1

    def _later(self, waiting: Waiting, error: BaseException) -> None:
        """Let a photograph wait; a server that failed it is left alone for a moment."""
        if isinstance(error, SideError):
            self._state.postpone(waiting, str(error), failed=error.blamed)
            self._pause(error.side, error.reason, error.wait_s)
            return
        known = isinstance(error, PhotographError)
        text = str(error) if known else f"unexpected {type(error).__name__}"
        wait_s = self._state.postpone(waiting, text, failed=True)
        self._telemetry.failures.labels("photograph").inc()
        logger.warning("photograph=%d again in %.0f s: %s", waiting.number, wait_s, text)
        if not known:
            logger.debug("photograph=%d", waiting.number, exc_info=error)

    def _pause(self, side: Side, reason: str, wait_s: float | None = None) -> None:
        """Leave a server alone, the longer the more often it failed in a row."""
        pause, now = self._pauses[side], time.monotonic()
        if now < pause.until:
            return  # another photograph met the same failure
        self._telemetry.failures.labels(side).inc()
        seconds = min(_FIRST_PAUSE_S * 2 ** min(pause.failures, 10), _LONGEST_PAUSE_S)
        if wait_s is not None:
            seconds = min(max(seconds, wait_s), _LONGEST_PAUSE_S)
        self._pauses[side] = _Pause(pause.failures + 1, now + seconds, reason)
        if reason != pause.reason:
            logger.warning("%s %s; tried again in %.0f s and later", side, reason, seconds)

    def _is_through(self) -> bool:
        """Tell whether a single round is at its end."""
        if any(pause.failures > _TRIES for pause in self._pauses.values()):
            return not self._under_way and not self._ended
        read = self._poll_at == float("inf")
        return read and not self._under_way and not self._ended and not self._state.has_left(_TRIES)

    def _report(self, now: float) -> None:
        """Log progress and set the gauges."""
        self._report_at = now + _REPORT_S
        counts = self._state.counts()
        for state, number in counts.items():
            self._telemetry.photographs.labels(state).set(number)
        for side, pause in self._pauses.items():
            self._telemetry.up.labels(side).set(pause.failures == 0)
        since, before = self._rate
        rate = (self._settled - before) / max(now - since, 1e-3)
        self._rate = (now, self._settled)
        left = f" left={counts['waiting'] / rate:.0f}s" if rate and counts["waiting"] else ""
        facts = " ".join(f"{state}={number}" for state, number in counts.items())
        if counts["waiting"] or rate:
            logger.info("%s rate=%.1f/s%s", facts, rate, left)

    def _write_health(self, path: Path, now: float) -> None:
        self._health_at = now + _HEALTH_S
        facts: dict[str, object] = {
            side: pause.reason or "ok" for side, pause in self._pauses.items()
        }
        write_health(path, facts | self._state.counts())

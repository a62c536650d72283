"""Let requests in: refuse at once what cannot be answered in time, and drop what is late.

    head --check--> expected --slot--> in its slot --> answered
      |                |                   |
      +----------------+- 503              +- 504 (late), 499 (its caller has left)

Work is counted in units: a request is one, and so is each megapixel of its image. How many of them
get done in a second is measured all the time, so the units before a request say when its turn would
come. `Retry-After` says the same to a caller who is refused.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import ClientDisconnect, Request

from model_core.errors import InputError
from service.contract.errors import DeadlineError, OverloadedError, QueueFullError, UnavailableError
from service.settings import Settings
from service.telemetry.prometheus import Telemetry
from service.telemetry.ticket import Ticket

_HALF_LIFE_S = 5.0
"""After so long, what was measured counts half: a machine may become busy with something else."""
_TRUST_S = 1.0
"""Busy time that must have been seen: the first requests after a start are slow."""
_SAFETY = 0.6
"""Part of the deadline that a wait may take by the estimate; the rest is for its error."""
_LONGEST_RETRY_S = 60
_WATCH_AFTER_S = 0.05
"""A request that takes longer is worth a look whether its caller is still there."""
_UNIT_PX = 1_000_000
_COMING_S = 1.0
"""A body that takes longer no longer counts as expected: others are let in before it."""
_HOPS = 6
"""Times that a request waits for the event loop until its answer is written."""
_USUAL = 0.1
"""Weight of the latest request in what one usually costs."""
_BATCH_SHARE = 0.5
"""Part of the pixels in flight that batches may have; they wait where others are refused."""
_BATCHES = 4
"""One slot in so many may be a batch's, whose caller decides how long it lasts."""


class Pace:
    """Measure how much work gets done: units a second while there is any, the latest most.

    Example:
        >>> pace = Pace(now=0.0)
        >>> for second in range(1, 4):
        ...     pace.advance(second, busy=True)
        ...     pace.done(20.0)
        >>> round(pace.units_per_s() or 0)
        20
    """

    def __init__(self, now: float) -> None:
        self._now = now
        self._units = self._busy_s = 0.0

    def advance(self, now: float, *, busy: bool) -> None:
        """Let time pass, in which there was work or not."""
        passed, self._now = now - self._now, now
        if busy:
            faded = 0.5 ** (passed / _HALF_LIFE_S)
            self._units *= faded
            self._busy_s = self._busy_s * faded + passed

    def done(self, units: float) -> None:
        """Count what was done just now."""
        self._units += units

    def units_per_s(self) -> float | None:
        """Get the current rate; None as long as too little was seen to say, or nothing got done.

        The first request after a start may take seconds, and says nothing of those beside it.
        """
        return self._units / self._busy_s if self._units and self._busy_s >= _TRUST_S else None


class Admission:
    """Give out the slots, by what is measured all the time.

    Args:
        settings: The limits.
        telemetry: Where refusals and what was dropped are counted.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._slots: set[Ticket] = set()
        self._coming: dict[Ticket, None] = {}  # in the order they were let come
        self._batches = 0
        self._batch_px = 0
        self._freed = asyncio.Event()
        self._units = 0.0
        self._usual_units = 1.0
        self._lag_s = 0.0
        self._working = 0
        self._pace: Pace | None = None

    @property
    def depth(self) -> int:
        """Requests being worked on or waiting."""
        return len(self._slots)

    @property
    def in_flight_px(self) -> int:
        """Pixels of the images being worked on or waiting."""
        return round((self._units - len(self._slots)) * _UNIT_PX) + self._batch_px

    def check(self, units: float | None = None, pixels: int = 0) -> None:
        """Refuse a request that would not be answered in time.

        Args:
            units: Its cost; by default the usual one, where only its head is there.
            pixels: Of its image.

        Raises:
            QueueFullError: as many requests or pixels as allowed are there.
            OverloadedError: at the current pace its turn would come too late.
        """
        late = _now() - _COMING_S
        while self._coming and ((first := next(iter(self._coming))).expected_at or 0.0) < late:
            del self._coming[first]
        depth, limits = len(self._slots) + len(self._coming), self._settings
        if not depth:
            return  # alone, a request is always tried
        if depth >= limits.max_queue:
            detail = f"{depth} requests are being worked on, the limit is {limits.max_queue}"
            raise self._refusal("queue", QueueFullError, detail)
        in_flight_px = self.in_flight_px + pixels
        if in_flight_px > limits.max_pixels_in_flight:
            detail = f"{in_flight_px / _UNIT_PX:.1f} megapixels would be in flight, the limit is "
            detail += f"{limits.max_pixels_in_flight / _UNIT_PX:g}"
            raise self._refusal("pixels", QueueFullError, detail)
        ahead = self._ahead() + (self._usual_units if units is None else units)
        # A late event loop is a queue too: each hop of a request waits in it.
        wait_s = _HOPS * self._lag_s + self._wait_s(ahead)
        if wait_s > (longest_s := _SAFETY * limits.deadline_seconds):
            detail = f"an answer would take about {wait_s:.1f} s, the limit is {longest_s:g} s"
            raise self._refusal("deadline", OverloadedError, detail)

    def expect(self, ticket: Ticket) -> None:
        """Let a request's body come, and count it among those that others wait for.

        Otherwise all who come until it is whole would find its slot free, and their bodies would
        be read for nothing. A request that is expected already is not asked again.

        Raises:
            UnavailableError: as `check`.
        """
        if ticket.expected_at is None:
            self.check()
            ticket.expected_at, ticket.units = _now(), self._usual_units
            self._coming[ticket] = None

    def forget(self, ticket: Ticket) -> None:
        """Expect a request no longer: it has a slot now, or needs none."""
        self._coming.pop(ticket, None)

    def lagged(self, seconds: float) -> None:
        """Note how much later than asked for the event loop came back."""
        self._lag_s = max(seconds, 0.7 * self._lag_s)
        self._telemetry.loop_lag_seconds.set(seconds)

    def _refusal(
        self, reason: str, kind: type[QueueFullError | OverloadedError], detail: str
    ) -> UnavailableError:
        self._telemetry.refusals.labels(reason).inc()
        return kind(detail, retry_after_s=self._until_idle_s())

    def _ahead(self) -> float:
        """Sum the units that a request which comes now has to wait for."""
        coming = sum(ticket.units for ticket in self._coming)
        return self._units + self._batch_px / _UNIT_PX + coming

    @asynccontextmanager
    async def slot(
        self, request: Request, ticket: Ticket, *, pixels: int = 0, deadline_s: float | None = None
    ) -> AsyncIterator[None]:
        """Work on a request whose body has come, within its time.

        Args:
            request: It is watched for its caller to leave.
            ticket: The request's.
            pixels: Of its image.
            deadline_s: Instead of the setting's.

        Raises:
            UnavailableError: as `check`.
            DeadlineError: it was late.
            ClientDisconnect: nobody waits for it any more.
        """
        self.forget(ticket)
        pixels = min(pixels, self._settings.max_image_pixels)  # what announces more is refused
        units = 1 + pixels / _UNIT_PX
        self.check(units, pixels)
        self._usual_units += _USUAL * (units - self._usual_units)
        self._enter(ticket, units)
        ticket.deadline_s = deadline_s or self._settings.deadline_seconds
        try:
            async with _in_time(request, ticket):
                yield
        except DeadlineError:
            self._telemetry.dropped.labels("expired").inc()
            raise
        except ClientDisconnect:
            self._telemetry.dropped.labels("abandoned").inc()
            raise
        except InputError:
            self.done()  # it took a look to see that, however many pixels it announced
            raise
        finally:
            self._leave(ticket)

    @contextmanager
    def batch_slot(self, ticket: Ticket) -> Iterator[None]:
        """Work on a request whose images come one after the other.

        Others wait for a few of these at most, so it counts as one; each is given its own deadline,
        and its caller is watched, where they are worked on. A body that trickles may last for
        hours, so batches get a part of the slots only.

        Raises:
            UnavailableError: as `check`, or because of other batches.
        """
        self.forget(ticket)
        self.check(units=1)
        limit = max(1, self._settings.max_queue // _BATCHES)
        if self._batches >= limit:
            detail = f"{self._batches} batches are being worked on, the limit is {limit}"
            raise self._refusal("queue", QueueFullError, detail)
        self._enter(ticket, 1)
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1
            self._leave(ticket)

    @asynccontextmanager
    async def room(self, pixels: int) -> AsyncIterator[None]:
        """Count an image of a batch among the pixels in flight, once there is room for it.

        It waits rather than being refused: its batch is read no faster than it is worked on.
        """
        limit = self._settings.max_pixels_in_flight
        while (self._batch_px and self._batch_px + pixels > limit * _BATCH_SHARE) or (
            self.in_flight_px and self.in_flight_px + pixels > limit
        ):
            self._freed.clear()
            await self._freed.wait()
        self._batch_px += pixels
        try:
            yield
        finally:
            self._batch_px -= pixels
            self._freed.set()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time with an image in work, for the pace; masks are compared apart."""
        self._advance()
        self._working += 1
        try:
            yield
        finally:
            self._advance()
            self._working -= 1

    def done(self, pixels: int = 0) -> None:
        """Count an image as done, for the pace."""
        self._advance().done(1 + pixels / _UNIT_PX)

    def _enter(self, ticket: Ticket, units: float) -> None:
        ticket.units = units
        self._slots.add(ticket)
        self._units += units
        self._telemetry.queue_depth.set(len(self._slots))

    def _leave(self, ticket: Ticket) -> None:
        self._advance()
        self._slots.remove(ticket)
        self._units = self._units - ticket.units if self._slots else 0.0
        self._freed.set()
        self._telemetry.queue_depth.set(len(self._slots))

    def _advance(self) -> Pace:
        now = _now()
        if self._pace is None:
            self._pace = Pace(now)
        self._pace.advance(now, busy=self._working > 0)
        return self._pace

    def _wait_s(self, units: float) -> float:
        """Estimate how long so many units take at the current rate; 0 where that is not known."""
        rate = self._advance().units_per_s()
        return units / rate if rate else 0.0

    def _until_idle_s(self) -> int:
        """Estimate when all that is there now will be done, in whole seconds."""
        return math.ceil(min(max(self._wait_s(self._ahead()), 1), _LONGEST_RETRY_S))


@asynccontextmanager
async def _in_time(request: Request, ticket: Ticket) -> AsyncIterator[None]:
    """Cancel the work once its time is over or its caller has left.

    What waits for a thread is taken back; what a thread has begun comes to its end unheard.

    Args:
        request: It is watched for its caller to leave.
        ticket: Where its deadline is noted.

    Raises:
        DeadlineError: it was late.
        ClientDisconnect: nobody waits for it any more.
    """
    deadline_s = ticket.deadline_s
    loop = asyncio.get_running_loop()
    gone = False

    async def watch() -> None:
        nonlocal gone
        await asyncio.sleep(_WATCH_AFTER_S)
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        timeout.reschedule(loop.time())

    watching = loop.create_task(watch())
    try:
        async with asyncio.timeout(deadline_s) as timeout:
            yield
    except TimeoutError as exc:
        if not timeout.expired():
            raise
        if gone:
            raise ClientDisconnect from exc
        raise DeadlineError(f"no answer within {deadline_s:g} s, the limit") from exc
    finally:
        watching.cancel()


def _now() -> float:
    return asyncio.get_running_loop().time()

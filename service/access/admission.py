"""Who is let in: what cannot be answered in time is refused at once, and what is late is dropped.

Work is counted in units: a request is one, and so is each megapixel of its photograph. How many of
them get done in a second is measured all the time, so what stands before a request says when its
turn would come. That is also what `Retry-After` says to those who are refused.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import ClientDisconnect, Request

from model_core.errors import InputError
from service.contract.errors import DeadlineError, OverloadedError, QueueFullError
from service.server.arrival import Arrival
from service.settings import Settings
from service.telemetry.prometheus import Telemetry

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
"""A body that takes longer is its caller's: others are let in before it."""
_HOPS = 6
"""Times that a request waits for the event loop until its answer is written."""
_USUAL = 0.1
"""Weight of the latest request in what one usually costs."""
_BATCH_SHARE = 0.5
"""Part of the pixels in flight that batches may have; they wait, where others are refused."""
_BATCHES = 4
"""One place in so many may be a batch's, whose caller decides how long it lasts."""


class Pace:
    """How much work gets done: units a second while there is any, of late.

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
        """None as long as too little was seen to say."""
        return self._units / self._busy_s if self._busy_s >= _TRUST_S else None


class Place:
    """A request among those being worked on or waiting.

    Attributes:
        units: What others wait for because of it.
    """

    def __init__(self, units: float) -> None:
        self.units = units
        self._gone = False
        self._timeout: asyncio.Timeout | None = None
        self._watch: asyncio.Task[None] | None = None

    async def watch(self, request: Request) -> None:
        """End the work once the caller has left."""
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def within(
        self, request: Request, deadline_s: float, waited_s: float = 0.0
    ) -> AsyncIterator[None]:
        """Work that is cancelled once its time is over or its caller has left.

        What waits for a thread is taken back; what a thread has begun comes to its end unheard.

        Args:
            request: It is watched for its caller to leave.
            deadline_s: Its time.
            waited_s: How much of that is over.

        Raises:
            DeadlineError: it was late.
            ClientDisconnect: nobody waits for it.
        """
        loop = asyncio.get_running_loop()
        starting = loop.call_later(_WATCH_AFTER_S, self._start_watch, request)
        try:
            async with asyncio.timeout(deadline_s - waited_s) as self._timeout:
                yield
        except TimeoutError as exc:
            if self._timeout is None or not self._timeout.expired():
                raise
            if self._gone:
                raise ClientDisconnect from exc
            raise DeadlineError(f"no answer within {deadline_s:g} s, the limit") from exc
        finally:
            starting.cancel()
            if self._watch is not None:
                self._watch.cancel()

    def _start_watch(self, request: Request) -> None:
        self._watch = asyncio.get_running_loop().create_task(self.watch(request))


class Admission:
    """The places, and what is measured to give them out.

    Args:
        settings: The limits.
        telemetry: Where refusals and what was dropped are counted.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._places: set[Place] = set()
        self._coming: dict[Arrival, None] = {}
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
        return len(self._places)

    @property
    def in_flight_px(self) -> int:
        """Pixels of the photographs being worked on or waiting."""
        return round((self._units - len(self._places)) * _UNIT_PX) + self._batch_px

    def check(self) -> None:
        """Refuse a request of which only the head is there, if it would not be answered in time.

        Raises:
            QueueFullError: as many requests or pixels as allowed are there.
            OverloadedError: by the pace of late its turn would come too late.
        """
        while self._coming and (first := next(iter(self._coming))).began < _now() - _COMING_S:
            del self._coming[first]
        self._check(self._usual_units, 0.0)

    def expect(self, waited_s: float) -> Arrival:
        """Let a request's body come, and count it among those that others wait for.

        Otherwise all who come until it is whole would find its place free, and their bodies would
        be read in vain.

        Args:
            waited_s: How long its head had lain in the socket.

        Raises:
            UnavailableError: as `check`.
        """
        self._check(self._usual_units, waited_s)
        arrival = Arrival(units=self._usual_units, began=_now())
        arrival.waited_s = waited_s
        self._coming[arrival] = None
        return arrival

    def forget(self, arrival: Arrival | None) -> None:
        """It has a place now, or needs none any more."""
        if arrival is not None:
            self._coming.pop(arrival, None)

    def lagged(self, seconds: float) -> None:
        """Note how much later than asked for the event loop came back."""
        self._lag_s = max(seconds, 0.7 * self._lag_s)
        self._telemetry.loop_lag_seconds.set(seconds)

    def _check(self, units: float, waited_s: float, pixels: int = 0) -> None:
        depth, limits = len(self._places) + len(self._coming), self._settings
        if not depth:
            return  # alone, a request is always tried
        if depth >= limits.max_queue:
            self._telemetry.refusals.labels("queue").inc()
            found = f"{depth} requests are being worked on, the limit is {limits.max_queue}"
            raise QueueFullError(found, retry_after_s=self._until_idle_s())
        in_flight = (self.in_flight_px + pixels) / _UNIT_PX
        if in_flight * _UNIT_PX > limits.max_pixels_in_flight:
            self._telemetry.refusals.labels("pixels").inc()
            found = f"{in_flight:.1f} megapixels would be in flight, the limit is "
            found += f"{limits.max_pixels_in_flight / _UNIT_PX:g}"
            raise QueueFullError(found, retry_after_s=self._until_idle_s())
        wait_s = waited_s + _HOPS * self._lag_s + self._wait_s(self._ahead() + units)
        if wait_s > _SAFETY * limits.deadline_seconds:
            self._telemetry.refusals.labels("deadline").inc()
            raise OverloadedError(
                f"an answer would take about {wait_s:.1f} s, the limit is "
                f"{limits.deadline_seconds:g} s",
                retry_after_s=self._until_idle_s(),
            )

    def _ahead(self) -> float:
        """Units that whoever comes now has to wait for."""
        return (
            self._units + self._batch_px / _UNIT_PX + sum(arrival.units for arrival in self._coming)
        )

    @asynccontextmanager
    async def place(
        self, request: Request, *, pixels: int = 0, deadline_s: float | None = None
    ) -> AsyncIterator[Place]:
        """A place among the requests being worked on or waiting, to be left in time.

        Args:
            request: Its body is read, and it is watched for its caller to leave. What it has
                waited in its socket counts.
            pixels: Of its photograph.
            deadline_s: Instead of the setting's.

        Raises:
            UnavailableError: as `check`.
            DeadlineError: as `Place.within`.
            ClientDisconnect: as `Place.within`.
        """
        waited_s = self._arrived(request)
        place = Place(1 + pixels / _UNIT_PX)
        self._check(place.units, waited_s, pixels)
        self._usual_units += _USUAL * (place.units - self._usual_units)
        self._enter(place)
        deadline_s = deadline_s or self._settings.deadline_seconds
        try:
            async with place.within(request, deadline_s, waited_s):
                yield place
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
            self._leave(place)

    @contextmanager
    def batch_place(self, request: Request) -> Iterator[None]:
        """A place for a request whose photographs come one after the other.

        Others wait for a few of these at most, so it counts as one; each is given its own deadline,
        and its caller is watched, where they are worked on. A body that trickles may last for
        hours, so batches get a part of the places only.

        Raises:
            UnavailableError: as `check`, or because of other batches.
        """
        self._check(1, self._arrived(request))
        limit = max(1, self._settings.max_queue // _BATCHES)
        if self._batches >= limit:
            self._telemetry.refusals.labels("queue").inc()
            found = f"{self._batches} batches are being worked on, the limit is {limit}"
            raise QueueFullError(found, retry_after_s=self._until_idle_s())
        place = Place(1)
        self._enter(place)
        self._batches += 1
        try:
            yield
        finally:
            self._batches -= 1
            self._leave(place)

    @asynccontextmanager
    async def room(self, pixels: int) -> AsyncIterator[None]:
        """Count a photograph of a batch among the pixels in flight, once there is room for it.

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
        """Count the time with a photograph in work, for the pace; masks are compared apart."""
        self._advance()
        self._working += 1
        try:
            yield
        finally:
            self._advance()
            self._working -= 1

    def done(self, pixels: int = 0) -> None:
        """Count a photograph as done, for the pace."""
        self._advance().done(1 + pixels / _UNIT_PX)

    def _arrived(self, request: Request) -> float:
        """The request has come whole; how long it had lain in its socket, s."""
        arrival: Arrival | None = request.scope.get("state", {}).get("arrival")
        self.forget(arrival)
        return arrival.waited_s if arrival else 0.0

    def _enter(self, place: Place) -> None:
        self._places.add(place)
        self._units += place.units
        self._telemetry.queue_depth.set(len(self._places))

    def _leave(self, place: Place) -> None:
        self._advance()
        self._places.remove(place)
        self._units = self._units - place.units if self._places else 0.0
        self._freed.set()
        self._telemetry.queue_depth.set(len(self._places))

    def _advance(self) -> Pace:
        now = _now()
        if self._pace is None:
            self._pace = Pace(now)
        self._pace.advance(now, busy=self._working > 0)
        return self._pace

    def _wait_s(self, units: float) -> float:
        """How long so much takes by the pace of late; 0 where that is not known."""
        rate = self._advance().units_per_s()
        if rate is None:
            return 0.0
        return units / rate if rate else math.inf

    def _until_idle_s(self) -> int:
        """When all that is there now will be done, in whole seconds."""
        return math.ceil(min(max(self._wait_s(self._ahead()), 1), _LONGEST_RETRY_S))


def _now() -> float:
    return asyncio.get_running_loop().time()

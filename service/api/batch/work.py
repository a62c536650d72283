"""Work on the images of one batch as they arrive, and answer them in the order sent.

A few are worked on at a time, and the body is read no faster than that; so memory stays the same
however many come. Answers wait for a caller who sends all before reading any, up to a limit.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from starlette.requests import ClientDisconnect, Request

from service.access.body_limits import BatchBytes
from service.api.part_stream import Content, PartStream
from service.api.zip_stream import ZipStream
from service.contract.errors import BodyTooSlowError, Fault, InvalidRequestError

WINDOW = 8
"""Images in work at a time: enough for every core, or for one batch of a GPU."""
HELD_BYTES = 16_000_000
"""Of answers that the caller has not taken yet; beyond it no more is read of the body."""

Files = dict[str, bytes]
"""Answer for one image: a file or several, by name."""
Work = Callable[[int, Content], Awaitable[Files]]


async def images_of(
    request: Request,
    reader: PartStream | ZipStream,
    *,
    limit: int,
    seconds: float,
    share: BatchBytes,
) -> AsyncIterator[Content]:
    """Cut the images out of a body, each as soon as it is whole.

    Args:
        request: Its body is read.
        reader: Cuts it up.
        limit: Images at most.
        seconds: Longest wait for one image; else a trickle would hold its slot, and the version
            that it asked for, for hours.
        share: Where its bytes in memory are counted.

    Raises:
        BodyTooSlowError: one took longer.
        QueueFullError: with other bodies its bytes are too many.
        MalformedBodyError, InvalidRequestError: as the reader.
        InvalidRequestError: there is none, or more than `limit`.
        ClientDisconnect: the caller left.
    """
    count, waited_s = 0, 0.0
    loop, chunks = asyncio.get_running_loop(), aiter(request.stream())
    asked = loop.time()
    async for chunk in chunks:
        waited_s += loop.time() - asked
        for content in reader.feed(chunk):
            waited_s = 0.0
            count += 1
            if count > limit:
                raise InvalidRequestError(Fault("images", f"more than {limit}, the limit"))
            share.work_on(_length(content))
            yield content
        share.await_rest(reader.held_bytes)
        if waited_s > seconds:
            raise BodyTooSlowError(f"an image was not whole after {seconds:g} s, the limit")
        asked = loop.time()
    reader.close()
    if not count:
        raise InvalidRequestError(Fault("images", "found 0, expected at least one"))


class Batch:
    """Run the work on one batch: a few images at a time, answers in order.

    Args:
        request: Its body is what `arriving` reads; then it is watched for its caller to leave.
        arriving: The images.
        work: Makes the answer for one, whatever it is; called with its position from 0.
        share: Where the bytes of those in work are counted.
    """

    def __init__(
        self, request: Request, arriving: AsyncIterator[Content], work: Work, share: BatchBytes
    ) -> None:
        self._share = share
        self._request = request
        self._arriving = arriving
        self._work = work
        self._room = asyncio.Condition()
        self._working = 0
        self._held_bytes = 0
        self._begun: asyncio.Queue[asyncio.Task[Files] | None] = asyncio.Queue()

    async def answers(self) -> AsyncGenerator[Files, None]:
        """Yield the answers in order; when this ends, for whatever reason, all work ends.

        Raises:
            InputError: what `arriving` raises, after the answers for all that came before.
            ClientDisconnect: the caller left.
        """
        reading = asyncio.create_task(self._read())
        watching = asyncio.create_task(self._watch(reading))
        task: asyncio.Task[Files] | None = None
        try:
            while (task := await self._next(watching)) is not None:
                await asyncio.wait({task, watching}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
                files = task.result()
                yield files
                await self._make_room(-_size(files))
            await reading
        finally:
            for running in (reading, watching, task, *self._left()):
                if running is not None:
                    running.cancel()

    async def _read(self) -> None:
        try:
            index = 0
            async for content in self._arriving:
                async with self._room:
                    await self._room.wait_for(self._has_room)
                    self._working += 1
                self._begun.put_nowait(asyncio.create_task(self._one(index, content)))
                index += 1
        finally:
            self._begun.put_nowait(None)

    async def _watch(self, reading: "asyncio.Task[None]") -> None:
        """Raises once the caller has left; until the body is read, that is the reader's to see."""
        await asyncio.wait({reading})
        error = None if reading.cancelled() else reading.exception()
        if isinstance(error, ClientDisconnect):
            raise error
        if error is not None:  # the rest of the body would come first; all ends soon in any case
            await asyncio.Event().wait()
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    async def _next(self, watching: "asyncio.Task[None]") -> asyncio.Task[Files] | None:
        getting = asyncio.create_task(self._begun.get())
        try:
            await asyncio.wait({getting, watching}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            return getting.result()
        finally:
            getting.cancel()

    async def _one(self, index: int, content: Content) -> Files:
        held = 0
        try:
            files = await self._work(index, content)
            held = _size(files)
            return files
        finally:
            self._working -= 1
            self._share.done_with(_length(content))
            await self._make_room(held)

    def _has_room(self) -> bool:
        return self._working < WINDOW and self._held_bytes < HELD_BYTES

    async def _make_room(self, more: int) -> None:
        self._held_bytes += more
        async with self._room:
            self._room.notify_all()

    def _left(self) -> list[asyncio.Task[Files]]:
        left = []
        while not self._begun.empty():
            if (task := self._begun.get_nowait()) is not None:
                left.append(task)
        return left


def _length(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else 0


def _size(files: Files) -> int:
    return sum(len(data) for data in files.values())

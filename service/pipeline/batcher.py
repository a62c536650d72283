"""Gather images that come together into one batch of the network, where a backend profits from it.

No image waits for others that will not come: it is held back only while all streams of the backend
are busy, or, for `wait_s` at most, while others are known to be on their way.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from model_core.arrays import Batch, Image, Logits
from model_core.predictor import Predictor


@dataclass(frozen=True)
class Answer:
    """Logits of one image, and how long they took.

    Attributes:
        logits: float32 (S, S).
        queue_s: How long it waited for the network.
        infer_s: How long its batch then took.
    """

    logits: Logits
    queue_s: float
    infer_s: float


@dataclass(frozen=True, eq=False)
class _Waiting:
    predictor: Predictor
    pixels: Image
    asked: float
    answer: "asyncio.Future[Answer]"


class Batcher:
    """Gather batches on the event loop, and run the network on them in its pool.

    Args:
        pool: Runs the network.
        size: Images in a batch at most; 0 leaves it to the backend.
        wait_s: Longest wait for others that are on their way.
        infer: Gives the logits (N, S, S) of images, uint8 (N, S, S, 3); runs in the pool.
        infer_again: The same for an image of a batch that has failed; by default `infer`.
    """

    def __init__(
        self,
        pool: Executor,
        *,
        size: int,
        wait_s: float,
        infer: Callable[[Predictor, Batch], Logits] = Predictor.infer,
        infer_again: Callable[[Predictor, Batch], Logits] | None = None,
    ) -> None:
        self._pool = pool
        self._size, self._wait_s = size, wait_s
        self._infer, self._infer_again = infer, infer_again or infer
        self._waiting: list[_Waiting] = []
        self._coming: Counter[Predictor] = Counter()
        self._running: set[asyncio.Task[None]] = set()

    def size(self, predictor: Predictor) -> int:
        """Get the most images of a batch; 1 where a larger one would be no faster."""
        pays = predictor.backend.batch
        return min(pays, self._size) if self._size else pays

    @contextmanager
    def expecting(self, predictor: Predictor) -> Iterator[None]:
        """Announce an image that is being decoded: others may wait for it a little."""
        self._coming[predictor] += 1
        try:
            yield
        finally:
            self._coming[predictor] -= 1
            if not self._coming[predictor]:
                del self._coming[predictor]  # which may be the last to know of it
            # Not at once: it joins the others first.
            asyncio.get_running_loop().call_soon(self._start)

    async def run(self, predictor: Predictor, pixels: Image) -> Answer:
        """Run the network on one image, uint8 (S, S, 3), beside others where there are some.

        Raises whatever the network raises for this image when it is alone.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(predictor, pixels, time.perf_counter(), answer))
        self._start()
        return await answer

    def _start(self) -> None:
        """Start batches as long as there is one to start and a stream for it."""
        # An image whose caller has left, or whose deadline is over, reaches no network.
        self._waiting = [image for image in self._waiting if not image.answer.done()]
        while self._waiting:
            first = self._waiting[0]
            if len(self._running) >= first.predictor.backend.streams:
                return  # the end of one begins the next
            batch = [image for image in self._waiting if image.predictor is first.predictor]
            batch = batch[: self.size(first.predictor)]
            if (left_s := self._wait_left_s(batch)) > 0:
                asyncio.get_running_loop().call_later(left_s, self._start)
                return
            self._waiting = [image for image in self._waiting if image not in batch]
            task = asyncio.create_task(self._answer(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _wait_left_s(self, batch: list[_Waiting]) -> float:
        """Get the seconds that a batch may still wait for more images."""
        predictor, asked = batch[0].predictor, batch[0].asked
        if len(batch) == self.size(predictor) or not self._coming[predictor]:
            return 0
        return asked + self._wait_s - time.perf_counter()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._start()

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Answer every image of a batch; where it fails as one, run each on its own."""
        try:
            await self._run(batch, self._infer)
        except Exception:
            for image in batch:
                try:
                    await self._run([image], self._infer_again)
                except Exception as exc:
                    _fail(image, exc)
        finally:
            for image in batch:  # none is left, unless the threads have been stopped
                image.answer.cancel()

    async def _run(
        self, batch: list[_Waiting], infer: Callable[[Predictor, Batch], Logits]
    ) -> None:
        started = time.perf_counter()

        def measured() -> Logits:
            nonlocal started
            started = time.perf_counter()
            pixels = np.stack([image.pixels for image in batch])
            logits = infer(batch[0].predictor, pixels)
            if len(logits) != len(batch):
                raise RuntimeError(f"the network gave {len(logits)} answers to {len(batch)}")
            return logits

        logits = await asyncio.get_running_loop().run_in_executor(self._pool, measured)
        took = time.perf_counter() - started
        for image, own in zip(batch, logits, strict=True):
            if not image.answer.done():
                image.answer.set_result(Answer(own, started - image.asked, took))


def _fail(waiting: _Waiting, exc: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(exc)

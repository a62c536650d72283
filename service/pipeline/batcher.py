"""Photographs that come together share a batch of the network, on a backend where that pays.

Nobody waits for company that will not come: a photograph is held back only while all streams of the
backend are busy, or, for `wait_s` at most, while others are known to be on their way.
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
    """What the network made of one photograph.

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
    """Gathers batches; all of it runs on the event loop, but for the network.

    Args:
        pool: Runs the network.
        size: Photographs in a batch at most; 0 leaves it to the backend.
        wait_s: Longest wait for others that are on their way.
        infer: Gives the logits (N, S, S) of photographs, uint8 (N, S, S, 3); runs in the pool.
    """

    def __init__(
        self,
        pool: Executor,
        *,
        size: int,
        wait_s: float,
        infer: Callable[[Predictor, Batch], Logits] = Predictor.infer,
    ) -> None:
        self._pool = pool
        self._size, self._wait_s = size, wait_s
        self._infer = infer
        self._waiting: list[_Waiting] = []
        self._coming: Counter[Predictor] = Counter()
        self._running: set[asyncio.Task[None]] = set()

    def size(self, predictor: Predictor) -> int:
        """Photographs in a batch at most; 1 where batching does not pay."""
        pays = predictor.backend.batch
        return min(pays, self._size) if self._size else pays

    @contextmanager
    def expecting(self, predictor: Predictor) -> Iterator[None]:
        """Tell that a photograph is being decoded: others may wait for it a little."""
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
        """The network's answer for one photograph, uint8 (S, S, 3).

        Raises whatever the network raises for this photograph when it is alone.
        """
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(predictor, pixels, time.perf_counter(), answer))
        self._start()
        found: Answer = await answer
        return found

    def _start(self) -> None:
        """Send batches off as long as there is one to send and a stream for it."""
        # Whose caller has gone, or whose deadline is over, reaches no network.
        self._waiting = [each for each in self._waiting if not each.answer.done()]
        while self._waiting:
            first = self._waiting[0]
            if len(self._running) >= first.predictor.backend.streams:
                return  # the end of one begins the next
            batch = [each for each in self._waiting if each.predictor is first.predictor]
            batch = batch[: self.size(first.predictor)]
            if (left_s := self._patience(batch)) > 0:
                asyncio.get_running_loop().call_later(left_s, self._start)
                return
            self._waiting = [each for each in self._waiting if each not in batch]
            task = asyncio.create_task(self._answer(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _patience(self, batch: list[_Waiting]) -> float:
        """Seconds that a batch may still wait for more."""
        predictor, asked = batch[0].predictor, batch[0].asked
        if len(batch) == self.size(predictor) or not self._coming[predictor]:
            return 0
        return asked + self._wait_s - time.perf_counter()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._start()

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Answer every photograph of a batch; where it fails as one, each for itself."""
        try:
            await self._run(batch)
        except Exception:
            for each in batch:
                try:
                    await self._run([each])
                except Exception as exc:
                    _fail(each, exc)
        finally:
            for each in batch:  # none is left, unless the threads have been stopped
                each.answer.cancel()

    async def _run(self, batch: list[_Waiting]) -> None:
        started = time.perf_counter()

        def infer() -> Logits:
            nonlocal started
            started = time.perf_counter()
            pixels = np.stack([each.pixels for each in batch])
            found = self._infer(batch[0].predictor, pixels)
            if len(found) != len(batch):
                raise RuntimeError(f"the network gave {len(found)} answers to {len(batch)}")
            return found

        logits = await asyncio.get_running_loop().run_in_executor(self._pool, infer)
        took = time.perf_counter() - started
        for each, own in zip(batch, logits, strict=True):
            if not each.answer.done():
                each.answer.set_result(Answer(own, started - each.asked, took))


def _fail(waiting: _Waiting, exc: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(exc)

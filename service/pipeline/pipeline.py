"""Take an image through a model version: prepare > infer > finish > encode, and in which threads.

Preparing, and finishing and encoding, run in one pool, the network in another; the event loop only
passes results on.
"""

import asyncio
import ctypes
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import numpy as np

from model_core.arrays import Batch, Logits
from model_core.backends.cores import usable_cores
from model_core.predictor import Predictor, Prepared
from model_core.registry.registry import LoadedVersion
from service.access.admission import Admission
from service.answers.segmented import Segmented
from service.contract.errors import EngineFailedError
from service.contract.queries import AnswerQuery
from service.pipeline.batcher import Batcher
from service.pipeline.decoders import Decoders
from service.pipeline.health import HealthState
from service.pipeline.threads import background_pool
from service.settings import Settings
from service.telemetry.prometheus import Telemetry
from service.telemetry.ticket import Ticket, no_seconds

_WARM_S = 120
"""Longest first run of a network: a GPU may compile for half a minute."""
_LARGE_PX = 10_000_000
"""From here on an image leaves holes in the heap that are worth some milliseconds."""

T = TypeVar("T")


class Pipeline:
    """Run images through loaded versions.

    Args:
        settings: The limits.
        telemetry: Where stages and batches are counted.
        admission: Told what gets done, by which it knows the pace.
        health: Told how each run of a network ends.
    """

    def __init__(
        self, settings: Settings, telemetry: Telemetry, admission: Admission, health: HealthState
    ) -> None:
        self._telemetry = telemetry
        self._admission = admission
        self._health = health
        cores = usable_cores()
        self._io = background_pool(settings.io_threads or cores, "io")
        # More than one only where the backend has several streams; otherwise they wait in it.
        self._inference = background_pool(cores, "inference")
        # Apart, so that masks of evaluations that take seconds hold up no image's decoding.
        self._scoring = background_pool(max(1, cores // 2), "scoring")
        self._batcher = Batcher(
            self._inference,
            size=settings.batch_size,
            wait_s=settings.batch_wait_ms / 1000,
            infer=self._run_network,
            infer_again=partial(self._run_network, again=True),
        )
        self.decoders: Decoders | None = None
        self._prepare: Callable[[Predictor, bytes], Prepared] = Predictor.prepare
        if settings.decode_processes:
            self.decoders = Decoders(
                settings.decode_processes,
                max_pixels=settings.max_image_pixels,
                seconds=settings.decode_seconds,
                telemetry=telemetry,
            )
            self._prepare = self.decoders.prepare

    async def predict(
        self, version: LoadedVersion, data: bytes, query: AnswerQuery, *, index: int = 0
    ) -> Segmented:
        """Prepare an image and run the network on it.

        Args:
            version: As `Versions.use` gave it.
            data: The image's bytes.
            query: The caller's wishes.
            index: Position among the images of the request, from 0.

        Raises:
            InputError: the image cannot be used.
            EngineFailedError: the network failed.
        """
        seconds, predictor = no_seconds(), version.predictor
        alone = self._batcher.size(predictor) == 1  # a batch would be no faster
        with self._admission.working():
            with nullcontext() if alone else self._batcher.expecting(predictor):
                prepared = await self._timed(
                    seconds, "decode", self._io, self._prepare, predictor, data
                )
            if alone:
                run, batch = self._run_network, prepared.pixels[None]
                logits = (
                    await self._timed(seconds, "infer", self._inference, run, predictor, batch)
                )[0]
            else:
                answer = await self._batcher.run(predictor, prepared.pixels)
                seconds["queue"] += answer.queue_s
                seconds["infer"] += answer.infer_s
                logits = answer.logits
        return Segmented(version, data, query, prepared, logits, index, seconds)

    async def encode(
        self, image: Segmented, ticket: Ticket, function: Callable[..., T], *arguments: object
    ) -> T:
        """Finish an image's mask and encode it, in one thread; then the image is done.

        Args:
            image: As `predict` gave it.
            ticket: The request's, which gets the image's size and times.
            function: Makes the answer of the image and these arguments.
            arguments: More of them.

        Raises:
            InputError: this image has no answer of that format.
        """
        with self._admission.working():
            content = await self._timed(
                image.seconds, "encode", self._io, function, image, *arguments
            )
            geometry = image.prepared.geometry
            pixels = geometry.height * geometry.width
            self._admission.done(pixels)
        for stage, seconds in image.seconds.items():
            self._telemetry.stage_seconds.labels(stage).observe(seconds)
        if pixels > _LARGE_PX:
            self._io.submit(_trim_heap)
        size = geometry.height, geometry.width
        ticket.add_image(size, image.seconds, image.version.sha256)
        return content

    async def score(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function that compares masks, beside the pool that decodes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._scoring, function, *arguments)

    def warm(self, loaded: LoadedVersion) -> None:
        """Run a version once where it will run: the golden check ran in the loader's thread."""
        size = loaded.card.preprocess.size
        blank = np.zeros((1, size, size, 3), np.uint8)
        self._inference.submit(loaded.predictor.infer, blank).result(timeout=_WARM_S)

    def close(self) -> None:
        """End the processes that decode, and let the threads end after what they are doing.

        Nothing waits for them: one that is stuck never ends, and nobody wants what they still do.
        """
        if self.decoders is not None:
            self.decoders.close()
        for pool in (self._io, self._inference, self._scoring):
            pool.shutdown(wait=False, cancel_futures=True)

    def _run_network(self, predictor: Predictor, batch: Batch, *, again: bool = False) -> Logits:
        self._telemetry.batch_size.observe(len(batch))
        try:
            with self._health.running(predictor.backend, again=again):
                return predictor.infer(batch)
        except EngineFailedError:
            self._telemetry.engine_errors.inc()
            raise

    async def _timed(
        self,
        seconds: dict[str, float],
        stage: str,
        pool: Executor,
        function: Callable[..., T],
        *arguments: object,
    ) -> T:
        """Run a stage in its pool; the wait for a thread counts as the stage `queue`."""
        asked = time.perf_counter()

        def measured() -> T:
            started = time.perf_counter()
            seconds["queue"] += started - asked
            result = function(*arguments)
            seconds[stage] += time.perf_counter() - started
            return result

        return await asyncio.get_running_loop().run_in_executor(pool, measured)


def _trim_heap() -> None:
    """Give free memory back to the system; takes some milliseconds. Without glibc, do nothing.

    Without it, hundreds of MB of a large image stay (`tests/service/server/test_memory.py`).
    Settings of the allocator would do too, but only where the environment has them at the start.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

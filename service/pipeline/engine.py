"""The way of one request through a live model version, and the threads it runs in.

Decoding and encoding run in one pool of threads, the network in another, loading in a thread of its
own; the event loop only passes results on.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import numpy as np

from model_core.arrays import Batch, Image, Logits
from model_core.backends.cores import usable_cores
from model_core.backends.protocol import Backend
from model_core.backends.select import gpu_is_usable
from model_core.errors import ConfigError, CorruptVersionError
from model_core.predictor import Prediction, Predictor, Prepared
from model_core.registry.registry import LoadedVersion, Registry, split_reference
from service.access.admission import Admission
from service.contract.errors import EngineFailedError, NotReadyError
from service.pipeline.batcher import Batcher
from service.pipeline.decoders import Decoders
from service.pipeline.health import HealthState
from service.pipeline.references import References
from service.pipeline.residents import Held, Key, Residents
from service.server.heap import LARGE_PX, give_back
from service.server.priority import step_back
from service.settings import Settings
from service.telemetry.prometheus import Stages, Telemetry
from service.telemetry.request_record import current_record

_WARM_S = 120
"""Longest first run of a network: a GPU may compile for half a minute."""

T = TypeVar("T")
Resident = dict[Key, LoadedVersion]

logger = logging.getLogger("service.engine")


class Engine:
    """Holds loaded versions and runs images through them.

    Args:
        settings: Where the registry is, and the limits.
        telemetry: Where stages and the queue are counted.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self.registry = Registry(settings.model_registry)
        self._settings = settings
        self._telemetry = telemetry
        self.admission = Admission(settings, telemetry)
        self.health = HealthState(stuck_s=settings.stuck_seconds)
        self._residents = Residents(self._load_beside, limit=settings.resident_versions)
        cores = usable_cores()
        self._io = ThreadPoolExecutor(settings.io_threads or cores, "io", step_back)
        self._loader = ThreadPoolExecutor(1, "loader", step_back)
        # Apart, so that masks of evaluations that take seconds hold up no photograph's decoding.
        self._scoring = ThreadPoolExecutor(max(1, cores // 2), "scoring", step_back)
        # Apart, too: a registry may be far away.
        self._lookups = ThreadPoolExecutor(1, "registry", step_back)
        self._references = References(lambda *asked: self.registry.resolve(*asked), self._lookups)
        # More than one only where the backend has several streams; otherwise they wait in it.
        self._inference = ThreadPoolExecutor(cores, "inference", step_back)
        self._batcher = Batcher(
            self._inference,
            size=settings.batch_size,
            wait_s=settings.batch_wait_ms / 1000,
            infer=self._run_network,
        )
        self.decoders: Decoders | None = None
        if settings.decode_processes:
            self.decoders = Decoders(
                settings.decode_processes,
                max_pixels=settings.max_image_pixels,
                seconds=settings.decode_seconds,
                telemetry=telemetry,
            )

    @property
    def production(self) -> LoadedVersion | None:
        """The version that answers where a request names none; None until it is loaded.

        It is the one that the alias `production` points to, where no setting names another.
        """
        held = self._residents.production
        return held.version if held else None

    @production.setter
    def production(self, loaded: LoadedVersion | None) -> None:
        self._residents.production = Held(loaded) if loaded else None

    def load_production(self) -> LoadedVersion:
        """Load the production version, where it is not loaded yet; blocks for a second or two.

        Raises:
            ModelError: the registry has none, or it fails its checks.
            ConfigError: the registry or the device is not there.
        """
        loaded = self.production
        if loaded is None:
            self._check_settings()
            name = self._settings.model_name
            version = self.registry.resolve(name, self._settings.model_version)
            # Not in this thread: those that an engine starts are as urgent as the one that does.
            loaded = self._loader.submit(self._load, name, version).result()
            self.production = loaded
            self._announce(loaded)
        return loaded

    async def switch(self, version: str, sha256: str) -> None:
        """Load a version beside production, and put it in its place in one assignment.

        Requests that began with the former one end with it, and then it is freed.

        Args:
            version: The new one.
            sha256: Of its card; a version in memory whose hash differs is not used again.

        Raises:
            ModelError: it fails its checks; the former one stays.
        """
        key = (self._settings.model_name, version)
        self._announce(await self._residents.promote(key, sha256))

    @property
    def resident(self) -> Resident:
        """The loaded versions."""
        return {(each.card.name, each.card.version): each for each in self._residents.loaded()}

    @asynccontextmanager
    async def version(self, reference: str | None) -> AsyncIterator[LoadedVersion]:
        """The version that a request asks for, loaded now if need be; in memory until the end.

        Args:
            reference: Version, alias or `name@version`; None for production.

        Raises:
            NotReadyError: production is asked for and not loaded.
            ConfigError: the reference could not be one.
            VersionNotFoundError: there is no such version.
            CorruptVersionError: it fails its checks.
        """
        async with self._residents.use(await self._held(reference)) as version:
            yield version

    async def predict(
        self,
        version: LoadedVersion,
        data: bytes,
        then: Callable[[Prediction], T],
        *,
        threshold: float | None = None,
    ) -> tuple[T, Stages]:
        """What `then` makes of the prediction for a photograph, and where the time went.

        Args:
            version: As `version()` gave it.
            data: The photograph's bytes.
            then: Runs in the pool, as part of the stage `encode`.
            threshold: Overrides the card's, 0 < threshold < 1.

        Raises:
            InputError: the photograph cannot be used.
        """
        stages = Stages()
        predictor = version.predictor
        with self.admission.working():
            with self._batcher.expecting(predictor):
                prepare = partial(self._prepare, predictor, data)
                prepared = await self._stage(stages, "decode", prepare)
            logits = await self._infer(stages, predictor, prepared.pixels)
            result = await self._stage(
                stages,
                "encode",
                lambda: then(
                    predictor.finish(
                        logits, prepared.geometry, threshold=threshold, pixels=prepared.pixels
                    )
                ),
            )
            pixels = prepared.geometry.height * prepared.geometry.width
            self.admission.done(pixels)
        for stage, seconds in stages.seconds.items():
            self._telemetry.stage_seconds.labels(stage).observe(seconds)
        if pixels > LARGE_PX:
            self._io.submit(give_back)
        record = current_record()
        if record:
            size = prepared.geometry.height, prepared.geometry.width
            record.saw(size, stages, version.sha256)
        return result, stages

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """The result of a blocking function, run in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._io, function, *args)

    async def look_up(self, function: Callable[..., T], *args: object) -> T:
        """The result of a function that reads the registry, run beside the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._lookups, function, *args)

    async def score(self, function: Callable[..., T], *args: object) -> T:
        """The result of a function that compares masks, run beside the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._scoring, function, *args)

    def is_live(self, backend: Backend) -> bool:
        """Whether it is the production version's."""
        live = self.production
        return live is not None and live.predictor.backend is backend

    def drop(self, backend: Backend) -> None:
        """Let the version of this backend go, which is not in production."""
        self._residents.drop(lambda version: version.predictor.backend is backend)

    def close(self) -> None:
        """Stop the threads, once what they are doing is done; one that is stuck is left."""
        self.production = None
        if self.decoders is not None:
            self.decoders.close()
        wait = self.health.fault != "stuck"
        for pool in (self._loader, self._lookups, self._io, self._inference, self._scoring):
            pool.shutdown(wait=wait, cancel_futures=True)

    def _check_settings(self) -> None:
        try:
            self.registry.check()
        except ConfigError as exc:
            raise ConfigError(f"LESION_MODEL_REGISTRY is {exc}") from exc
        if self._settings.device == "cuda" and not gpu_is_usable():
            raise ConfigError("LESION_DEVICE is 'cuda', and PyTorch finds no usable GPU")

    def _load(self, name: str, version: str) -> LoadedVersion:
        started = time.perf_counter()
        settings = self._settings
        try:
            loaded = self.registry.load(
                name,
                version,
                device=settings.device,
                backend=settings.backend,
                max_pixels=settings.max_image_pixels,
            )
        except OSError as exc:
            raise CorruptVersionError(f"{name}/{version} cannot be read: {exc}") from exc
        self._warm(loaded)
        backend, seconds = loaded.predictor.backend.name, time.perf_counter() - started
        for engine, reason in loaded.passed_over.items():
            logger.info("passed_over=%s version=%s reason=%s", engine, loaded.label, reason)
        logger.info("loaded=%s backend=%s seconds=%.2f", loaded.label, backend, seconds)
        return loaded

    def _warm(self, loaded: LoadedVersion) -> None:
        """Run a version once where it will run: the golden check ran in the loader's thread."""
        size = loaded.card.preprocess.size
        blank = np.zeros((1, size, size, 3), np.uint8)
        warming = self._inference.submit(loaded.predictor.infer, blank)
        warming.result(timeout=_WARM_S)

    async def _load_beside(self, name: str, version: str) -> LoadedVersion:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._loader, self._load, name, version)

    def _announce(self, loaded: LoadedVersion) -> None:
        labels = {"name": loaded.card.name, "version": loaded.card.version}
        backend = loaded.predictor.backend.name
        self._telemetry.model.info(labels | {"sha256": loaded.sha256, "backend": backend})

    async def _held(self, reference: str | None) -> Held:
        default, pinned = self._settings.model_name, self._settings.model_version
        name, version = split_reference(reference or pinned, default)
        if (name, version) == (default, pinned):
            if self._residents.production is None:
                raise NotReadyError("no model is loaded yet")
            return self._residents.production
        version = await self._references.version(name, version)
        live = self._residents.production
        if live and live.version and (name, version) == (default, live.version.card.version):
            return live
        return self._residents.other((name, version))

    async def _infer(self, stages: Stages, predictor: Predictor, pixels: Image) -> Logits:
        if self._batcher.size(predictor) == 1:
            alone = pixels[None]
            return await self._stage(
                stages, "infer", lambda: self._run_network(predictor, alone)[0]
            )
        answer = await self._batcher.run(predictor, pixels)
        stages.seconds["queue"] += answer.queue_s
        stages.seconds["infer"] += answer.infer_s
        return answer.logits

    def _prepare(self, predictor: Predictor, data: bytes) -> Prepared:
        if self.decoders is not None:
            return self.decoders.prepare(predictor, data)
        return predictor.prepare(data)

    def _run_network(self, predictor: Predictor, batch: Batch) -> Logits:
        self._telemetry.batch_size.observe(len(batch))
        try:
            with self.health.running(predictor.backend):
                return predictor.infer(batch)
        except EngineFailedError:
            self._telemetry.engine_errors.inc()
            raise

    async def _stage(self, stages: Stages, stage: str, function: Callable[[], T]) -> T:
        """Run a stage in its thread; the wait for the thread counts as the stage `queue`."""
        asked = time.perf_counter()

        def measured() -> T:
            started = time.perf_counter()
            stages.seconds["queue"] += started - asked
            result = function()
            stages.seconds[stage] += time.perf_counter() - started
            return result

        pool = self._inference if stage == "infer" else self._io
        return await asyncio.get_running_loop().run_in_executor(pool, measured)

"""The live model versions, and the way of one request through them.

Decoding and encoding run in a pool of threads, the network in one thread of its own, loading in
another; the event loop only passes results on.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from model_core.errors import ConfigError, CorruptVersionError
from model_core.predictor import Prediction
from model_core.registry import PRODUCTION, LoadedVersion, Registry, split_reference
from service.errors import NotReadyError, QueueFullError
from service.settings import Settings
from service.telemetry import Stages, Telemetry

T = TypeVar("T")
Key = tuple[str, str]
"""Name and version."""
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
        self.production: LoadedVersion | None = None
        self._settings = settings
        self._telemetry = telemetry
        self._others: OrderedDict[Key, asyncio.Future[LoadedVersion]] = OrderedDict()
        self._depth = 0
        self._io = ThreadPoolExecutor(settings.io_threads, "io")
        self._inference = ThreadPoolExecutor(1, "inference")
        self._loader = ThreadPoolExecutor(1, "loader")

    def load_production(self) -> LoadedVersion:
        """Load the production version, where it is not loaded yet; blocks for a second or two.

        Raises:
            ModelError: the registry has none, or it fails its checks.
            ConfigError: the registry or the device is not there.
        """
        if self.production is None:
            self._check_settings()
            name = self._settings.model_name
            loaded = self._load(name, self.registry.resolve(name, PRODUCTION))
            labels = {"name": name, "version": loaded.card.version, "sha256": loaded.sha256}
            self._telemetry.model.info(labels | {"backend": loaded.predictor.backend.name})
            self.production = loaded
        return self.production

    @property
    def resident(self) -> Resident:
        """The loaded versions."""
        loads = self._others.values()
        loaded = [load.result() for load in loads if load.done() and load.exception() is None]
        if self.production is not None:
            loaded.append(self.production)
        return {(version.card.name, version.card.version): version for version in loaded}

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place among the requests being worked on or waiting.

        Raises:
            QueueFullError: there is none.
        """
        limit = self._settings.max_queue
        if self._depth >= limit:
            raise QueueFullError(
                f"{self._depth} requests are being worked on, the limit is {limit}"
            )
        self._depth += 1
        self._telemetry.queue_depth.set(self._depth)
        try:
            yield
        finally:
            self._depth -= 1
            self._telemetry.queue_depth.set(self._depth)

    async def version(self, reference: str | None) -> LoadedVersion:
        """The version that a request asks for, loaded now if need be.

        Args:
            reference: Version, alias or `name@version`; None for production.

        Raises:
            NotReadyError: production is asked for and not loaded.
            ConfigError: the reference could not be one.
            VersionNotFoundError: there is no such version.
            CorruptVersionError: it fails its checks.
        """
        default = self._settings.model_name
        name, version = split_reference(reference or PRODUCTION, default)
        if (name, version) == (default, PRODUCTION):
            if self.production is None:
                raise NotReadyError("no model is loaded yet")
            return self.production
        version = await self.run(self.registry.resolve, name, version)
        if self.production and (name, version) == (default, self.production.card.version):
            return self.production
        return await self._other((name, version))

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
        prepared = await self._stage(stages, "decode", lambda: predictor.prepare(data))
        logits = await self._stage(
            stages, "infer", lambda: predictor.infer(prepared.pixels[None])[0]
        )
        result = await self._stage(
            stages,
            "encode",
            lambda: then(predictor.finish(logits, prepared.geometry, threshold=threshold)),
        )
        for stage, seconds in stages.seconds.items():
            self._telemetry.stage_seconds.labels(stage).observe(seconds)
        return result, stages

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """The result of a blocking function, run in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._io, function, *args)

    def close(self) -> None:
        """Stop the threads, once what they are doing is done."""
        self.production = None
        for pool in (self._loader, self._io, self._inference):
            pool.shutdown(cancel_futures=True)

    def _check_settings(self) -> None:
        if not self.registry.root.is_dir():
            path = self.registry.root.absolute()
            raise ConfigError(f"LESION_MODEL_REGISTRY is {path}, and there is no such folder")
        if self._settings.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("LESION_DEVICE is 'cuda', and PyTorch finds no usable GPU")

    def _load(self, name: str, version: str) -> LoadedVersion:
        started = time.perf_counter()
        device, max_pixels = self._settings.device, self._settings.max_image_pixels
        try:
            loaded = self.registry.load(name, version, device=device, max_pixels=max_pixels)
        except OSError as exc:
            raise CorruptVersionError(f"{name}/{version} cannot be read: {exc}") from exc
        backend, seconds = loaded.predictor.backend.name, time.perf_counter() - started
        logger.info("loaded=%s backend=%s seconds=%.2f", loaded.label, backend, seconds)
        return loaded

    async def _other(self, key: Key) -> LoadedVersion:
        """A version beside production: all who ask while it loads wait for the same load."""
        if key not in self._others:
            while len(self._others) >= self._settings.resident_versions - 1:
                self._others.popitem(last=False)
            loop = asyncio.get_running_loop()
            self._others[key] = loop.run_in_executor(self._loader, self._load, *key)
        self._others.move_to_end(key)
        load = self._others[key]
        try:
            # A caller who leaves must not stop the load for the others.
            return await asyncio.shield(load)
        except Exception:
            if self._others.get(key) is load:
                del self._others[key]
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

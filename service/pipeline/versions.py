"""Load model versions from the registry, use them, and switch the one in production."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from model_core.backends.protocol import Backend
from model_core.backends.select import gpu_is_usable
from model_core.errors import ConfigError, CorruptVersionError
from model_core.registry.registry import LoadedVersion, Registry, split_reference
from model_core.registry.signatures import read_keys
from service.contract.errors import NotReadyError
from service.pipeline.threads import background_pool
from service.pipeline.version_cache import Entry, Key, VersionCache
from service.settings import Settings
from service.telemetry.prometheus import Telemetry

_KNOWN_S = 1.0
"""How long it is known what an alias points to: callers may name one with every request."""
_MAX_KNOWN = 256

T = TypeVar("T")
Resident = dict[Key, LoadedVersion]

logger = logging.getLogger("service.versions")


class Versions:
    """Hold the loaded versions: production, and those that requests named last.

    Args:
        settings: Where the registry is, and what serves.
        telemetry: Where it is told what is in production.
        warm: Runs a version once where it will run, before it is used.
    """

    def __init__(
        self, settings: Settings, telemetry: Telemetry, warm: Callable[[LoadedVersion], None]
    ) -> None:
        self.registry = Registry(settings.model_registry, signers=settings.trusted_signers)
        self._settings = settings
        self._telemetry = telemetry
        self._warm = warm
        self._cache = VersionCache(self._load_beside, limit=settings.resident_versions)
        self._loader = background_pool(1, "loader")
        # Apart: a registry may be far away, and callers who ask for ever new versions keep this
        # thread busy, while no image waits for it.
        self._lookups = background_pool(1, "registry")
        self._known: OrderedDict[Key, tuple[float, asyncio.Future[str]]] = OrderedDict()

    @property
    def production(self) -> LoadedVersion | None:
        """Version that answers where a request names none; None until it is loaded.

        It is the one that the alias `production` points to, where no setting names another.
        """
        entry = self._cache.production
        return entry.version if entry else None

    @production.setter
    def production(self, loaded: LoadedVersion | None) -> None:
        self._cache.production = Entry(loaded) if loaded else None

    @property
    def resident(self) -> Resident:
        """Loaded versions by name and number."""
        loaded = self._cache.loaded()
        return {(version.card.name, version.card.version): version for version in loaded}

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
        self._announce(await self._cache.promote(key, sha256))

    @asynccontextmanager
    async def use(self, reference: str | None) -> AsyncIterator[LoadedVersion]:
        """Work with the version that a request asks for, which is loaded now if need be.

        Args:
            reference: Version, alias or `name@version`; None for production.

        Raises:
            NotReadyError: production is asked for and not loaded.
            ConfigError: the reference could not be one.
            VersionNotFoundError: there is no such version.
            CorruptVersionError: it fails its checks.
        """
        async with self._cache.use(await self._entry(reference)) as version:
            yield version

    async def look_up(self, function: Callable[..., T], *args: object) -> T:
        """Run a function that reads the registry, in the thread for that."""
        return await asyncio.get_running_loop().run_in_executor(self._lookups, function, *args)

    def is_live(self, backend: Backend) -> bool:
        """Say whether a backend is the production version's."""
        live = self.production
        return live is not None and live.predictor.backend is backend

    def drop(self, backend: Backend) -> None:
        """Evict the version of this backend, which is not in production."""
        self._cache.drop(lambda version: version.predictor.backend is backend)

    def close(self) -> None:
        """Free production, and let the threads end after what they are doing."""
        self.production = None
        for pool in (self._loader, self._lookups):
            pool.shutdown(wait=False, cancel_futures=True)

    def _check_settings(self) -> None:
        try:
            self.registry.check()
        except ConfigError as exc:
            raise ConfigError(f"LESION_MODEL_REGISTRY is {exc}") from exc
        self._check_signers()
        if self._settings.device == "cuda" and not gpu_is_usable():
            raise ConfigError("LESION_DEVICE is 'cuda', and PyTorch finds no usable GPU")

    def _check_signers(self) -> None:
        folder = self._settings.trusted_signers
        if folder is None:
            logger.info("signatures=unchecked reason=LESION_TRUSTED_SIGNERS is not set")
            return
        try:
            logger.info("signatures=checked trusted=%s", ",".join(read_keys(folder)))
        except ConfigError as exc:
            raise ConfigError(f"LESION_TRUSTED_SIGNERS is {folder}: {exc}") from exc

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
        signed = f" signed_by={loaded.signer}" if loaded.signer else ""
        logger.info("loaded=%s backend=%s seconds=%.2f%s", loaded.label, backend, seconds, signed)
        return loaded

    async def _load_beside(self, name: str, version: str) -> LoadedVersion:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._loader, self._load, name, version)

    def _announce(self, loaded: LoadedVersion) -> None:
        labels = {"name": loaded.card.name, "version": loaded.card.version}
        backend = loaded.predictor.backend.name
        self._telemetry.model.info(labels | {"sha256": loaded.sha256, "backend": backend})

    async def _entry(self, reference: str | None) -> Entry:
        default, pinned = self._settings.model_name, self._settings.model_version
        name, version = split_reference(reference, default) if reference else (default, pinned)
        live = self._cache.production
        if (name, version) == (default, pinned):
            if live is None:
                raise NotReadyError("no model is loaded yet")
            return live
        version = await self._resolve(name, version)
        live = self._cache.production
        if live and live.version and (name, version) == (default, live.version.card.version):
            return live
        return self._cache.named((name, version))

    async def _resolve(self, name: str, reference: str) -> str:
        """Get the version that a reference stands for, as it was at most a second ago."""
        now, key = asyncio.get_running_loop().time(), (name, reference)
        until, version = self._known.get(key, (0.0, None))
        if version is None or until < now:
            version = asyncio.ensure_future(self.look_up(self.registry.resolve, name, reference))
            # Those who asked may all have left, and then nobody else looks at how it ended.
            version.add_done_callback(lambda future: future.cancelled() or future.exception())
            self._known[key] = now + _KNOWN_S, version
            self._known.move_to_end(key)
            while len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return await asyncio.shield(version)

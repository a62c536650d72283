"""How many versions are in memory, and when each leaves it."""

import asyncio
import gc
import random
import shutil
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model_core.backends.protocol import Backend
from model_core.errors import CorruptVersionError
from model_core.network.unet import UNet
from service.api.dependencies import Parts
from service.app import create_app
from service.settings import Settings
from tests.fixtures.models import NAME, tiny_registry
from tests.fixtures.service.reloading import PNG, mask_of, started
from tests.fixtures.service.slow_backend import TIMEOUT_S
from tests.fixtures.service.spoilt_versions import NEW, another_mask
from tests.fixtures.service.waiting import wait_until
from tests.fixtures.service.watched_registry import WatchedRegistry

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "1.0.0")


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    """A version must go when its last user does, not when the garbage collector comes by."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of six versions, the last in production; only to be read."""
    return tiny_registry(tmp_path_factory.mktemp("many"), *VERSIONS).root


async def segment(parts: Parts, reference: str) -> str:
    """Predict with a version, and the one that it was."""
    async with parts.versions.use(reference) as version:
        assert (await mask_of(parts, version)).any()
        return version.card.version


@pytest.mark.parametrize("resident_versions", [2, 3])
def test_however_many_ask_for_however_many_versions_memory_holds_one_more_than_are_kept(
    many: Path, resident_versions: int
) -> None:
    asked = [version for version in VERSIONS for _ in range(6)]
    random.Random(0).shuffle(asked)

    async def crowd(parts: Parts) -> list[str]:
        return await asyncio.gather(*(segment(parts, version) for version in asked))

    with started(many, resident_versions=resident_versions) as (parts, _, registry):
        assert asyncio.run(crowd(parts)) == asked
        assert len(parts.versions.resident) == resident_versions
        assert registry.most <= resident_versions + 1


def test_a_version_that_would_be_one_too_many_waits_until_another_has_ended(many: Path) -> None:
    async def scenario(parts: Parts, registry: WatchedRegistry) -> None:
        async with AsyncExitStack() as first, AsyncExitStack() as second:
            await first.enter_async_context(parts.versions.use("0.1.0"))
            await second.enter_async_context(parts.versions.use("0.2.0"))
            waiting = asyncio.create_task(segment(parts, "0.3.0"))
            again = asyncio.create_task(segment(parts, "0.3.0"))
            assert await segment(parts, "production") == "1.0.0"
            assert registry.loads == ["1.0.0", "0.1.0", "0.2.0"]
            await first.aclose()
            assert (await waiting, await again) == ("0.3.0", "0.3.0")
            assert registry.loads == ["1.0.0", "0.1.0", "0.2.0", "0.3.0"]

    with started(many) as (parts, _, registry):
        asyncio.run(scenario(parts, registry))


def test_one_who_waits_for_a_place_and_leaves_takes_none(many: Path) -> None:
    async def scenario(parts: Parts) -> None:
        async with parts.versions.use("0.1.0"), parts.versions.use("0.2.0"):
            leaver = asyncio.create_task(segment(parts, "0.3.0"))
            await asyncio.sleep(0.01)
            leaver.cancel()
        for version in VERSIONS:
            async with asyncio.timeout(TIMEOUT_S):
                await segment(parts, version)

    with started(many) as (parts, _, _):
        asyncio.run(scenario(parts))


@pytest.mark.parametrize("data", [PNG, b"no picture"], ids=["answered", "refused"])
@pytest.mark.parametrize("route", ["/segment", "/evaluate"])
def test_a_version_that_makes_room_is_freed_after_its_last_request(
    many: Path, route: str, data: bytes
) -> None:
    app = create_app(Settings(model_registry=many))
    with TestClient(app) as client:
        mask = client.post("/segment", files={"image": PNG}).content
        files = {"image": data} | ({"truth": mask} if route == "/evaluate" else {})
        client.post(f"{route}?model=0.1.0", files=files)
        backend = weakref.ref(app.state.parts.versions.resident[NAME, "0.1.0"].predictor.backend)
        assert backend() is not None
        assert client.post("/segment?model=0.2.0", files={"image": PNG}).status_code == 200
        wait_until(lambda: backend() is None)


def test_a_version_in_use_outlives_its_place_among_those_kept(many: Path) -> None:
    async def scenario(parts: Parts) -> weakref.ref[Backend]:
        async with parts.versions.use("0.1.0") as version:
            await segment(parts, "0.2.0")
            assert (NAME, "0.1.0") not in parts.versions.resident
            assert (await mask_of(parts, version)).any()
            return weakref.ref(version.predictor.backend)

    with started(many) as (parts, _, _):
        backend = asyncio.run(scenario(parts))
        wait_until(lambda: backend() is None)


def damaged(root: Path, version: str) -> Callable[[], object]:
    """Damage a version's weights; the result repairs them."""
    weights = root / NAME / version / "model.safetensors"
    intact = weights.read_bytes()
    weights.write_bytes(intact[:-1] + b"\x7f")
    return lambda: weights.write_bytes(intact)


@pytest.mark.parametrize("everybody_leaves", [False, True])
def test_a_load_that_failed_is_not_kept_and_takes_no_place(
    many: Path, tmp_path: Path, everybody_leaves: bool
) -> None:
    root = shutil.copytree(many, tmp_path / "registry")

    async def fail(parts: Parts, registry: WatchedRegistry) -> None:
        registry.released.clear()
        asking = asyncio.create_task(segment(parts, "0.1.0"))
        await asyncio.to_thread(registry.loading.wait, TIMEOUT_S)
        if everybody_leaves:
            asking.cancel()
        registry.released.set()
        with pytest.raises(asyncio.CancelledError if everybody_leaves else CorruptVersionError):
            await asking
        if rest := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(rest)  # the load that nobody waits for

    async def scenario(parts: Parts, registry: WatchedRegistry) -> None:
        repair = damaged(root, "0.1.0")
        for attempt in range(1, 6):  # more than there are places
            registry.loading.clear()
            await fail(parts, registry)
            assert registry.loads == ["1.0.0"] + ["0.1.0"] * attempt
            assert set(parts.versions.resident) == {(NAME, "1.0.0")}
        repair()
        assert await segment(parts, "0.1.0") == "0.1.0"

    with started(root) as (parts, _, registry):
        asyncio.run(scenario(parts, registry))


def networks() -> int:
    return sum(type(each) is UNet for each in gc.get_objects())


def test_a_load_that_failed_leaves_no_network_behind(root: Path) -> None:
    async def scenario(parts: Parts) -> None:
        with pytest.raises(CorruptVersionError, match="golden"):
            await segment(parts, NEW)

    another_mask(root)  # found only once the network is built
    with started(root) as (parts, _, _):
        before = networks()
        asyncio.run(scenario(parts))
        wait_until(lambda: networks() == before)


def test_it_says_what_is_in_memory_while_something_loads(many: Path) -> None:
    async def scenario(parts: Parts, registry: WatchedRegistry) -> None:
        registry.loading.clear()
        registry.released.clear()
        asking: Awaitable[str] = asyncio.create_task(segment(parts, "0.1.0"))
        await asyncio.to_thread(registry.loading.wait, TIMEOUT_S)
        assert set(parts.versions.resident) == {(NAME, "1.0.0")}
        registry.released.set()
        await asking
        assert set(parts.versions.resident) == {(NAME, "1.0.0"), (NAME, "0.1.0")}

    with started(many) as (parts, _, registry):
        asyncio.run(scenario(parts, registry))

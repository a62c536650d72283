import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from model_core.errors import ConfigError, CorruptVersionError, VersionNotFoundError
from model_core.registry.registry import LoadedVersion
from service.app import create_app
from service.contract.errors import NotReadyError
from service.pipeline.versions import Versions
from service.settings import Settings
from service.telemetry.prometheus import Telemetry
from tests.fixtures.models import NAME
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.problems import assert_problem
from tests.fixtures.service.slow_backend import TIMEOUT_S
from tests.fixtures.service.watched_registry import WatchedRegistry

PNG = encode(lesion(48, 64))


@pytest.fixture
def registry(registry_root: Path) -> WatchedRegistry:
    return WatchedRegistry(registry_root)


@pytest.fixture
def versions(settings: Settings, registry: WatchedRegistry) -> Iterator[Versions]:
    versions = versions_of(settings)
    versions.registry = registry
    yield versions
    versions.close()


def versions_of(settings: Settings) -> Versions:
    return Versions(settings, Telemetry(), warm=lambda loaded: None)


async def ask(versions: Versions, reference: str | None) -> LoadedVersion:
    """What a request that asks for this version works with, once it has ended."""
    async with versions.use(reference) as version:
        return version


def resident(versions: Versions) -> set[str]:
    return {version for _, version in versions.resident}


def damage(root: Path, version: str) -> None:
    weights = root / NAME / version / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")


@pytest.fixture
def own_root(registry_root: Path, tmp_path: Path) -> Path:
    """A copy of the registry that a test may damage."""
    return shutil.copytree(registry_root, tmp_path / "registry")


def test_production_is_loaded_once(versions: Versions, registry: WatchedRegistry) -> None:
    assert versions.load_production() is versions.load_production()
    assert registry.loads == ["1.0.0"]


def test_before_it_is_loaded_there_is_nothing_to_ask(versions: Versions) -> None:
    with pytest.raises(NotReadyError):
        asyncio.run(ask(versions, None))


def test_a_version_is_loaded_once_however_many_ask_at_once(
    versions: Versions, registry: WatchedRegistry
) -> None:
    async def crowd() -> list[LoadedVersion]:
        return await asyncio.gather(*(ask(versions, "0.9.0") for _ in range(8)))

    assert len({id(version) for version in asyncio.run(crowd())}) == 1
    assert registry.loads == ["0.9.0"]


def test_the_least_recently_used_version_makes_room_and_production_never_does(
    versions: Versions, registry: WatchedRegistry
) -> None:
    async def one_by_one() -> None:
        for version in ("1.0.0", "0.9.0", "0.8.0", "0.8.0", "0.9.0"):
            await ask(versions, version)

    versions.load_production()
    asyncio.run(one_by_one())
    assert resident(versions) == {"1.0.0", "0.9.0"}
    assert registry.loads == ["1.0.0", "0.9.0", "0.8.0", "0.9.0"]


def test_a_caller_who_leaves_does_not_stop_the_load_for_others(
    versions: Versions, registry: WatchedRegistry
) -> None:
    async def leave() -> LoadedVersion:
        leaver = asyncio.create_task(ask(versions, "0.9.0"))
        stayer = asyncio.create_task(ask(versions, "0.9.0"))
        await asyncio.to_thread(registry.loading.wait, TIMEOUT_S)
        leaver.cancel()
        registry.released.set()
        return await stayer

    registry.released.clear()
    assert asyncio.run(leave()).card.version == "0.9.0"
    assert registry.loads == ["0.9.0"]


def test_a_version_that_failed_is_tried_again_when_asked_again(
    settings: Settings, own_root: Path, registry_root: Path
) -> None:
    damage(own_root, "0.9.0")
    versions = versions_of(settings.model_copy(update={"model_registry": own_root}))

    async def ask_twice() -> LoadedVersion:
        with pytest.raises(CorruptVersionError):
            await ask(versions, "0.9.0")
        intact = Path(NAME, "0.9.0", "model.safetensors")
        shutil.copyfile(registry_root / intact, own_root / intact)
        return await ask(versions, "0.9.0")

    assert asyncio.run(ask_twice()).card.version == "0.9.0"
    versions.close()


def test_a_damaged_version_is_a_503_and_production_goes_on(
    settings: Settings, own_root: Path
) -> None:
    damage(own_root, "0.9.0")
    app = create_app(settings.model_copy(update={"model_registry": own_root}))
    with TestClient(app) as client:
        response = client.post("/segment?model=0.9.0", files={"image": PNG})
        assert_problem(response, 503, "corrupt-version")
        assert client.post("/segment", files={"image": PNG}).status_code == 200


def test_a_registry_without_the_model_or_without_a_folder_cannot_start(
    settings: Settings, tmp_path: Path
) -> None:
    empty = settings.model_copy(update={"model_registry": tmp_path})
    with pytest.raises(VersionNotFoundError, match="lesion-unet has no version or alias"):
        versions_of(empty).load_production()
    missing = settings.model_copy(update={"model_registry": tmp_path / "nowhere"})
    with pytest.raises(ConfigError, match=r"LESION_MODEL_REGISTRY is .*nowhere"):
        versions_of(missing).load_production()


def test_until_the_model_is_loaded_the_service_is_alive_but_not_ready(app: FastAPI) -> None:
    client = TestClient(app)  # without its lifespan, nothing is loaded
    assert client.get("/healthz").json() == {"status": "ok"}
    assert_problem(client.get("/readyz"), 503, "not-ready")
    assert_problem(client.post("/segment", files={"image": PNG}), 503, "not-ready")
    with TestClient(app) as started:
        assert started.get("/readyz").json() == {"status": "ok"}

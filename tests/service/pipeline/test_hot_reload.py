"""A promoted version goes live without a lost request, and the former one leaves the memory."""

import asyncio
import gc
import hashlib
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from model_core.registry.registry import Registry
from service.api.dependencies import Parts
from service.pipeline.hot_reload import Reloader
from tests.fixtures.models import NAME
from tests.fixtures.service.reloading import (
    PNG,
    app_of,
    live,
    mask_of,
    models,
    reloads,
    served,
    serving,
    started,
    wait_for,
)
from tests.fixtures.service.spoilt_versions import NEW, NEWER, OLD, edit_card
from tests.fixtures.service.waiting import wait_until
from tests.fixtures.service.watched_registry import WatchedRegistry


class Callers:
    """Threads that ask a real server again and again, and remember what it said."""

    def __init__(self, url: str, threads: int = 3) -> None:
        self._url = f"{url}/segment"
        self._stop = threading.Event()
        self.answers: list[list[tuple[int, str]]] = [[] for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> "Callers":
        self._calls = [self._pool.submit(self._call, answers) for answers in self.answers]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for call in self._calls:
            call.result()
        self._pool.shutdown()

    def _call(self, answers: list[tuple[int, str]]) -> None:
        with httpx2.Client() as client:
            while not self._stop.is_set():
                response = client.post(self._url, files={"image": PNG})
                version = response.headers["X-Model-Version"].removeprefix(f"{NAME}@")
                answers.append((response.status_code, version))

    def all_got(self, version: str) -> bool:
        return all(answers and answers[-1] == (200, version) for answers in self.answers)


def test_promotions_and_a_roll_back_go_live_without_a_lost_request(root: Path) -> None:
    registry, order = Registry(root), [OLD, NEW, NEWER, OLD]
    app = app_of(root)
    with served(app) as url, Callers(url) as callers:
        wait_until(lambda: callers.all_got(OLD))
        first = weakref.ref(app.state.parts.versions.production.predictor.backend)
        for version in order[1:]:
            registry.promote(NAME, version)
            wait_until(partial(callers.all_got, version))
        wait_until(lambda: first() is None)
    for answers in callers.answers:
        assert {status for status, _ in answers} == {200}
        seen = [version for _, version in answers]
        assert [v for i, v in enumerate(seen) if i == 0 or v != seen[i - 1]] == order


def test_of_two_changes_in_quick_succession_the_last_one_holds(root: Path) -> None:
    app = app_of(root)
    app.state.parts.versions.registry = registry = WatchedRegistry(root)
    with TestClient(app) as client:
        registry.loading.clear()
        registry.released.clear()
        registry.promote(NAME, NEW)
        assert registry.loading.wait()
        registry.promote(NAME, NEWER)  # while the first one loads
        assert serving(client) == OLD
        registry.released.set()
        wait_for(client, NEWER)
        assert registry.loads == [OLD, NEW, NEWER]
        assert models(client)["reload"] is None


def test_a_version_that_the_settings_name_serves_whatever_production_points_to(root: Path) -> None:
    with TestClient(app_of(root, NEW)) as client:
        assert serving(client) == NEW
        Registry(root).promote(NAME, NEWER)
        answer = client.post("/segment?model=production", files={"image": PNG})
        assert answer.headers["X-Model-Version"] == f"{NAME}@{NEWER}"
        assert serving(client) == NEW
        assert models(client)["reload"] is None


def test_another_alias_than_production_can_be_followed(root: Path) -> None:
    registry = Registry(root)
    registry.promote(NAME, NEW, alias="canary")
    with TestClient(app_of(root, "canary")) as client:
        assert serving(client) == NEW
        registry.promote(NAME, NEWER, alias="canary")
        wait_for(client, NEWER)


def test_a_change_is_told_by_the_log_the_metrics_and_the_list_of_models(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with TestClient(app_of(root)) as client:
        Registry(root).promote(NAME, NEW)
        wait_for(client, NEW)
        assert (reloads(client, "ok"), reloads(client, "failed")) == (1, 0)
        metrics = client.get("/metrics").text
        (info,) = [line for line in metrics.splitlines() if line.startswith("lesion_model_info{")]
        assert f'version="{NEW}"' in info
        answer = models(client)
        assert answer["serving"] == client.post("/segment?format=rle", content=PNG).json()["model"]
        assert [entry["version"] for entry in answer["models"] if entry["loaded"]] == [NEW]
    assert f"production={NEW} was={OLD}" in caplog.messages


def test_a_registry_made_anew_under_the_same_number_is_seen(root: Path) -> None:
    folder = root / NAME / OLD
    with TestClient(app_of(root)) as client:
        anew = shutil.copytree(folder, root.parent / "anew")
        edit_card(anew, lambda card: card["limits"].append("Made anew."))
        folder.rename(root.parent / "before")
        anew.rename(folder)
        sha256 = hashlib.sha256((folder / "card.json").read_bytes()).hexdigest()
        wait_until(lambda: models(client)["serving"]["sha256"] == sha256)
        assert serving(client) == OLD


def test_a_server_that_stops_while_a_version_loads_stops_cleanly(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    app = app_of(root)
    app.state.parts.versions.registry = registry = WatchedRegistry(root)
    with served(app) as url:
        registry.loading.clear()
        registry.released.clear()
        registry.promote(NAME, NEW)
        assert registry.loading.wait()
        assert httpx2.get(f"{url}/readyz").status_code == 200
        release = threading.Timer(0.1, registry.released.set)
        release.start()
    release.join()
    gc.collect()  # a task or future that nobody looked after would speak up now
    assert registry.loads == [OLD, NEW]
    assert app.state.parts.versions.production is None
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_at_0_seconds_nobody_looks_again(root: Path) -> None:
    async def scenario(reloader: Reloader) -> None:
        async with reloader.following(0):
            assert asyncio.all_tasks() == {asyncio.current_task()}
        async with reloader.following(60):
            assert len(asyncio.all_tasks()) == 2
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with started(root) as (_, reloader, _):
        asyncio.run(scenario(reloader))


def test_a_request_ends_with_the_version_it_began_with_which_is_then_freed(root: Path) -> None:
    async def scenario(parts: Parts, reloader: Reloader) -> weakref.ref[Any]:
        async with parts.versions.use(None) as version:
            backend = weakref.ref(version.predictor.backend)
            Registry(root).promote(NAME, NEW)
            await reloader.poll()
            assert live(parts) == NEW
            assert (await mask_of(parts, version)).any()
            assert version.card.version == OLD
        del version
        assert live(parts) == NEW
        return backend

    gc.disable()
    try:
        with started(root) as (parts, reloader, _):
            backend = asyncio.run(scenario(parts, reloader))
            wait_until(lambda: backend() is None)
    finally:
        gc.enable()


def test_swapping_needs_memory_for_one_version_more_than_are_kept(root: Path) -> None:
    async def scenario(parts: Parts, reloader: Reloader, registry: WatchedRegistry) -> None:
        async with parts.versions.use(NEWER), parts.versions.use(None):
            registry.promote(NAME, NEW)
            await reloader.poll()
            assert live(parts) == NEW
            # The first one still works, and so there is no place for a third change yet.
            registry.promote(NAME, OLD)
            third = asyncio.create_task(reloader.poll())
            await asyncio.sleep(0.05)
            assert live(parts) == NEW
        await third
        assert live(parts) == OLD
        assert registry.most == 3

    with started(root) as (parts, reloader, registry):
        asyncio.run(scenario(parts, reloader, registry))


def test_a_version_that_is_in_memory_already_is_not_loaded_again_and_the_former_may_be(
    root: Path,
) -> None:
    async def scenario(parts: Parts, reloader: Reloader, registry: WatchedRegistry) -> None:
        async with parts.versions.use(NEW) as asked:
            registry.promote(NAME, NEW)
            await reloader.poll()
            assert parts.versions.production is asked
        assert registry.loads == [OLD, NEW]
        assert set(parts.versions.resident) == {(NAME, NEW)}
        async with parts.versions.use(OLD), parts.versions.use(NEW) as asked:
            assert parts.versions.production is asked
        assert registry.loads == [OLD, NEW, OLD]
        assert set(parts.versions.resident) == {(NAME, OLD), (NAME, NEW)}

    with started(root) as (parts, reloader, registry):
        asyncio.run(scenario(parts, reloader, registry))


def test_a_version_in_memory_that_was_made_anew_since_is_loaded_again(root: Path) -> None:
    async def scenario(parts: Parts, reloader: Reloader, registry: WatchedRegistry) -> None:
        async with parts.versions.use(NEW):
            pass
        edit_card(root / NAME / NEW, lambda card: card["limits"].append("Made anew."))
        registry.promote(NAME, NEW)
        await reloader.poll()
        assert parts.versions.production is not None
        assert parts.versions.production.card.limits[-1] == "Made anew."
        assert registry.loads == [OLD, NEW, NEW]
        assert set(parts.versions.resident) == {(NAME, NEW)}

    with started(root) as (parts, reloader, registry):
        asyncio.run(scenario(parts, reloader, registry))

"""A version that cannot be loaded stays out, and everybody learns why."""

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model_core.registry.registry import Registry
from service.api.dependencies import Parts
from service.pipeline.hot_reload import Reloader
from tests.fixtures.models import NAME
from tests.fixtures.service.reloading import (
    app_of,
    live,
    models,
    reloads,
    serving,
    started,
    wait_for,
)
from tests.fixtures.service.spoilt_versions import (
    NEW,
    NEWER,
    OLD,
    another_card,
    another_mask,
    another_network,
    broken_aliases,
    damaged_weights,
    half_a_card,
    half_of_the_weights,
    no_card,
    no_registry,
    no_such_version,
    no_weights,
    point_to,
    wrong_hash,
)
from tests.fixtures.service.waiting import wait_until
from tests.fixtures.service.watched_registry import WatchedRegistry


@pytest.mark.parametrize(
    ("spoil", "wanted", "error"),
    [
        (damaged_weights, NEW, r"/1\.1\.0/model\.safetensors has SHA-256 .* the card says"),
        (half_of_the_weights, NEW, r"/1\.1\.0/model\.safetensors has SHA-256 .* the card says"),
        (no_weights, NEW, r"/1\.1\.0 lacks the file model\.safetensors"),
        (no_card, NEW, r"alias 'production' of lesion-unet points to 1\.1\.0, which is not there"),
        (half_a_card, NEW, r"card\.json is not a model card"),
        (wrong_hash, NEW, r"/1\.1\.0/golden\.json has SHA-256 .* the card says 000000000000"),
        (another_card, NEW, r"/1\.1\.0 holds the card of lesion-unet/1\.0\.0"),
        (another_network, NEW, r"model\.safetensors does not fit the architecture"),
        (another_mask, NEW, r"the golden image's mask has Jaccard 0\.\d+ with the stored one"),
        (no_such_version, NEW, r"points to 1\.1\.0, which is not there"),
        (no_registry, None, r"lesion-unet has no version or alias 'production'"),
        (broken_aliases, None, r"lesion-unet/aliases\.json is not JSON"),
    ],
)
def test_what_cannot_be_loaded_leaves_the_former_version_says_why_and_goes_live_once_repaired(
    intact: Path,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    wanted: str | None,
    error: str,
) -> None:
    caplog.set_level("INFO")
    with TestClient(app_of(root)) as client:
        spoil(root)
        if wanted is not None:
            point_to(root, wanted)
        wait_until(lambda: reloads(client, "failed") >= 3)
        reload = models(client)["reload"]
        assert (reload["alias"], reload["wanted"]) == ("production", wanted)
        assert re.search(error, reload["error"])
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", reload["since"])
        assert serving(client) == OLD
        assert client.get("/readyz").status_code == 200
        assert reloads(client, "ok") == 0
        lines = [message for message in caplog.messages if message.startswith("reload=failed")]
        assert lines == [f"reload=failed wanted={wanted} serving={OLD} reason={reload['error']}"]

        shutil.copytree(intact, root, dirs_exist_ok=True)
        point_to(root, NEW)
        wait_for(client, NEW)
        wait_until(lambda: models(client)["reload"] is None)
        assert reloads(client, "ok") == 1


def test_what_is_wrong_is_settled_by_pointing_back_too(root: Path) -> None:
    with TestClient(app_of(root)) as client:
        point_to(root, "9.9.9")
        wait_until(lambda: models(client)["reload"])
        point_to(root, OLD)
        wait_until(lambda: models(client)["reload"] is None)
        assert (serving(client), reloads(client, "ok")) == (OLD, 0)


def test_an_error_of_nobody_s_making_ends_no_watch_and_its_text_is_for_the_log_only(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class UnreachableRegistry(Registry):
        def aliases(self, name: str) -> dict[str, str]:
            raise ConnectionError("no route to bucket-of-ours")

    app = app_of(root)
    with TestClient(app) as client:
        app.state.parts.versions.registry = UnreachableRegistry(root)
        wait_until(lambda: reloads(client, "failed") >= 2)
        answer = models(client)
        assert (answer["models"], answer["serving"]["version"]) == ([], OLD)
        assert answer["reload"]["error"].startswith("ConnectionError while reading or loading it")
        assert "bucket-of-ours" not in client.get("/models").text
        assert "reason=ConnectionError: no route to bucket-of-ours" in caplog.text
        assert serving(client) == OLD
        app.state.parts.versions.registry = Registry(root)
        Registry(root).promote(NAME, NEW)
        wait_for(client, NEW)


def test_what_failed_is_tried_again_ever_more_seldom_but_no_later_than_at_the_fourth_look(
    intact: Path, root: Path
) -> None:
    async def scenario(parts: Parts, reloader: Reloader, registry: WatchedRegistry) -> None:
        damaged_weights(root)
        registry.promote(NAME, NEW)
        loads = []
        for _ in range(16):
            await reloader.poll()
            loads.append(len(registry.loads) - 1)
        assert loads == [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6]
        registry.promote(NAME, NEWER)  # another one is tried at once
        await reloader.poll()
        assert live(parts) == NEWER
        shutil.copytree(intact / NAME / NEW, root / NAME / NEW, dirs_exist_ok=True)
        registry.promote(NAME, NEW)
        await reloader.poll()
        assert live(parts) == NEW

    with started(root) as (parts, reloader, registry):
        asyncio.run(scenario(parts, reloader, registry))

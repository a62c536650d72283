import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from model_core.registry.registry import PRODUCTION, Registry
from service.app import create_app
from service.settings import PREFIX, Settings, load_settings
from tests.fixtures.models import NAME, tiny_registry
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.reloading import models, reloads, served, serving, wait_for
from tests.fixtures.service.spoilt_versions import (
    NEW,
    NEWER,
    OLD,
    another_mask,
    another_network,
    damaged_weights,
    half_a_card,
    half_of_the_weights,
    no_card,
    no_such_version,
    no_weights,
    point_to,
    wrong_hash,
)
from tests.fixtures.service.waiting import wait_until
from tests.service.pipeline.test_hot_reload import Callers


def test_versions_of_a_bucket_are_served_from_verified_copies(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{bucket}/served"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(f"{PREFIX}MODEL_REGISTRY", place)
    tiny_registry(tmp_path / "models", "0.9.0", "1.0.0")
    fs, root = fsspec.url_to_fs(place)
    fs.put(f"{tmp_path / 'models'}/", root, recursive=True)
    with TestClient(create_app(load_settings())) as client:
        for query, version in (("", "1.0.0"), ("?model=0.9.0", "0.9.0")):
            answer = client.post(f"/segment{query}", files={"image": encode(lesion(48, 64))})
            assert answer.headers["x-model-version"] == f"lesion-unet@{version}"
        models = client.get("/models").json()["models"]
    assert [entry["version"] for entry in models] == ["0.9.0", "1.0.0"]
    assert len(list((tmp_path / "cache" / "lesion-models").iterdir())) == 2


class Mirror:
    """A folder's registry, and the bucket that it is brought to.

    Args:
        folder: That a test may spoil.
        url: Of the registry in the bucket.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self._fs, self._root = fsspec.url_to_fs(url)

    def push(self) -> None:
        """Make the bucket hold what the folder holds; the aliases last."""
        there = {path.relative_to(self.folder).as_posix() for path in self._files()}
        self._fs.invalidate_cache()
        for path in self._fs.find(self._root):
            if path.removeprefix(f"{self._root}/") not in there:
                self._fs.rm(path)
        for name in sorted(there, key=lambda name: name.endswith("aliases.json")):
            self._fs.pipe_file(f"{self._root}/{name}", (self.folder / name).read_bytes())

    def _files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def mirror(bucket: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A bucket's registry of 1.0.0, in production, 1.1.0 and 1.2.0."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mirror = Mirror(root, f"{bucket}/{tmp_path.name}")
    mirror.push()
    return mirror


def app_of(url: str) -> FastAPI:
    return create_app(Settings(model_registry=url, reload_seconds=0.1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (damaged_weights, r"model\.safetensors has SHA-256 .* the card says"),
        (half_of_the_weights, r"model\.safetensors has SHA-256 .* the card says"),
        (no_weights, r"/1\.1\.0 lacks the file model\.safetensors"),
        (no_card, r"points to 1\.1\.0, which is not there"),
        (half_a_card, r"card\.json is not a model card"),
        (wrong_hash, r"golden\.json has SHA-256 .* the card says 000000000000"),
        (another_network, r"model\.safetensors does not fit the architecture"),
        (another_mask, r"the golden image's mask has Jaccard 0\.\d+ with the stored one"),
        (no_such_version, r"points to 1\.1\.0, which is not there"),
    ],
)
def test_what_cannot_be_loaded_from_a_bucket_leaves_the_former_version_and_says_why(
    mirror: Mirror, intact: Path, spoil: Callable[[Path], None], error: str
) -> None:
    with TestClient(app_of(mirror.url)) as client:
        spoil(mirror.folder)
        point_to(mirror.folder, NEW)
        mirror.push()
        wait_until(lambda: models(client)["reload"] and reloads(client, "failed") >= 2)
        reload = models(client)["reload"]
        assert reload["wanted"] == NEW
        assert re.search(error, reload["error"])
        assert serving(client) == OLD
        assert client.get("/readyz").status_code == 200

        shutil.copytree(intact, mirror.folder, dirs_exist_ok=True)
        point_to(mirror.folder, NEW)
        mirror.push()
        wait_for(client, NEW)
        wait_until(lambda: models(client)["reload"] is None)


@pytest.mark.slow
def test_promotions_and_a_roll_back_in_a_bucket_go_live_without_a_lost_request(
    mirror: Mirror,
) -> None:
    registry = Registry(mirror.url)
    with served(app_of(mirror.url)) as url, Callers(url) as callers:
        wait_until(lambda: callers.all_got(OLD))
        for version in (NEW, NEWER):
            registry.promote(NAME, version)
            wait_until(partial(callers.all_got, version))
        assert registry.rollback(NAME, PRODUCTION) == NEW  # as `trainer rollback` does
        wait_until(partial(callers.all_got, NEW))
    for answers in callers.answers:
        assert {status for status, _ in answers} == {200}

from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import PREFIX, load_settings
from tests.models import tiny_registry
from tests.pictures import encode, lesion


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

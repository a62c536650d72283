"""Registries in a folder, in memory and on a real S3 server, to be told apart by nobody."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_core.network.weights import save_weights
from model_core.registry.registry import Registry
from tests.fixtures.models import dark_is_lesion
from tests.fixtures.registry_writer import Writer, running_writer


@pytest.fixture(scope="session")
def writer(bucket: str) -> Iterator[Writer]:
    """A second process, which can be killed."""
    with running_writer() as writer:
        yield writer


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """File of `dark_is_lesion`'s weights."""
    path = tmp_path / "weights.safetensors"
    save_weights(dark_is_lesion().state_dict(), path)
    return path


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Folder or URL of an empty registry."""
    return new_place(request, request.param, tmp_path)


@pytest.fixture(params=["folder", "s3"])
def shared_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Folder or URL of an empty registry that several processes can use."""
    return new_place(request, request.param, tmp_path)


@pytest.fixture
def open_registry(tmp_path: Path) -> Callable[[str], Registry]:
    """A registry of a folder or URL, with a cache of the test's own."""
    return lambda place: Registry(place, cache=tmp_path / "cache")


@pytest.fixture
def registry(place: str, open_registry: Callable[[str], Registry]) -> Registry:
    """An empty registry, of each kind in turn."""
    return open_registry(place)


def new_place(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> str:
    """Folder or URL that nobody else has."""
    if kind == "folder":
        return str(tmp_path / "models")
    if kind == "memory":
        return f"memory://{uuid.uuid4()}/models"
    return f"{request.getfixturevalue('bucket')}/{uuid.uuid4()}/models"

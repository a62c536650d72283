"""The real application around a real registry of a model that can be foreseen: dark is lesion."""

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from model_core.backends.protocol import BackendName
from service.app import create_app
from service.settings import PREFIX, Settings
from tests.fixtures.models import tiny_registry
from tests.fixtures.service.process import free_port, service

MAX_BODY_BYTES = 8_000_000
MAX_PAIRS = 3
IN_PROCESS: BackendName = "pytorch-fp32"
"""Engine of the applications in the tests' own process, which has PyTorch anyway."""
PATIENT_S = 120
"""Time for an answer, so that none is refused because the machine of the tests is busy."""


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for field in Settings.model_fields:
            patch.delenv(PREFIX + field.upper(), raising=False)
        yield


@pytest.fixture(scope="session")
def registry_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of 0.8.0, 0.9.0 and 1.0.0, the last in production; only to be read."""
    return tiny_registry(
        tmp_path_factory.mktemp("registry"), "0.8.0", "0.9.0", "1.0.0", light=True
    ).root


@pytest.fixture
def make(registry_root: Path) -> Callable[..., FastAPI]:
    """Applications with settings of the test's own, by keyword."""

    def app_of(**changes: float) -> FastAPI:
        settings: dict[str, object] = {"model_registry": registry_root, "backend": IN_PROCESS}
        settings |= {"io_threads": 4, **changes}
        return create_app(Settings.model_validate(settings))

    return app_of


@pytest.fixture(scope="session")
def settings(registry_root: Path) -> Settings:
    return Settings(
        model_registry=registry_root,
        backend=IN_PROCESS,
        max_body_bytes=MAX_BODY_BYTES,
        max_pairs=MAX_PAIRS,
        deadline_seconds=PATIENT_S,
    )


@pytest.fixture(scope="session")
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of one application for the whole session."""
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="session")
def served(registry_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real process that serves `registry_root`, and keeps corrections."""
    port, folder = free_port(), tmp_path_factory.mktemp("served")
    settings = {"LESION_CORRECTIONS": str(folder / "corrections")}
    with service(port, registry_root, folder / "log", settings):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """A new application, not started, that a test may tamper with."""
    return create_app(settings)


@pytest.fixture(scope="session")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of 1.0.0, in production, 1.1.0 and 1.2.0; only to be read."""
    return tiny_registry(tmp_path_factory.mktemp("intact"), "1.1.0", "1.2.0", "1.0.0").root


@pytest.fixture
def root(intact: Path, tmp_path: Path) -> Path:
    """A copy of `intact` that a test may change while it is served."""
    return shutil.copytree(intact, tmp_path / "registry")


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Undo what a test does to the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)

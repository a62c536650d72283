"""A network that hangs or crashes: the probes tell the truth, and the process ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from model_core.arrays import Batch, Logits
from model_core.backends.protocol import Backend
from service.__main__ import FAULTY
from service.app import create_app
from service.pipeline.health import FAILURES
from service.pipeline.versions import Versions
from service.settings import Settings
from tests.fixtures.models import NAME
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.process import LIGHT, REPOSITORY, START_S, free_port, service
from tests.fixtures.service.reloading import served
from tests.fixtures.service.slow_backend import TIMEOUT_S, HeldBackend, put_into
from tests.fixtures.service.waiting import wait_until
from tests.service.conftest import PATIENT_S

PNG = encode(lesion(48, 64))


class BrokenBackend:
    """Raises, as a GPU does that has fallen off its bus."""

    name = "broken"
    streams = batch = 1

    def run(self, batch: Batch) -> Logits:
        raise RuntimeError("an illegal memory access was encountered")

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        return (self.run,)


class FlakyBackend(BrokenBackend):
    """Fails at every other run."""

    name = "flaky"
    real: Backend

    def __init__(self) -> None:
        self._runs = 0

    def run(self, batch: Batch) -> Logits:
        self._runs += 1
        return super().run(batch) if self._runs % 2 else self.real.run(batch)


@pytest.fixture
def app(registry_root: Path) -> FastAPI:
    return create_app(Settings(model_registry=registry_root, deadline_seconds=PATIENT_S))


@pytest.fixture
def ask() -> Iterator[Callable[[str], tuple[int, str]]]:
    with httpx2.Client(timeout=TIMEOUT_S) as client:

        def ask(url: str) -> tuple[int, str]:
            segment = url.endswith("/segment")
            response = client.post(url, content=PNG) if segment else client.get(url)
            problem = "problem" in response.headers["content-type"]
            slug = response.json()["type"].removeprefix("/problems/") if problem else ""
            return response.status_code, slug

        yield ask


def test_a_stuck_network_ends_the_server(
    registry_root: Path, ask: Callable[[str], tuple[int, str]]
) -> None:
    app = create_app(
        Settings(
            model_registry=registry_root, deadline_seconds=0.3, stuck_seconds=0.6, drain_seconds=1
        )
    )
    held = HeldBackend(app.state.parts.versions)
    try:
        with served(app, plain=False) as url:
            assert ask(f"{url}/segment") == (504, "deadline-passed")
            assert ask(f"{url}/healthz")[0] == 200
            wait_until(lambda: ask(f"{url}/healthz") == (503, "dead"))
            assert ask(f"{url}/readyz") == (503, "not-ready")
            wait_until(lambda: is_closed(url))
    finally:
        held.released.set()


def test_a_failing_network_is_said_by_the_probes(
    app: FastAPI, ask: Callable[[str], tuple[int, str]]
) -> None:
    put_into(app.state.parts.versions, BrokenBackend())
    with served(app) as url:
        for _ in range(FAILURES):
            assert ask(f"{url}/readyz")[0] == 200
            assert ask(f"{url}/segment") == (503, "engine-failed")
        wait_until(lambda: ask(f"{url}/healthz") == (503, "dead"))
        assert ask(f"{url}/readyz") == (503, "not-ready")


def test_a_network_that_fails_now_and_then_is_left_alone(
    app: FastAPI, ask: Callable[[str], tuple[int, str]]
) -> None:
    versions: Versions = app.state.parts.versions
    flaky = FlakyBackend()
    flaky.real = put_into(versions, flaky)
    with served(app) as url:
        for _ in range(FAILURES + 1):
            assert ask(f"{url}/segment") == (503, "engine-failed")
            assert ask(f"{url}/segment")[0] == 200
        time.sleep(0.5)
        assert ask(f"{url}/healthz")[0] == 200


class BriefBackend(BrokenBackend):
    """Runs batches; the first few runs fail."""

    batch = 4
    real: Backend

    def __init__(self, failures: int) -> None:
        self._left = failures

    def run(self, batch: Batch) -> Logits:
        self._left -= 1
        return super().run(batch) if self._left >= 0 else self.real.run(batch)


def test_a_batch_whose_images_fail_again_one_by_one_counts_once(
    app: FastAPI, ask: Callable[[str], tuple[int, str]]
) -> None:
    requests = FAILURES - 1
    brief = BriefBackend(failures=2 * requests)
    brief.real = put_into(app.state.parts.versions, brief)
    with served(app) as url:
        for _ in range(requests):
            assert ask(f"{url}/segment") == (503, "engine-failed")
        time.sleep(1)
        assert ask(f"{url}/healthz")[0] == 200
        assert ask(f"{url}/segment")[0] == 200


def test_a_version_beside_production_that_fails_concerns_that_version_only(
    app: FastAPI, ask: Callable[[str], tuple[int, str]]
) -> None:
    versions: Versions = app.state.parts.versions
    with served(app) as url, httpx2.Client(timeout=TIMEOUT_S) as client:

        def other() -> int:
            return client.post(f"{url}/segment?model=0.9.0", content=PNG).status_code

        assert other() == 200
        live, broken = versions.production, versions.resident[NAME, "0.9.0"]
        broken.predictor.backend = BrokenBackend()
        assert [other() for _ in range(FAILURES)] == [503] * FAILURES
        wait_until(lambda: other() == 200)
        assert versions.resident[NAME, "0.9.0"] is not broken
        assert versions.production is live
        assert ask(f"{url}/readyz")[0] == 200


@pytest.mark.parametrize("fault", ["stuck", "failing"])
def test_a_process_whose_network_fails_ends_with_a_code_of_its_own(
    registry_root: Path, fault: str
) -> None:
    script = f"""
import sys
from service import app
from service.__main__ import main
make = app.create_app
def faulty(*arguments):
    made = make(*arguments)
    made.state.parts.health.fault = {fault!r}
    return made
app.create_app = faulty
sys.exit(main())
"""
    environment = os.environ | LIGHT
    environment |= {"LESION_PORT": str(free_port()), "LESION_DRAIN_SECONDS": "0"}
    environment |= {"LESION_MODEL_REGISTRY": str(registry_root)}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        timeout=START_S,
        check=False,
    )
    assert ended.returncode == 3, ended.stderr


HANGS_ONCE_THEN_FAILS = """
import sys, time
from service import app
from service.__main__ import main
from tests.fixtures.service.slow_backend import put_into
from tests.service.pipeline.test_health import BrokenBackend
class Odd(BrokenBackend):
    runs = 0
    def run(self, batch):
        self.runs += 1
        if self.runs == 1:
            time.sleep(3600)
        return super().run(batch)
make = app.create_app
def faulty(*arguments):
    made = make(*arguments)
    put_into(made.state.parts.versions, Odd())
    return made
app.create_app = faulty
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("stop", "code"),
    [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0), (None, FAULTY)],
    ids=["SIGTERM", "SIGINT", "failing"],
)
def test_a_run_that_never_ends_does_not_keep_the_process_from_ending(
    registry_root: Path,
    tmp_path: Path,
    stop: signal.Signals | None,
    code: int,
    ask: Callable[[str], tuple[int, str]],
) -> None:
    settings = {"LESION_DEADLINE_SECONDS": "1"}
    command = [sys.executable, "-c", HANGS_ONCE_THEN_FAILS]
    port = free_port()
    with service(port, registry_root, tmp_path / "log", settings, command=command) as process:
        url = f"http://127.0.0.1:{port}"
        assert ask(f"{url}/segment") == (504, "deadline-passed")
        if stop:  # long before the run counts as stuck
            process.send_signal(stop)
        else:
            for _ in range(FAILURES):
                assert ask(f"{url}/segment") == (503, "engine-failed")
        assert process.wait(START_S) == code


def is_closed(url: str) -> bool:
    try:
        httpx2.get(f"{url}/healthz")
    except httpx2.ConnectError:
        return True
    return False

"""A network that hangs or crashes: the probes tell the truth, the service recovers or gives up."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from model_core.arrays import Batch, Logits
from service.app import create_app
from service.pipeline import watchdog
from service.pipeline.engine import Engine
from service.settings import Settings
from tests.fixtures.models import NAME
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.reloading import served
from tests.fixtures.service.slow_backend import HeldBackend, put_into
from tests.fixtures.service.waiting import wait_until

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


def break_(engine: Engine) -> None:
    put_into(engine, engine.watchdog.watched(BrokenBackend()))


@pytest.fixture
def app(registry_root: Path) -> FastAPI:
    return create_app(
        Settings(model_registry=registry_root, deadline_seconds=0.3, stuck_seconds=0.6)
    )


@pytest.fixture
def ask() -> Iterator[Callable[[str], tuple[int, str]]]:
    with httpx2.Client() as client:

        def ask(url: str) -> tuple[int, str]:
            segment = url.endswith("/segment")
            response = client.post(url, content=PNG) if segment else client.get(url)
            problem = "problem" in response.headers["content-type"]
            slug = response.json()["type"].removeprefix("/problems/") if problem else ""
            return response.status_code, slug

        yield ask


def test_a_stuck_network_is_loaded_anew(
    app: FastAPI, ask: Callable[[str], tuple[int, str]]
) -> None:
    engine = app.state.engine
    held = HeldBackend(engine)
    engine.production.predictor.backend = engine.watchdog.watched(held)
    with served(app) as url:
        try:
            assert ask(f"{url}/segment") == (504, "deadline-passed")
            wait_until(lambda: restarted(url, "stuck"))
            assert ask(f"{url}/healthz")[0] == 200
            assert ask(f"{url}/readyz")[0] == 200
            assert ask(f"{url}/segment")[0] == 200
        finally:
            held.released.set()
    assert engine.watchdog.abandoned == 1


def test_a_failing_network_is_loaded_anew(
    app: FastAPI, ask: Callable[[str], tuple[int, str]]
) -> None:
    break_(app.state.engine)
    with served(app) as url:
        for _ in range(watchdog.FAILURES):
            assert ask(f"{url}/segment") == (503, "engine-failed")
        wait_until(lambda: restarted(url, "failed"))
        assert ask(f"{url}/segment")[0] == 200
        assert ask(f"{url}/readyz")[0] == 200


def test_a_network_that_fails_now_and_then_is_left_alone(
    app: FastAPI, ask: Callable[[str], tuple[int, str]]
) -> None:
    engine: Engine = app.state.engine
    good = engine.load_production().predictor.backend
    with served(app) as url:
        for _ in range(watchdog.FAILURES + 1):
            break_(engine)
            assert ask(f"{url}/segment") == (503, "engine-failed")
            put_into(engine, good)
            assert ask(f"{url}/segment")[0] == 200
        time.sleep(0.5)
        assert not restarted(url, "failed")


def test_a_version_beside_production_that_fails_concerns_that_version_only(
    app: FastAPI, ask: Callable[[str], tuple[int, str]]
) -> None:
    engine: Engine = app.state.engine
    with served(app) as url, httpx2.Client() as client:

        def other() -> int:
            return client.post(f"{url}/segment?model=0.9.0", content=PNG).status_code

        assert other() == 200
        live, broken = engine.production, engine.resident[NAME, "0.9.0"]
        broken.predictor.backend = engine.watchdog.watched(BrokenBackend())
        assert [other() for _ in range(watchdog.FAILURES)] == [503] * watchdog.FAILURES
        assert ask(f"{url}/readyz")[0] == 200
        wait_until(lambda: other() == 200)
        assert engine.resident[NAME, "0.9.0"] is not broken
        assert engine.production is live
        assert not restarted(url, "failed")


def test_where_nothing_helps_the_process_says_so_and_ends(
    app: FastAPI,
    ask: Callable[[str], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = app.state.engine
    ended: list[int] = []
    monkeypatch.setattr(watchdog, "LAST_S", 0.5)
    monkeypatch.setattr("os.kill", lambda _, number: ended.append(number))
    monkeypatch.setattr(watchdog, "FAILURES", 1)
    break_(engine)

    def no_version(*_: object, **__: object) -> None:
        raise OSError("the registry is gone")

    engine.registry.load = no_version
    with served(app) as url:
        assert ask(f"{url}/segment") == (503, "engine-failed")
        wait_until(lambda: ask(f"{url}/readyz") == (503, "not-ready"))
        assert ask(f"{url}/healthz")[0] == 200
        wait_until(lambda: ask(f"{url}/healthz") == (503, "dead"))
        assert ask(f"{url}/readyz") == (503, "not-ready")
        wait_until(lambda: ended)
    assert ended == [signal.SIGTERM]


def restarted(url: str, reason: str) -> bool:
    line = f'lesion_engine_restarts_total{{outcome="ok",reason="{reason}"}} 1.0'
    return line in httpx2.get(f"{url}/metrics").text

"""An app that looks at its registry often, and what it says of that."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from service.app import create_app
from service.engine import Engine
from service.hot_reload import Reloader
from service.server import Server
from service.settings import Settings
from service.telemetry import Telemetry
from tests.fixtures.models import NAME
from tests.fixtures.pictures import encode, lesion
from tests.service.waiting import wait_until
from tests.service.watched_registry import WatchedRegistry

PNG = encode(lesion(48, 64))
LOOK_S = 0.02


def app_of(root: Path, version: str = "production") -> FastAPI:
    return create_app(Settings(model_registry=root, reload_seconds=LOOK_S, model_version=version))


@contextmanager
def served(app: FastAPI, *, plain: bool = True) -> Iterator[str]:
    """The address of a real server of the app, in a thread of its own.

    Args:
        app: The application.
        plain: uvicorn's own server, which stops faster than ours.
    """
    server: uvicorn.Server
    if plain:
        server = uvicorn.Server(
            uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="on")
        )
    else:
        server = Server(app, app.state.settings)
        server.config.port = 0
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def models(client: TestClient) -> dict[str, Any]:
    response = client.get("/models")
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


def serving(client: TestClient) -> str:
    """The version that answers a request which names none."""
    response = client.post("/segment", files={"image": PNG})
    assert response.status_code == 200
    version: str = response.headers["X-Model-Version"].removeprefix(f"{NAME}@")
    assert models(client)["serving"]["version"] == version
    return version


def reloads(client: TestClient, outcome: str) -> float:
    text = client.get("/metrics").text
    (count,) = re.findall(rf'^lesion_model_reloads_total{{outcome="{outcome}"}} (\S+)$', text, re.M)
    return float(count)


def wait_for(client: TestClient, version: str) -> None:
    wait_until(lambda: models(client)["serving"]["version"] == version)
    assert serving(client) == version


@contextmanager
def started(root: Path) -> Iterator[tuple[Engine, Reloader, WatchedRegistry]]:
    """An engine without a server, for one look at a time."""
    telemetry = Telemetry()
    engine = Engine(Settings(model_registry=root), telemetry)
    engine.registry = registry = WatchedRegistry(root)
    engine.load_production()
    try:
        yield engine, Reloader(engine, telemetry, NAME), registry
    finally:
        engine.close()


def live(engine: Engine) -> str | None:
    """The version in production."""
    return engine.production.card.version if engine.production else None

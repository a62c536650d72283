"""Real processes are stopped and replaced under load: what was accepted is answered."""

import http.client
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.fixtures.models import NAME, tiny_registry
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.process import START_S, free_port, service

PNG = encode(lesion(300, 400))
CALLERS = 8
DRAIN = {"LESION_DRAIN_SECONDS": "0.5"}
READY = {"LESION_REUSE_PORT": "1", **DRAIN}


def ask(port: int) -> str:
    """What becomes of one request over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_S)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return "refused"  # the port is closed, so nothing was accepted
    try:
        connection.request("POST", "/segment", PNG)
        response = connection.getresponse()
        return f"{response.status} {len(response.read()) > 0}"
    except (OSError, http.client.HTTPException) as exc:
        return type(exc).__name__
    finally:
        connection.close()


@contextmanager
def load(port: int) -> Iterator[Counter[str]]:
    """Callers who ask again and again, each time over a new connection, until the block ends."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            seen[ask(port)] += 1
            time.sleep(0.002)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_stopped_under_load_it_says_so_first_and_answers_all_that_it_accepted(
    registry_root: Path, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    with service(port, registry_root, log, DRAIN) as process:
        idle = socket.create_connection(("127.0.0.1", port))
        with idle, load(port) as seen, httpx2.Client() as probe:
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            readiness = probe.get(f"http://127.0.0.1:{port}/readyz")
            assert (readiness.status_code, readiness.headers["connection"]) == (503, "close")
            assert probe.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
            # A connection without a request ends in time, too.
            assert process.wait(START_S) == -signal.SIGTERM
        assert set(seen) == {"200 True", "refused"}, seen
        assert seen["200 True"] > 20
    lines = log.read_text()
    assert "Traceback" not in lines
    assert "exceeded" not in lines


@pytest.mark.slow
def test_told_twice_it_does_not_wait_to_be_noticed(registry_root: Path, tmp_path: Path) -> None:
    port = free_port()
    with service(port, registry_root, tmp_path / "log", {"LESION_DRAIN_SECONDS": "60"}) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_S) == -signal.SIGTERM


@pytest.mark.slow
def test_rolling_restarts_under_load_lose_no_request(registry_root: Path, tmp_path: Path) -> None:
    port = free_port()

    def start(number: int) -> subprocess.Popen[bytes]:
        log = tmp_path / f"log{number}"
        process = stack.enter_context(service(port, registry_root, log, READY))
        # The other process answers on the same port, so only its own log says that it is ready.
        while "serving=" not in log.read_text():
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        return process

    with ExitStack() as stack:
        old = start(0)
        with load(port) as seen:
            for number in range(1, 3):
                new = start(number)
                old.send_signal(signal.SIGTERM)
                assert old.wait(START_S) == -signal.SIGTERM
                old = new
            time.sleep(0.5)
    assert set(seen) == {"200 True"}, seen
    assert seen["200 True"] > 50


@pytest.mark.slow
def test_hot_reloads_under_load_lose_no_request(tmp_path: Path) -> None:
    port = free_port()
    registry = tiny_registry(tmp_path / "registry", "1.0.0", "1.1.0", light=True)
    often = {"LESION_RELOAD_SECONDS": "0.1"}
    serving = service(port, registry.root, tmp_path / "log", often)
    with serving, load(port) as seen, httpx2.Client() as client:
        for i in range(10):
            wanted = f"1.{i % 2}.0"
            registry.promote(NAME, wanted)
            until = time.monotonic() + START_S
            while live(client, port) != wanted:
                assert time.monotonic() < until
                time.sleep(0.05)
    assert set(seen) == {"200 True"}, seen
    assert seen["200 True"] > 50


def live(client: httpx2.Client, port: int) -> str:
    models = client.get(f"http://127.0.0.1:{port}/models").json()
    return str(models["serving"]["version"])

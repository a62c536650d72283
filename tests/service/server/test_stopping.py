"""Real processes are stopped and replaced under load: what was accepted is answered."""

import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
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
RESTARTS = 5
AT_THE_LAST_INSTANT = 1
"""Connections that may come between the last look at the port and its closing; 0 is usual."""


def ask(port: int) -> str:
    """Tell what becomes of one request over a connection of its own."""
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
def load(port: Callable[[], int]) -> Iterator[Counter[str]]:
    """Ask again and again by several callers, each time over a new connection, until the end."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            seen[ask(port())] += 1
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


def lost(seen: Counter[str]) -> int:
    """Count requests that were sent and not answered with a mask."""
    print(dict(seen))  # shown with -s: what docs/settings.md says
    return sum(seen.values()) - seen["200 True"] - seen["refused"]


def test_stopped_under_load_it_says_so_first_and_answers_all_that_it_accepted(
    registry_root: Path, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    with service(port, registry_root, log, DRAIN) as process:
        idle = socket.create_connection(("127.0.0.1", port))
        with idle, load(lambda: port) as seen, httpx2.Client() as probe:
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            readiness = probe.get(f"http://127.0.0.1:{port}/readyz")
            assert (readiness.status_code, readiness.headers["connection"]) == (503, "close")
            assert probe.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
            # A connection without a request ends in time, too.
            assert process.wait(START_S) == -signal.SIGTERM
        assert lost(seen) <= AT_THE_LAST_INSTANT
        assert seen["200 True"] > 20
    lines = log.read_text()
    assert "Traceback" not in lines
    assert "exceeded" not in lines


def test_a_registry_that_hangs_does_not_keep_the_process_from_ending(
    registry_root: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(registry_root, tmp_path / "registry")
    port, settings = free_port(), {"LESION_RELOAD_SECONDS": "0.2"}
    with service(port, root, tmp_path / "log", settings) as process:
        aliases = root / NAME / "aliases.json"
        aliases.unlink()
        os.mkfifo(aliases)
        time.sleep(1)  # several looks at the alias
        # SIGTERM would end it however many threads there are, but not as a container's process 1.
        process.send_signal(signal.SIGINT)
        assert process.wait(START_S) == 0


@pytest.mark.slow
def test_told_twice_it_does_not_wait_to_be_noticed(registry_root: Path, tmp_path: Path) -> None:
    port = free_port()
    with service(port, registry_root, tmp_path / "log", {"LESION_DRAIN_SECONDS": "60"}) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(START_S) == -signal.SIGTERM


def start(stack: ExitStack, port: int, registry: Path, log: Path) -> subprocess.Popen[bytes]:
    process = stack.enter_context(service(port, registry, log, READY))
    # Another process may answer on the same port, so only its own log says that it is ready.
    while "serving=" not in log.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(START_S) == -signal.SIGTERM


@pytest.mark.slow
def test_rolling_restarts_on_one_port_lose_next_to_nothing(
    registry_root: Path, tmp_path: Path
) -> None:
    port = free_port()
    with ExitStack() as stack:
        old = start(stack, port, registry_root, tmp_path / "log0")
        with load(lambda: port) as seen:
            for number in range(1, RESTARTS + 1):
                new = start(stack, port, registry_root, tmp_path / f"log{number}")
                time.sleep(0.5)
                stop(old)
                old = new
            time.sleep(0.5)
    assert lost(seen) <= RESTARTS * AT_THE_LAST_INSTANT
    assert seen["200 True"] > 50


@pytest.mark.slow
def test_rolling_restarts_behind_a_balancer_lose_no_request(
    registry_root: Path, tmp_path: Path
) -> None:
    ports = [free_port()]
    over = threading.Event()

    def balance() -> None:
        """Send nobody to the older process once it says that it is not ready."""
        with httpx2.Client() as probe:
            while not over.wait(0.1):
                oldest = f"http://127.0.0.1:{ports[0]}/readyz"
                if len(ports) > 1 and probe.get(oldest).status_code == 503:
                    ports.pop(0)

    balancer = threading.Thread(target=balance)
    with ExitStack() as stack:
        old = start(stack, ports[0], registry_root, tmp_path / "log0")
        balancer.start()
        with load(lambda: random.choice(ports)) as seen:
            for number in range(1, RESTARTS + 1):
                port = free_port()
                new = start(stack, port, registry_root, tmp_path / f"log{number}")
                ports.append(port)
                time.sleep(0.5)
                stop(old)
                old = new
            time.sleep(0.5)
        over.set()
        balancer.join()
    assert (lost(seen), seen["refused"]) == (0, 0)
    assert seen["200 True"] > 50


@pytest.mark.slow
def test_hot_reloads_under_load_lose_no_request(tmp_path: Path) -> None:
    port = free_port()
    registry = tiny_registry(tmp_path / "registry", "1.0.0", "1.1.0", light=True)
    often = {"LESION_RELOAD_SECONDS": "0.1"}
    serving = service(port, registry.root, tmp_path / "log", often)
    with serving, load(lambda: port) as seen, httpx2.Client() as client:
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

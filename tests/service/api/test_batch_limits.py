"""What batches may take: their bytes and pixels count with those of all others."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from model_core.registry.registry import Registry
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.raw import raw
from tests.fixtures.service.reloading import served
from tests.fixtures.service.slow_backend import TIMEOUT_S, HeldBackend
from tests.fixtures.service.waiting import wait_until

PNG = encode(lesion(48, 64))
PX = 48 * 64

Serve = Callable[..., FastAPI]


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=TIMEOUT_S) as client:
        yield client


def batch(client: httpx2.Client, url: str, count: int) -> httpx2.Response:
    return client.post(f"{url}/segment/batch", files=[("images", PNG)] * count)


def slug(response: httpx2.Response) -> str:
    return str(response.json()["type"]).removeprefix("/problems/")


def test_photographs_of_a_batch_count_until_they_are_answered(
    make: Serve, client: httpx2.Client
) -> None:
    app = make(max_buffered_bytes=4 * len(PNG) + 100)
    held = HeldBackend(app.state.parts.versions)
    with served(app) as url, ThreadPoolExecutor(1) as caller:
        first = caller.submit(batch, client, url, 4)
        try:
            wait_until(lambda: app.state.parts.body_bytes.bytes >= 4 * len(PNG))
            assert held.running.wait(TIMEOUT_S)
            second = batch(client, url, 4)
            assert (second.status_code, slug(second)) == (503, "queue-full")
            assert "bytes of other bodies are in memory" in second.json()["detail"]
        finally:
            held.released.set()
        assert first.result().text.count("\n") == 4
        wait_until(lambda: app.state.parts.body_bytes.bytes == 0)
        assert batch(client, url, 4).status_code == 200


def test_pixels_of_a_batch_count_and_it_waits_for_its_half_of_them(
    make: Serve, client: httpx2.Client
) -> None:
    app = make(max_pixels_in_flight=4 * PX)
    held = HeldBackend(app.state.parts.versions)
    with served(app) as url, ThreadPoolExecutor(1) as caller:
        first = caller.submit(batch, client, url, 8)
        try:
            assert held.running.wait(TIMEOUT_S)
            wait_until(lambda: app.state.parts.admission.in_flight_px == 2 * PX)
            more = client.post(f"{url}/segment", content=encode(lesion(480, 640)))
            assert (more.status_code, slug(more)) == (503, "queue-full")
            assert "megapixels would be in flight" in more.json()["detail"]
            assert app.state.parts.admission.in_flight_px == 2 * PX  # the rest is for others
        finally:
            held.released.set()
        assert first.result().text.count("lesion_found") == 8


def test_a_batch_that_trickles_is_given_up(make: Serve) -> None:
    app = make(body_seconds=0.4, body_idle_seconds=5)
    with served(app) as url, raw(url) as caller:
        caller.head(
            "/segment/batch",
            "Content-Type: multipart/form-data; boundary=x",
            "Transfer-Encoding: chunked",
        )
        piece = b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\n'
        for byte in piece[:12]:
            caller.send(b"1\r\n" + bytes([byte]) + b"\r\n")
            time.sleep(0.05)
        status, _, problem = caller.answer()
        assert (status, problem["type"]) == (408, "/problems/body-too-slow")
        assert "an image was not whole after 0.4 s" in problem["detail"]
    wait_until(lambda: app.state.parts.admission.depth == 0)


def test_whoever_asks_for_ever_new_versions_holds_up_nobody_else(
    make: Serve, client: httpx2.Client, registry_root: Path
) -> None:
    asked, released = [0], threading.Event()

    class FarAway(Registry):
        def resolve(self, name: str, reference: str) -> str:
            asked[0] += 1
            assert released.wait(TIMEOUT_S)
            return super().resolve(name, reference)

    app = make(io_threads=1)

    def ask(version: str) -> int:
        return client.post(f"{url}/segment?model={version}", content=PNG).status_code

    with served(app) as url, ThreadPoolExecutor(8) as callers:
        app.state.parts.versions.registry = FarAway(registry_root)
        try:
            others = [callers.submit(ask, "0.9.0") for _ in range(4)]
            others += [callers.submit(ask, f"9.9.{number}") for number in range(4)]
            wait_until(lambda: asked[0])
            assert client.post(f"{url}/segment", content=PNG).status_code == 200
        finally:
            released.set()
        assert sorted(other.result() for other in others) == [200] * 4 + [404] * 4
        assert asked[0] == 5  # what several ask for is looked up once

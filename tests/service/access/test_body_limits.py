"""Bodies that are too long or too slow, against a real server; afterwards it serves as before."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.raw import Raw, raw
from tests.fixtures.service.reloading import served
from tests.fixtures.service.waiting import wait_until

PNG = encode(lesion(48, 64))
BYTES = 100_000


@pytest.fixture(scope="module")
def app(registry_root: Path) -> FastAPI:
    return create_app(
        Settings(
            model_registry=registry_root,
            max_body_bytes=BYTES,
            max_buffered_bytes=150_000,
            body_seconds=0.6,
            body_idle_seconds=0.3,
        )
    )


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    with served(app) as url:
        yield url


@pytest.fixture(autouse=True)
def _serves_on(app: FastAPI, url: str) -> Iterator[None]:
    """After each attack a good request is answered, and nothing of the attack is left."""
    yield
    assert httpx2.post(f"{url}/segment", content=PNG).status_code == 200
    wait_until(lambda: app.state.parts.admission.depth == 0)


def test_a_body_of_which_nothing_comes_is_given_up(url: str) -> None:
    with raw(url) as caller:
        caller.head("/segment", "Content-Length: 1000", "Content-Type: image/png")
        caller.send(PNG[:100])
        started = time.monotonic()
        status, _, body = caller.answer()
    assert (status, body["type"]) == (408, "/problems/body-too-slow")
    assert "no byte of the body came for 0.3 s" in body["detail"]
    assert 0.2 < time.monotonic() - started < 5


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_a_body_that_trickles_is_given_up(url: str, chunked: bool) -> None:
    with raw(url) as caller:
        length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(PNG)}"
        caller.head("/segment", length, "Content-Type: image/png")
        for byte in PNG[:16]:
            piece = bytes([byte])
            caller.send(b"1\r\n" + piece + b"\r\n" if chunked else piece)
            time.sleep(0.05)  # far below the limit for nothing at all
        status, _, body = caller.answer()
    assert status == 408
    assert "not whole after 0.6 s" in body["detail"]


def test_a_caller_who_leaves_within_the_body_leaves_nothing_behind(app: FastAPI, url: str) -> None:
    for _ in range(20):
        with raw(url) as caller:
            caller.head("/segment", "Content-Length: 90000", "Content-Type: image/png")
            caller.send(PNG[:100])
    metrics = httpx2.get(f"{url}/metrics").text
    assert "lesion_queue_depth 0.0" in metrics


def test_a_body_without_end_is_refused_once_it_is_too_long(url: str) -> None:
    with raw(url) as caller:
        caller.head("/segment", "Transfer-Encoding: chunked", "Content-Type: image/png")
        piece = b"2710\r\n" + b"\0" * 10_000 + b"\r\n"
        caller.send(*[piece] * (BYTES // 10_000 + 1))
        assert caller.problem() == (413, "body-too-large")


def test_a_length_over_the_limit_is_refused_before_a_byte_is_asked_for(url: str) -> None:
    for length in (BYTES + 1, 10**17, 10**19 - 1):
        with raw(url) as caller:
            caller.head("/segment", f"Content-Length: {length}", "Expect: 100-continue")
            assert caller.problem() == (413, "body-too-large")


def test_bodies_that_would_take_too_much_memory_together_are_refused(url: str) -> None:
    def hold(caller: Raw, sent: int) -> None:
        caller.head("/segment", f"Content-Length: {BYTES}", "Content-Type: image/png")
        caller.send(b"\0" * sent)

    with raw(url) as first, raw(url) as second:
        hold(first, BYTES - 1)
        hold(second, BYTES - 1)
        answers = sorted(caller.problem() for caller in (first, second))
    assert answers == [(408, "body-too-slow"), (503, "queue-full")]
    refusals = httpx2.get(f"{url}/metrics").text
    assert 'lesion_refusals_total{reason="bytes"} 1.0' in refusals

"""Attacks on the way to a request, byte by byte; afterwards a good one is answered as before."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.raw import raw
from tests.fixtures.service.reloading import served
from tests.fixtures.service.slow_backend import TIMEOUT_S, HeldBackend
from tests.fixtures.service.waiting import wait_until
from tests.service.conftest import PATIENT_S

PNG = encode(lesion(48, 64))
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
BYTES = 4_000
CLIENT = httpx2.Client()  # to make one takes longer than a request


@pytest.fixture(scope="module")
def app(registry_root: Path) -> FastAPI:
    return create_app(
        Settings(
            model_registry=registry_root,
            header_seconds=0.4,
            body_idle_seconds=0.4,
            send_seconds=0.5,
            max_header_bytes=BYTES,
            max_body_bytes=100_000,
            max_connections=10,
        )
    )


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:

    @app.get("/tasks")
    async def count() -> int:
        """Tasks of the event loop, this one among them."""
        return len(asyncio.all_tasks())

    @app.get("/large")
    async def large() -> list[str]:
        return ["x" * 1_000_000] * 20

    with served(app, plain=False) as url:
        yield url


@pytest.fixture(autouse=True)
def _serves_on(url: str) -> Iterator[None]:
    """After each attack a good request is answered, and no task of the attack is left."""
    before = tasks(url)
    yield
    assert CLIENT.post(f"{url}/segment", content=PNG).status_code == 200
    wait_until(lambda: tasks(url) <= before)


def tasks(url: str) -> int:
    return int(CLIENT.get(f"{url}/tasks").text)


@pytest.mark.parametrize("start", [b"", b"POST /seg", GET, GET + b"X-A: "], ids=repr)
def test_a_head_that_does_not_come_is_given_up(url: str, start: bytes) -> None:
    began = time.monotonic()
    with raw(url) as caller:
        caller.send(start)
        if start:
            assert caller.problem() == (408, "head-too-slow")
        assert caller.is_closed()
    assert 0.3 < time.monotonic() - began < 10


def test_a_head_that_trickles_is_given_up(url: str) -> None:
    with raw(url) as caller:
        for i in range(5):
            caller.send(b"GET / HTTP/1.1\r\n" if not i else b"X-A: b\r\n")
            time.sleep(0.1)
        assert caller.problem() == (408, "head-too-slow")


def test_the_second_head_of_a_connection_is_held_to_the_same(url: str) -> None:
    with raw(url) as caller:
        caller.send(GET + b"\r\n")
        assert caller.answer()[0] == 200
        caller.send(GET)
        assert caller.problem() == (408, "head-too-slow")


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(GET + b"X-A: " + b"a" * (BYTES + 100), id="a header without end"),
        pytest.param(GET + b"X-A: " + b"a" * BYTES + b"\r\n\r\n", id="a long header"),
        pytest.param(b"GET /" + b"a" * (BYTES + 100), id="a path without end"),
        pytest.param(GET + b"A: b\r\n" * 101 + b"\r\n", id="many headers"),
        pytest.param(GET + b"A" * (BYTES + 100), id="a name without end"),
    ],
)
def test_a_head_that_is_too_long_is_refused(url: str, head: bytes) -> None:
    with raw(url) as caller:
        caller.send(head)
        assert caller.problem() == (431, "head-too-large")


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"\0" * 100, id="NULs"),
        pytest.param(b"GET\r\n\r\n", id="no path"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="SSH"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", id="two"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            id="length and chunks",
        ),
        pytest.param(b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n", id="space in a name"),
        pytest.param(b"POST http:/// HTTP/1.1\r\nHost: x\r\n\r\n", id="no host in the URL"),
        pytest.param(b"GET http://x:99999/ HTTP/1.1\r\nHost: x\r\n\r\n", id="no such port"),
    ],
)
def test_what_is_no_request_is_refused(url: str, noise: bytes) -> None:
    with raw(url) as caller:
        caller.send(noise)
        assert caller.problem() == (400, "malformed-request")


def test_work_on_the_first_of_two_pipelined_requests_ends_when_their_caller_leaves(
    registry_root: Path,
) -> None:
    app = create_app(Settings(model_registry=registry_root, deadline_seconds=PATIENT_S))
    held = HeldBackend(app.state.parts.versions)
    try:
        with served(app, plain=False) as url:
            with raw(url) as caller:
                for _ in range(2):
                    caller.head("/segment", f"Content-Length: {len(PNG)}")
                    caller.send(PNG)
                assert held.running.wait(TIMEOUT_S)
            wait_until(lambda: app.state.parts.admission.depth == 0)
            registry = app.state.parts.telemetry.registry
            assert registry.get_sample_value("lesion_dropped_total", {"reason": "abandoned"}) == 1
    finally:
        held.released.set()


def test_what_is_no_request_takes_no_place_in_the_queue(registry_root: Path) -> None:
    app = create_app(Settings(model_registry=registry_root, max_queue=1))
    with served(app, plain=False) as url:
        for _ in range(5):
            with raw(url) as caller:
                caller.send(b"POST http:/// HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
                assert caller.is_closed()
            assert httpx2.post(f"{url}/segment", content=PNG).status_code == 200


def test_a_malformed_chunk_ends_the_connection(url: str) -> None:
    with raw(url) as caller:
        caller.head("/segment", "Transfer-Encoding: chunked")
        caller.send(b"zz\r\n")
        assert caller.is_closed()


@pytest.mark.parametrize("start", [b"0\r\nX-A: ", b"5;x="], ids=["trailer", "extension"])
def test_what_is_no_body_is_not_kept_without_end(url: str, start: bytes) -> None:
    with raw(url) as caller:
        caller.head("/segment", "Content-Type: image/png", "Transfer-Encoding: chunked")
        caller.send(b"5\r\nhello\r\n", start)
        began = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - began < 0.3:  # no time that a body may take is over by then
                caller.send(b"a" * 1_000)
                time.sleep(0.01)
        assert caller.is_closed()
        assert time.monotonic() - began < 0.3


def test_a_trailer_is_passed_over(url: str) -> None:
    with raw(url) as caller:
        caller.head("/segment", "Content-Type: image/png", "Transfer-Encoding: chunked")
        caller.send(b"%x\r\n" % len(PNG) + PNG + b"\r\n0\r\nX-A: b\r\n\r\n")
        assert caller.answer()[0] == 200


def test_what_comes_after_a_refusal_is_thrown_away_and_not_for_long(url: str) -> None:
    with raw(url) as caller:
        caller.head("/segment", "Content-Length: 99999999", "Content-Type: image/png")
        assert caller.problem() == (413, "body-too-large")
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < began + 10:
                caller.send(b"\0" * 1_000)
                time.sleep(0.05)
        assert 1 < time.monotonic() - began < 8


def test_a_connection_lives_on_where_the_rest_of_a_refused_body_comes(url: str) -> None:
    with raw(url) as caller:
        caller.head("/segment", "Content-Length: 100001", "Content-Type: image/png")
        assert caller.problem() == (413, "body-too-large")
        caller.send(b"\0" * 100_001, GET, b"\r\n")
        assert caller.answer()[0] == 200


def test_a_caller_who_does_not_read_its_answer_is_given_up(url: str) -> None:
    with raw(url) as caller:
        caller.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1.5)
        # What is in buffers can still be read, and then it is over.
        received = 0
        with suppress(ConnectionResetError):
            while data := caller.socket.recv(1_000_000):
                received += len(data)
        assert received < 20_000_000


def test_aborts_at_every_byte_of_a_request_leave_nothing_behind(url: str) -> None:
    request = b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG
    for length in range(0, len(request), max(1, len(request) // 60)):
        with raw(url) as caller:
            caller.send(request[:length])


def test_beyond_the_limit_of_connections_photographs_are_refused_and_probes_answered(
    url: str,
) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(raw(url)) for _ in range(10)]
        for caller in idle:
            caller.send(b"G")
        with raw(url) as caller:
            caller.head("/segment", f"Content-Length: {len(PNG)}")
            caller.send(PNG)
            assert caller.problem() == (503, "queue-full")
            assert caller.is_closed()
        with raw(url) as caller:
            caller.send(GET + b"\r\n")
            assert caller.answer()[0] == 200

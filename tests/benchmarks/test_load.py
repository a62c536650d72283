"""The load generator, against a real server whose speed is known."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.load import (
    Record,
    Seen,
    WrongAnswerError,
    closed_loop,
    generate,
    in_processes,
    open_loop,
    parse,
)
from benchmarks.processes import ROOT
from tests.benchmarks.tiny_server import SLOW_S, OneAtATime


class Refuses(OneAtATime):
    status = 503


class AnswersHtml(OneAtATime):
    answer = b"<html>"


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/segment"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    (tmp_path / "0.jpg").write_bytes(b"\xff\xd8\xff a photograph")
    return tmp_path


def load(url: str, bodies: Path, *words: str) -> Seen:
    return asyncio.run(generate(parse([url, "--bodies", str(bodies), *words])))


def test_a_closed_loop_is_as_fast_as_the_server(bodies: Path) -> None:
    words = ["--bodies", str(bodies), "--callers", "4", "--seconds", "0.6", "--warmup", "0.25"]
    with listening(OneAtATime) as url:
        command = [sys.executable, "-m", "benchmarks.load", url, *words]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    seen = Seen(**json.loads(run.stdout))
    # No more than the server can, and each of four callers waits for the three before it. How much
    # slower it gets depends on the machine.
    assert 0 < seen.requests_per_s <= 1.1 / SLOW_S
    assert seen.p50_ms > 0.5 * 4 * SLOW_S * 1000
    assert seen.errors == {}
    assert seen.backends == ["sleep"]
    assert 0 < seen.generator_cpu < 1
    assert seen.answered > seen.requests


@pytest.mark.parametrize(("handler", "name"), [(Refuses, "status 503"), (AnswersHtml, "not a PNG")])
def test_an_answer_without_a_mask_is_an_error(
    handler: type[BaseHTTPRequestHandler], name: str, bodies: Path
) -> None:
    with listening(handler) as url:
        seen = load(url, bodies, "--callers", "1", "--seconds", "0.3", "--warmup", "0")
    assert seen.requests == 0
    assert list(seen.errors) == [name]


def test_processes_share_the_callers_and_their_answers_are_one_table(bodies: Path) -> None:
    words = ["--callers", "3", "--processes", "2", "--seconds", "1", "--warmup", "0.2"]
    with listening(OneAtATime) as url:
        seen = in_processes(parse([url, "--bodies", str(bodies), *words]))
    assert seen.requests == len(seen.latencies_s) > 0
    assert seen.answered >= seen.requests
    assert seen.backends == ["sleep"]
    assert seen.errors == {}


class WantsNoForm(OneAtATime):
    wants_form = False


def test_a_photograph_goes_as_the_server_wants_it(bodies: Path) -> None:
    quick = ["--callers", "1", "--seconds", "0.3", "--warmup", "0"]
    with listening(WantsNoForm) as url:
        plain = load(url, bodies, *quick, "--wire", "plain")
        form = load(url, bodies, *quick)
    assert plain.requests > 0
    assert (form.requests, list(form.errors)) == (0, ["status 415"])


def test_a_server_that_is_gone_is_an_error(bodies: Path) -> None:
    with listening(OneAtATime) as url:
        pass
    seen = load(url, bodies, "--rate", "30", "--seconds", "0.1")
    assert seen.requests == 0
    assert seen.errors == {"ClientConnectorError": 3}


class Stalls:
    """Answers at once, but for one pause during which nobody is answered."""

    def __init__(self, pause_s: float) -> None:
        self._until, self._pause_s = 0.0, pause_s

    async def ask(self) -> None:
        now = time.perf_counter()
        self._until = self._until or now + self._pause_s
        await asyncio.sleep(max(0.0, self._until - now))


def test_an_open_loop_sees_the_queue_that_a_closed_one_hides() -> None:
    async def both() -> tuple[Seen, Seen]:
        opened = await open_loop(Stalls(0.3).ask, Record(), rate=200, seconds=0.6)
        closed = await closed_loop(Stalls(0.3).ask, Record(), callers=1, seconds=0.6)
        return opened, closed

    opened, closed = asyncio.run(both())
    assert opened.requests == 120
    # Half of the requests were due in the pause: they waited 0 to 300 ms, evenly.
    assert opened.p95_ms > 230
    assert closed.p95_ms < opened.p95_ms / 2


def test_latency_counts_from_when_a_request_was_due() -> None:
    """A generator that is held up itself still owes its requests their time."""

    async def late() -> Seen:
        async def ask() -> None:
            time.sleep(0.02)  # noqa: ASYNC251 blocks every other request, as a busy generator would

        return await open_loop(ask, Record(), rate=100, seconds=0.2)

    seen = asyncio.run(late())
    # The last of 20 requests is due after 190 ms and has its answer after 400, or later.
    assert seen.p99_ms > 180


def test_wrong_answers_are_counted_and_have_no_latency() -> None:
    async def wrong() -> Seen:
        async def ask() -> None:
            raise WrongAnswerError("status 500")

        return await open_loop(ask, Record(), rate=20, seconds=0.5)

    seen = asyncio.run(wrong())
    assert (seen.requests, seen.errors) == (0, {"status 500": 10})

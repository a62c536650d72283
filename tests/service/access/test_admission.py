import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress

import httpx2
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.requests import Request
from starlette.types import Message

from model_core.errors import ImageTooLargeError
from service.access.admission import Admission, Pace
from service.contract.errors import OverloadedError, QueueFullError
from service.settings import Settings
from service.telemetry.prometheus import Telemetry
from service.telemetry.ticket import Ticket
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.raw import raw
from tests.fixtures.service.reloading import served
from tests.fixtures.service.slow_backend import TIMEOUT_S, HeldBackend, SlowBackend
from tests.fixtures.service.waiting import wait_until

PNG = encode(lesion(48, 64))
TRUTH = encode(Image.new("1", (64, 48)))

# One for all: to make one takes longer than a request.
CLIENT = httpx2.Client(timeout=TIMEOUT_S, limits=httpx2.Limits(max_connections=None))

Serve = Callable[..., FastAPI]


@pytest.fixture(scope="module", autouse=True)
def _closes() -> Iterator[None]:
    yield
    CLIENT.close()


@contextmanager
def filled(app: FastAPI, url: str, places: int) -> Iterator[list[httpx2.Response]]:
    """So many requests in their places, held up until the block ends; then their answers."""
    answers: list[httpx2.Response] = []
    held = HeldBackend(app.state.parts.versions)
    with ThreadPoolExecutor(places) as callers:
        try:
            waiting = [callers.submit(post, url) for _ in range(places)]
            wait_until(lambda: app.state.parts.admission.depth == places)
            assert held.running.wait(TIMEOUT_S)
            yield answers
        finally:
            held.released.set()
        answers += [request.result() for request in waiting]


def post(url: str, data: bytes = PNG) -> httpx2.Response:
    return CLIENT.post(f"{url}/segment", content=data)


def slug(response: httpx2.Response) -> str:
    return str(response.json()["type"]).removeprefix("/problems/")


def counted(url: str, name: str, reason: str) -> float:
    line = f'lesion_{name}_total{{reason="{reason}"}} '
    text = CLIENT.get(f"{url}/metrics").text
    return float(text.partition(line)[2].partition("\n")[0])


def test_the_pace_is_not_known_before_a_second_of_work_and_fades() -> None:
    pace = Pace(now=0)
    pace.advance(0.9, busy=True)
    pace.done(100)
    assert pace.units_per_s() is None
    pace.advance(1.2, busy=True)
    assert pace.units_per_s() == pytest.approx(83, rel=0.03)
    pace.advance(101.2, busy=False)  # rest is no work
    assert pace.units_per_s() == pytest.approx(83, rel=0.03)
    pace.advance(106.2, busy=True)
    assert pace.units_per_s() == pytest.approx(50 / 5.6, rel=0.2)


def test_beside_a_slow_first_request_nothing_is_known_to_be_late() -> None:
    pace = Pace(now=0)
    pace.advance(8, busy=True)
    assert pace.units_per_s() is None
    pace.done(2)
    assert pace.units_per_s() == 0.25


@pytest.mark.parametrize("plain", [True, False], ids=["application", "connection"])
def test_a_full_queue_is_said_before_a_byte_of_the_body_is_read(make: Serve, plain: bool) -> None:
    app = make(max_queue=2)
    with served(app, plain=plain) as url, filled(app, url, 2) as answers, raw(url) as caller:
        caller.head("/segment", "Content-Length: 1000", "Expect: 100-continue")
        status, headers, problem = caller.answer()
        assert (status, problem["type"]) == (503, "/problems/queue-full")
        assert problem["request_id"] == headers["x-request-id"]
        assert (headers["retry-after"], headers["x-content-type-options"]) == ("1", "nosniff")
        assert counted(url, "refusals", "queue") == 1
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_refused_caller_reads_its_answer_though_its_body_is_under_way(make: Serve) -> None:
    app = make(max_queue=1)
    with served(app, plain=False) as url, filled(app, url, 1):
        for _ in range(20):
            with raw(url) as caller:
                caller.head("/segment", "Content-Length: 600000")
                caller.send(b"\0" * 600_000)
                status, headers, problem = caller.answer()
                assert (status, problem["type"]) == (503, "/problems/queue-full")
                assert headers["connection"] == "close"
                assert caller.is_closed()


def test_of_many_who_come_at_once_no_more_bodies_are_read_than_there_are_places(
    make: Serve,
) -> None:
    app = make(max_queue=2)
    with served(app, plain=False) as url, ExitStack() as stack:
        for _ in range(2):
            caller = stack.enter_context(raw(url))
            caller.head("/segment", f"Content-Length: {len(PNG)}", "Expect: 100-continue")
            assert caller.socket.recv(100).startswith(b"HTTP/1.1 100 ")
        with raw(url) as third:
            third.head("/segment", f"Content-Length: {len(PNG)}", "Expect: 100-continue")
            assert third.problem() == (503, "queue-full")
        # Who is slow to send keeps nobody out for long.
        wait_until(lambda: post(url).status_code == 200)


def test_so_many_pixels_at_once_and_no_more(make: Serve) -> None:
    app = make(max_pixels_in_flight=3 * 48 * 64 + 1_000)
    with served(app) as url:
        with filled(app, url, 3) as answers:
            response = post(url)
            assert (response.status_code, slug(response)) == (503, "queue-full")
            assert "megapixels would be in flight" in response.json()["detail"]
            assert counted(url, "refusals", "pixels") == 1
        # Alone, one of more pixels than that is let in.
        answers.append(post(url, encode(lesion(480, 640))))
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200]


def test_what_is_late_is_answered_504_and_never_reaches_the_network(make: Serve) -> None:
    app = make(deadline_seconds=0.5)
    with served(app) as url:
        with filled(app, url, 6) as answers:
            started = time.monotonic()
            wait_until(lambda: app.state.parts.admission.depth == 0)
            assert time.monotonic() - started < 5
            runs = app.state.parts.versions.production.predictor.backend.runs
            assert counted(url, "dropped", "expired") == 6
        assert {(answer.status_code, slug(answer)) for answer in answers} == {
            (504, "deadline-passed")
        }
        assert post(url).status_code == 200
        # Beside those that were held up, only this last one ran.
        assert app.state.parts.versions.production.predictor.backend.runs == runs + 1


def test_the_work_of_callers_who_left_never_reaches_the_network(make: Serve) -> None:
    app = make()
    with served(app) as url:
        with filled(app, url, 4) as answers:
            runs = app.state.parts.versions.production.predictor.backend.runs
            for _ in range(5):
                with raw(url) as caller:
                    caller.head("/segment", f"Content-Length: {len(PNG)}")
                    caller.send(PNG)
                    wait_until(lambda: app.state.parts.admission.depth == 5)
                    time.sleep(0.1)
                wait_until(lambda: app.state.parts.admission.depth == 4)
            assert counted(url, "dropped", "abandoned") == 5
        assert [answer.status_code for answer in answers] == [200] * 4
        wait_until(lambda: app.state.parts.admission.depth == 0)
        assert app.state.parts.versions.production.predictor.backend.runs - runs <= 4


def test_whose_turn_would_come_too_late_is_told_when_to_come_again() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def fill() -> tuple[int, OverloadedError]:
        admission = Admission(Settings(deadline_seconds=20), Telemetry())
        now = asyncio.get_running_loop().time()
        admission._pace = Pace(now - 2)
        admission._pace.advance(now, busy=True)
        admission._pace.done(2.0)  # one a second
        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        async with AsyncExitStack() as stack:
            for places in range(64):
                try:
                    await stack.enter_async_context(admission.slot(request, Ticket("a")))
                except OverloadedError as exc:
                    return places, exc
        raise AssertionError("all were let in")

    places, refusal = asyncio.run(fill())
    assert 9 <= places <= 12  # within 12 of the 20 seconds
    assert abs(int(refusal.headers["Retry-After"]) - places) <= 2


def test_a_file_that_announces_the_impossible_makes_no_other_seem_late() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        admission = Admission(Settings(), Telemetry())
        now = asyncio.get_running_loop().time()
        admission._pace = Pace(now - 2)
        admission._pace.advance(now, busy=True)
        admission._pace.done(100.0)  # fifty a second
        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        with suppress(ImageTooLargeError):
            async with admission.slot(request, Ticket("a"), pixels=10**18):
                admission.check()  # beside it
                raise ImageTooLargeError("its header says so")
        async with admission.slot(request, Ticket("b")):
            admission.check()  # after it

    asyncio.run(scenario())


@pytest.mark.slow
def test_what_would_be_late_is_refused_at_once_with_an_honest_time_to_wait(make: Serve) -> None:
    app = make(deadline_seconds=1.5)
    answers: list[tuple[float, httpx2.Response]] = []

    def call(url: str, until: float) -> None:
        while time.monotonic() < until:
            started = time.monotonic()
            response = post(url)
            answers.append((time.monotonic() - started, response))
            time.sleep(0.2)  # callers share this process: more haste would slow the server

    with served(app) as url:
        slow = SlowBackend(app.state.parts.versions, 0.08)  # 12 a second, for 30 callers
        threads = [
            threading.Thread(target=call, args=(url, time.monotonic() + 4)) for _ in range(30)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        refused = counted(url, "refusals", "deadline")
    late = [answer for answer in answers if answer[1].status_code == 504]
    settled = answers[len(answers) // 2 :]
    assert {answer.status_code for _, answer in settled} <= {200, 503, 504}
    statuses = [answer.status_code for _, answer in settled]
    assert statuses.count(504) <= 0.1 * statuses.count(200)  # this process is the callers' too
    assert max(seconds for seconds, answer in settled if answer.status_code == 200) < 1.6
    refusals = [(seconds, answer) for seconds, answer in answers if answer.status_code == 503]
    assert len(refusals) == refused > 0
    assert {slug(answer) for _, answer in refusals} == {"overloaded"}
    assert all(1 <= int(answer.headers["retry-after"]) <= 10 for _, answer in refusals)
    # Nothing is worked on in vain, once the pace is known.
    assert slow.runs <= len(answers) - len(refusals)
    assert len(late) < 30


def test_bad_photographs_fail_nobody_beside_them(make: Serve) -> None:
    app = make()
    bad = [b"", b"text", PNG[: len(PNG) // 2], PNG[:40] + b"\0" * 500]
    mixed = [PNG if i % 3 else bad[i // 3 % len(bad)] for i in range(60)]
    with served(app) as url, ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda data: post(url, data), mixed))
    for data, answer in zip(mixed, answers, strict=True):
        assert (answer.status_code == 200) == (data is PNG)
        assert answer.status_code in (200, 415, 422)


def test_an_evaluation_of_too_many_pixels_is_refused_before_it_begins(make: Serve) -> None:
    app = make(max_request_pixels=100_000)
    huge = b'{"size": [1000, 1000], "counts": [1000000]}'
    with served(app) as url:
        for other in (encode(Image.new("1", (400, 300))), huge):
            fields = [("truth", TRUTH), ("pred", TRUTH), ("truth", TRUTH), ("pred", other)]
            response = CLIENT.post(f"{url}/evaluate", files=fields)
            assert (response.status_code, slug(response)) == (413, "too-many-pixels")


def test_an_evaluation_has_a_time_of_its_own(make: Serve) -> None:
    app = make(deadline_seconds=0.3, evaluation_seconds=2.0)
    fields = [("truth", TRUTH), ("image", PNG)]
    with served(app) as url:
        # The first comparison of masks imports what it takes, a second on a busy machine.
        CLIENT.post(f"{url}/evaluate", files=[("truth", TRUTH), ("pred", TRUTH)])
        SlowBackend(app.state.parts.versions, 0.5)
        assert CLIENT.post(f"{url}/evaluate", files=fields).status_code == 200
        response = CLIENT.post(f"{url}/evaluate", files=fields * 6)
        assert (response.status_code, slug(response)) == (504, "deadline-passed")


def test_no_photograph_waits_for_masks_that_are_compared(make: Serve) -> None:
    app = make(max_pixels_in_flight=10_000)
    held, released = threading.Event(), threading.Event()

    def hold(*_: object) -> None:
        held.set()
        assert released.wait(TIMEOUT_S)

    app.state.parts.pipeline._scoring.submit(hold)
    fields = [("truth", TRUTH), ("pred", TRUTH)] * 8
    with served(app) as url, ThreadPoolExecutor(1) as caller:
        evaluation = caller.submit(CLIENT.post, f"{url}/evaluate", files=fields)
        assert held.wait(TIMEOUT_S)
        try:
            wait_until(lambda: app.state.parts.admission.depth == 1)
            assert [post(url).status_code for _ in range(3)] == [200] * 3
        finally:
            released.set()
        assert evaluation.result().status_code == 200


def test_batches_never_have_all_places(settings: Settings) -> None:
    few = settings.model_copy(update={"max_queue": 8})

    async def fill() -> None:
        admission = Admission(few, Telemetry())
        with admission.batch_slot(Ticket("a")), admission.batch_slot(Ticket("b")):
            with pytest.raises(QueueFullError, match="2 batches"):
                admission.batch_slot(Ticket("c")).__enter__()
            admission.check()  # an image still finds one
        with admission.batch_slot(Ticket("d")):
            assert admission.depth == 1

    asyncio.run(fill())

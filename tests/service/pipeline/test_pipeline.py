import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from model_core.predictor import Prediction
from service.app import create_app
from service.contract.queries import AnswerQuery
from service.pipeline.threads import background_pool
from service.settings import Settings
from service.telemetry.ticket import Ticket
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.problems import assert_problem
from tests.fixtures.service.reloading import started
from tests.fixtures.service.slow_backend import TIMEOUT_S, HeldBackend

PNG = encode(lesion(48, 64))


def test_an_image_goes_through_all_stages_and_its_ticket_says_how_long_each_took(
    registry_root: Path,
) -> None:
    ticket = Ticket("a")

    async def scenario() -> tuple[Prediction, Prediction]:
        async with parts.versions.use(None) as version:
            image = await parts.pipeline.predict(version, PNG, AnswerQuery(threshold=0.4))
            assert ticket.sizes == []  # it is not done yet
            encoded = await parts.pipeline.encode(image, ticket, attrgetter("prediction"))
            return encoded, version.predictor.predict(PNG, threshold=0.4)

    with started(registry_root) as (parts, _, _):
        encoded, alone = asyncio.run(scenario())
        assert ticket.model_sha256 == parts.versions.load_production().sha256
    assert encoded.threshold == 0.4
    assert (encoded.mask == alone.mask).all()
    assert ticket.sizes == [(48, 64)]
    assert min(ticket.seconds.values()) > 0
    assert list(ticket.seconds) == ["decode", "queue", "infer", "encode"]


def test_other_requests_are_answered_while_the_network_runs(app: FastAPI) -> None:
    held = HeldBackend(app.state.parts.versions)
    with TestClient(app) as client, ThreadPoolExecutor(1) as caller:
        slow = caller.submit(client.post, "/segment", files={"image": PNG})
        assert held.running.wait(TIMEOUT_S)
        assert client.get("/healthz").status_code == 200
        assert client.get("/models").status_code == 200
        assert not slow.done()
        held.released.set()
        assert slow.result().status_code == 200


def test_beyond_the_queue_requests_are_refused_at_once(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_queue": 2}))
    held = HeldBackend(app.state.parts.versions)
    with TestClient(app) as client, ThreadPoolExecutor(2) as callers:
        waiting = [callers.submit(client.post, "/segment", files={"image": PNG}) for _ in "ab"]
        while "lesion_queue_depth 2.0" not in client.get("/metrics").text:
            assert held.running.wait(TIMEOUT_S)
        response = client.post("/segment", files={"image": PNG})
        assert_problem(response, 503, "queue-full")
        assert response.headers["retry-after"] == "1"
        held.released.set()
        assert [request.result().status_code for request in waiting] == [200, 200]
        assert client.post("/segment", files={"image": PNG}).status_code == 200
        assert "lesion_queue_depth 0.0" in client.get("/metrics").text


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no priority of its own")
def test_threads_that_compute_yield_to_the_event_loop() -> None:
    def urgency() -> int:
        return -os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with background_pool(1, "computing") as pool:
        assert pool.submit(urgency).result() < urgency()

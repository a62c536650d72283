"""Batches on a real small network: `dark_is_lesion`, whose logits are 8 - 16 * luma."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from model_core.arrays import Batch, Image, Logits
from model_core.backends.cuda import CUDABackend
from model_core.predictor import Predictor
from service.pipeline.batcher import Batcher
from service.pipeline.versions import Versions
from tests.fixtures.models import CARD, dark_is_lesion
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.problems import assert_problem

BAD = 13
LONG_S = 20


class WatchedBackend:
    """The GPU's backend on the CPU; a test can hold it up, and one grey breaks it."""

    name, streams, batch = "watched", 1, 4

    def __init__(self) -> None:
        self._real = CUDABackend(dark_is_lesion(), CARD.preprocess, sizes=(1, 2, 4), device="cpu")
        self.sizes: list[int] = []
        self.running, self.released = threading.Event(), threading.Event()
        self.released.set()

    def run(self, batch: Batch) -> Logits:
        self.sizes.append(len(batch))
        self.running.set()
        assert self.released.wait(LONG_S)
        if (batch == BAD).all(axis=(1, 2, 3)).any():
            raise ValueError(f"a batch with the grey {BAD}")
        return self._real.run(batch)

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        return (self.run,)


@pytest.fixture
def backend() -> WatchedBackend:
    return WatchedBackend()


@pytest.fixture
def predictor(backend: WatchedBackend) -> Predictor:
    return Predictor(backend, CARD.preprocess, CARD.postprocess)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def grey(value: int) -> Image:
    return np.full((64, 64, 3), value, np.uint8)


def logit(value: int) -> float:
    return 8 - 16 * value / 255


async def asked(batcher: Batcher, predictor: Predictor, value: int) -> float:
    """The logit in the middle of a grey photograph."""
    return float((await batcher.run(predictor, grey(value))).logits[32, 32])


def batching(pool: ThreadPoolExecutor, *, size: int = 0, wait_s: float = 0) -> Batcher:
    return Batcher(pool, size=size, wait_s=wait_s)


def test_everyone_gets_the_answer_to_their_own_photograph(
    backend: WatchedBackend, predictor: Predictor, pool: ThreadPoolExecutor
) -> None:
    batcher, values = batching(pool), range(20, 53)

    async def crowd() -> list[float]:
        return await asyncio.gather(*(asked(batcher, predictor, value) for value in values))

    assert asyncio.run(crowd()) == pytest.approx([logit(value) for value in values], abs=1e-4)
    assert backend.sizes == [1, *[4] * 8]  # the first went at once, the rest while it ran


def test_a_batch_is_never_larger_than_the_setting(
    backend: WatchedBackend, predictor: Predictor, pool: ThreadPoolExecutor
) -> None:
    batcher = batching(pool, size=2)

    async def crowd() -> None:
        await asyncio.gather(*(asked(batcher, predictor, value) for value in range(6)))

    asyncio.run(crowd())
    assert max(backend.sizes) == 2
    assert batching(pool, size=64).size(predictor) == 4


def test_whoever_is_alone_waits_for_nobody(predictor: Predictor, pool: ThreadPoolExecutor) -> None:
    batcher = batching(pool, wait_s=LONG_S)

    async def alone() -> float:
        with batcher.expecting(predictor):
            await asyncio.sleep(0.01)  # its own decoding
        return await asked(batcher, predictor, 100)

    started = time.monotonic()
    assert asyncio.run(alone()) == pytest.approx(logit(100), abs=1e-4)
    assert time.monotonic() - started < LONG_S / 4


def test_one_waits_for_another_that_is_being_decoded(
    backend: WatchedBackend, predictor: Predictor, pool: ThreadPoolExecutor
) -> None:
    batcher = batching(pool, wait_s=LONG_S)

    async def second() -> float:
        with batcher.expecting(predictor):
            await asyncio.sleep(0.05)
        return await asked(batcher, predictor, 200)

    async def both() -> Sequence[float]:
        return await asyncio.gather(second(), asked(batcher, predictor, 100))

    assert asyncio.run(both()) == pytest.approx([logit(200), logit(100)], abs=1e-4)
    assert backend.sizes == [2]


def test_one_that_fails_to_be_decoded_is_waited_for_no_longer(
    backend: WatchedBackend, predictor: Predictor, pool: ThreadPoolExecutor
) -> None:
    batcher = batching(pool, wait_s=LONG_S)

    async def damaged() -> None:
        with batcher.expecting(predictor):
            await asyncio.sleep(0.05)
            raise ValueError("damaged")

    async def both() -> None:
        failed, found = await asyncio.gather(
            damaged(), asked(batcher, predictor, 100), return_exceptions=True
        )
        assert isinstance(failed, ValueError)
        assert found == pytest.approx(logit(100), abs=1e-4)

    started = time.monotonic()
    asyncio.run(both())
    assert time.monotonic() - started < LONG_S / 4
    assert backend.sizes == [1]


def test_patience_ends_with_the_setting(
    backend: WatchedBackend, predictor: Predictor, pool: ThreadPoolExecutor
) -> None:
    batcher = batching(pool, wait_s=0.05)

    async def beside_one_that_never_comes() -> float:
        with batcher.expecting(predictor):
            return await asked(batcher, predictor, 100)

    assert asyncio.run(beside_one_that_never_comes()) == pytest.approx(logit(100), abs=1e-4)


def test_a_photograph_that_breaks_the_network_fails_alone(
    backend: WatchedBackend, predictor: Predictor, pool: ThreadPoolExecutor
) -> None:
    batcher, values = batching(pool), [50, 60, BAD, 70, 80]

    async def crowd() -> list[float | BaseException]:
        asking = (asked(batcher, predictor, value) for value in values)
        return await asyncio.gather(*asking, return_exceptions=True)

    answers = asyncio.run(crowd())
    assert isinstance(answers.pop(2), ValueError)
    assert answers == pytest.approx([logit(value) for value in values if value != BAD], abs=1e-4)
    assert backend.sizes == [1, 4, 1, 1, 1, 1]


def while_one_runs(
    backend: WatchedBackend, batcher: Batcher, predictor: Predictor
) -> Callable[[Sequence[int]], Awaitable[list[asyncio.Task[float]]]]:
    """Asks for photographs of which the first is held up in the network."""

    async def ask(values: Sequence[int]) -> list[asyncio.Task[float]]:
        backend.released.clear()
        tasks = [asyncio.create_task(asked(batcher, predictor, value)) for value in values]
        await asyncio.to_thread(backend.running.wait, LONG_S)
        return tasks

    return ask


def test_who_has_gone_is_not_sent_to_the_network(
    backend: WatchedBackend, predictor: Predictor, pool: ThreadPoolExecutor
) -> None:
    batcher = batching(pool)

    async def one_leaves() -> list[float]:
        first, leaver, stayer = await while_one_runs(backend, batcher, predictor)([10, 20, 30])
        leaver.cancel()
        await asyncio.sleep(0)
        backend.released.set()
        return [await first, await stayer]

    assert asyncio.run(one_leaves()) == pytest.approx([logit(10), logit(30)], abs=1e-4)
    assert backend.sizes == [1, 1]


def test_nobody_waits_for_ever_once_the_threads_are_stopped(
    backend: WatchedBackend, predictor: Predictor
) -> None:
    pool = ThreadPoolExecutor(1)
    batcher = batching(pool)

    async def closed() -> list[float | BaseException]:
        tasks = await while_one_runs(backend, batcher, predictor)([10, 20, 30])
        closing = asyncio.create_task(asyncio.to_thread(pool.shutdown, cancel_futures=True))
        await asyncio.sleep(0.05)
        backend.released.set()
        await closing
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LONG_S)

    first, *others = asyncio.run(closed())
    assert first == pytest.approx(logit(10), abs=1e-4)
    assert all(isinstance(other, RuntimeError) for other in others)


def test_over_http_neighbours_share_batches_and_no_faults(
    app: FastAPI, backend: WatchedBackend
) -> None:
    photographs = [encode(lesion(48, 64)), encode(lesion(64, 48)), encode(lesion(48, 64))[:200]]
    versions: Versions = app.state.parts.versions
    version = versions.load_production()
    alone = [version.predictor.predict(data).mask.shape for data in photographs[:2]]
    watched = Predictor(backend, CARD.preprocess, CARD.postprocess)
    versions.production = replace(version, predictor=watched)
    with TestClient(app) as client, ThreadPoolExecutor(9) as callers:
        posts = [
            callers.submit(client.post, "/segment?format=rle", files={"image": data})
            for data in photographs * 3
        ]
        answers = [post.result() for post in posts]
    for number, answer in enumerate(answers):
        if number % 3 == 2:
            assert_problem(answer, 422, "unreadable-image")
        else:
            assert tuple(answer.json()["segmentation"]["size"]) == alone[number % 3]
            assert answer.json()["lesion_found"]
    assert sum(backend.sizes) == 6

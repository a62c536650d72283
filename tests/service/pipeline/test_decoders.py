"""Decoding in processes of their own: the same pixels, and one that ends costs one request."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest
from PIL import Image

from model_core.errors import ConfigError, ImageTooLargeError, InputError, UnreadableImageError
from model_core.processing.preprocess import PreprocessConfig
from service.app import create_app
from service.contract.errors import DecoderFailedError
from service.pipeline.decoders import Decoders, _Decoder
from service.settings import Settings
from service.telemetry.prometheus import Telemetry
from tests.fixtures.models import dark_predictor
from tests.fixtures.pictures import encode, exif, lesion
from tests.fixtures.service.bad_files import BAD_FILES
from tests.fixtures.service.reloading import served
from tests.fixtures.service.waiting import wait_until

if os.name != "posix" or not Path("/proc/self/statm").exists():
    pytest.skip("limits of a process are set as on Linux", allow_module_level=True)

PNG = encode(lesion(48, 64))
GOOD = {
    "PNG": PNG,
    "JPEG": encode(lesion(600, 800), "JPEG"),
    "JPEG, turned": encode(lesion(300, 400), "JPEG", exif=exif(6)),
    "WebP": encode(lesion(90, 120), "WEBP"),
    "TIFF": encode(lesion(90, 120), "TIFF"),
    "grey": encode(lesion(90, 120).convert("L")),
    "one column": encode(Image.new("RGB", (1, 50))),
}
PREDICTOR = dark_predictor(preprocess=PreprocessConfig(size=64, fit="letterbox"))

Make = Callable[..., Decoders]


@contextmanager
def running(**limits: float) -> Iterator[Decoders]:
    given = {"max_pixels": 1_000_000, "seconds": 10, **limits}
    decoders = Decoders(1, telemetry=Telemetry(), **given)  # type: ignore[arg-type]
    try:
        yield decoders
    finally:
        decoders.close()


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with running() as decoders:
        yield decoders


@pytest.mark.parametrize("name", GOOD)
def test_the_pixels_are_the_same_as_in_this_process(decoders: Decoders, name: str) -> None:
    here, there = PREDICTOR.prepare(GOOD[name]), decoders.prepare(PREDICTOR, GOOD[name])
    assert np.array_equal(here.pixels, there.pixels)
    assert here.geometry == there.geometry
    assert there.pixels.flags.writeable


@pytest.mark.parametrize("name", BAD_FILES)
def test_the_errors_are_the_same_as_in_this_process(decoders: Decoders, name: str) -> None:
    limited = dark_predictor(preprocess=PREDICTOR.preprocess_config)
    limited.max_pixels = 1_000_000
    with pytest.raises(InputError) as here:
        limited.prepare(BAD_FILES[name][0])
    with pytest.raises(InputError) as there:
        decoders.prepare(PREDICTOR, BAD_FILES[name][0])
    assert type(here.value) is type(there.value)
    if not isinstance(here.value, ImageTooLargeError):  # Pillow's own guard is an error in tests
        assert str(here.value) == str(there.value)


def test_real_photographs_are_the_same_as_in_this_process(
    decoders: Decoders, real_data: Path
) -> None:
    for path in sorted(real_data.rglob("*.jpg"))[::500][:20]:
        data = path.read_bytes()
        here, there = PREDICTOR.prepare(data), decoders.prepare(PREDICTOR, data)
        assert np.array_equal(here.pixels, there.pixels)


@pytest.mark.parametrize(
    ("number", "error", "expected"),
    [
        (signal.SIGKILL, DecoderFailedError, "was ended; try again"),
        (signal.SIGSEGV, UnreadableImageError, "broke its decoder"),
        (signal.SIGXCPU, UnreadableImageError, "more than 10 s of processor time"),
    ],
)
def test_a_process_that_ends_at_a_photograph_costs_that_one_alone(
    decoders: Decoders,
    number: signal.Signals,
    error: type[Exception],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (pid,) = decoders.pids()
    process = psutil.Process(pid)
    process.suspend()  # so that it ends while it has the photograph
    sent, receive = threading.Event(), _Decoder._receive

    def receive_after_sending(decoder: _Decoder, wait_s: float) -> bytes:
        sent.set()
        return receive(decoder, wait_s)

    monkeypatch.setattr(_Decoder, "_receive", receive_after_sending)
    with ThreadPoolExecutor(1) as caller:
        asked = caller.submit(decoders.prepare, PREDICTOR, PNG)
        assert sent.wait(30)
        process.send_signal(number)
        with suppress(psutil.NoSuchProcess):  # SIGKILL ends a process that is suspended at once
            process.resume()
        with pytest.raises(error, match=expected):
            asked.result()
    assert decoders.prepare(PREDICTOR, PNG).pixels.shape == (64, 64, 3)
    assert decoders.pids() != [pid]


def test_a_photograph_that_takes_too_much_memory_is_refused_and_its_process_lives_on() -> None:
    large = encode(Image.new("RGB", (5_000, 5_000)))
    with running(max_pixels=30_000_000, memory=20_000_000) as decoders:
        pids = decoders.pids()
        with pytest.raises(UnreadableImageError, match="takes more than 20 MB, the limit"):
            decoders.prepare(PREDICTOR, large)
        assert decoders.prepare(PREDICTOR, PNG).geometry.height == 48
        assert decoders.pids() == pids


@pytest.mark.slow
def test_a_photograph_that_takes_too_long_ends_its_process() -> None:
    large = encode(Image.new("RGBA", (9_000, 9_000)), compress_level=1)
    late = pytest.raises(UnreadableImageError, match="of processor time")
    with running(max_pixels=89_000_000, seconds=0) as decoders, late:
        decoders.prepare(PREDICTOR, large)


def test_beside_a_decoder_that_is_killed_no_other_request_fails(registry_root: Path) -> None:
    app = create_app(Settings(model_registry=registry_root, decode_processes=2))
    killed: list[int] = []
    with served(app) as url, httpx2.Client(timeout=60) as client, ThreadPoolExecutor(5) as callers:
        posts = [callers.submit(client.post, f"{url}/segment", content=PNG) for _ in range(30)]
        while len(killed) < 2:
            for pid in app.state.parts.pipeline.decoders.pids()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        statuses = [post.result().status_code for post in posts]
    assert set(statuses) <= {200, 503}
    assert statuses.count(503) <= len(killed)
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in killed))


def test_another_process_comes_even_where_none_can_be_started_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.pipeline.decoders._PAUSE_S", 0.05)
    make, attempts = subprocess.Popen, 0

    def fail_twice(*args: Any, **options: Any) -> object:
        nonlocal attempts
        attempts += 1
        if attempts <= 2:
            raise BlockingIOError("no process to spare")
        return make(*args, **options)

    with running() as decoders:
        (pid,) = decoders.pids()
        monkeypatch.setattr("service.pipeline.decoders.subprocess.Popen", fail_twice)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(pid) or is_zombie(pid))
        assert decoders.prepare(PREDICTOR, PNG).geometry.width == 64
    assert attempts == 3


def is_zombie(pid: int) -> bool:
    return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_where_none_can_be_started_the_service_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError("no process to spare")

    monkeypatch.setattr("service.pipeline.decoders.subprocess.Popen", fail)
    with pytest.raises(ConfigError, match="only 0 could be started"), running():
        pass

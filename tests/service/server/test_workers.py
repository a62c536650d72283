"""Several server processes on one port, real ones: they share the work, and none is left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from model_core.errors import ConfigError
from service.__main__ import main
from service.server.worker import Worker
from service.server.workers import supervise
from service.telemetry.shared_metrics import merged
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.process import LIGHT, REPOSITORY, START_S, free_port, service

PNG = encode(lesion(48, 64))
WORKERS = {"LESION_WORKERS": "2"}


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def pair(registry_root: Path, tmp_path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The parent of two workers that are both ready."""
    with service(port, registry_root, tmp_path / "log", WORKERS) as parent:
        wait_for(lambda: len(pids(port)) == 2)
        yield parent


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def metrics(port: int) -> str:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx2.TransportError:  # the worker died that was to answer
        return ""


def pids(port: int) -> dict[str, float]:
    """When each worker began, by its number: two processes never began at once."""
    pattern = r'^process_start_time_seconds\{worker="(\d)"\} (\S+)$'
    return {number: float(at) for number, at in re.findall(pattern, metrics(port), re.MULTILINE)}


def requests(port: int) -> list[int]:
    """How many photographs each worker has segmented."""
    pattern = r'^lesion_http_requests_total\{worker="\d",.*route="/segment".*\} (\S+)$'
    return [int(float(count)) for count in re.findall(pattern, metrics(port), re.MULTILINE)]


def children(parent: int) -> list[int]:
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in listed.split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def segment(port: int) -> int:
    return httpx2.post(f"http://127.0.0.1:{port}/segment", files={"image": PNG}).status_code


def test_workers_share_the_work_and_are_replaced_and_all_end_with_the_parent(
    pair: subprocess.Popen[bytes], port: int, tmp_path: Path
) -> None:
    for _ in range(30):  # each on a connection of its own: 1 in 10^8 that one gets them all
        assert segment(port) == 200
    counts = requests(port)
    assert (len(counts), sum(counts)) == (2, 30)
    assert metrics(port).count("# TYPE lesion_http_requests_total counter") == 1

    before, (victim, survivor) = pids(port), children(pair.pid)
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: victim not in children(pair.pid))  # a zombie's threads may still hold its port
    assert [segment(port) for _ in range(5)] == [200] * 5
    wait_for(lambda: len(pids(port)) == 2 and pids(port) != before)
    assert survivor in children(pair.pid)

    everyone = children(pair.pid)
    pair.send_signal(signal.SIGTERM)
    assert pair.wait(START_S) == 0
    assert not any(map(alive, everyone))
    assert "ended=-9" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_workers_whose_parent_was_killed_end_too(pair: subprocess.Popen[bytes], port: int) -> None:
    orphans = children(pair.pid)
    pair.kill()
    wait_for(lambda: not any(map(alive, orphans)))
    with pytest.raises(httpx2.TransportError):
        segment(port)


def test_what_keeps_the_first_worker_from_serving_stops_them_all_with_one_line(
    registry_root: Path, port: int
) -> None:
    environment = os.environ | WORKERS | LIGHT | {
        "LESION_PORT": str(port),
        "LESION_MODEL_REGISTRY": str(registry_root),
        "LESION_MODEL_NAME": "other",
    }  # fmt: skip
    command = [sys.executable, "-m", "service"]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if "lesion-service:" in line]
    assert lines == ["lesion-service: other has no version or alias 'production'; it has none"]


def test_without_a_temporary_folder_there_are_no_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="needs a temporary folder that can be written to"):
        supervise(2)


def test_other_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "80"]) == 2
    assert "the first argument is '--port', expected none" in capsys.readouterr().err


def test_metrics_of_several_workers_name_each_family_once() -> None:
    first = '# HELP a b\n# TYPE a gauge\na{worker="0"} 1\n# HELP c d\n# TYPE c gauge\n'
    second = '# HELP a b\n# TYPE a gauge\na{worker="1"} 2\n'
    assert merged([first, second]) == (
        '# HELP a b\n# TYPE a gauge\na{worker="0"} 1\na{worker="1"} 2\n# HELP c d\n# TYPE c gauge\n'
    )


def test_a_worker_ends_whose_parent_was_killed_before_it_heard_that_it_is_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended = threading.Event()
    monkeypatch.setattr("service.server.worker._LAST_S", 0)
    monkeypatch.setattr("service.server.worker.os.kill", lambda *_: None)
    monkeypatch.setattr("service.server.worker.os._exit", lambda _: ended.set())
    parents, workers = socket.socketpair()
    worker = Worker(["0", "1", str(tmp_path), str(workers.detach())])
    with worker._line:
        worker.ready()
        parents.close()
        assert ended.wait(10)


def test_a_worker_whose_parent_was_killed_is_given_its_whole_grace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slept: list[float] = []
    ended = threading.Event()
    monkeypatch.setattr("service.server.worker.os.kill", lambda *_: None)
    monkeypatch.setattr("service.server.worker.time.sleep", slept.append)
    monkeypatch.setattr("service.server.worker.os._exit", lambda _: ended.set())
    parents, workers = socket.socketpair()
    with parents:
        worker = Worker(["0", "1", str(tmp_path), str(workers.detach())], grace_s=3605)
    with worker._line:
        assert ended.wait(10)
    assert slept[0] > 3605


def test_a_folder_whose_path_is_too_long_for_sockets_is_said_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(ConfigError, match=r"TMPDIR.*too long for the sockets"):
        supervise(2)


def test_where_no_process_can_be_started_the_supervisor_says_so_and_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert supervise(2) == 1
    assert "worker=0 cannot start: No such file or directory" in caplog.text


@pytest.mark.slow
def test_a_process_that_gave_itself_up_ends_with_a_code_that_says_so(
    registry_root: Path, port: int
) -> None:
    script = """
import signal, sys
from service.pipeline import watchdog
from service.__main__ import main
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as for the first process of a container
watchdog.ATTEMPTS, watchdog.LAST_S = 0, 0.1
sys.exit(main())
"""
    environment = (
        os.environ
        | LIGHT
        | {
            "LESION_PORT": str(port),
            "LESION_MODEL_REGISTRY": str(registry_root),
            "LESION_DRAIN_SECONDS": "0",
        }
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, timeout=START_S, check=False
    )
    assert ended.returncode == 3

"""The process as an operator sees it: how it starts, refuses to start, and stops."""

import signal
import socket
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx2
import pytest

from service.__main__ import main
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.process import START_S, free_port, service

PNG = encode(lesion(48, 64))


def half_a_request(port: int) -> tuple[socket.socket, bytes]:
    """A connection on which the service reads a body, half of it sent, and the other half."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=START_S)
    head = f"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PNG)}\r\n"
    connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert connection.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(PNG[:50])
    return connection, PNG[50:]


def wait_until_refused(port: int) -> None:
    with suppress(ConnectionRefusedError):
        while True:
            socket.create_connection(("127.0.0.1", port), timeout=START_S).close()
            time.sleep(0.05)


def test_a_process_serves_survives_a_caller_who_leaves_and_ends_what_it_began(
    registry_root: Path, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "log"
    with service(port, registry_root, log) as process:
        url = f"http://127.0.0.1:{port}/segment"
        response = httpx2.post(url, files={"image": PNG}, headers={"X-Request-Id": "real"})
        assert response.status_code == 200
        assert response.content.startswith(b"\x89PNG")

        leaver, _ = half_a_request(port)
        leaver.close()

        stayer, rest = half_a_request(port)
        process.send_signal(signal.SIGTERM)
        wait_until_refused(port)
        stayer.sendall(rest)
        with stayer:
            assert stayer.recv(12) == b"HTTP/1.1 200"
        assert process.wait(START_S) == -signal.SIGTERM
    lines = log.read_text()
    assert "method=POST route=/segment status=200" in lines
    assert "request_id=real" in lines
    assert "status=499" in lines
    assert "level=ERROR" not in lines
    assert "Traceback" not in lines


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr of a service that did not start."""
    (line,) = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("lesion-service:")
    ]
    return line


def test_a_bad_setting_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LESION_PORT", "eighty")
    assert main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("lesion-service: LESION_PORT is 'eighty': ")


def test_a_port_in_use_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("LESION_PORT", str(port))
        assert main() == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in error


@pytest.mark.usefixtures("_logging_as_before")
@pytest.mark.parametrize(
    ("name", "value", "code", "expected"),
    [
        ("LESION_MODEL_REGISTRY", "/nowhere", 2, "LESION_MODEL_REGISTRY is /nowhere"),
        ("LESION_MODEL_NAME", "other", 1, "other has no version or alias 'production'"),
    ],
)
def test_a_model_that_is_not_there_stops_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    registry_root: Path,
    name: str,
    value: str,
    code: int,
    expected: str,
) -> None:
    monkeypatch.setenv("LESION_PORT", str(free_port()))
    monkeypatch.setenv("LESION_MODEL_REGISTRY", str(registry_root))
    monkeypatch.setenv(name, value)
    assert main() == code
    assert expected in refusal(capsys)


def test_other_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", "80"]) == 2
    assert "the first argument is '--port', expected none" in capsys.readouterr().err

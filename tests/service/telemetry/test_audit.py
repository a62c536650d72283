"""The audit log and the log: what is in them, and what is done when they cannot be written."""

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from model_core.errors import ConfigError
from service.app import create_app
from service.settings import Settings
from service.telemetry.audit import AuditLog
from service.telemetry.logs import configure_logging, log_fields
from service.telemetry.prometheus import Telemetry
from service.telemetry.ticket import Ticket
from tests.fixtures.pictures import encode, lesion
from tests.service.access.test_auth import Keys

PNG = encode(lesion(48, 64))
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@pytest.fixture
def audited(settings: Settings, path: Path, keys: Keys) -> Iterator[TestClient]:
    update = {"audit_log": str(path), "api_keys_file": keys.path}
    with TestClient(create_app(settings.model_copy(update=update))) as client:
        yield client


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def noted(client: TestClient, path: Path) -> list[dict[str, Any]]:
    """The lines of all that the client has asked."""
    client.app.state.audit.flush()  # type: ignore[attr-defined]
    return lines(path)


def write(audit: AuditLog) -> None:
    audit.write(Ticket("a"), method="GET", route="/models", status=200, seconds=0.1)
    audit.flush()


def test_a_mask_is_one_line_that_says_who_what_and_how_long(
    audited: TestClient, keys: Keys, path: Path
) -> None:
    headers = keys.bearer("segment") | {
        "X-Request-Id": "r-1",
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
    }
    response = audited.post("/segment?format=rle", files={"image": PNG}, headers=headers)
    (line,) = noted(audited, path)
    assert line.pop("time").endswith("Z")
    assert line.pop("ms") >= sum(line.pop("stages_ms").values()) * 0.9 > 0
    assert len(PNG) < line.pop("bytes_in") < len(PNG) + 300
    assert line == {
        "request_id": "r-1",
        "trace_id": TRACE,
        "key": "segment",
        "method": "POST",
        "route": "/segment",
        "status": 200,
        "problem": None,
        "model_sha256": response.json()["model"]["sha256"],
        "bytes_out": len(response.content),
        "images": [{"height": 48, "width": 64}],
    }


def test_an_evaluation_notes_every_photograph(audited: TestClient, keys: Keys, path: Path) -> None:
    mask = audited.post("/segment", files={"image": PNG}, headers=keys.bearer("all")).content
    fields = [("image", PNG), ("truth", mask)] * 2
    audited.post("/evaluate", files=fields, headers=keys.bearer("all"))
    assert noted(audited, path)[-1]["images"] == [{"height": 48, "width": 64}] * 2


@pytest.mark.parametrize(
    ("name", "status", "problem", "key"),
    [
        ("models:read", 403, "missing-scope", "models-read"),
        ("expired", 401, "invalid-key", None),
        (None, 401, "invalid-key", None),
    ],
)
def test_a_refusal_is_a_line_too(
    audited: TestClient, keys: Keys, path: Path, name: str | None, status: int, problem: str,
    key: str | None,
) -> None:  # fmt: skip
    audited.post("/segment", files={"image": PNG}, headers=keys.bearer(name) if name else {})
    (line,) = noted(audited, path)
    assert (line["status"], line["problem"], line["key"]) == (status, problem, key)
    assert (line["model_sha256"], line["images"]) == (None, [])


def test_probes_are_no_lines_unless_they_are_refused(
    audited: TestClient, keys: Keys, path: Path
) -> None:
    for probe in ("/healthz", "/readyz"):
        audited.get(probe)
    audited.get("/metrics", headers=keys.bearer("metrics"))
    assert noted(audited, path) == []
    audited.get("/metrics")
    assert [line["route"] for line in noted(audited, path)] == ["/metrics"]


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    write(AuditLog(str(path), Telemetry()))
    assert path.stat().st_mode & 0o777 == 0o600


def test_lines_are_added_to_a_file_that_is_there_and_a_moved_one_is_made_anew(path: Path) -> None:
    path.write_text('{"old": 1}\n')
    audit = AuditLog(str(path), Telemetry())
    write(audit)
    assert len(lines(path)) == 2
    path.rename(path.with_suffix(".1"))
    write(audit)
    assert (len(lines(path.with_suffix(".1"))), len(lines(path))) == (2, 1)


def test_while_no_new_file_can_be_made_no_descriptor_is_closed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    audit = AuditLog(str(folder / "audit.jsonl"), Telemetry())
    folder.rename(tmp_path / "moved")
    closed: list[int] = []
    monkeypatch.setattr("service.telemetry.audit.os.close", closed.append)
    write(audit)
    write(audit)
    assert closed == []
    folder.mkdir()
    write(audit)
    assert len(closed) == len(lines(folder / "audit.jsonl")) == 1


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^LESION_AUDIT_LOG is .*: Is a directory"):
        AuditLog(str(tmp_path), Telemetry())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_counted_and_told_once_and_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telemetry = Telemetry()
    audit = AuditLog("/dev/full", telemetry)
    for _ in range(3):
        write(audit)
    assert telemetry.registry.get_sample_value("lesion_audit_failures_total") == 3
    (record,) = caplog.records
    assert record.getMessage() == "audit=failed reason=No space left on device"


def test_a_disk_that_takes_no_line_holds_up_no_request_and_none_is_lost(
    settings: Settings, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(filler, b"\n" * 4096)
    os.close(filler)
    os.set_blocking(reader, True)

    def read() -> bytes:
        with os.fdopen(reader, "rb") as end:
            return end.read()

    app = create_app(settings.model_copy(update={"audit_log": str(pipe)}))
    with ThreadPoolExecutor(1) as pool:
        with TestClient(app) as client:
            assert [client.get("/models").status_code for _ in range(3)] == [200] * 3
            found = pool.submit(read)
        os.close(app.state.audit._file)
        assert found.result().strip().count(b'"/models"') == 3


def test_standard_output_takes_it_too(capfd: pytest.CaptureFixture[str]) -> None:
    write(AuditLog("-", Telemetry()))
    assert json.loads(capfd.readouterr().out)["route"] == "/models"


@pytest.mark.usefixtures("_logging_as_before")
def test_log_lines_as_json_carry_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    configure_logging("INFO", "json")
    logger = logging.getLogger("service.test")
    log_fields(logger, logging.INFO, {"status": 200, "key": None})
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        logger.exception("it failed with %s", "this", extra={"ticket": Ticket("r-2", TRACE)})
    first, second = (json.loads(line) for line in stderr.getvalue().splitlines())
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "INFO", "logger": "service.test", "status": 200,
    }  # fmt: skip
    assert (second["request_id"], second["trace_id"]) == ("r-2", TRACE)
    assert (second["message"], second["level"]) == ("it failed with this", "ERROR")
    assert second["exception"].endswith("RuntimeError: two\nlines")

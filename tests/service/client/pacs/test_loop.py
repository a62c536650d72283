"""The whole loop between an archive in memory and a real process of the service."""

import json
import logging
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from service.cli import pacs
from service.cli.main import main
from service.client.pacs import loop
from service.client.pacs.state import State
from tests.fixtures.dicom_files import PATIENT, SECONDARY_CAPTURE, dataset, dicom, file_of
from tests.fixtures.pictures import lesion
from tests.fixtures.service.archive import ArchiveDouble, archive_double
from tests.fixtures.service.process import free_port
from tests.fixtures.service.scripted import Answer, scripted

Run = Callable[..., int]
ALL = ["OT", "SEG", "SR"]
CT = "1.2.840.10008.5.1.4.1.1.2"
PROBLEM = {"Content-Type": "application/problem+json"}


def photo(number: int, study: int = 1, **elements: Any) -> bytes:
    ids = {
        "StudyInstanceUID": f"1.2.{study}",
        "SeriesInstanceUID": f"1.2.{study}.1",
        "SOPInstanceUID": f"1.2.{study}.1.{number}",
    }
    return dicom(lesion(40 + number, 60), **(ids | elements))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture(params=[True, False], ids=["changes", "qido"])
def archive(request: pytest.FixtureRequest) -> Iterator[ArchiveDouble]:
    with archive_double(orthanc=request.param) as double:
        yield double


@pytest.fixture
def run(
    served: str, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Run]:
    """One round of the command; options may follow, and replace what is set here."""
    monkeypatch.setattr(pacs, "_log", lambda: None)
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("service.client.pacs.state._FIRST_WAIT_S", 0.01)
    caplog.set_level(logging.INFO, "service.pacs")
    handler = signal.getsignal(signal.SIGTERM)

    def once(double: ArchiveDouble, *options: str) -> int:
        command = ["pacs", "--archive", double.url, "--url", served, "--state", str(state)]
        return main([*command, "--once", "--jobs", "2", "--attempts", "1", *options])

    yield once
    signal.signal(signal.SIGTERM, handler)
    assert PATIENT not in caplog.text
    assert "1.2.1" not in caplog.text  # nor which study it was


def rows(state: Path) -> dict[str, tuple[str, str]]:
    """State and reason by the number of a photograph."""
    with sqlite3.connect(state) as db:
        found = db.execute("SELECT number, state, reason FROM photograph").fetchall()
    db.close()
    return {number: (state, reason) for number, state, reason in found}


def test_each_photograph_is_answered_once_and_nothing_else(
    archive: ArchiveDouble, run: Run, state: Path
) -> None:
    archive.put(photo(1), photo(2), photo(1, study=2))
    screen: dict[str, Any] = {
        "SOPClassUID": SECONDARY_CAPTURE,
        "Modality": "OT",
        "SeriesInstanceUID": "1.2.1.9",
    }
    archive.put(photo(8, SOPClassUID=CT), photo(9, **screen))
    assert run(archive) == 0
    answered = ("1.2.1.1.1", "1.2.1.1.2", "1.2.2.1.1")
    assert [archive.answers(instance) for instance in answered] == [ALL] * 3
    assert len(archive.files) == 5 + 3 * 3
    for data in archive.files.values():
        assert PATIENT.encode() in data  # the answers too: they are of the same patient
    assert run(archive) == 0
    state.unlink()
    assert run(archive, "--modality", "*", "--station", "*") == 0  # our own are passed over
    assert archive.answers("1.2.1.1.9") == ALL
    assert len(archive.files) == 5 + 4 * 3
    assert archive.asked("^POST") == 4 * 3


def test_photographs_of_one_series_with_one_number_are_told_apart(
    archive: ArchiveDouble, run: Run, state: Path
) -> None:
    archive.put(*(photo(n, InstanceNumber=1) for n in range(4)))
    assert run(archive, "--formats", "dicom-seg") == 0
    state.unlink()
    assert run(archive, "--formats", "dicom-seg,dicom-sc") == 0  # what is missing is added
    assert [archive.answers(f"1.2.1.1.{n}") for n in range(4)] == [["OT", "SEG"]] * 4
    assert archive.asked("^POST") == 8


def test_a_version_answers_what_another_has_answered(
    archive: ArchiveDouble, run: Run, state: Path
) -> None:
    archive.put(photo(1))
    for model in ("0.9.0", "production", "0.9.0"):
        assert run(archive, "--formats", "dicom-seg", "--model", model) == 0
        state.unlink()
    assert archive.answers("1.2.1.1.1") == ["SEG", "SEG"]


def test_a_photograph_that_is_refused_is_named_and_stops_nobody(
    archive: ArchiveDouble, run: Run, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    several = dataset(frames[0], NumberOfFrames=3, PixelData=frames.tobytes())
    several.SOPInstanceUID = "1.2.3.4"
    archive.put(photo(1), file_of(several), photo(2))
    assert run(archive) == 1
    assert run(archive) == 1  # and is not asked for again
    assert sorted(reason for _, reason in rows(state).values())[2].startswith(
        "422 multi-frame-image: the DICOM file has 3 frames"
    )
    assert "refused: 422 multi-frame-image" in caplog.text
    assert [archive.answers(f"1.2.1.1.{n}") for n in (1, 2)] == [ALL] * 2
    assert archive.asked("GET .*instances/1.2.3.4$") == 1


def test_a_photograph_that_the_archive_cannot_give_is_tried_again_and_stops_nobody(
    archive: ArchiveDouble, run: Run
) -> None:
    archive.put(*(photo(n) for n in range(4)))
    archive.fails = lambda method, path: 500 * path.endswith("instances/1.2.1.1.0")
    assert run(archive) == 1
    assert [archive.answers(f"1.2.1.1.{n}") for n in range(4)] == [[], ALL, ALL, ALL]
    archive.fails = lambda method, path: 0
    assert run(archive) == 0
    assert archive.answers("1.2.1.1.0") == ALL


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(401, b'{"type": "/problems/unauthorised"}', PROBLEM), id="wrong key"),
        pytest.param(Answer(503, b'{"type": "/problems/queue-full"}', PROBLEM), id="busy"),
        pytest.param(Answer(200, b"<html>", {"Content-Type": "text/html"}), id="a proxy"),
        pytest.param(Answer(0), id="breaks off"),
        pytest.param(None, id="away"),
    ],
)
def test_a_service_that_does_not_answer_costs_no_photograph(
    answer: Answer | None, run: Run, state: Path
) -> None:
    with archive_double() as archive:
        archive.put(photo(1), photo(2))
        if answer is None:
            assert run(archive, "--url", f"http://127.0.0.1:{free_port()}") == 1
        else:
            with scripted(answer) as (url, _):
                assert run(archive, "--url", url) == 1
        assert {found for found, _ in rows(state).values()} == {"waiting"}
        assert run(archive) == 0
        assert [archive.answers(f"1.2.1.1.{n}") for n in (1, 2)] == [ALL] * 2


@pytest.mark.parametrize("reason", [0xA700, 0xC000], ids=["full", "for any reason"])
def test_an_archive_that_does_not_store_gets_the_answers_later(reason: int, run: Run) -> None:
    with archive_double(reason=reason) as archive:
        archive.put(photo(1), photo(2))
        assert run(archive) == 1
        archive.reason = 0
        assert run(archive) == 0
        assert [archive.answers(f"1.2.1.1.{n}") for n in (1, 2)] == [ALL] * 2


def test_an_archive_that_takes_no_object_of_a_kind_gets_the_others(run: Run, state: Path) -> None:
    with archive_double(reason=0x0122) as archive:
        archive.put(photo(1))
        assert run(archive) == 0
        (found,) = rows(state).values()
        assert found == ("answered", "the archive takes no dicom-seg, dicom-sc, dicom-sr")


def test_what_was_stored_without_an_answer_is_not_stored_again(
    archive: ArchiveDouble, run: Run
) -> None:
    archive.put(photo(1))
    archive.silent = 2
    assert run(archive) == 0
    assert archive.answers("1.2.1.1.1") == ALL
    assert archive.asked("^POST") == 3


def test_an_archive_that_is_away_is_waited_for(
    run: Run, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with archive_double() as archive:
        archive.put(photo(1))
        requests = iter(range(1_000))
        archive.fails = lambda method, path: 503 * (next(requests) in (0, 1, 4, 7, 9))
        assert run(archive) == 0
        assert archive.answers("1.2.1.1.1") == ALL
    assert "archive answered 503; tried again in 0 s and later" in caplog.text


def test_an_archive_whose_own_interface_is_closed_is_searched(run: Run) -> None:
    with archive_double() as archive:
        archive.put(photo(1))
        archive.fails = lambda method, path: 403 * (not path.startswith("/dicom-web/"))
        assert run(archive, "--formats", "dicom-seg") == 0
        assert archive.answers("1.2.1.1.1") == ["SEG"]


def test_an_archive_that_was_begun_anew_is_read_from_its_start(run: Run, state: Path) -> None:
    with archive_double() as archive:
        archive.put(*(photo(n) for n in range(3)))
        assert run(archive) == 0
    with archive_double() as another:
        another.put(photo(7))
        another.url, url = another.url, archive.url
        assert run(another) == 0
        assert another.answers("1.2.1.1.7") == ALL
        another.put(*(photo(n, study=2) for n in range(30)))
        assert run(another, "--formats", "dicom-seg") == 0
        assert another.answers("1.2.2.1.29") == ["SEG"]
    assert url != another.url


def test_a_list_of_changes_that_was_emptied_is_told_once(
    run: Run, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with archive_double() as archive:
        archive.put(photo(1))
        assert run(archive, "--formats", "dicom-seg") == 0
    with archive_double() as empty:
        assert [run(empty), run(empty)] == [0, 0]
        assert caplog.text.count("is another one: all of it is read") == 1


def test_another_list_of_changes_is_read_from_its_start_after_an_error_too(
    run: Run, state: Path
) -> None:
    with archive_double() as archive:
        archive.put(*(photo(n) for n in range(3)))
        assert run(archive, "--formats", "dicom-seg") == 0
    with archive_double() as another:
        another.put(*(photo(n, study=2) for n in range(9)))
        asked = iter(range(1_000))  # whether it is an Orthanc, whether the same, then all of it
        another.fails = lambda method, path: 503 * (path == "/changes" and next(asked) == 2)
        assert run(another, "--formats", "dicom-seg") == 0
        assert [another.answers(f"1.2.2.1.{n}") for n in range(9)] == [["SEG"]] * 9


def test_a_study_that_fails_the_archive_keeps_no_other_from_its_answers(run: Run) -> None:
    with archive_double(orthanc=False) as archive:
        archive.put(*(photo(1, study=n) for n in range(1, 4)))
        archive.fails = lambda method, path: 500 * path.endswith("studies/1.2.1/series")
        assert run(archive, "--formats", "dicom-seg") == 0
        assert [archive.answers(f"1.2.{n}.1.1") for n in (1, 2, 3)] == [[], ["SEG"], ["SEG"]]
        archive.fails = lambda method, path: 0
        assert run(archive, "--formats", "dicom-seg") == 0
        assert archive.answers("1.2.1.1.1") == ["SEG"]


def test_nothing_is_done_that_cannot_be_noted(
    run: Run, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(State):
        def add(self, found: Any) -> int:
            self._db.execute("PRAGMA max_page_count = 1")  # cannot be below what there is
            return super().add(found)

    with archive_double() as archive:
        archive.put(*(photo(n, SOPInstanceUID=f"1.2.1.{10**50 + n}") for n in range(400)))
        with monkeypatch.context() as patch:
            patch.setattr("service.client.pacs.state.State", Full)
            run(archive)
        assert "the state file cannot be written: database or disk is full" in caplog.text
        assert archive.asked("^POST") == 0
        assert rows(state) == {}


def test_health_file_and_metrics_tell_how_it_goes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    port = free_port()
    through = loop.Loop._is_through

    def scraped(self: loop.Loop) -> bool:
        if through(self):
            self._report(0)
            seen.append(httpx2.get(f"http://127.0.0.1:{port}/metrics").text)
        return through(self)

    monkeypatch.setattr(loop.Loop, "_is_through", scraped)
    monkeypatch.setattr(loop, "_HEALTH_S", 0)
    with archive_double() as archive:
        archive.put(photo(1), photo(2), photo(3, Modality="OT"))
        assert run(archive, "--health", str(tmp_path / "health"), "--metrics", str(port)) == 0
    health = json.loads((tmp_path / "health").read_text())
    assert (health["archive"], health["service"]) == ("ok", "ok")
    assert health["answered"] >= 1
    for line in (
        'lesion_pacs_settled_total{state="answered"} 2.0',
        'lesion_pacs_settled_total{state="passed"} 1.0',
        'lesion_pacs_stored_total{format="dicom-sr"} 2.0',
        'lesion_pacs_up{side="archive"} 1.0',
        'lesion_pacs_photographs{state="waiting"} 0.0',
        'lesion_pacs_stage_duration_seconds_count{stage="segment"} 2.0',
    ):
        assert line in seen[-1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--archive", "ftp://archive"], "expected an address"),
        (["--state", "/nowhere/state.sqlite"], "cannot be used"),
    ],
)
def test_what_cannot_be_begun_is_explained(
    options: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pacs", "--archive", "http://127.0.0.1/dicom-web", *options]) == 2
    assert text in capsys.readouterr().err


def test_without_its_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dicomweb_client", None)
    assert main(["pacs", "--archive", "http://127.0.0.1/dicom-web"]) == 2
    assert "pip install 'lesion-segmentation[pacs]'" in capsys.readouterr().err

from collections.abc import Iterator
from typing import Any

import pytest

from service.client.pacs.archive import Archive, NotTakenError, attributes_of, dataset_of_answer
from service.client.pacs.errors import GonePhotographError, PhotographError, SideError
from service.client.pacs.rule import Attributes
from tests.fixtures.dicom_files import INSTANCE_UID, SERIES_UID, STUDY_UID, dicom
from tests.fixtures.pictures import lesion
from tests.fixtures.service.archive import ArchiveDouble, archive_double
from tests.fixtures.service.process import free_port
from tests.fixtures.service.scripted import Answer, scripted

PHOTO = dicom(lesion(8, 8))
FOUND = Attributes(INSTANCE_UID, STUDY_UID, SERIES_UID)


@pytest.fixture
def double() -> Iterator[ArchiveDouble]:
    with archive_double() as double:
        double.put(PHOTO)
        yield double


def test_a_file_comes_byte_for_byte_whatever_it_is(double: ArchiveDouble) -> None:
    archive = Archive(double.url)
    assert archive.retrieve(FOUND) == PHOTO
    broken = PHOTO[:-40] + b"\r\n--edge\r\n\r\n" + PHOTO[-40:] + b"\r\n\r\n"
    double.files[INSTANCE_UID] = broken
    assert archive.retrieve(FOUND) == broken


def test_a_file_that_comes_without_parts_around_it_is_taken(double: ArchiveDouble) -> None:
    with scripted(Answer(body=PHOTO, headers={"Content-Type": "application/dicom"})) as (url, _):
        assert Archive(url).retrieve(FOUND) == PHOTO


@pytest.mark.parametrize(
    "content_type", ["multipart/related", "multipart/related; boundary=other", "multipart/mixed"]
)
def test_a_body_that_has_no_part_is_a_fault_of_this_photograph(content_type: str) -> None:
    with (
        scripted(Answer(body=b"--x\r\n\r\n", headers={"Content-Type": content_type})) as (url, _),
        pytest.raises(PhotographError, match="no multipart/related body"),
    ):
        Archive(url).retrieve(FOUND)


def test_a_search_goes_through_all_pages_and_ends_where_pages_repeat() -> None:
    photos = [dicom(lesion(8, 8), SOPInstanceUID=f"1.2.{n}") for n in range(7)]
    with archive_double(page=3) as double:
        double.put(*photos)
        found = Archive(double.url).instances(STUDY_UID, SERIES_UID)
        assert [attributes_of(item).instance for item in found] == [f"1.2.{n}" for n in range(7)]
    same = Answer(body=b'[{"00080018": {"Value": ["1.2.3"]}}]')
    with scripted(same) as (url, received):  # an archive that has never heard of offsets
        assert len(Archive(url).instances(STUDY_UID, SERIES_UID)) == 1
        assert len(received) == 2


@pytest.mark.parametrize(
    ("status", "error", "blamed"),
    [
        (401, SideError, False),
        (403, SideError, False),
        (429, SideError, False),
        (500, SideError, True),
        (507, SideError, False),
        (404, GonePhotographError, None),
        (406, PhotographError, None),
    ],
)
def test_a_status_says_whom_an_error_hits(
    double: ArchiveDouble, status: int, error: type[Exception], blamed: bool | None
) -> None:
    double.fails = lambda method, path: status
    archive, answer = Archive(double.url), dataset_of_answer(PHOTO)
    for call in (
        lambda: archive.retrieve(FOUND),
        lambda: archive.series(STUDY_UID),
        lambda: archive.metadata(STUDY_UID, SERIES_UID),
        lambda: archive.store(STUDY_UID, answer),
    ):
        with pytest.raises(error, match=str(status)) as caught:
            call()
        assert type(caught.value) is error
        assert getattr(caught.value, "blamed", None) is blamed
        assert STUDY_UID not in str(caught.value)


def test_an_archive_that_is_away_blames_no_photograph_and_one_that_breaks_off_does(
    double: ArchiveDouble,
) -> None:
    with pytest.raises(SideError, match="does not answer") as caught:
        Archive(f"http://127.0.0.1:{free_port()}/dicom-web").retrieve(FOUND)
    assert not caught.value.blamed
    double.fails = lambda method, path: -1
    with pytest.raises(SideError, match="does not answer") as caught:
        Archive(double.url).retrieve(FOUND)
    assert caught.value.blamed


@pytest.mark.parametrize(
    ("reason", "error", "text"),
    [
        (0x0122, NotTakenError, None),
        (0xA700, SideError, "out of space"),
        (0xC000, PhotographError, "reason C000"),
    ],
)
def test_why_an_object_was_not_stored_decides_what_is_stopped(
    double: ArchiveDouble, reason: int, error: type[Exception], text: str | None
) -> None:
    double.reason = reason
    with pytest.raises(error, match=text):
        Archive(double.url).store(STUDY_UID, dataset_of_answer(PHOTO))


def test_an_answer_that_does_not_say_what_was_stored_is_checked(double: ArchiveDouble) -> None:
    silent = Answer(body=b"", headers={"Content-Type": "application/dicom+json"})
    listed = Answer(body=b'[{"00080018": {"Value": ["%s"]}}]' % INSTANCE_UID.encode())
    nothing = Answer(body=b"[]")
    with scripted(silent, listed, nothing) as (url, _):
        Archive(url).store(STUDY_UID, dataset_of_answer(PHOTO))
    with (
        scripted(silent, nothing) as (url, _),
        pytest.raises(PhotographError, match="does not list it"),
    ):
        Archive(url).store(STUDY_UID, dataset_of_answer(PHOTO))


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        ({}, ""),
        ({"user": "lesion", "password": "secret"}, "Basic bGVzaW9uOnNlY3JldA=="),
        ({"token": "secret"}, "Bearer secret"),
    ],
)
def test_every_request_carries_the_key(
    double: ArchiveDouble, keys: dict[str, Any], sent: str
) -> None:
    archive = Archive(double.url, **keys)
    archive.retrieve(FOUND)
    archive.series(STUDY_UID)
    archive.store(STUDY_UID, dataset_of_answer(PHOTO))
    assert {key for _, _, key in double.received} == {sent}

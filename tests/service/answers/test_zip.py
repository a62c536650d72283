import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from service.answers.zip import ZipStream, zip_of

FILES = {"mask.png": b"\x89PNG" * 20, "annotation.json": b'{"a": 1}' * 50}


def test_other_programs_read_what_was_written(tmp_path: Path) -> None:
    data = zip_of(FILES)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
    (tmp_path / "a.zip").write_bytes(data)
    try:
        subprocess.run(["unzip", "-tq", tmp_path / "a.zip"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no unzip here")


def test_the_same_files_make_the_same_bytes() -> None:
    assert zip_of(FILES) == zip_of(FILES)


def test_sizes_stand_before_the_content_so_that_a_stream_can_be_read() -> None:
    with zipfile.ZipFile(io.BytesIO(zip_of(FILES))) as archive:
        assert [entry.flag_bits & 0x08 for entry in archive.infolist()] == [0, 0]


def test_pictures_are_stored_and_texts_are_deflated() -> None:
    with zipfile.ZipFile(io.BytesIO(zip_of(FILES))) as archive:
        kinds = [entry.compress_type for entry in archive.infolist()]
    assert kinds == [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]


def test_each_entry_leaves_as_soon_as_it_is_there() -> None:
    archive = ZipStream()
    parts = [archive.add(name, data) for name, data in FILES.items()]
    assert all(len(part) > 50 for part in parts)
    assert b"".join(parts) + archive.close() == zip_of(FILES)


def test_an_archive_of_nothing_is_one_too() -> None:
    assert zipfile.ZipFile(io.BytesIO(zip_of({}))).namelist() == []

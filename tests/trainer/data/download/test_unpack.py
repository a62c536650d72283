import io
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_core.errors import DatasetError
from trainer.data.download.unpack import unpack


def write_zip(folder: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    path = folder / "photos.zip"
    path.write_bytes(packed(*entries))
    return path


def packed(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def unpacked(archive: Path) -> dict[str, bytes]:
    target = archive.with_suffix("")
    unpack(archive, target)
    return {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file()
    }


def assert_refused(archive: Path, match: str) -> None:
    """Refused, kept for a look, and nothing written, neither inside nor outside."""
    with pytest.raises(DatasetError, match=match):
        unpacked(archive)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


@pytest.mark.parametrize("top", ["photos/", ""], ids=["top folder", "flat"])
def test_files_land_in_the_folder_with_or_without_a_top_folder(top: str, tmp_path: Path) -> None:
    archive = write_zip(tmp_path, (f"{top}a.jpg", b"a"), (f"{top}b/c.png", b"c"))
    assert unpacked(archive) == {"a.jpg": b"a", "b/c.png": b"c"}


def test_what_no_reader_wants_is_left_out(tmp_path: Path) -> None:
    names = ("photos/a_superpixels.png", "__MACOSX/photos/._a.jpg", "photos/Thumbs.db")
    unwanted = [(name, b"") for name in names]
    assert unpacked(write_zip(tmp_path, ("photos/a.jpg", b"a"), *unwanted)) == {"a.jpg": b"a"}


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jpg",
        "photos/../../outside.jpg",
        "__MACOSX/../outside.jpg",
        "/tmp/outside.jpg",
        "//server/outside.jpg",
        "..\\outside.jpg",
        "C:/outside.jpg",
    ],
)
def test_a_name_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    assert_refused(write_zip(tmp_path, ("a.jpg", b"a"), (name, b"b")), "leads out of the folder")


def test_an_absolute_path_behind_the_top_folder_stays_inside(tmp_path: Path) -> None:
    assert unpacked(write_zip(tmp_path, ("photos//etc/a.jpg", b"a"))) == {"etc/a.jpg": b"a"}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_links_and_devices_are_refused(kind: int, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("photos/a.jpg")
    link.external_attr = (kind | 0o777) << 16
    assert_refused(write_zip(tmp_path, (link, b"/etc/passwd")), "a link or device")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    assert_refused(write_zip(tmp_path, ("a", b"1"), ("a", b"2")), "twice")


@pytest.mark.parametrize(
    ("declared", "match"),
    [
        pytest.param(4_000_000_000, "expected at most 68.7GB", id="a bomb"),
        pytest.param(5, "damaged", id="less than there is"),
    ],
)
def test_a_declared_size_is_not_trusted(declared: int, match: str, tmp_path: Path) -> None:
    content = bytearray(packed(*((f"{n}.jpg", bytes(1000)) for n in range(20))))
    at = content.find(b"PK\x01\x02")
    while at >= 0:  # the size of each entry in the central directory (APPNOTE 4.3.12)
        content[at + 24 : at + 28] = declared.to_bytes(4, "little")
        at = content.find(b"PK\x01\x02", at + 1)
    archive = tmp_path / "photos.zip"
    archive.write_bytes(content)
    with pytest.raises(DatasetError, match=match):
        unpacked(archive)
    assert not archive.with_suffix("").exists()


def test_too_little_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=900))
    archive = write_zip(tmp_path, ("a.jpg", bytes(1000)))
    assert_refused(archive, r"needs 1\.00kB to unpack, its disk has 900B free")


def test_an_archive_without_files_is_refused(tmp_path: Path) -> None:
    assert_refused(write_zip(tmp_path, ("photos/", b"")), "holds no files")


@given(data=st.data())
def test_a_damaged_archive_is_deleted_and_leaves_nothing(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = ("photos/a.jpg", "photos/é.png")
    content = bytearray(packed(*((name, b"lesion" * 40) for name in names)))
    at = data.draw(st.integers(0, len(content) - 1), "at")
    content[at] ^= data.draw(st.integers(1, 255), "bits")
    archive = tmp_path_factory.mktemp("damaged") / "photos.zip"
    archive.write_bytes(content)
    try:
        found = unpacked(archive)
    except DatasetError:
        assert not list(archive.parent.glob("photos*/"))
    else:  # a byte that bears no content, such as one of a time or of a name
        assert set(found.values()) <= {b"lesion" * 40}

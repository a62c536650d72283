import io
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_core.errors import UnreadableImageError, UnsupportedImageError
from service.api.part_stream import Content
from service.api.zip_stream import ZipStream
from service.contract.errors import BodyTooLargeError, MalformedBodyError

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


class Unseekable(io.RawIOBase):
    """A pipe: `zipfile` then writes sizes behind the content."""

    def __init__(self) -> None:
        self.data = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def zipped(*files: tuple[str, bytes], method: int = DEFLATED, pipe: bool = False) -> bytes:
    sink = Unseekable() if pipe else io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return sink.data if isinstance(sink, Unseekable) else sink.getvalue()


def files_of(data: bytes, step: int = 10_000, max_bytes: int = 1_000_000) -> list[Content]:
    stream = ZipStream(max_bytes=max_bytes)
    found = [
        content
        for start in range(0, len(data), step)
        for content in stream.feed(data[start : start + step])
    ]
    stream.close()
    return found


@given(
    contents=st.lists(st.binary(max_size=300), max_size=4),
    method=st.sampled_from([STORED, DEFLATED]),
    step=st.integers(1, 400),
)
def test_whatever_the_pieces_the_files_are_those_that_were_packed(
    contents: list[bytes], method: int, step: int
) -> None:
    files = [(f"{index}.png", content) for index, content in enumerate(contents)]
    assert files_of(zipped(*files, method=method), step) == contents


@pytest.mark.parametrize("step", [1, 13, 10_000])
@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_sizes_that_follow_the_content_are_read_too(method: int, step: int) -> None:
    contents = [b"a" * 5_000, b"", b"PK\x03\x04 in the middle", b"PK\x07\x08 and PK\x07\x08PK"]
    files = ((str(index), each) for index, each in enumerate(contents))
    assert files_of(zipped(*files, method=method, pipe=True), step) == contents


def test_a_damaged_stored_file_whose_size_follows_harms_no_other() -> None:
    data = zipped(("a", b"A" * 300), ("d/", b""), ("b", b"B"), method=STORED, pipe=True)
    first, second = files_of(data.replace(b"A" * 10, b"x" * 10, 1))
    assert isinstance(first, UnreadableImageError)
    assert second == b"B"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            zipped(("a", b"A" * 50), method=STORED, pipe=True).replace(b"PK\x07\x08", b""),
            id="a descriptor without a mark",
        ),
        pytest.param(
            zipped(("a", b"PK\x07\x08" * 100), method=STORED, pipe=True), id="a file of marks"
        ),
        pytest.param(zipped(("a", b"A"), method=zipfile.ZIP_BZIP2, pipe=True), id="another method"),
    ],
)
def test_an_entry_without_a_size_or_an_end_is_refused_with_a_way_to_pack_it(data: bytes) -> None:
    with pytest.raises(MalformedBodyError, match="pack the images again into a file"):
        files_of(data)


def test_folders_and_what_macos_adds_are_no_photographs() -> None:
    data = zipped(("d/", b""), ("d/a.png", b"A"), ("__MACOSX/d/._a.png", b"B"), ("../c", b"C"))
    assert files_of(data) == [b"A", b"C"]


@pytest.mark.parametrize("step", [1, 10_000])
@pytest.mark.parametrize("pipe", [False, True])
def test_what_systems_leave_is_no_photograph(step: int, pipe: bool) -> None:
    litter = [("p/.DS_Store", b"x" * 99), ("p/._a.png", b"B"), ("Thumbs.db", b"C"), ("d\\", b"")]
    data = zipped(*litter, ("./a.png", b"A"), ("p/desktop.ini", b"D"), ("b.png", b"E"), pipe=pipe)
    assert files_of(data, step) == [b"A", b"E"]


def test_info_zip_s_archives_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"A" * 500)
    try:
        packed = subprocess.run(
            ["zip", "-q", "-", "a.bin"], cwd=tmp_path, check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("no zip here")
    assert files_of(packed.stdout) == [b"A" * 500]


def test_sizes_in_zip64_are_read() -> None:
    sink = io.BytesIO()
    archive = zipfile.ZipFile(sink, "w")
    with archive, archive.open("a.bin", "w", force_zip64=True) as file:
        file.write(b"A" * 300)
    assert files_of(sink.getvalue(), 7) == [b"A" * 300]


def test_a_damaged_file_harms_no_other() -> None:
    data = zipped(("a", b"A" * 300), ("b", b"B"), method=STORED)
    first, second = files_of(data.replace(b"A" * 10, b"x" * 10, 1))
    assert isinstance(first, UnreadableImageError)
    assert second == b"B"


def test_an_encrypted_file_or_one_of_an_unknown_method_harms_no_other() -> None:
    data = bytearray(zipped(("a", b"A" * 300), ("b", b"B"), method=STORED))
    struct.pack_into("<H", data, 6, 1)
    assert isinstance(files_of(bytes(data))[0], UnsupportedImageError)
    assert files_of(bytes(data))[1] == b"B"
    struct.pack_into("<HH", data, 6, 0, 12)
    assert isinstance(files_of(bytes(data))[0], UnsupportedImageError)


@pytest.mark.parametrize("pipe", [False, True])
def test_a_bomb_is_not_unpacked(pipe: bool) -> None:
    data = zipped(("bomb", bytes(60_000_000)), ("b", b"B"), pipe=pipe)
    if pipe:  # nothing says where it ends
        with pytest.raises(BodyTooLargeError):
            files_of(data, max_bytes=100_000_000)
        return
    bomb, other = files_of(data, max_bytes=100_000_000)
    assert isinstance(bomb, BodyTooLargeError)
    assert other == b"B"


def test_bombs_that_are_passed_over_are_not_unpacked_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = ("__MACOSX/bomb", bytes(60_000_000))
    with pytest.raises(BodyTooLargeError):  # only unpacking it would tell where it ends
        files_of(zipped(bomb, pipe=True), max_bytes=100_000_000)
    many = [(f"{index}/", bytes(50_000)) for index in range(30)]
    with pytest.raises(BodyTooLargeError):  # each is small
        files_of(zipped(*many, pipe=True))
    monkeypatch.setattr("service.api.zip_stream._Entry._unpack", None)
    assert files_of(zipped(bomb, *many)) == []


def test_a_file_that_is_too_large_harms_no_other() -> None:
    large, other = files_of(
        zipped(("a", bytes(range(256)) * 8), ("b", b"B"), method=STORED), max_bytes=1_000
    )
    assert isinstance(large, BodyTooLargeError)
    assert other == b"B"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no ZIP at all", id="another thing"),
        pytest.param(zipped(("a", b"A" * 99))[:33], id="cut off"),
        pytest.param(b"PK\x03\x04" + b"\xff" * 26, id="a name without end"),
    ],
)
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        files_of(data, 11)


def test_an_empty_archive_holds_nothing() -> None:
    assert files_of(zipped()) == []

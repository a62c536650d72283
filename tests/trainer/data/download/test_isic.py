import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from model_core.errors import DatasetError
from tests.conftest import REPOSITORY
from tests.fixtures.storage import Storage, Stored, archives_of_isic2018, encode, pack, serving
from trainer.commands.main import main
from trainer.data import layouts
from trainer.data.download.isic import ARCHIVES, download
from trainer.data.drawn import draw_lesion
from trainer.data.prepare import prepare
from trainer.data.samples import read_samples

BACKOFF_S = 0.001
OLDER, NEWER = bytes(range(256)), bytes(reversed(range(256)))  # of one size, packed too
PHOTOGRAPHS = "2018/ISIC2018_Task1-2_Training_Input.zip"
MASKS = "2018/ISIC2018_Task1_Training_GroundTruth.zip"
PARTS_2018 = {
    "Training": ["ISIC_0000000", "ISIC_0000001"],
    "Validation": ["ISIC_0012255"],
    "Test": ["ISIC_0012169"],
}
ALL_IDS = sorted(name for names in PARTS_2018.values() for name in names)


@pytest.fixture(scope="session")
def archives() -> dict[str, bytes]:
    return archives_of_isic2018(PARTS_2018)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def storage(archives: dict[str, bytes]) -> Iterator[Storage]:
    with serving(Storage({path: Stored(content) for path, content in archives.items()})) as served:
        yield served


def fetch_all(storage: Storage, folder: Path) -> list[str]:
    """Download, read as `prepare` does, and give the IDs found."""
    download("isic2018", folder, base_url=storage.url, backoff_s=BACKOFF_S)
    return sorted(sample.id for sample in prepare(layouts.read_isic2018(folder)).samples)


def begin(folder: Path, path: str, content: bytes) -> Path:
    """What a killed download leaves of a file."""
    part = folder / f"{PurePosixPath(path).name}.part"
    part.write_bytes(content)
    return part


def test_a_whole_edition_ends_in_the_official_reader(storage: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "isic2018"
    assert fetch_all(storage, folder) == ALL_IDS
    assert storage.fetched() == list(ARCHIVES["isic2018"])
    # Neither archives nor parts remain, nor what no reader wants.
    assert {path.name for path in folder.iterdir()} == {Path(path).stem for path in storage.files}
    assert not list(folder.rglob("*_superpixels.png"))
    assert not list(folder.rglob("._*"))


def test_one_command_downloads_checks_and_splits(storage: Storage, tmp_path: Path) -> None:
    arguments = ["prepare", "--download", "isic2018", "--storage", storage.url]
    assert main([*arguments, "--out", str(tmp_path), "--official-split"]) == 0
    parts = {sample.id: sample.part for sample in read_samples(tmp_path)}
    assert parts == {
        name: {"Training": "train", "Validation": "val", "Test": "test"}[part]
        for part, names in PARTS_2018.items()
        for name in names
    }


def test_what_is_there_is_not_asked_for_again(storage: Storage, tmp_path: Path) -> None:
    fetch_all(storage, tmp_path)
    storage.asked.clear()
    assert fetch_all(storage, tmp_path) == ALL_IDS
    assert storage.asked == []


def test_an_archive_brought_by_hand_is_unpacked_as_it_is(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / Path(PHOTOGRAPHS).name).write_bytes(storage.files[PHOTOGRAPHS].content)
    assert fetch_all(storage, tmp_path) == ALL_IDS
    assert PHOTOGRAPHS not in {path for _, path, _ in storage.asked}


@pytest.mark.parametrize("edition", ARCHIVES)
def test_every_archive_of_an_edition_becomes_a_folder_of_its_name(
    edition: str, storage: Storage, tmp_path: Path
) -> None:
    for path in ARCHIVES[edition]:
        storage.files[path] = Stored(pack(Path(path).stem, {"ISIC_0000000.jpg": b"a"}))
    download(edition, tmp_path, base_url=f"{storage.url}/", backoff_s=BACKOFF_S)
    for path in ARCHIVES[edition]:
        assert (tmp_path / Path(path).stem / "ISIC_0000000.jpg").read_bytes() == b"a"


@pytest.mark.parametrize("kept", [1, 1000, -1])
def test_only_the_rest_of_a_begun_file_is_asked_for(
    kept: int, storage: Storage, tmp_path: Path
) -> None:
    stored = storage.files[PHOTOGRAPHS]
    part = begin(tmp_path, PHOTOGRAPHS, stored.content[:kept])
    start = part.stat().st_size
    assert fetch_all(storage, tmp_path) == ALL_IDS
    assert f"{PHOTOGRAPHS} bytes={start}-" in storage.fetched()
    assert PHOTOGRAPHS not in storage.fetched()


def test_a_file_killed_after_its_last_byte_is_whole(storage: Storage, tmp_path: Path) -> None:
    stored = storage.files[PHOTOGRAPHS]
    begin(tmp_path, PHOTOGRAPHS, stored.content)
    assert fetch_all(storage, tmp_path) == ALL_IDS
    assert PHOTOGRAPHS not in storage.fetched()


def test_more_bytes_than_the_file_has_are_fetched_again(storage: Storage, tmp_path: Path) -> None:
    stored = storage.files[PHOTOGRAPHS]
    begin(tmp_path, PHOTOGRAPHS, stored.content + b"more")
    assert fetch_all(storage, tmp_path) == ALL_IDS
    assert storage.fetched().count(PHOTOGRAPHS) == 1


def test_a_connection_that_breaks_goes_on_where_it_stopped(
    storage: Storage, tmp_path: Path
) -> None:
    # More breaks than tries: each gets further, so none of them counts as the last.
    storage.files[PHOTOGRAPHS].breaks = [100] * 8
    assert fetch_all(storage, tmp_path) == ALL_IDS
    asked = [part for _, path, part in storage.asked if path == PHOTOGRAPHS][2:]
    assert asked == [f"bytes={100 * n}-" for n in range(1, 9)]


def test_a_file_that_changes_while_it_is_fetched_is_never_mixed(
    storage: Storage, tmp_path: Path
) -> None:
    top = Path(PHOTOGRAPHS).stem
    older, newer = (pack(top, {"LICENSE.txt": text}) for text in (OLDER, NEWER))
    storage.files[PHOTOGRAPHS] = Stored(older, breaks=[200], becomes=newer)  # within the text
    with pytest.raises(DatasetError, match="is damaged and was deleted"):
        fetch_all(storage, tmp_path)
    download("isic2018", tmp_path, base_url=storage.url, backoff_s=BACKOFF_S)
    assert (tmp_path / top / "LICENSE.txt").read_bytes() == NEWER


def test_a_file_that_changes_its_size_meanwhile_is_said(storage: Storage, tmp_path: Path) -> None:
    stored = storage.files[PHOTOGRAPHS]
    size = len(stored.content)
    stored.breaks, stored.becomes = [100], stored.content + b"more"
    with pytest.raises(DatasetError, match=f"said {size} bytes, and then {size + 4}"):
        fetch_all(storage, tmp_path)


def test_a_server_without_ranges_starts_again(storage: Storage, tmp_path: Path) -> None:
    storage.ranges = False
    storage.files[PHOTOGRAPHS].breaks = [500, 300]
    assert fetch_all(storage, tmp_path) == ALL_IDS


def test_a_server_that_never_gets_further_is_given_up(storage: Storage, tmp_path: Path) -> None:
    storage.ranges = False
    storage.files[PHOTOGRAPHS].breaks = [500] * 100
    with pytest.raises(DatasetError, match=r"received 500 bytes, .* \(tried 5 times\)"):
        fetch_all(storage, tmp_path)


@pytest.mark.parametrize("more", [-1, 1])
def test_a_size_the_server_does_not_keep_is_refused(
    more: int, storage: Storage, tmp_path: Path
) -> None:
    stored = storage.files[PHOTOGRAPHS]
    stored.declared = len(stored.content) + more
    with pytest.raises(DatasetError, match=r"no rest after|peer closed|damaged"):
        fetch_all(storage, tmp_path)
    assert not (tmp_path / Path(PHOTOGRAPHS).stem).exists()
    stored.declared = None
    assert fetch_all(storage, tmp_path) == ALL_IDS


def test_a_refused_file_is_said_in_one_line_with_what_is_kept(
    storage: Storage, tmp_path: Path
) -> None:
    storage.files[PHOTOGRAPHS].breaks = [1000, *[0] * 9]
    with pytest.raises(DatasetError, match=r"1 of 6 archives and 1\.00kB of the next are kept"):
        fetch_all(storage, tmp_path)
    storage.files[PHOTOGRAPHS].status = 404
    with pytest.raises(DatasetError) as caught:
        fetch_all(storage, tmp_path)
    assert str(caught.value) == (
        f"{storage.url}/{PHOTOGRAPHS}: the server answered 404 Not Found; 1 of 6 archives and "
        f"1.00kB of the next are kept in {tmp_path}, and running it again goes on from there"
    )


@pytest.mark.parametrize(("status", "tries"), [(403, 1), (404, 1), (429, 5), (503, 5)])
def test_only_an_answer_that_may_change_is_asked_for_again(
    status: int, tries: int, storage: Storage, tmp_path: Path
) -> None:
    storage.files[MASKS].status = status
    with pytest.raises(DatasetError, match=f"the server answered {status}"):
        fetch_all(storage, tmp_path)
    assert [path for _, path, _ in storage.asked] == [MASKS] * tries


def test_nobody_listening_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DatasetError, match=r"Connection refused \(tried 5 times\); 0 of 6"):
            download("isic2018", tmp_path, base_url=url, backoff_s=BACKOFF_S)


def test_a_kill_loses_at_most_the_file_it_was_at(storage: Storage, tmp_path: Path) -> None:
    photograph = encode(draw_lesion(0)[0], "JPEG")
    large = pack(Path(PHOTOGRAPHS).stem, {"ISIC_0000000.jpg": photograph})
    storage.files[PHOTOGRAPHS] = Stored(large, stalls=True)
    code = (
        "import sys, pathlib, trainer.data.download.isic as d; d.download('isic2018', pathlib.Path("
    )
    code += "sys.argv[1]), base_url=sys.argv[2])"
    command = [sys.executable, "-c", code, str(tmp_path), storage.url]
    killed = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    part = tmp_path / f"{Path(PHOTOGRAPHS).name}.part"
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(large)
    storage.files[PHOTOGRAPHS].stalls = False
    storage.asked.clear()
    download("isic2018", tmp_path, base_url=storage.url, backoff_s=BACKOFF_S)
    assert storage.fetched()[0] == f"{PHOTOGRAPHS} bytes={kept}-"
    assert MASKS not in storage.fetched()
    name = f"{Path(PHOTOGRAPHS).stem}/ISIC_0000000.jpg"
    assert (tmp_path / name).read_bytes() == photograph


def test_too_little_room_is_said_before_anything_is_fetched(
    storage: Storage, tmp_path: Path
) -> None:
    storage.files[PHOTOGRAPHS].declared = 10**18
    with pytest.raises(DatasetError, match=r"needs about 2\.00EB more .* its disk has .*B free"):
        fetch_all(storage, tmp_path)
    assert storage.fetched() == []


def test_a_damaged_archive_is_fetched_again_the_next_time(storage: Storage, tmp_path: Path) -> None:
    stored = storage.files[PHOTOGRAPHS]
    good = stored.content
    stored.content = good.replace(good[300:310], b"0123456789")
    with pytest.raises(DatasetError, match=r"Input\.zip is damaged and was deleted, the same"):
        fetch_all(storage, tmp_path)
    stored.content = good
    assert fetch_all(storage, tmp_path) == ALL_IDS


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1", "file:///etc", "isic", "http://", "http://[oops", f"http://{'a' * 64}"],
)
def test_only_web_addresses_are_asked(url: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected an http or https URL"):
        download("isic2018", tmp_path, base_url=url)


def test_an_unknown_edition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected one of isic2016, isic2017, isic2018"):
        download("isic2019", tmp_path)

from pathlib import Path

import pytest

from trainer.archive.file_store import FileStore


@pytest.fixture(params=["a folder", "memory", "S3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    if request.param == "S3":
        return FileStore(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")
    return FileStore(
        f"memory://{tmp_path.name}" if request.param == "memory" else str(tmp_path / "out")
    )


def test_what_is_written_can_be_read_listed_replaced_and_removed(store: FileStore) -> None:
    assert store.names("a/b") == set()
    store.write("a/b/c.json", b"1")
    store.write("a/b/d.json", b"2")
    store.write("a/b/c.json", b"3")
    assert store.read("a/b/c.json") == b"3"
    assert store.names("a/b") == {"c.json", "d.json"}
    store.remove("a/b/c.json")
    store.remove("a/b/c.json")
    assert store.names("a/b") == {"d.json"}
    with pytest.raises(FileNotFoundError):
        store.read("a/b/c.json")


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        store.write("taken", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]

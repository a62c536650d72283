from pathlib import Path

import pytest

from trainer.archive.places import Place


@pytest.fixture(params=["a folder", "memory", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "S3":
        return Place(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")
    return Place(
        f"memory://{tmp_path.name}" if request.param == "memory" else str(tmp_path / "out")
    )


def test_what_is_written_can_be_read_listed_replaced_and_removed(place: Place) -> None:
    assert place.names("a/b") == set()
    place.write("a/b/c.json", b"1")
    place.write("a/b/d.json", b"2")
    place.write("a/b/c.json", b"3")
    assert place.read("a/b/c.json") == b"3"
    assert place.names("a/b") == {"c.json", "d.json"}
    place.remove("a/b/c.json")
    place.remove("a/b/c.json")
    assert place.names("a/b") == {"d.json"}
    with pytest.raises(FileNotFoundError):
        place.read("a/b/c.json")


def test_a_file_that_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        place.write("taken", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]

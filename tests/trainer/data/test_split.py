from collections import Counter, defaultdict
from pathlib import Path

import pytest

from model_core.errors import DatasetError
from trainer.data.layouts import read_manifest
from trainer.data.split import (
    COMMITTED_SPLIT,
    FIRST_SPLIT,
    SplitEntry,
    part_of,
    read_split,
    write_split,
)


def test_a_split_survives_writing_and_reading(tmp_path: Path) -> None:
    write_split([("b", "a", "test"), ("a", "a", "test"), ("c", "c", "train")], tmp_path / "s.csv")
    expected = {
        "a": SplitEntry("a", "test"),
        "b": SplitEntry("a", "test"),
        "c": SplitEntry("c", "train"),
    }
    assert read_split(tmp_path / "s.csv") == expected


def test_the_hash_gives_about_eight_in_ten_to_training() -> None:
    parts = [part_of(f"image{index}", "isic") for index in range(4000)]
    shares = {part: parts.count(part) / 4000 for part in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.8, "val": 0.1, "test": 0.1}, abs=0.02)


def test_a_split_that_tears_a_group_apart_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("id,group,part\na,a,train\nb,a,test\n")
    with pytest.raises(DatasetError, match="near-duplicates on two sides"):
        read_split(path)
    path.write_text("id,group,part\na,a,train\na,a,test\n")
    with pytest.raises(DatasetError, match="a has two places"):
        read_split(path)


def test_the_first_split_is_the_hash_but_for_twins_that_went_to_training() -> None:
    places = read_split(FIRST_SPLIT)
    hashed = {name: part_of(place.group, "") for name, place in places.items()}
    own = {name: part_of(name, "") for name in places}
    for name, place in places.items():
        if name.startswith("IMD"):
            assert place.part == "external"
        else:
            assert place.part in (hashed[name], "train")
    moved = [name for name, place in places.items() if place.part != hashed[name] != own[name]]
    assert len(moved) < 20


def test_no_test_image_of_the_first_split_moved_and_few_of_the_others() -> None:
    old, new = read_split(FIRST_SPLIT), read_split(COMMITTED_SPLIT)
    moved = Counter(
        (place.part, new[name].part) for name, place in old.items() if place.part != new[name].part
    )
    assert {was for was, _ in moved} == {"train", "val"}
    assert sum(moved.values()) < 50
    # A version that goes on from an older one may be validated on all of the validation part.
    assert ("train", "val") not in moved


def test_what_the_first_split_held_together_still_is() -> None:
    old, new = read_split(FIRST_SPLIT), read_split(COMMITTED_SPLIT)
    assert all(new[name].group == new[place.group].group for name, place in old.items())


def test_what_the_first_split_lacked_is_in_training_unless_its_group_is_held_out() -> None:
    old, new = read_split(FIRST_SPLIT), read_split(COMMITTED_SPLIT)
    known = {new[name].group for name in old}
    more = {name: place for name, place in new.items() if name not in old}
    assert len(more) == 6905
    assert all(place.part == "train" for place in more.values() if place.group not in known)


def test_known_twins_are_on_one_side() -> None:
    places = read_split(COMMITTED_SPLIT)
    assert places["ISIC_0000225"] == places["ISIC_0014778"] == SplitEntry("ISIC_0000225", "train")


def test_the_committed_split_follows_the_manifest_of_the_real_data(real_data: Path) -> None:
    places, groups = read_split(COMMITTED_SPLIT), defaultdict(set)
    for pair in read_manifest(real_data).pairs:
        for name in pair.ties or (pair.id,):
            groups[name].add(places[pair.id].part)
    assert all(len(parts) == 1 for parts in groups.values())


def test_an_unknown_part_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no file at"):
        read_split(tmp_path / "none.csv")
    (tmp_path / "s.csv").write_text("id,group,part\na,a,training\n")
    with pytest.raises(DatasetError, match="part is 'training'"):
        read_split(tmp_path / "s.csv")

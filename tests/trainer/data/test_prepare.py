from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.errors import DatasetError
from tests.fixtures.discs import row, write_manifest, write_pair
from trainer.data.layouts import read_manifest
from trainer.data.prepare import Prepared, prepare, require_no_problems
from trainer.data.split import COMMITTED_SPLIT, Part, SplitEntry, read_split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("a", "b", "c")):
        write_pair(tmp_path, name, seed=index)
    write_manifest(tmp_path, [row("a"), row("b"), row("c")])
    return tmp_path


def prepared(folder: Path, sides: dict[str, Part] | None = None) -> Prepared:
    places = {name: SplitEntry(name, part) for name, part in (sides or {}).items()}
    return prepare(read_manifest(folder), split=places or None)


def test_good_pairs_become_samples_in_their_order(folder: Path) -> None:
    found = prepared(folder)
    assert found.problems == []
    assert [sample.key for sample in found.samples] == ["discs/a", "discs/b", "discs/c"]
    assert [(sample.height, sample.width) for sample in found.samples] == [(48, 64)] * 3
    assert require_no_problems(found) == found.samples


def test_an_id_lands_on_the_same_side_in_every_dataset(folder: Path) -> None:
    write_manifest(folder, [row("a", dataset="isic"), row("a", dataset="isic_fullframe")])
    first, second = prepared(folder).samples
    assert first.part == second.part


def test_near_duplicates_share_a_group_and_a_side(folder: Path) -> None:
    write_manifest(folder, [row(name, near_dup_group="g1") for name in "abc"])
    samples = prepared(folder).samples
    assert {sample.group for sample in samples} == {"a"}
    assert len({sample.part for sample in samples}) == 1


def test_groups_that_share_an_id_are_one_group(folder: Path) -> None:
    # b is in g1 of one folder and in g2 of another: a, b and c all belong together.
    write_manifest(
        folder,
        [
            row("a", near_dup_group="g1"),
            row("b", near_dup_group="g1"),
            row("b", dataset="other", near_dup_group="g2"),
            row("c", dataset="other", near_dup_group="g2"),
        ],
    )
    assert {sample.group for sample in prepared(folder).samples} == {"a"}


def test_the_same_picture_saved_anew_under_another_id_is_found(folder: Path) -> None:
    with Image.open(folder / "a.png") as picture:
        picture.resize((128, 96)).save(folder / "z.jpg", quality=70)
    with Image.open(folder / "a_mask.png") as mask:
        mask.resize((128, 96), Image.Resampling.NEAREST).save(folder / "z_mask.png")
    write_manifest(folder, [row("a"), row("b"), row("z", image="z.jpg")])
    assert [sample.group for sample in prepared(folder).samples] == ["a", "b", "a"]


def test_ph2_is_external(folder: Path) -> None:
    write_manifest(folder, [row("a", dataset="ph2")])
    assert [sample.part for sample in prepared(folder).samples] == ["external"]


def test_a_split_file_decides_and_must_know_every_id(folder: Path) -> None:
    found = prepared(folder, {"a": "test", "b": "train", "c": "val"})
    assert [sample.part for sample in found.samples] == ["test", "train", "val"]
    assert prepared(folder, {"a": "test", "b": "train"}).problems == [
        "discs/c: not in the split file"
    ]


def test_where_a_split_tears_a_group_the_held_out_side_keeps_its_samples(folder: Path) -> None:
    write_manifest(folder, [row(name, near_dup_group="g1") for name in "abc"])
    found = prepared(folder, {"a": "train", "b": "test", "c": "val"})
    assert [sample.id for sample in found.samples] == ["b"]
    assert found.problems == [
        "discs/a: in train, while its ID or a near-duplicate of it (group a) is in test",
        "discs/c: in val, while its ID or a near-duplicate of it (group a) is in test",
    ]


def test_the_editions_own_split_is_followed_where_it_is_asked_for(folder: Path) -> None:
    write_manifest(folder, [row("a", split="Training"), row("b", split="test"), row("c")])
    found = prepare(read_manifest(folder), official=True)
    assert [(sample.id, sample.part) for sample in found.samples] == [("a", "train"), ("b", "test")]
    assert found.problems == ["discs/c: its edition has no official split"]


def test_every_bad_pair_is_listed_and_the_good_ones_remain(folder: Path) -> None:
    (folder / "a_mask.png").unlink()
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    write_pair(folder, "d", seed=9)
    write_manifest(folder, [row("a"), row("b"), row("c"), row("d")])
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(folder / "c_mask.png")
    found = prepared(folder)
    assert [sample.id for sample in found.samples] == ["d"]
    assert found.problems[0].startswith(f"discs/a: no mask at {folder / 'a_mask.png'}")
    assert "discs/b: the PNG file is truncated" in found.problems[1]
    assert (
        found.problems[2] == "discs/c: the mask is (10, 10), its photograph (48, 64) (height, "
        "width)"
    )
    with pytest.raises(DatasetError, match=r"3 pairs cannot be used \(1 can; `prepare --skip-bad`"):
        require_no_problems(found)


def test_every_problem_is_listed_however_many_there_are(folder: Path) -> None:
    write_manifest(folder, [row(f"none{index}") for index in range(60)])
    with pytest.raises(DatasetError) as caught:
        require_no_problems(prepared(folder))
    assert str(caught.value).count("no photograph at") == 60


def test_ph2_is_never_trained_on_whatever_a_split_says(folder: Path) -> None:
    names = {"a": "ph2", "b": "PH2", "c": "ph2"}
    write_manifest(folder, [row(n, dataset=d, split="train") for n, d in names.items()])
    listing = read_manifest(folder)
    trained: dict[str, Part] = {"a": "train", "b": "train", "c": "train"}
    for found in (prepare(listing, official=True), prepared(folder, trained)):
        assert {sample.part for sample in found.samples} == {"external"}


def test_ids_of_the_committed_split_are_on_its_side_and_so_are_their_near_duplicates(
    folder: Path,
) -> None:
    places = read_split(COMMITTED_SPLIT)
    # Of these twins the hash alone would hold the first out; the file unites them in training.
    names = ["ISIC_0000225", next(name for name, place in places.items() if place.part == "test")]
    for name, source in zip(names, "ab", strict=True):
        (folder / f"{source}.png").rename(folder / f"{name}.png")
        (folder / f"{source}_mask.png").rename(folder / f"{name}_mask.png")
    write_manifest(
        folder, [row(names[0]), row("c", near_dup_group="1"), row(names[1], near_dup_group="1")]
    )
    parts = {sample.id: sample.part for sample in prepared(folder).samples}
    assert parts == {names[0]: "train", names[1]: "test", "c": "test"}


def test_a_size_beyond_every_limit_is_a_problem(folder: Path) -> None:
    squashed = row("a", geometry="full_frame_squashed", orig_width="100000000", orig_height="1")
    write_manifest(folder, [squashed])
    assert "over 50000000 pixels" in prepared(folder).problems[0]


def test_a_mask_with_greys_is_refused(folder: Path) -> None:
    Image.fromarray(np.full((48, 64), 130, np.uint8)).save(folder / "a_mask.png")
    assert "holds only the value 130" in prepared(folder).problems[0]


def test_one_id_twice_in_a_dataset_is_a_problem_and_counts_once(folder: Path) -> None:
    write_manifest(folder, [row("a"), row("a")])
    found = prepared(folder)
    assert found.problems == ["discs/a: listed 2 times"]
    assert len(found.samples) == 1


def test_the_real_manifest_is_whole(real_data: Path) -> None:
    listing = read_manifest(real_data)
    assert (len(listing.pairs), listing.problems) == (7195, [])

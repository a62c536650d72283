from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.errors import DatasetError
from model_core.image_io import decode_image
from tests.discs import row, write_manifest, write_pair
from trainer import datasets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("a", "b", "c")):
        write_pair(tmp_path, name, seed=index)
    write_manifest(tmp_path, [row("a"), row("b"), row("c")])
    return tmp_path


def prepared(folder: Path) -> list[datasets.Sample]:
    return datasets.prepare(datasets.read_manifest(folder))


def test_samples_survive_writing_and_reading(folder: Path, tmp_path: Path) -> None:
    samples = prepared(folder)
    datasets.write_samples(samples, tmp_path / "out")
    assert datasets.read_samples(tmp_path / "out") == samples
    assert [(sample.height, sample.width) for sample in samples] == [(48, 64)] * 3


def test_an_id_lands_on_the_same_side_in_every_dataset(folder: Path) -> None:
    write_manifest(folder, [row("a", dataset="isic"), row("a", dataset="isic_fullframe")])
    first, second = prepared(folder)
    assert first.part == second.part


def test_near_duplicates_share_a_group_and_a_side(folder: Path) -> None:
    write_manifest(folder, [row(name, near_dup_group="g1") for name in "abc"])
    samples = prepared(folder)
    assert {sample.group for sample in samples} == {"a"}
    assert len({sample.part for sample in samples}) == 1


def test_ph2_is_external(folder: Path) -> None:
    write_manifest(folder, [row("a", dataset="ph2")])
    assert [sample.part for sample in prepared(folder)] == ["external"]


def test_a_split_file_decides_and_must_know_every_id(folder: Path) -> None:
    pairs = datasets.read_manifest(folder)
    samples = datasets.prepare(pairs, split={"a": "test", "b": "train", "c": "val"})
    assert [sample.part for sample in samples] == ["test", "train", "val"]
    with pytest.raises(DatasetError, match="discs/c: not in the split file"):
        datasets.prepare(pairs, split={"a": "test", "b": "train"})


def test_a_squashed_photograph_gets_its_aspect_back(folder: Path) -> None:
    squashed = row("a", geometry="full_frame_squashed", orig_width="1024", orig_height="600")
    write_manifest(folder, [squashed])
    (sample,) = prepared(folder)
    assert (sample.height, sample.width) == (48, 82)
    photograph = decode_image(datasets.read_photo(sample))
    assert (photograph.height, photograph.width) == (48, 82)
    assert datasets.read_truth(sample).shape == (48, 82)


def test_a_squashed_photograph_of_unknown_size_is_refused(folder: Path) -> None:
    write_manifest(folder, [row("a", geometry="full_frame_squashed", orig_width="wide")])
    with pytest.raises(DatasetError, match="a is squashed, but has no orig_width"):
        datasets.read_manifest(folder)


def test_a_photograph_of_true_aspect_is_sent_as_it_lies(folder: Path) -> None:
    sample = prepared(folder)[0]
    assert datasets.read_photo(sample) == (folder / "a.png").read_bytes()


def test_the_digest_knows_content_and_sides_but_not_places(folder: Path) -> None:
    samples = prepared(folder)
    moved = [replace(sample, image=Path("/elsewhere") / sample.image.name) for sample in samples]
    other = [replace(samples[0], mask_sha256="0" * 64), *samples[1:]]
    assert datasets.digest(moved) == datasets.digest(samples[::-1]) == datasets.digest(samples)
    assert datasets.digest(other) != datasets.digest(samples)


def test_every_bad_pair_is_listed_at_once(folder: Path) -> None:
    (folder / "a_mask.png").unlink()
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(folder / "c_mask.png")
    with pytest.raises(DatasetError) as caught:
        prepared(folder)
    text = str(caught.value)
    assert "3 of 3 pairs cannot be used" in text
    assert "discs/a" in text
    assert "discs/b: the PNG file is truncated" in text
    assert "discs/c: the mask is (10, 10), its photograph (48, 64)" in text


def test_a_mask_with_greys_is_refused(folder: Path) -> None:
    Image.fromarray(np.full((48, 64), 130, np.uint8)).save(folder / "a_mask.png")
    with pytest.raises(DatasetError, match="expected only 0 and 255"):
        prepared(folder)


def test_one_id_twice_in_a_dataset_is_refused(folder: Path) -> None:
    write_manifest(folder, [row("a"), row("a")])
    with pytest.raises(DatasetError, match="discs/a: listed 2 times"):
        prepared(folder)


def test_a_manifest_without_its_columns_is_refused(folder: Path) -> None:
    (folder / "MANIFEST.csv").write_text("id,image\na,a.png\n")
    with pytest.raises(DatasetError, match="no column dataset, mask"):
        datasets.read_manifest(folder)
    with pytest.raises(DatasetError, match="no manifest at"):
        datasets.read_manifest(folder / "nowhere")


def test_the_official_isic_2018_folders_are_read(tmp_path: Path) -> None:
    images = tmp_path / "ISIC2018_Task1-2_Training_Input"
    masks = tmp_path / "ISIC2018_Task1_Training_GroundTruth"
    images.mkdir()
    masks.mkdir()
    write_pair(tmp_path, "disc", seed=0)
    Image.open(tmp_path / "disc.png").save(images / "ISIC_0000000.jpg")
    (tmp_path / "disc_mask.png").rename(masks / "ISIC_0000000_segmentation.png")
    (images / "ISIC_0000000_superpixels.png").write_bytes(b"not a photograph")
    (sample,) = datasets.prepare(datasets.read_isic2018(tmp_path))
    assert (sample.dataset, sample.id) == ("isic", "ISIC_0000000")
    with pytest.raises(DatasetError, match="official layout"):
        datasets.read_isic2018(images)


def test_a_folder_that_was_not_prepared_says_how(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"python -m trainer prepare SOURCE --out"):
        datasets.read_samples(tmp_path)

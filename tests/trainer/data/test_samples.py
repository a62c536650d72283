from dataclasses import replace
from pathlib import Path

import pytest

from model_core.errors import DatasetError
from model_core.images.decode import decode_image
from tests.fixtures.discs import row, write_manifest, write_pair
from trainer.data import samples
from trainer.data.layouts import read_manifest
from trainer.data.prepare import prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(("a", "b", "c")):
        write_pair(tmp_path, name, seed=index)
    write_manifest(tmp_path, [row("a"), row("b"), row("c")])
    return tmp_path


def prepared(folder: Path) -> list[samples.Sample]:
    return prepare(read_manifest(folder)).samples


def test_samples_survive_writing_and_reading(folder: Path, tmp_path: Path) -> None:
    written = prepared(folder)
    samples.write_samples(written, tmp_path / "out")
    assert samples.read_samples(tmp_path / "out") == written


def test_folders_prepared_before_there_was_a_perceptual_hash_are_read(
    folder: Path, tmp_path: Path
) -> None:
    path = samples.write_samples(prepared(folder), tmp_path / "out")
    lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    assert {sample.phash for sample in samples.read_samples(tmp_path / "out")} == {""}


def test_a_squashed_photograph_gets_its_aspect_back(folder: Path) -> None:
    squashed = row("a", geometry="full_frame_squashed", orig_width="1024", orig_height="600")
    write_manifest(folder, [squashed])
    (sample,) = prepared(folder)
    assert (sample.height, sample.width) == (48, 82)
    photograph = decode_image(samples.read_photo(sample))
    assert (photograph.height, photograph.width) == (48, 82)
    assert samples.read_truth(sample).shape == (48, 82)


def test_a_photograph_of_true_aspect_is_sent_as_it_lies(folder: Path) -> None:
    assert samples.read_photo(prepared(folder)[0]) == (folder / "a.png").read_bytes()


def test_the_digest_knows_content_and_sides_but_not_places(folder: Path) -> None:
    here = prepared(folder)
    moved = [replace(sample, image=Path("/elsewhere") / sample.image.name) for sample in here]
    other = [replace(here[0], mask_sha256="0" * 64), *here[1:]]
    assert samples.digest(moved) == samples.digest(here[::-1]) == samples.digest(here)
    assert samples.digest(other) != samples.digest(here)


def test_a_dataset_that_vanished_is_named(folder: Path) -> None:
    sample = prepared(folder)[0]
    (folder / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"discs/a: .*a\.png is gone; put the dataset back"):
        samples.read_photo(sample)


def test_a_file_that_was_changed_since_it_was_checked_is_named(folder: Path) -> None:
    first, second, _ = prepared(folder)
    (folder / "a.png").write_bytes((folder / "b.png").read_bytes())
    with pytest.raises(DatasetError, match=r"discs/a: .*a\.png is not what it was"):
        samples.read_photo(first)
    (folder / "b_mask.png").write_bytes((folder / "a_mask.png").read_bytes())
    with pytest.raises(DatasetError, match=r"discs/b: .*b_mask\.png is not what it was"):
        samples.read_truth(second)


def test_a_folder_that_was_not_prepared_says_how(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"python -m trainer prepare SOURCE --out"):
        samples.read_samples(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"id,image\na,b\n", "has no column dataset", id="another table"),
        pytest.param(b"\xff\xfe\x00", "is not UTF-8 text", id="not text"),
        pytest.param(
            (",".join(samples.COLUMNS) + "\nd,a,a.png,a.png,tall,9,a,train,0,0,\n").encode(),
            "was not written by `prepare`",
            id="a height in words",
        ),
    ],
)
def test_a_table_that_is_no_list_of_samples_is_named(
    content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / samples.SAMPLES_CSV).write_bytes(content)
    with pytest.raises(DatasetError, match=said):
        samples.read_samples(tmp_path)

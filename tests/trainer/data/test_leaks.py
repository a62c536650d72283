from dataclasses import replace
from pathlib import Path

import pytest

from model_core.errors import DatasetError
from trainer.data import leaks
from trainer.data.samples import Sample, read_samples


@pytest.fixture
def samples(discs: Path) -> list[Sample]:
    return read_samples(discs)[:6]


def prints(samples: list[Sample]) -> list[leaks.Fingerprint]:
    return [leaks.fingerprint(sample) for sample in samples]


def test_sets_without_a_common_photograph_share_none(samples: list[Sample]) -> None:
    assert leaks.find_leaks(prints(samples[:3]), prints(samples[3:])) == []


def test_a_shared_photograph_is_found_by_id_by_file_and_by_picture(samples: list[Sample]) -> None:
    first = samples[0]
    other = replace(first, id="other", image_sha256="0" * 64, phash="")
    for disguised, why in (
        (replace(other, id=first.id), "same ID"),
        (replace(other, image_sha256=first.image_sha256), "same file"),
        (replace(other, phash=first.phash), "same picture but for 0 of 255 bits"),
    ):
        found = leaks.find_leaks(prints([samples[3], disguised]), prints(samples[:3]))
        assert found == [leaks.Leak(1, 0, why)]


def test_what_a_run_has_seen_survives_writing_and_reading_and_names_nobody(
    samples: list[Sample], tmp_path: Path
) -> None:
    parts = [replace(samples[0], part="train"), replace(samples[1], part="test")]
    leaks.write_trained(prints(parts), tmp_path)
    assert leaks.read_trained(tmp_path) == prints(parts[:1])
    assert samples[0].id not in (tmp_path / leaks.TRAINED_CSV).read_text()
    assert leaks.read_trained(tmp_path / "old run") is None


def test_images_that_were_trained_on_cannot_be_scored(samples: list[Sample]) -> None:
    trained = prints([replace(sample, part="train") for sample in samples[:3]])
    scored = [replace(sample, part="test") for sample in samples[2:]]
    with pytest.raises(DatasetError, match="1 of 4 images to be scored were seen in training"):
        leaks.require_unseen(scored, trained)
    leaks.require_unseen(scored[1:], trained)


def test_the_whole_group_of_what_was_seen_is_left_out(samples: list[Sample]) -> None:
    trained = prints([replace(samples[1], part="train")])
    groups = ("x", "x", "y", "x", "z", "z")
    scored = [replace(s, part="test", group=g) for s, g in zip(samples, groups, strict=True)]
    kept, found = leaks.drop_seen(scored, trained)
    assert [sample.id for sample in kept] == [samples[place].id for place in (2, 4, 5)]
    same = f"same group as {samples[1].key}"
    assert [(leak.index, leak.why) for leak in found] == [(0, same), (1, "same ID"), (3, same)]
    assert leaks.drop_seen(scored[4:], trained) == (scored[4:], [])


def test_one_validation_image_does_not_excuse_the_others(samples: list[Sample]) -> None:
    steered = prints([replace(sample, part="val") for sample in samples[:2]])
    scored = [replace(samples[0], part="test"), replace(samples[1], part="val")]
    leaks_found = leaks.seen_among(scored, steered)
    assert [leak.index for leak in leaks_found] == [0]


def test_validation_images_may_be_scored_as_validation_but_not_as_test(
    samples: list[Sample],
) -> None:
    steered = prints([replace(samples[0], part="val")])
    leaks.require_unseen([replace(samples[0], part="val")], steered)
    with pytest.raises(DatasetError, match="same ID"):
        leaks.require_unseen([replace(samples[0], part="test")], steered)

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model_core.processing.preprocess import PreprocessConfig, preprocess
from trainer.data import cache
from trainer.data.samples import Sample, read_photo, read_samples


def test_the_cache_holds_the_very_pixels_that_the_service_gives_the_network(
    discs: Path, tmp_path: Path
) -> None:
    samples, config = read_samples(discs)[:5], PreprocessConfig(size=32, fit="letterbox")
    opened = cache.open_cache(samples, config, tmp_path)
    assert (len(opened), opened.images.shape, opened.masks.shape) == (
        5,
        (5, 32, 32, 3),
        (5, 32, 32),
    )
    for row, sample in enumerate(samples):
        served, _ = preprocess(read_photo(sample), config)
        assert np.array_equal(opened.images[row], served)
    assert set(np.unique(opened.masks)) == {0, 1}


def test_another_size_or_order_is_another_cache_and_the_same_is_found_again(
    discs: Path, tmp_path: Path
) -> None:
    samples = read_samples(discs)[:3]
    cache.open_cache(samples, PreprocessConfig(size=32), tmp_path)
    cache.open_cache(samples, PreprocessConfig(size=32), tmp_path)
    assert len(list(tmp_path.glob("*/"))) == 1
    cache.open_cache(samples[::-1], PreprocessConfig(size=32), tmp_path)
    cache.open_cache(samples, PreprocessConfig(size=16), tmp_path)
    assert len(list(tmp_path.glob("*/"))) == 3


def test_a_build_that_dies_leaves_no_cache_behind(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, config = read_samples(discs)[:3], PreprocessConfig(size=32)

    def die(sample: object) -> bytes:
        raise OSError("disk gone")

    with monkeypatch.context() as patch:
        patch.setattr(cache, "read_photo", die)
        with pytest.raises(OSError, match="disk gone"):
            cache.open_cache(samples, config, tmp_path)
    assert cache.open_cache(samples, config, tmp_path).images.any()


def test_two_runs_that_build_one_cache_at_once_get_the_same_and_build_it_once(
    discs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, config = read_samples(discs)[:6], PreprocessConfig(size=32)
    reads: list[Sample] = []

    def counted(sample: Sample) -> bytes:
        reads.append(sample)
        return read_photo(sample)

    monkeypatch.setattr(cache, "read_photo", counted)
    with ThreadPoolExecutor(3) as pool:
        caches = list(pool.map(lambda _: cache.open_cache(samples, config, tmp_path), range(3)))
    assert len(reads) == len(samples)
    for opened in caches:
        assert np.array_equal(opened.images, caches[0].images)
        assert all(image.any() for image in opened.images)

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.errors import ConfigError
from trainer.data.drawn import draw_lesion, write_drawn


def test_a_seed_draws_the_same_lesion_every_time_and_another_seed_another() -> None:
    first, second, other = draw_lesion(3), draw_lesion(3), draw_lesion(4)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize("seed", range(20))
def test_every_lesion_is_there_and_darker_than_the_skin_around_it(seed: int) -> None:
    image, mask = draw_lesion(seed, height=96, width=128, vignette=False)
    assert (image.shape, mask.shape) == ((96, 128, 3), (96, 128))
    assert (image.dtype, mask.dtype) == (np.dtype(np.uint8), np.dtype(np.bool_))
    assert 0.01 < mask.mean() < 0.9
    assert image[mask].mean() < image[~mask].mean() - 20


@pytest.mark.parametrize("part", ["hair", "ruler", "vignette"])
def test_hair_ruler_and_vignette_change_the_picture_but_not_the_mask(part: str) -> None:
    without, mask = draw_lesion(5, hair=False, ruler=False, vignette=False)
    image, same = draw_lesion(
        5, **({"hair": False, "ruler": False, "vignette": False} | {part: True})
    )
    assert np.array_equal(mask, same)
    assert not np.array_equal(image, without)
    assert image.mean() < without.mean()


@pytest.mark.parametrize("size", [(32, 32), (33, 201), (301, 47)])
def test_any_size_from_32_px_is_drawn(size: tuple[int, int]) -> None:
    image, mask = draw_lesion(0, height=size[0], width=size[1])
    assert image.shape[:2] == mask.shape == size


def test_a_smaller_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="31x64 px, expected at least 32"):
        draw_lesion(0, height=31, width=64)


def test_the_folder_holds_what_its_manifest_says(tmp_path: Path) -> None:
    write_drawn(tmp_path, count=3, seed=10, height=64, width=80)
    with (tmp_path / "MANIFEST.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["drawn_00010", "drawn_00011", "drawn_00012"]
    for row in rows:
        with (
            Image.open(tmp_path / row["image"]) as image,
            Image.open(tmp_path / row["mask"]) as grey,
        ):
            assert image.size == (80, 64)
            mask = np.asarray(grey)
        assert set(np.unique(mask)) == {0, 255}
        assert (mask > 0).mean() == pytest.approx(float(row["lesion_fraction"]), abs=1e-4)

import numpy as np
import pytest
from skimage.color import rgb2lab

from model_core.images.lab import colour_spread, to_lab


def test_scikit_image_has_the_same_lab() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert np.abs(to_lab(rgb) - rgb2lab(rgb)).max() < 0.01


def test_one_colour_has_no_spread_and_black_and_white_have_the_most() -> None:
    mask = np.ones((2, 2), bool)
    assert colour_spread(np.full((2, 2, 3), 90, np.uint8), mask) == pytest.approx(0, abs=1e-4)
    chess = np.array([[0, 255], [255, 0]], np.uint8)[..., None].repeat(3, axis=2)
    assert colour_spread(chess, mask) == pytest.approx(50, abs=0.1)


def test_only_the_lesion_counts() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = 255
    mask = np.array([[False, True], [True, True]])
    assert colour_spread(image, mask) == pytest.approx(0, abs=1e-4)
    assert colour_spread(image, np.zeros((2, 2), bool)) is None

import numpy as np
import pytest

from model_core.masks.outline import LINE, RIM, draw_outline

SKIN = (224, 177, 150)


def outlined(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A square lesion in the middle of plain skin, outlined, and what of the picture changed."""
    photograph = np.full((height, width, 3), SKIN, np.uint8)
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = True
    picture = draw_outline(photograph, mask)
    return picture, (picture != photograph).any(axis=2)


@pytest.mark.parametrize(("side", "wide"), [(80, 4), (400, 4), (2000, 20)])
def test_the_outline_is_as_wide_as_the_photograph_is_large(side: int, wide: int) -> None:
    _, changed = outlined(side, side)
    across = np.flatnonzero(changed[side // 2])
    left = across[across < side // 2]
    assert abs(len(left) - wide) <= 1
    assert abs(left.mean() + 0.5 - side // 4) <= 1  # its middle is the mask's edge


def test_a_light_line_lies_between_two_dark_rims() -> None:
    picture, changed = outlined(800, 800)
    row = picture[400, :400][changed[400, :400]].tolist()
    assert row[0] == row[-1] == list(RIM)
    assert row[len(row) // 2] == list(LINE)


def test_only_the_outline_changes_and_the_photograph_stays_as_it_was() -> None:
    picture, changed = outlined(100, 100)
    assert not changed[50, 50]
    assert not changed[5, 5]
    assert set(map(tuple, picture[changed].tolist())) == {LINE, RIM}


def test_without_a_lesion_nothing_is_drawn() -> None:
    photograph = np.full((10, 12, 3), SKIN, np.uint8)
    assert np.array_equal(draw_outline(photograph, np.zeros((10, 12), bool)), photograph)


def test_a_hole_has_an_outline_too() -> None:
    photograph = np.full((200, 200, 3), SKIN, np.uint8)
    mask = np.zeros((200, 200), bool)
    mask[20:180, 20:180] = True
    mask[80:120, 80:120] = False
    picture = draw_outline(photograph, mask)
    assert picture[100, 80].tolist() in (list(LINE), list(RIM))
    assert picture[100, 100].tolist() == list(SKIN)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1)])
def test_the_smallest_pictures_can_be_drawn_on(shape: tuple[int, int]) -> None:
    photograph = np.full((*shape, 3), SKIN, np.uint8)
    assert draw_outline(photograph, np.ones(shape, bool)).shape == photograph.shape

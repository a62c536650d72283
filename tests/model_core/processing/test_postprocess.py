import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from model_core.arrays import Logits, Mask
from model_core.errors import ConfigError
from model_core.processing.postprocess import PostprocessConfig, logit, tidy
from tests.fixtures.drawing import draw

LESION, SKIN = 3.0, -2.0
AS_IT_IS = PostprocessConfig(largest_component=False, fill_holes=False)
LARGEST = PostprocessConfig(fill_holes=False)
FILLED = PostprocessConfig(largest_component=False)
BOTH = PostprocessConfig()


def logits_of(mask: Mask) -> Logits:
    return np.where(mask, LESION, SKIN).astype(np.float32)


@pytest.mark.parametrize(
    ("config", "found", "expected"),
    [
        pytest.param(LARGEST, "##..# ##... .....", "##... ##... .....", id="a speck goes"),
        pytest.param(LARGEST, "##... ##... ..#..", "##... ##... ..#..", id="corners touch"),
        pytest.param(LARGEST, "#.#.. #.#.. ....#", "#.... #.... .....", id="the first of equals"),
        pytest.param(LARGEST, "###.. #.#.. ###..", "###.. #.#.. ###..", id="holes are not asked"),
        pytest.param(FILLED, "###.. #.#.. ###..", "###.. ###.. ###..", id="a hole is filled"),
        pytest.param(FILLED, ".#... #.#.. .#...", ".#... ###.. .#...", id="a diagonal ring"),
        pytest.param(FILLED, "###.. #.#.. #.#..", "###.. #.#.. #.#..", id="a bay is no hole"),
        pytest.param(FILLED, "###.# #.#.. ###..", "###.# ###.. ###..", id="specks are not asked"),
        pytest.param(BOTH, "###.# #.#.. ###..", "###.. ###.. ###..", id="both rules"),
        pytest.param(BOTH, "####### #.....# #.###.# #.....# #######",
                     "####### ####### ####### ####### #######", id="an island in a hole"),
        pytest.param(BOTH, "... ... ...", "... ... ...", id="nothing found"),
        pytest.param(BOTH, "### ### ###", "### ### ###", id="the whole picture"),
        pytest.param(BOTH, "#", "#", id="one pixel"),
        pytest.param(BOTH, "#.#.##", "....##", id="one row"),
        pytest.param(AS_IT_IS, "###.# #.#.. ###..", "###.# #.#.. ###..", id="no rule"),
    ],
)  # fmt: skip
def test_what_is_left_after_tidying(config: PostprocessConfig, found: str, expected: str) -> None:
    tidied = tidy(logits_of(draw(found)), config)
    assert np.array_equal(tidied > 0, draw(expected))
    assert tidied.dtype == np.float32


@pytest.mark.parametrize("found", ["##. ##. ...", "... ... ...", "### ### ###"])
def test_where_there_is_nothing_to_change_the_very_same_array_comes_back(found: str) -> None:
    logits = logits_of(draw(found))
    assert tidy(logits, BOTH) is logits


def test_what_comes_in_is_left_alone() -> None:
    logits = logits_of(draw("###.# #.#.. ###.."))
    before = logits.copy()
    tidy(logits, BOTH)
    assert np.array_equal(logits, before)


def test_changed_pixels_are_mirrored_at_the_cut_and_the_others_keep_their_value() -> None:
    found = draw("###.# #.#.. ###..")
    tidied = tidy(logits_of(found), BOTH)
    assert tidied[1, 1] == -SKIN  # the hole
    assert tidied[0, 4] == -LESION  # the speck
    kept = np.ones_like(found)
    kept[1, 1] = kept[0, 4] = False
    assert np.array_equal(tidied[kept], logits_of(found)[kept])


def test_another_threshold_moves_the_mirror() -> None:
    config = PostprocessConfig(threshold=0.8)
    cut = np.float32(np.log(0.8 / 0.2))
    found = draw("###.# #.#.. ###..")
    tidied = tidy(np.where(found, cut + 1, cut - 2).astype(np.float32), config)
    assert np.array_equal(tidied > cut, draw("###.. ###.. ###.."))
    assert tidied[1, 1] == pytest.approx(cut + 2)
    assert tidied[0, 4] == pytest.approx(cut - 1)


def test_the_threshold_decides_what_is_found() -> None:
    # Probabilities 0.95 (three pixels), 0.9 (two) and 0.6 (the bridge that joins them).
    values = np.array([[logit(p) for p in (0.95, 0.95, 0.95, 0.6, 0.9, 0.9)]], np.float32)
    low, high = PostprocessConfig(threshold=0.5), PostprocessConfig(threshold=0.7)
    assert np.array_equal(tidy(values, low) > logit(0.5), draw("######"))
    assert np.array_equal(tidy(values, high) > logit(0.7), draw("###..."))


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8, 0.99])
def test_a_hole_exactly_at_the_cut_is_filled(threshold: float) -> None:
    cut = np.float32(logit(threshold))
    values = np.where(draw("### #.# ###"), cut + 1, cut).astype(np.float32)
    tidied = tidy(values, PostprocessConfig(threshold=threshold))
    assert np.array_equal(tidied > logit(threshold), draw("### ### ###"))


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8, 0.99])
def test_a_speck_a_hair_above_the_cut_goes(threshold: float) -> None:
    cut = np.float32(logit(threshold))
    values = np.where(draw("##..#"), np.nextafter(cut, np.float32(9)), cut - 1).astype(np.float32)
    tidied = tidy(values, PostprocessConfig(threshold=threshold))
    assert np.array_equal(tidied > logit(threshold), draw("##..."))


def test_equally_large_regions_give_the_same_one_every_time() -> None:
    logits = logits_of(draw("#...# ..... #...#"))
    answers = [tidy(logits, BOTH).tobytes() for _ in range(5)]
    assert len(set(answers)) == 1


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 1.1, float("nan")])
def test_a_threshold_outside_zero_to_one_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match=r"threshold is .* expected between 0 and 1"):
        PostprocessConfig(threshold=threshold)


@pytest.mark.parametrize(
    ("probability", "expected"), [(0.5, 0.0), (0.75, np.log(3)), (0.1, -np.log(9))]
)
def test_logit_is_the_log_of_the_odds(probability: float, expected: float) -> None:
    assert logit(probability) == pytest.approx(expected)


@given(arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_holes_are_scipys(mask: np.ndarray) -> None:
    logits = np.where(mask, np.float32(3), np.float32(-3))
    filled = tidy(logits, PostprocessConfig(largest_component=False)) > 0
    assert np.array_equal(filled, ndimage.binary_fill_holes(mask))


def test_a_margin_is_a_threshold_of_its_own() -> None:
    rules = PostprocessConfig(threshold=0.45, tight_threshold=0.7, loose_threshold=0.25)
    assert [rules.threshold_for(margin) for margin in ("tight", "middle", "loose")] == [
        0.7, 0.45, 0.25,
    ]  # fmt: skip


def test_a_margin_that_was_not_calibrated_says_what_can_be_had() -> None:
    with pytest.raises(
        ConfigError, match="has no margin tight, only middle: take that, or a threshold"
    ):
        PostprocessConfig().threshold_for("tight")


@pytest.mark.parametrize("thresholds", [(0.5, 0.45), (0.45, 0.5), (0.2, 0.1)])
def test_margins_out_of_order_are_refused(thresholds: tuple[float, float]) -> None:
    loose, tight = thresholds
    with pytest.raises(ConfigError, match="rising order"):
        PostprocessConfig(threshold=0.4, loose_threshold=loose, tight_threshold=tight)

import time
import tracemalloc

import numpy as np
import pytest
import surface_distance
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import cdist

from model_core.arrays import Mask, Spacing
from model_core.errors import ShapeMismatchError
from model_core.scores.distances import BoundaryDistances, boundary_distances
from tests.fixtures.drawing import draw


def disc(radius: float, *, centre: tuple[float, float] = (64, 64), side: int = 128) -> Mask:
    rows, columns = np.ogrid[:side, :side]
    mask: Mask = np.hypot(rows - centre[0], columns - centre[1]) <= radius
    return mask


def found(truth: Mask, pred: Mask, spacing: Spacing = (1.0, 1.0)) -> BoundaryDistances:
    distances = boundary_distances(truth, pred, spacing=spacing)
    assert distances is not None
    return distances


def outline(mask: Mask) -> np.ndarray:
    """Boundary pixels by their definition, one at a time."""
    height, width = mask.shape

    def outside(row: int, column: int) -> bool:
        return not (0 <= row < height and 0 <= column < width) or not mask[row, column]

    return np.array(
        [
            (r, c)
            for r, c in np.argwhere(mask)
            if outside(r - 1, c) or outside(r + 1, c) or outside(r, c - 1) or outside(r, c + 1)
        ]
    )


def by_brute_force(truth: Mask, pred: Mask, spacing: Spacing) -> BoundaryDistances:
    table = cdist(outline(truth) * spacing, outline(pred) * spacing)
    there, back = table.min(axis=1), table.min(axis=0)
    return BoundaryDistances(
        max(np.percentile(there, 95), np.percentile(back, 95)),
        float(np.concatenate([there, back]).mean()),
    )


def test_single_pixels_are_as_far_apart_as_their_centres() -> None:
    truth, pred = draw("#.... ..... ....."), draw("..... ..... ....#")
    assert found(truth, pred) == BoundaryDistances(np.hypot(2, 4), np.hypot(2, 4))


def test_the_size_of_a_pixel_scales_each_direction() -> None:
    truth, pred = draw("#.... ..... ....."), draw("..... ..... ....#")
    assert found(truth, pred, (3.0, 0.5)).assd == pytest.approx(np.hypot(6, 2))
    shifted = disc(20, centre=(64, 70))
    pixels, millimetres = found(disc(20), shifted), found(disc(20), shifted, (0.02, 0.02))
    assert millimetres.hausdorff_95 == pytest.approx(0.02 * pixels.hausdorff_95)


def test_a_mask_has_no_distance_to_itself() -> None:
    assert found(disc(20), disc(20)) == BoundaryDistances(0.0, 0.0)


def test_a_square_one_pixel_aside_by_hand() -> None:
    # Of the 8 pixels around a 3x3 square, 3 leave the other's outline by 1, and so does the middle
    # one of the far side, which lies on the other's empty centre column: 4 of 8, both ways.
    truth, pred = draw("###.. ###.. ###.."), draw(".###. .###. .###.")
    assert found(truth, pred) == BoundaryDistances(1.0, 0.5)


def test_concentric_discs_are_as_far_apart_as_their_radii_differ() -> None:
    distances = found(disc(40), disc(30))
    assert distances.assd == pytest.approx(10, abs=0.25)
    assert distances.hausdorff_95 == pytest.approx(10, abs=0.6)


def test_one_stray_pixel_moves_the_mean_but_not_the_95th_percentile() -> None:
    stray = disc(30)
    stray[2, 2] = True
    distances = found(disc(30), stray)
    assert distances.hausdorff_95 == 0
    assert 0 < distances.assd < 1


def test_a_lesion_cut_by_the_frame_ends_there() -> None:
    full = np.ones((20, 20), bool)
    smaller = np.zeros((20, 20), bool)
    smaller[1:-1, 1:-1] = True
    assert found(full, smaller).assd == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("empty", ["truth", "pred", "both"])
def test_an_empty_side_has_no_distance(empty: str) -> None:
    nothing, something = np.zeros((5, 5), bool), draw("##... ##... ..... ..... .....")
    truth = something if empty == "pred" else nothing
    pred = something if empty == "truth" else nothing
    assert boundary_distances(truth, pred) is None


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ShapeMismatchError, match=r"truth is \(2, 3\), pred is \(3, 2\)"):
        boundary_distances(np.ones((2, 3), bool), np.ones((3, 2), bool))


masks = arrays.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
spacings = st.tuples(st.floats(0.01, 10), st.floats(0.01, 10))


@given(masks, st.randoms(use_true_random=False), spacings)
def test_distances_are_those_of_brute_force(truth: Mask, random: object, spacing: Spacing) -> None:
    seed = random.getrandbits(32)  # type: ignore[attr-defined]
    pred = np.random.default_rng(seed).random(truth.shape) < 0.4
    if not truth.any() or not pred.any():
        assert boundary_distances(truth, pred, spacing=spacing) is None
        return
    distances, expected = found(truth, pred, spacing), by_brute_force(truth, pred, spacing)
    assert distances.hausdorff_95 == pytest.approx(expected.hausdorff_95)
    assert distances.assd == pytest.approx(expected.assd)
    assert found(pred, truth, spacing).assd == pytest.approx(expected.assd)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.3, 0.7), (5.0, 0.01)], ids=str)
@pytest.mark.parametrize("shares", [(0.4, 0.4), (0.9, 0.3), (0.5, 0.001), (1.0, 0.5)], ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
def test_noise_too_dense_for_a_tree_has_the_distances_of_brute_force(
    shares: tuple[float, float], spacing: Spacing, turned: bool
) -> None:
    rng = np.random.default_rng(0)
    truth, pred = (rng.random((50, 80)) < share for share in shares)
    if turned:  # as masks from RLE lie in memory
        truth, pred = truth.T, pred.T
    distances, expected = found(truth, pred, spacing), by_brute_force(truth, pred, spacing)
    assert distances.hausdorff_95 == pytest.approx(expected.hausdorff_95)
    assert distances.assd == pytest.approx(expected.assd)


def test_a_map_of_many_blocks_gives_what_can_be_said_by_hand() -> None:
    board = np.add.outer(np.arange(1500), np.arange(1500)) % 2 == 0
    assert found(board, ~board) == BoundaryDistances(1.0, 1.0)
    corner = np.zeros_like(board)
    corner[0, 0] = True
    # The corner lies on the board: 0 for one pixel, and the way back from all the others.
    far = np.hypot(*np.nonzero(board))
    assert found(board, corner).hausdorff_95 == pytest.approx(np.percentile(far, 95))
    assert found(board, corner).assd == pytest.approx(far.sum() / (far.size + 1))


def test_noise_costs_memory_by_the_pixel() -> None:
    truth, pred = np.random.default_rng(0).random((2, 1000, 1000)) < 0.5
    tracemalloc.start()
    found(truth, pred)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * truth.size


@pytest.mark.slow
def test_masks_drawn_to_slow_a_search_tree_down_do_not() -> None:
    # Every pixel near the middle of a circle is nearly as far from all of it, so that a tree looks
    # at much of the circle for each: 99 s of CPU time on two busy cores, where a map took 5 s.
    circle = disc(3499, centre=(3500, 3500), side=7001)
    cluster = disc(700, centre=(3500, 3500), side=7001)
    cluster &= np.add.outer(np.arange(7001), np.arange(7001)) % 2 == 0
    began = time.process_time()
    found(circle, cluster)
    assert time.process_time() - began < 30


def test_square_pixels_in_mm_are_counted_once() -> None:
    distances = found(disc(40), disc(30))
    in_mm = found(disc(40), disc(30), (0.02, 0.02))
    assert distances.times(0.02).hausdorff_95 == pytest.approx(in_mm.hausdorff_95)
    assert distances.times(0.02).assd == pytest.approx(in_mm.assd)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # in theirs
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.8)], ids=str)
@pytest.mark.parametrize(
    ("truth", "pred"),
    [
        pytest.param(disc(40), disc(30), id="concentric"),
        pytest.param(disc(40), disc(40, centre=(70, 60)), id="shifted"),
        pytest.param(disc(40), disc(45, centre=(55, 66)), id="larger and shifted"),
        pytest.param(disc(60, centre=(30, 30)), disc(50, centre=(30, 30)), id="cut by the frame"),
    ],
)
def test_smooth_shapes_score_as_with_deepmind_s_surface_distance(
    truth: Mask, pred: Mask, spacing: Spacing
) -> None:
    # It puts the surface between pixels and weighs each piece by its length; on smooth outlines
    # that moves a distance by less than a pixel.
    theirs = surface_distance.compute_surface_distances(truth, pred, spacing)
    both = surface_distance.compute_average_surface_distance(theirs)
    robust = surface_distance.compute_robust_hausdorff(theirs, 95)
    ours = found(truth, pred, spacing)
    assert ours.assd == pytest.approx(sum(both) / 2, abs=0.35)
    assert ours.hausdorff_95 == pytest.approx(robust, abs=0.75)

import math
from itertools import pairwise, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from model_core.network.losses import (
    LOSSES,
    Loss,
    bce,
    bce_dice,
    bce_lovasz,
    deep_supervised,
    focal_tversky,
    lovasz,
    soft_dice,
)


def batch(*images: list[float]) -> Tensor:
    """Images of one row each, float (N, 1, 1, W)."""
    return torch.tensor(images, dtype=torch.float32)[:, None, None, :]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


SURE = 1e4  # its sigmoid is exactly 1


def test_bce_of_an_undecided_pixel_is_ln_2() -> None:
    assert bce(batch([0.0]), batch([1.0])).item() == pytest.approx(math.log(2))


def test_bce_is_minus_the_log_of_what_the_truth_was_given_averaged_over_pixels() -> None:
    logits, truth = batch([logit(0.8), logit(0.8)], [0.0, 0.0]), batch([1, 0], [1, 0])
    expected = -(math.log(0.8) + math.log(0.2) + 2 * math.log(0.5)) / 4
    assert bce(logits, truth).item() == pytest.approx(expected)


def test_bce_of_a_sure_mistake_is_its_logit() -> None:
    assert bce(batch([SURE]), batch([0.0])).item() == pytest.approx(SURE)


@pytest.mark.parametrize(
    ("logits", "truth", "expected"),
    [
        # 1 - (2 * overlap + 1) / (probability + truth + 1)
        pytest.param([0.0, 0.0], [1.0, 0.0], 1 - (2 * 0.5 + 1) / (1 + 1 + 1), id="undecided"),
        pytest.param([SURE, -SURE], [1.0, 0.0], 0.0, id="right"),
        pytest.param([-SURE, SURE], [1.0, 0.0], 1 - 1 / 3, id="wrong"),
        pytest.param([-SURE, -SURE], [0.0, 0.0], 0.0, id="both empty"),
        pytest.param([SURE, SURE], [0.0, 0.0], 1 - 1 / 3, id="truth empty"),
        pytest.param([logit(0.8), logit(0.2)], [1.0, 1.0], 1 - 3 / 4, id="unsure"),
    ],
)
def test_soft_dice_of_two_pixels(logits: list[float], truth: list[float], expected: float) -> None:
    assert soft_dice(batch(logits), batch(truth)).item() == pytest.approx(expected, abs=1e-6)


def test_soft_dice_is_a_mean_over_images_so_a_small_lesion_counts_as_a_large_one() -> None:
    logits = batch([SURE, SURE, SURE, SURE], [-SURE, -SURE, -SURE, -SURE])
    truth = batch([1, 1, 1, 1], [1, 0, 0, 0])
    missed = 1 - 1 / 2
    assert soft_dice(logits, truth).item() == pytest.approx((0 + missed) / 2)


def test_soft_dice_smooths_by_as_many_pixels_as_asked() -> None:
    loss = soft_dice(batch([0.0, 0.0]), batch([1.0, 0.0]), smooth=4.0)
    assert loss.item() == pytest.approx(1 - (1 + 4) / (2 + 4))


def test_bce_dice_is_their_sum() -> None:
    logits, truth = batch([0.0, 0.0]), batch([1.0, 0.0])
    assert bce_dice(logits, truth).item() == pytest.approx(math.log(2) + 1 / 3)


def jaccard_loss(wrong: set[int], lesion: set[int]) -> float:
    """One minus the Jaccard index of an answer that gets the pixels of `wrong` wrong."""
    return len(wrong) / len(lesion | wrong) if wrong else 0.0


@pytest.mark.parametrize(
    ("logits", "truth", "expected"),
    [
        # Errors are 1 - logit on lesion and 1 + logit beside it, at least 0.
        # Errors 0.5 and 2: the second pixel alone wrong has Jaccard loss 1 / 2, both have 2 / 2.
        pytest.param([0.5, 1.0], [1, 0], 2 * 1 / 2 + 0.5 * 1 / 2, id="worst beside the lesion"),
        # Errors 2 and 0.5: the first alone wrong leaves nothing right, so the other adds nothing.
        pytest.param([-1.0, -0.5], [1, 0], 2 * 1 + 0.5 * 0, id="worst on the lesion"),
        # Errors 3, 1, 0.5, 0: Jaccard losses 1 / 2 (missed), 2 / 3 (and found), 3 / 3, 3 / 3.
        pytest.param(
            [-2.0, 0.5, 0.0, -1.0], [1, 1, 0, 0], 3 / 2 + 1 / 6 + 0.5 / 3, id="four pixels"
        ),
        pytest.param([1.0, -1.0], [1, 0], 0.0, id="right by the margin"),
        pytest.param([0.25, -3.0], [0, 0], 1.25, id="no lesion: the single largest error"),
        pytest.param([-1.0, -3.0], [0, 0], 0.0, id="no lesion, none found"),
        # Errors 0.75 and 4 on a lesion of 2: each missed pixel costs half.
        pytest.param([0.25, -3.0], [1, 1], 4 / 2 + 0.75 / 2, id="lesion everywhere"),
    ],
)
def test_lovasz_counted_by_hand(logits: list[float], truth: list[float], expected: float) -> None:
    assert lovasz(batch(logits), batch(truth)).item() == pytest.approx(expected)


@settings(deadline=None)  # torch's first call is slow
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_lovasz_of_hard_answers_is_their_jaccard_loss(pixels: list[tuple[bool, bool]]) -> None:
    truth = batch([float(on) for on, _ in pixels])
    logits = batch([SURE if found else -SURE for _, found in pixels])
    lesion = {i for i, (on, _) in enumerate(pixels) if on}
    wrong = {i for i, (on, found) in enumerate(pixels) if on != found}
    # Each wrong pixel's error is 1 + SURE, and the loss grows in proportion to the errors.
    scaled = lovasz(logits, truth).item() / (1 + SURE)
    assert scaled == pytest.approx(jaccard_loss(wrong, lesion), abs=1e-6)


# Eighths, so that sums are exact and ties come up often.
few_pixels = st.lists(
    st.tuples(st.booleans(), st.integers(-24, 24).map(lambda n: n / 8)), min_size=1, max_size=5
)


@settings(deadline=None)
@given(few_pixels)
def test_lovasz_is_the_lovasz_extension_of_the_jaccard_loss(
    pixels: list[tuple[bool, float]],
) -> None:
    lesion = {i for i, (on, _) in enumerate(pixels) if on}
    errors = [max(0.0, 1 - z if on else 1 + z) for on, z in pixels]
    loss = lovasz(batch([z for _, z in pixels]), batch([float(on) for on, _ in pixels])).item()

    # The extension as an area: over heights, the Jaccard loss of all pixels that reach it.
    heights = sorted({0.0, *errors})
    area = sum(
        (high - low) * jaccard_loss({i for i, error in enumerate(errors) if error >= high}, lesion)
        for low, high in pairwise(heights)
    )
    # The Jaccard loss is submodular, so of all orders the falling one gives the largest sum.
    largest = max(
        sum(
            errors[i]
            * (jaccard_loss({*order[: n + 1]}, lesion) - jaccard_loss({*order[:n]}, lesion))
            for n, i in enumerate(order)
        )
        for order in permutations(range(len(errors)))
    )
    assert loss == pytest.approx(area, abs=1e-6)
    assert loss == pytest.approx(largest, abs=1e-6)


def test_lovasz_has_the_growth_of_the_jaccard_loss_as_sub_gradient() -> None:
    logits = batch([-2.0, 0.5, 0.0, -1.5]).requires_grad_()
    lovasz(logits, batch([1, 1, 0, 0])).backward()
    # As counted above, lesion pulled up and the rest pushed down; the last is right by a margin.
    # Third in the order is the second pixel, with error 0.5.
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == pytest.approx([-1 / 2, -1 / 3, 1 / 6, 0])


def test_lovasz_without_lesion_pushes_down_the_highest_pixel_alone() -> None:
    logits = batch([0.0, 2.0, -0.5]).requires_grad_()
    lovasz(logits, batch([0, 0, 0])).backward()
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [0, 1, 0]


def test_bce_lovasz_is_their_sum() -> None:
    logits, truth = batch([0.0, 0.0]), batch([1.0, 0.0])
    assert bce_lovasz(logits, truth).item() == pytest.approx(math.log(2) + 1)


@pytest.mark.parametrize(
    ("logits", "truth", "expected"),
    [
        # Probabilities 0.8 and 0.4: TP 0.8, FN 0.2, FP 0.4, so with one pixel of smoothing
        # the gap is (0.7 * 0.2 + 0.3 * 0.4) / (0.8 + 0.7 * 0.2 + 0.3 * 0.4 + 1) = 0.26 / 2.06.
        pytest.param([logit(0.8), logit(0.4)], [1, 0], (0.26 / 2.06) ** 0.75, id="unsure"),
        pytest.param([-SURE, -SURE], [1, 0], (0.7 / 1.7) ** 0.75, id="missed"),
        pytest.param([SURE, SURE], [1, 0], (0.3 / 2.3) ** 0.75, id="one pixel too many"),
        pytest.param([SURE, SURE], [0, 0], (0.6 / 1.6) ** 0.75, id="truth empty"),
        pytest.param([SURE, -SURE], [1, 0], 0.0, id="right"),
        pytest.param([-SURE, -SURE], [0, 0], 0.0, id="both empty"),
    ],
)
def test_focal_tversky_of_two_pixels(
    logits: list[float], truth: list[float], expected: float
) -> None:
    assert focal_tversky(batch(logits), batch(truth)).item() == pytest.approx(expected, abs=1e-6)


def test_focal_tversky_of_equal_weights_without_focus_is_soft_dice() -> None:
    logits, truth = batch([2.0, -1.0, 0.5], [0.0, 1.0, -3.0]), batch([1, 0, 1], [0, 0, 0])
    # Dice counts the overlap twice, and so its smoothing.
    dice = soft_dice(logits, truth, smooth=2.0)
    loss = focal_tversky(logits, truth, alpha=0.5, beta=0.5, gamma=1.0, smooth=1.0)
    assert loss.item() == pytest.approx(dice.item())


def test_deep_supervision_halves_the_weight_of_each_level_and_they_sum_to_one() -> None:
    outputs = [torch.zeros(1, 1, 8 // 2**level, 8 // 2**level) for level in range(3)]
    losses = iter([7.0, 14.0, 28.0])
    total = deep_supervised(lambda *_: torch.tensor(next(losses)), outputs, torch.ones(1, 1, 8, 8))
    assert total.item() == pytest.approx(4 / 7 * 7 + 2 / 7 * 14 + 1 / 7 * 28)


def test_deep_supervision_of_one_level_is_the_loss_itself() -> None:
    logits, truth = batch([0.3, -0.7]), batch([1, 0])
    assert torch.equal(deep_supervised(bce_dice, [logits], truth), bce_dice(logits, truth))


def test_a_coarse_pixel_is_lesion_where_half_of_its_area_is() -> None:
    truth = torch.tensor(
        [
            [1, 1, 0, 1, 1],
            [0, 0, 0, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0],
            [0, 1, 0, 0, 1],
        ],
        dtype=torch.float32,
    )[None, None]
    seen: list[Tensor] = []

    def look(logits: Tensor, truth: Tensor) -> Tensor:
        assert logits.shape == truth.shape
        seen.append(truth)
        return logits.sum()

    outputs = [torch.zeros(1, 1, side, side) for side in (5, 3, 2)]
    deep_supervised(look, outputs, truth)
    assert torch.equal(seen[0], truth)
    # At the edge a coarse pixel holds what there is of it: two pixels, or in the corner one.
    assert seen[1][0, 0].tolist() == [[1, 0, 1], [1, 1, 0], [1, 0, 1]]
    assert seen[2][0, 0].tolist() == [[1, 0], [0, 1]]


every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every_loss
@pytest.mark.parametrize("truth", [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], ids=str)
def test_every_loss_of_a_sure_right_answer_is_zero(loss: Loss, truth: list[float]) -> None:
    right = SURE * (2 * batch(truth) - 1)
    assert loss(right, batch(truth)).item() == pytest.approx(0, abs=1e-6)


@every_loss
def test_no_loss_depends_on_the_order_of_the_batch(loss: Loss) -> None:
    logits = batch([0.5, -2.0, 1.0], [3.0, -0.5, 0.0], [1.0, 1.0, -1.0])
    truth = batch([1, 1, 0], [0, 0, 0], [1, 0, 1])
    assert loss(logits.flip(0), truth.flip(0)).item() == pytest.approx(loss(logits, truth).item())


@every_loss
def test_every_loss_has_the_gradient_of_its_values(loss: Loss) -> None:
    # No two errors tie and none sits at the margin, where a hinge has many sub-gradients.
    logits = batch([0.3, -1.7, 0.9, -0.2], [2.1, -0.4, 0.1, 0.6]).double().requires_grad_()
    truth = batch([1, 1, 0, 0], [0, 0, 0, 0]).double()
    assert gradcheck(lambda z: loss(z, truth), (logits,))


@every_loss
@pytest.mark.parametrize("logit", [0.0, 50.0, -50.0, SURE, -SURE])
@pytest.mark.parametrize("truth", [0.0, 1.0], ids=["truth empty", "truth full"])
def test_every_loss_has_a_finite_gradient(loss: Loss, logit: float, truth: float) -> None:
    logits = torch.full((2, 1, 3, 3), logit, requires_grad=True)
    loss(logits, torch.full((2, 1, 3, 3), truth)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@every_loss
def test_every_loss_falls_on_the_way_to_the_truth(loss: Loss) -> None:
    truth = batch([1, 1, 0, 0])
    losses = [loss(scale * (2 * truth - 1), truth).item() for scale in (-2, -1, 0, 1, 2)]
    assert losses == sorted(losses, reverse=True)

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model_core.losses import (
    LOSSES,
    Loss,
    bce,
    bce_dice,
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


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("logit", [0.0, SURE, -SURE], ids=["undecided", "sure", "sure of none"])
def test_every_loss_has_a_finite_gradient(loss: Loss, logit: float) -> None:
    logits = torch.full((2, 1, 3, 3), logit, requires_grad=True)
    loss(logits, torch.zeros(2, 1, 3, 3)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_falls_on_the_way_to_the_truth(loss: Loss) -> None:
    truth = batch([1, 1, 0, 0])
    losses = [loss(scale * (2 * truth - 1), truth).item() for scale in (-2, -1, 0, 1, 2)]
    assert losses == sorted(losses, reverse=True)


# --- Lovász hinge -------------------------------------------------------------------------------


def jaccard_loss(wrong: set[int], truth: list[float]) -> float:
    """1 - IoU of the mask that is wrong at these pixels and right at all others."""
    lesion = {pixel for pixel, value in enumerate(truth) if value}
    found = lesion ^ wrong
    return 1 - len(lesion & found) / len(lesion | found) if lesion | found else 0.0


def lovasz_by_hand(logits: list[float], truth: list[float]) -> float:
    """The Lovász extension of the Jaccard loss at the hinge errors, by its definition with sets."""
    errors = [1 - x * (2 * y - 1) for x, y in zip(logits, truth, strict=True)]
    order = sorted(range(len(errors)), key=lambda pixel: -errors[pixel])
    total, wrong, before = 0.0, set[int](), 0.0
    for pixel in order:
        wrong.add(pixel)
        after = jaccard_loss(wrong, truth)
        total += max(errors[pixel], 0.0) * (after - before)
        before = after
    return total


def test_lovasz_of_three_pixels_by_hand() -> None:
    # Errors: 1 - 0.5 = 0.5 (lesion), 1 + 1 = 2 (lesion), 1 - 2 < 0 (skin), so the order is 1, 0, 2.
    # Pixel 1 wrong: IoU 1/2, growth 1/2. Then pixel 0: IoU 0, growth 1/2. 2 * 1/2 + 0.5 * 1/2.
    loss = lovasz(batch([0.5, -1.0, -2.0]), batch([1.0, 1.0, 0.0]))
    assert loss.item() == pytest.approx(1.25)


@given(
    st.lists(
        st.tuples(st.floats(-3, 3, width=32), st.sampled_from([0.0, 1.0])), min_size=1, max_size=7
    )
)
def test_lovasz_is_the_lovasz_extension_of_the_jaccard_loss(
    pixels: list[tuple[float, float]],
) -> None:
    logits, truth = [x for x, _ in pixels], [y for _, y in pixels]
    expected = lovasz_by_hand(logits, truth)
    assert lovasz(batch(logits), batch(truth)).item() == pytest.approx(expected, abs=1e-5)


def test_lovasz_of_an_image_without_lesion_counts_its_worst_pixel() -> None:
    assert lovasz(batch([-2.0, 0.5, 3.0]), batch([0.0, 0.0, 0.0])).item() == pytest.approx(4.0)


# --- focal Tversky ------------------------------------------------------------------------------


def test_focal_tversky_of_three_pixels_by_hand() -> None:
    # Hit 0.8 + 0.5, missed 0.2 + 0.5, wrong 0.4: TI = 2.3 / (2.3 + 0.7 * 0.7 + 0.3 * 0.4).
    logits = batch([logit(0.8), logit(0.5), logit(0.4)])
    expected = (1 - 2.3 / (2.3 + 0.49 + 0.12)) ** 0.75
    assert focal_tversky(logits, batch([1.0, 1.0, 0.0])).item() == pytest.approx(expected)


def test_tversky_with_equal_weights_is_dice() -> None:
    logits, truth = batch([0.3, -0.2, 1.0], [0.1, 0.2, -1.0]), batch([1, 0, 1], [0, 0, 1])
    # Both add `smooth` to numerator and denominator, but Dice counts its overlap twice.
    tversky = focal_tversky(logits, truth, alpha=0.5, gamma=1, smooth=0.5)
    assert tversky.item() == pytest.approx(soft_dice(logits, truth).item())


def test_focal_tversky_minds_a_miss_more_than_a_false_alarm() -> None:
    missed = focal_tversky(batch([-SURE, SURE, -SURE]), batch([1.0, 1.0, 0.0]))
    wrong = focal_tversky(batch([SURE, SURE, SURE]), batch([1.0, 1.0, 0.0]))
    assert missed > wrong


# --- all of them --------------------------------------------------------------------------------

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every_loss
def test_a_sure_and_right_answer_costs_next_to_nothing_and_a_wrong_one_more(loss: Loss) -> None:
    truth = batch([1.0, 0.0, 1.0], [0.0, 0.0, 0.0])
    right = (truth * 2 - 1) * 30
    assert 0 <= loss(right, truth).item() < 1e-4
    assert loss(-right, truth) > loss(right * 0, truth) > loss(right, truth)


@every_loss
def test_the_order_of_the_batch_does_not_matter(loss: Loss) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 1, 4, 4, generator=generator)
    truth = (torch.rand(5, 1, 4, 4, generator=generator) > 0.5).float()
    assert loss(logits.flip(0), truth.flip(0)).item() == pytest.approx(loss(logits, truth).item())


@every_loss
@pytest.mark.parametrize("filled", [0.0, 1.0], ids=["empty truth", "full truth"])
@pytest.mark.parametrize("scale", [0.0, 50.0, 1e4])
def test_gradients_are_finite_wherever_the_logits_are(
    loss: Loss, filled: float, scale: float
) -> None:
    logits = (torch.tensor([[-1.0, 1.0, 0.5]]).view(1, 1, 1, 3) * scale).requires_grad_()
    loss(logits, torch.full_like(logits, filled)).backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


@every_loss
def test_the_gradient_is_that_of_the_formula(loss: Loss) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 1, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    truth = (torch.rand(2, 1, 3, 3, generator=generator) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: loss(x, truth), [logits])


# --- deep supervision ---------------------------------------------------------------------------


def test_deep_supervision_halves_the_weight_with_each_level() -> None:
    truth = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]])[None, None]  # covers 3/4 and 0
    fine, coarse = torch.zeros(1, 1, 2, 4), torch.tensor([[[[1.0, -1.0]]]])
    expected = (bce(fine, truth) + bce(coarse, torch.tensor([[[[1.0, 0.0]]]])) / 2) / 1.5
    assert deep_supervised(bce, [fine, coarse], truth).item() == pytest.approx(expected.item())


@every_loss
def test_one_level_is_the_loss_itself(loss: Loss) -> None:
    logits, truth = batch([0.3, -0.2, 1.0]), batch([1.0, 0.0, 1.0])
    assert deep_supervised(loss, [logits], truth).item() == pytest.approx(
        loss(logits, truth).item()
    )

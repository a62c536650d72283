import math

import pytest
import torch
from torch import Tensor

from model_core.losses import LOSSES, Loss, bce, bce_dice, soft_dice


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

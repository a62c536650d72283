"""Losses of binary segmentation, on logits."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def bce(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy, mean over all pixels of the batch.

    Args:
        logits: float (N, 1, H, W), any real.
        truth: float (N, 1, H, W), 0 or 1.

    Returns:
        Scalar, at least 0.
    """
    return functional.binary_cross_entropy_with_logits(logits, truth)


def soft_dice(logits: Tensor, truth: Tensor, *, smooth: float = 1.0) -> Tensor:
    """One minus the Dice coefficient of probabilities, per image, mean over the batch.

    Args:
        logits: float (N, 1, H, W), any real.
        truth: float (N, 1, H, W), 0 or 1.
        smooth: Added to numerator and denominator, px: two empty masks lose nothing, and the
            gradient stays finite.

    Returns:
        Scalar in [0, 1).

    Source: Milletari, Navab and Ahmadi 2016, arXiv:1606.04797, with p rather than p squared.
    """
    probability = torch.sigmoid(logits)
    overlap = (probability * truth).sum(dim=(1, 2, 3))
    total = probability.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def bce_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum of `bce` (well-calibrated pixels) and `soft_dice` (small lesions count as large ones)."""
    return bce(logits, truth) + soft_dice(logits, truth)


LOSSES: dict[str, Loss] = {"bce": bce, "bce_dice": bce_dice}
"""The losses a training config may name."""

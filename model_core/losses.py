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


def lovasz(logits: Tensor, truth: Tensor) -> Tensor:
    """Lovász hinge: the convex extension of one minus the Jaccard index, per image, mean of batch.

    With the pixels of an image sorted by their hinge error e = 1 - logit (2 truth - 1), largest
    first, it is the sum of max(e, 0) times the growth of the Jaccard loss when that pixel is the
    next one to be wrong. An image without lesion has Jaccard loss 1 from its first wrong pixel on,
    so that pixel alone counts.

    Args:
        logits: float (N, 1, H, W), any real.
        truth: float (N, 1, H, W), 0 or 1.

    Returns:
        Scalar, at least 0; 0 where every pixel is right by a margin of 1.

    Source: Berman, Triki and Blaschko 2018, arXiv:1705.08790, equations 8 and 9 and algorithm 1.
    """
    flat, wanted = logits.flatten(1), truth.flatten(1)
    errors, order = (1 - flat * (2 * wanted - 1)).sort(dim=1, descending=True)
    lesion = wanted.gather(1, order)
    total = lesion.sum(dim=1, keepdim=True)
    # Were the first k pixels wrong, intersection and union of prediction and truth would be these.
    intersection = total - lesion.cumsum(dim=1)
    union = total + (1 - lesion).cumsum(dim=1)
    jaccard_loss = 1 - intersection / union
    growth = torch.diff(jaccard_loss, dim=1, prepend=torch.zeros_like(total))
    return (functional.relu(errors) * growth).sum(dim=1).mean()


def focal_tversky(
    logits: Tensor,
    truth: Tensor,
    *,
    alpha: float = 0.7,
    gamma: float = 4 / 3,
    smooth: float = 1.0,
) -> Tensor:
    """(1 - TI) ** (1 / gamma) per image, mean over the batch.

    TI = (TP + s) / (TP + alpha FN + (1 - alpha) FP + s), of probabilities: a missed pixel costs
    more than a wrong one where alpha is above a half. The root lifts the share of images that are
    nearly right. Below 1e-6 the loss of an image counts as 1e-6, where the root's slope would grow
    without bound.

    Args:
        logits: float (N, 1, H, W), any real.
        truth: float (N, 1, H, W), 0 or 1.
        alpha: Weight of missed lesion, 0 to 1.
        gamma: At least 1; 1 is the Tversky loss.
        smooth: Added to numerator and denominator, px: two empty masks lose next to nothing.

    Returns:
        Scalar in (0, 1].

    Source: Abraham and Khan 2019, arXiv:1810.07842, equations 3 and 4, with its alpha and gamma.
    """
    probability = torch.sigmoid(logits)
    hit = (probability * truth).sum(dim=(1, 2, 3))
    missed = ((1 - probability) * truth).sum(dim=(1, 2, 3))
    wrong = (probability * (1 - truth)).sum(dim=(1, 2, 3))
    index = (hit + smooth) / (hit + alpha * missed + (1 - alpha) * wrong + smooth)
    return (1 - index).clamp_min(1e-6).pow(1 / gamma).mean()


def deep_supervised(loss: Loss, outputs: list[Tensor], truth: Tensor) -> Tensor:
    """A loss at several resolutions: weights 1, 1/2, 1/4 ... from the finest on, their sum being 1.

    Args:
        loss: Any of `LOSSES`.
        outputs: Logits (N, 1, H, W), (N, 1, H/2, W/2) ..., as `UNet.forward_all` gives them.
        truth: float (N, 1, H, W), 0 or 1. A coarser pixel is lesion where at least half of what it
            covers is: losses want a truth of 0 and 1.

    Returns:
        Scalar.

    Source: Isensee et al. 2021, nnU-Net, doi:10.1038/s41592-020-01008-z, supplementary note 2.
    """
    weights = [0.5**level for level in range(len(outputs))]
    total = torch.zeros((), device=truth.device)
    for weight, logits in zip(weights, outputs, strict=True):
        covered = functional.adaptive_avg_pool2d(truth, (logits.shape[-2], logits.shape[-1]))
        total = total + weight * loss(logits, (covered >= 0.5).to(truth.dtype))
    return total / sum(weights)


LOSSES: dict[str, Loss] = {
    "bce": bce,
    "soft_dice": soft_dice,
    "bce_dice": bce_dice,
    "lovasz": lovasz,
    "focal_tversky": focal_tversky,
}
"""The losses a training config may name."""

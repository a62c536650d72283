"""Losses of binary segmentation, on logits."""

from collections.abc import Callable, Sequence

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
    """Lovász hinge: the Jaccard loss made convex, per image, mean over the batch.

    With the hinge errors m = max(0, 1 - logit * (2 truth - 1)) in falling order, the loss is the
    sum of m_i (J_i - J_(i-1)), where J_i is the Jaccard loss of getting the first i pixels wrong
    and the others right: |wrong| / |lesion or wrong|. Every order is one linear piece of it, so
    these differences are also its sub-gradient.

    Args:
        logits: float (N, 1, H, W), any real; 1 is as sure as it asks for.
        truth: float (N, 1, H, W), 0 or 1; nothing between.

    Returns:
        Scalar, at least 0. Where no pixel is lesion, getting any one wrong is a Jaccard loss of 1,
        as in our metrics, so such an image loses its single largest error: slow to learn from, but
        0 only for an empty answer.

    Source: Berman, Triki and Blaschko 2018, arXiv:1705.08790.
    """
    labels = truth.flatten(start_dim=1)
    errors = functional.relu(1 - logits.flatten(start_dim=1) * (2 * labels - 1))
    errors, order = errors.sort(dim=1, descending=True)
    labels = labels.gather(1, order)
    right = labels.sum(dim=1, keepdim=True) - labels.cumsum(dim=1)
    either = labels.sum(dim=1, keepdim=True) + (1 - labels).cumsum(dim=1)
    slopes = (1 - right / either).diff(dim=1, prepend=torch.zeros_like(right[:, :1]))
    return (errors * slopes).sum(dim=1).mean()


def bce_lovasz(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum of `bce` and `lovasz`, which alone stops at a logit of 1 and teaches no probability."""
    return bce(logits, truth) + lovasz(logits, truth)


def focal_tversky(
    logits: Tensor,
    truth: Tensor,
    *,
    alpha: float = 0.7,
    beta: float = 0.3,
    gamma: float = 4 / 3,
    smooth: float = 1.0,
) -> Tensor:
    """Focal Tversky loss of probabilities, per image, mean over the batch.

    (1 - (TP + smooth) / (TP + alpha FN + beta FP + smooth)) ** (1 / gamma), where TP, FN and FP
    are sums of probabilities over one image. Others swap alpha and beta, or write our 1 / gamma
    as gamma; this is the paper's way, and so are the defaults.

    Args:
        logits: float (N, 1, H, W), any real.
        truth: float (N, 1, H, W), 0 or 1.
        alpha: Weight of missed lesion (FN), at least 0.
        beta: Weight of falsely found lesion (FP), at least 0; below `alpha` it favours recall.
        gamma: Focus, above 0. Above 1, images that are nearly right keep a steeper gradient.
        smooth: Added to numerator and denominator, px, as in `soft_dice`.

    Returns:
        Scalar in [0, 1).

    Source: Abraham and Khan 2019, arXiv:1810.07842.
    """
    found, missed = torch.sigmoid(logits), torch.sigmoid(-logits)
    true_pos = (found * truth).sum(dim=(1, 2, 3))
    weighed = (alpha * missed * truth + beta * found * (1 - truth)).sum(dim=(1, 2, 3))
    index_gap = weighed / (true_pos + weighed + smooth)
    # At exactly 0 a root's slope is infinite.
    return index_gap.clamp_min(torch.finfo(index_gap.dtype).tiny).pow(1 / gamma).mean()


def deep_supervised(loss: Loss, outputs: Sequence[Tensor], truth: Tensor) -> Tensor:
    """Weighted mean of a loss over the levels of `UNet.forward_all`.

    Weights halve from level to level, 1, 1/2, 1/4..., and are scaled to sum to 1. A coarse pixel is
    lesion where at least half of its area is: a fraction would have no meaning for `lovasz`, and
    the maximum would teach the coarse levels to find more than there is.

    Args:
        loss: Any of `LOSSES`.
        outputs: Logits, float (N, 1, ceil(H / 2**level), ceil(W / 2**level)), from level 0 on; of
            level 0 alone the result is `loss` itself.
        truth: float (N, 1, H, W), 0 or 1.

    Returns:
        Scalar.

    Source: Lee et al. 2015, arXiv:1409.5185; the weights are those of nnU-Net, Isensee et al.
    2021, doi:10.1038/s41592-020-01008-z.
    """
    total = loss(outputs[0], truth)
    for level, logits in enumerate(outputs[1:], start=1):
        share = functional.avg_pool2d(truth, 2**level, ceil_mode=True)
        total = total + 0.5**level * loss(logits, (share >= 0.5).to(truth.dtype))
    return total / (2 - 0.5 ** (len(outputs) - 1))


LOSSES: dict[str, Loss] = {
    "bce": bce,
    "soft_dice": soft_dice,
    "bce_dice": bce_dice,
    "lovasz": lovasz,
    "bce_lovasz": bce_lovasz,
    "focal_tversky": focal_tversky,
}
"""The losses a training config may name."""

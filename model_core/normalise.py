"""From preprocessed bytes to what the network computes with: the first step of every engine."""

import torch
from torch import Tensor

from model_core.errors import ShapeMismatchError
from model_core.preprocess import PreprocessConfig


def normalise(images: Tensor, config: PreprocessConfig) -> Tensor:
    """Float input of the network, on the device of `images`.

    Args:
        images: uint8 (N, S, S, 3), RGB, 0-255; or float on that scale, as augmentation gives it.
        config: Mean and std.

    Returns:
        float32 (N, 3, S, S): (value / 255 - mean) / std, in channels-last memory.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ShapeMismatchError(f"images are {tuple(images.shape)}, expected (N, S, S, 3)")
    mean = torch.tensor(config.mean, device=images.device)
    std = torch.tensor(config.std, device=images.device)
    # One multiply and one add per value; the permuted view already is channels-last.
    return (images * (1 / (255 * std)) - mean / std).permute(0, 3, 1, 2)

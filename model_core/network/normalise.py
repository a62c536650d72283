"""From preprocessed bytes to what the network computes with: the first step of every engine."""

import torch
from torch import Tensor

from model_core.errors import ShapeMismatchError
from model_core.processing.preprocess import PreprocessConfig


def normalise(images: Tensor, config: PreprocessConfig) -> Tensor:
    """Float input of the network, on the device of `images`.

    Args:
        images: uint8 (N, S, S, 3), RGB, 0-255; or float on that scale, as augmentation gives it.
        config: Mean and std.

    Returns:
        float32 (N, 3, S, S): (value / 255 - mean) / std, in channels-last memory.
    """
    scale, shift = scale_and_shift(config)
    return scaled(images, scale.to(images.device), shift.to(images.device))


def scale_and_shift(config: PreprocessConfig) -> tuple[Tensor, Tensor]:
    """Compute the factor of a value, and what is then subtracted: float32 (3), by channel."""
    mean, std = torch.tensor(config.mean), torch.tensor(config.std)
    return 1 / (255 * std), mean / std


def scaled(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """As `normalise`, of what `scale_and_shift` gave, on the device of `images`."""
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ShapeMismatchError(f"images are {tuple(images.shape)}, expected (N, S, S, 3)")
    # One multiply and one add per value, after the permutation: OpenVINO then moves bytes, not
    # floats. PyTorch moves nothing, since the permuted view already is channels-last.
    return images.permute(0, 3, 1, 2) * scale[:, None, None] - shift[:, None, None]

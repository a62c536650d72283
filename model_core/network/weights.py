"""Weights on disk: safetensors, half precision, never pickle."""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model_core.errors import CorruptVersionError

_HALF_FROM_NDIM = 2


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write a state dict atomically.

    Convolution kernels are stored as float16, half the size for an error far below what the mask
    shows. Vectors stay float32: a batch norm's variances may leave float16's range.
    """
    stored = {
        name: (value.half() if value.ndim >= _HALF_FROM_NDIM else value).cpu().contiguous()
        for name, value in weights.items()
    }
    beside = path.with_suffix(".part")
    save_file(stored, beside)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)


def load_weights(path: Path, model: nn.Module) -> None:
    """Fill a model from a file of `save_weights`; its own dtype (float32) stays.

    Raises:
        CorruptVersionError: not a safetensors file, names or shapes are another model's, or a
            value is not finite.
    """
    try:
        weights = load_file(path)
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError, OSError) as exc:
        raise CorruptVersionError(f"{path.name} does not fit the architecture: {exc}") from exc
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise CorruptVersionError(f"{path.name} holds values that are not finite numbers")

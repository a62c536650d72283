"""Weights on disk: safetensors, half precision, never pickle."""

import os
from collections.abc import Mapping
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
    except (SafetensorError, OSError) as exc:
        raise CorruptVersionError(f"{path.name} cannot be read: {exc}") from exc
    _require_fit(weights, model.state_dict(), path)
    model.load_state_dict(weights)
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise CorruptVersionError(f"{path.name} holds values that are not finite numbers")


def _require_fit(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    """Require the names and shapes of a model's weights, in one line instead of torch's many."""
    apart = [
        f"{name} is {_shape(weights, name)}, not {_shape(wanted, name)}"
        for name in sorted({*weights, *wanted})
        if _shape(weights, name) != _shape(wanted, name)
    ]
    if apart:
        more = f", and {len(apart) - 1} more" if len(apart) > 1 else ""
        raise CorruptVersionError(
            f"{path.name} does not fit the architecture: {apart[0]}{more} of {len(wanted)}"
        )


def _shape(weights: Mapping[str, Tensor], name: str) -> str:
    return str(tuple(weights[name].shape)) if name in weights else "missing"

"""Exponential moving average of weights: steadier than the last step's, and what we publish."""

import torch
from torch import Tensor, nn


class Ema:
    """Average of a model's parameters and float buffers.

    Args:
        model: The model to follow.
        decay: Share of the old average kept at each step, 0 to just under 1; 0 follows exactly.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in model.state_dict().items()
        }

    @torch.no_grad()
    def update(self, model: nn.Module, *, step: int) -> None:
        """Move the average towards the model; early steps weigh more, as in a plain mean."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

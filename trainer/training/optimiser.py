"""Move the weights of a run: the optimiser, its rate, and the average that is published."""

import math

import torch
from torch import Tensor, nn

from trainer.config import OptimConfig


def new_optimiser(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Make Adam or AdamW over a model's weights, in groups by rate and decay.

    Biases and normalisation are not decayed. An encoder with `encoder_lr` learns at its own rate.
    """
    encoder: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        (encoder if name.startswith("encoder.") else rest).append(weight)
    encoder_scale = config.encoder_lr / config.lr if config.encoder_lr else 1.0
    groups = [
        {"params": part, "weight_decay": decay, "scale": scale}
        for weights, scale in ((rest, 1.0), (encoder, encoder_scale))
        for part, decay in (
            ([weight for weight in weights if weight.ndim > 1], config.weight_decay),
            ([weight for weight in weights if weight.ndim <= 1], 0.0),
        )
        if part
    ]
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr)


def set_rate(optimiser: torch.optim.Optimizer, config: OptimConfig, step: int, total: int) -> None:
    """Set every group's learning rate for a step of `total`: warm-up, then the schedule."""
    warm = config.warmup * total
    rate = config.lr
    if step < warm:
        rate *= (step + 1) / warm
    elif config.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
    for group in optimiser.param_groups:
        group["lr"] = rate * group["scale"]


def clip_gradient(model: nn.Module, config: OptimConfig) -> float:
    """Shorten the gradient where the config asks for it, and return its length before that."""
    longest = config.clip_norm or math.inf
    return float(nn.utils.clip_grad_norm_(model.parameters(), longest, foreach=True))


def freeze_norm(model: nn.Module) -> None:
    """Let batch norm use its statistics and leave them alone; its weights still learn."""
    for part in model.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


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

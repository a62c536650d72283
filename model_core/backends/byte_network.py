"""Wrap a network with its normalisation: bytes in, logits out, as every backend offers it."""

import torch
from torch import Tensor, nn

from model_core.network.normalise import scale_and_shift, scaled
from model_core.network.unet import UNet
from model_core.processing.preprocess import PreprocessConfig


class ByteNetwork(nn.Module):
    """A network that normalises its input itself, so that no engine does so in its own way.

    Args:
        model: The U-Net with its weights, in the type that it is to compute in; put into
            evaluation mode.
        config: Preprocessing the weights were trained with.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: UNet, config: PreprocessConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        first = next(model.parameters())
        self.type_of_model = first.dtype
        # Held on the device: a CUDA graph can be recorded only of what needs nothing from the host.
        scale, shift = scale_and_shift(config)
        self.register_buffer("scale", scale.to(first.device), persistent=False)
        self.register_buffer("shift", shift.to(first.device), persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits float32 (N, S, S) of images uint8 (N, S, S, 3)."""
        pixels = scaled(images, self.scale, self.shift).to(self.type_of_model)
        logits: Tensor = self.model(pixels)[:, 0].float()
        return logits

    def example(self, count: int) -> Tensor:
        """Make black images, uint8 (count, S, S, 3)."""
        return torch.zeros(count, self.config.size, self.config.size, 3, dtype=torch.uint8)

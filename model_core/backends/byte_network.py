"""A network with its normalisation within: bytes in, logits out, as every backend offers it."""

import torch
from torch import Tensor, nn

from model_core.normalise import normalise
from model_core.preprocess import PreprocessConfig
from model_core.unet import UNet


class ByteNetwork(nn.Module):
    """What other engines are given, so that none of them normalises in its own way.

    Args:
        model: The U-Net with its weights; put into evaluation mode.
        config: Preprocessing the weights were trained with.
    """

    def __init__(self, model: UNet, config: PreprocessConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 (N, S, S) of images uint8 (N, S, S, 3)."""
        logits: Tensor = self.model(normalise(images, self.config))[:, 0]
        return logits

    def example(self, count: int) -> Tensor:
        """Black images, uint8 (count, S, S, 3)."""
        return torch.zeros(count, self.config.size, self.config.size, 3, dtype=torch.uint8)

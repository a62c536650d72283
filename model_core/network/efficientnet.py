"""The convolutional part of EfficientNet-Lite 0 to 2, from scratch on torch.nn.

Source: Tan and Le 2019 (arXiv:1905.11946) for the blocks and their scaling, and TensorFlow's
`tpu/models/official/efficientnet/lite` for what Lite changes: no squeeze-and-excitation, ReLU6
instead of swish, and a stem, first and last stage that keep their size in every variant.
"""

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from model_core.network.unet_config import Encoder

CHANNELS_STEM = 32
# ImageNet weights were trained with this epsilon; torch's own is 1e-5.
_EPSILON = 1e-3


class _Stage(NamedTuple):
    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
# Factors of width and of depth.
_SCALES: dict[Encoder, tuple[float, float]] = {
    "efficientnet-lite0": (1.0, 1.0),
    "efficientnet-lite1": (1.0, 1.1),
    "efficientnet-lite2": (1.1, 1.2),
}


class EfficientNetLite(nn.Module):
    """Features of an image at strides 2, 4, 8, 16 and 32.

    Layers stand in the order of TensorFlow's variables, so that published ImageNet weights map one
    to one (`trainer.training.pretrained`).

    Args:
        variant: `efficientnet-lite0`, `-lite1` or `-lite2`.
    """

    def __init__(self, variant: Encoder) -> None:
        super().__init__()
        wide, deep = _SCALES[variant]
        self.stem = nn.Sequential(
            _SameConv(3, CHANNELS_STEM, 3, stride=2), *_norm_relu6(CHANNELS_STEM)
        )
        self.blocks = nn.ModuleList()
        before = CHANNELS_STEM
        for place, stage in enumerate(_STAGES):
            after = _round_to_eights(stage.channels * wide)
            first_or_last = place in (0, len(_STAGES) - 1)
            count = stage.blocks if first_or_last else math.ceil(stage.blocks * deep)
            for index in range(count):
                stride = 1 if index else stage.stride
                self.blocks.append(_Block(before, after, stage, stride))
                before = after
        halving = [at for at, block in enumerate(self.blocks) if block.stride == 2]
        # Places of the last block of each stride, whose features are returned.
        self._ends = {*(at - 1 for at in halving), len(self.blocks) - 1}

    @property
    def channels(self) -> list[int]:
        """Channels of the features of `forward`, finest first."""
        return [block.after for at, block in enumerate(self.blocks) if at in self._ends]  # type: ignore[misc]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8, 16 and 32.

        Args:
            images: float (N, 3, H, W), (RGB 0-255 - 127) / 128; H and W multiples of 32.

        Returns:
            float (N, channels[i], H / 2**(i + 1), W / 2**(i + 1)), finest first.
        """
        features, outputs = self.stem(images), []
        for at, block in enumerate(self.blocks):
            features = block(features)
            if at in self._ends:
                outputs.append(features)
        return outputs


class _Block(nn.Module):
    """Inverted bottleneck: expand by 1x1, filter each channel, project by 1x1 (MobileNetV2)."""

    def __init__(self, before: int, after: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        self.after, self.stride = after, stride
        self.shortcut = stride == 1 and before == after
        inner = before * stage.expansion
        expand = [nn.Conv2d(before, inner, 1, bias=False), *_norm_relu6(inner)]
        self.body = nn.Sequential(
            *(expand if stage.expansion > 1 else []),
            _SameConv(inner, inner, stage.kernel, stride=stride, groups=inner),
            *_norm_relu6(inner),
            nn.Conv2d(inner, after, 1, bias=False),
            nn.BatchNorm2d(after, eps=_EPSILON),
        )

    def forward(self, features: Tensor) -> Tensor:
        out: Tensor = self.body(features)
        return out + features if self.shortcut else out


class _SameConv(nn.Conv2d):
    """Convolution that pads as TensorFlow's SAME does for even sides.

    A stride of 2 takes one row and column less before the image than after it. Padded alike on
    both sides, as torch does, every level would be shifted by a pixel of its own.
    """

    def __init__(
        self, before: int, after: int, kernel: int, *, stride: int, groups: int = 1
    ) -> None:
        same = kernel // 2 if stride == 1 else 0
        super().__init__(before, after, kernel, stride, same, groups=groups, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        if self.stride[0] > 1:
            half = self.kernel_size[0] // 2
            features = functional.pad(features, (half - 1, half, half - 1, half))
        return super().forward(features)


def _norm_relu6(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, eps=_EPSILON), nn.ReLU6(inplace=True)]


def _round_to_eights(channels: float) -> int:
    """Nearest multiple of 8 that is not below nine tenths of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded

"""The U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597), from scratch on torch.nn."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_core.errors import ConfigError

Norm = Literal["none", "batch", "group", "instance"]
Up = Literal["transposed", "bilinear"]


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of a U-Net; saved in the card beside the weights.

    Attributes:
        width: Channels of the first level; each level below has twice as many.
        depth: Number of halvings; input sides are padded to a multiple of 2**depth.
        norm: Normalisation after each 3x3 convolution.
        up: How a level is doubled in size: a learned transposed convolution, or a 1x1
            convolution followed by bilinear interpolation (fewer parameters).
        residual: Each pair of convolutions is added to a 1x1 convolution of its input (He et al.
            2016, arXiv:1512.03385, option C; Zhang et al. 2018, arXiv:1711.10684).
        deep_supervision: The decoder's coarser levels have heads too, which only training uses
            (Lee et al. 2015, arXiv:1409.5185): `UNet.forward_all`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    width: int = 64
    depth: int = 4
    norm: Norm = "none"
    up: Up = "transposed"
    residual: bool = False
    deep_supervision: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 256:
            raise ConfigError(f"U-Net width is {self.width}, expected 1 to 256")
        if not 1 <= self.depth <= 6:
            raise ConfigError(f"U-Net depth is {self.depth}, expected 1 to 6")
        if self.norm not in get_args(Norm):
            raise ConfigError(f"U-Net norm is {self.norm!r}, expected one of {get_args(Norm)}")
        if self.up not in get_args(Up):
            raise ConfigError(f"U-Net up is {self.up!r}, expected one of {get_args(Up)}")


CLASSIC = UNetConfig()
"""64-128-256-512-1024 without normalisation: 31,031,745 parameters."""


class UNet(nn.Module):
    """Encoder, bottleneck and decoder with a skip connection at every level.

    Args:
        config: Width, depth, and kinds of its blocks.

    Example:
        >>> net = UNet(UNetConfig(width=4, depth=2))
        >>> net(torch.zeros(1, 3, 37, 50)).shape
        torch.Size([1, 1, 37, 50])
    """

    def __init__(self, config: UNetConfig = CLASSIC) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**level for level in range(config.depth + 1)]
        self.down = nn.ModuleList(
            _block(before, after, config)
            for before, after in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            _double(below, above, config.up)
            for below, above in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.merge = nn.ModuleList(_block(2 * above, above, config) for above in widths[-2::-1])
        self.head = nn.Conv2d(config.width, 1, kernel_size=1)
        # From coarse to fine, as the decoder goes; the finest level has `head`.
        coarse = widths[-2:0:-1] if config.deep_supervision else []
        self.coarse_heads = nn.ModuleList(nn.Conv2d(level, 1, kernel_size=1) for level in coarse)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the lesion for every pixel.

        Args:
            images: float (N, 3, H, W), normalised; any H and W of at least 1.

        Returns:
            float (N, 1, H, W), any real; the sigmoid is the probability of lesion.
        """
        height, width = images.shape[-2:]
        logits: Tensor = self.head(self._decoded(images)[-1])
        return logits[..., :height, :width]

    def forward_all(self, images: Tensor) -> list[Tensor]:
        """Logits of every level that has a head, the full resolution first.

        Args:
            images: As `forward`.

        Returns:
            float (N, 1, H, W), (N, 1, ceil(H/2), ceil(W/2)), ...; the first is what `forward`
            gives, and without deep supervision it is the only one.
        """
        height, width = images.shape[-2:]
        levels = self._decoded(images)
        outputs: list[Tensor] = [self.head(levels[-1])]
        outputs += [
            head(level)
            for head, level in zip(self.coarse_heads[::-1], levels[-2::-1], strict=False)
        ]
        # What was padded at the lower and right edge is cut off again.
        return [
            logits[..., : math.ceil(height / 2**level), : math.ceil(width / 2**level)]
            for level, logits in enumerate(outputs)
        ]

    def _decoded(self, images: Tensor) -> list[Tensor]:
        """Features of the decoder's levels, coarse to fine."""
        # A normalisation over a single value is undefined: the deepest level needs two by two.
        least = 1 if self.config.norm == "none" else 2
        features = _pad_to_stride(images, 2**self.config.depth, least)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            if level:
                features = functional.max_pool2d(features, 2)
            features = block(features)
            skips.append(features)
        skips.pop()
        decoded: list[Tensor] = []
        for double, block in zip(self.up, self.merge, strict=True):
            features = block(torch.cat([skips.pop(), double(features)], dim=1))
            decoded.append(features)
        return decoded


class Residual(nn.Module):
    """Two convolutions whose sum with a 1x1 convolution of their input passes the last ReLU.

    Args:
        body: The two convolutions, ending in a ReLU.
        shortcut: The way past them.
    """

    def __init__(self, body: nn.Sequential, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body[:-1]
        self.shortcut = shortcut

    def forward(self, features: Tensor) -> Tensor:
        """Float (N, C, H, W) of float (N, B, H, W)."""
        return functional.relu(self.body(features) + self.shortcut(features), inplace=True)


def channels_last(model: UNet, device: torch.device) -> UNet:
    """The model itself, moved to a device in the memory layout that its convolutions like."""
    moved: UNet = model.to(device).to(  # type: ignore[call-overload]  # torch's hint lacks it
        memory_format=torch.channels_last
    )
    return moved


def _pad_to_stride(images: Tensor, stride: int, least: int) -> Tensor:
    """Repeat the last row and column up to a multiple, at least the `least`-th, of `stride`."""
    below, right = (max(-side % stride, least * stride - side) for side in images.shape[-2:])
    if not below and not right:
        return images
    return functional.pad(images, (0, right, 0, below), mode="replicate")


def _block(before: int, after: int, config: UNetConfig) -> nn.Module:
    convolutions = nn.Sequential(
        *_conv_norm_relu(before, after, config.norm),
        *_conv_norm_relu(after, after, config.norm),
    )
    if not config.residual:
        return convolutions
    return Residual(convolutions, nn.Conv2d(before, after, kernel_size=1))


def _conv_norm_relu(before: int, after: int, norm: Norm) -> list[nn.Module]:
    # A normalisation layer has its own offset, so a bias before it would be dead weight.
    conv = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=norm == "none")
    layers: list[nn.Module] = [conv]
    if norm == "batch":
        layers.append(nn.BatchNorm2d(after))
    elif norm == "group":
        layers.append(nn.GroupNorm(math.gcd(8, after), after))
    elif norm == "instance":
        layers.append(nn.InstanceNorm2d(after, affine=True))
    return [*layers, nn.ReLU(inplace=True)]


def _double(below: int, above: int, up: Up) -> nn.Module:
    if up == "transposed":
        return nn.ConvTranspose2d(below, above, kernel_size=2, stride=2)
    # Both are linear, so the 1x1 convolution first gives the same values at a quarter of the cost.
    return nn.Sequential(
        nn.Conv2d(below, above, kernel_size=1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )

"""The U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597), from scratch on torch.nn."""

import copy
import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model_core.network.efficientnet import EfficientNetLite
from model_core.network.unet_config import CLASSIC, Norm, UNetConfig, Up


class UNet(nn.Module):
    """Encoder, bottleneck and decoder with a skip connection at every level.

    Args:
        config: Width, depth, normalisation, kind of up-sampling and of blocks.

    Example:
        >>> net = UNet(UNetConfig(width=4, depth=2))
        >>> net(torch.zeros(1, 3, 37, 50)).shape
        torch.Size([1, 1, 37, 50])
    """

    def __init__(self, config: UNetConfig = CLASSIC) -> None:
        super().__init__()
        self.config = config
        # Channels by level, finest first; the deepest level has an encoder alone.
        if config.encoder == "plain":
            encoded = [config.width * 2**level for level in range(config.depth + 1)]
            widths = encoded[:-1]
            self.down = nn.ModuleList(
                _block(before, after, config)
                for before, after in zip([3 * config.patch**2, *encoded], encoded, strict=False)
            )
        else:
            self.encoder = EfficientNetLite(config.encoder)
            encoded = self.encoder.channels
            widths = [config.width * times for times in range(1, config.depth + 1)]
        self.up = nn.ModuleList(
            _double(below, above, config.up)
            for below, above in zip([encoded[-1], *widths[:0:-1]], widths[::-1], strict=True)
        )
        self.merge = nn.ModuleList(
            _block(skip + above, above, config)
            for skip, above in zip(encoded[-2::-1], widths[::-1], strict=True)
        )
        self.head = nn.Conv2d(config.width, config.patch**2, kernel_size=1)
        # Only training asks them; stored with the rest, so that weights and config always agree.
        self.coarse_heads = nn.ModuleList(
            nn.Conv2d(above, config.patch**2, kernel_size=1)
            for above in (widths[1:] if config.deep_supervision else [])
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the lesion for every pixel.

        Args:
            images: float (N, 3, H, W), normalised; any H and W of at least 1.

        Returns:
            float (N, 1, H, W), any real; the sigmoid is the probability of lesion.
        """
        return self.forward_all(images)[0]

    def forward_all(self, images: Tensor) -> list[Tensor]:
        """Logits of every level that has a head, for `model_core.network.losses.deep_supervised`.

        Args:
            images: float (N, 3, H, W), normalised; any H and W of at least 1.

        Returns:
            float (N, 1, ceil(H / 2**level), ceil(W / 2**level)), from level 0 on, which is what
            `forward` gives; level 0 alone in evaluation mode or without deep supervision.
        """
        height, width = images.shape[-2:]
        # A normalisation over a single value is undefined: the deepest level needs two by two.
        least = 1 if self.config.norm == "none" else 2
        patch = self.config.patch
        padded = _pad_to_stride(images, patch * 2**self.config.depth, least)
        skips = self._encode(padded)
        features = skips.pop()
        heads = [self.head, *self.coarse_heads] if self.training else [self.head]
        outputs: list[Tensor] = []
        for double, block in zip(self.up, self.merge, strict=True):
            features = block(torch.cat([skips.pop(), double(features)], dim=1))
            level = len(skips)
            if level < len(heads):
                logits = functional.pixel_shuffle(heads[level](features), patch)
                stride = 2**level
                outputs.append(logits[..., : -(-height // stride), : -(-width // stride)])
        return outputs[::-1]

    def _encode(self, images: Tensor) -> list[Tensor]:
        """Features of every level, finest first, of images whose sides are whole levels."""
        if self.config.encoder != "plain":
            encoded: list[Tensor] = self.encoder(images)
            return encoded
        features = functional.pixel_unshuffle(images, self.config.patch)
        levels: list[Tensor] = []
        for level, block in enumerate(self.down):
            if level:
                features = functional.max_pool2d(features, 2)
            features = block(features)
            levels.append(features)
        return levels


class ResidualBlock(nn.Module):
    """ReLU of two 3x3 convolutions plus a 1x1 convolution of the same input, each normalised.

    The ReLU comes last, as in He et al. 2016 (arXiv:1512.03385), rather than first as in ResUNet
    (Zhang, Liu and Wang 2018, arXiv:1711.10684): so photographs enter, and the head reads, as with
    the plain block. The shortcut always convolves, since a U-Net's levels all change the width.
    """

    def __init__(self, before: int, after: int, norm: Norm) -> None:
        super().__init__()
        *body, self.relu = _double_conv(before, after, norm)
        self.body = nn.Sequential(*body)
        # The body's last layer has an offset already.
        conv = nn.Conv2d(before, after, kernel_size=1, bias=False)
        self.shortcut = nn.Sequential(conv, *_norm(after, norm))

    def forward(self, features: Tensor) -> Tensor:
        """Features float (N, after, H, W) of features (N, before, H, W)."""
        out: Tensor = self.relu(self.body(features) + self.shortcut(features))
        return out


def fused(model: UNet) -> UNet:
    """A copy for evaluation alone, with each batch norm folded into the convolution before it.

    The same function, up to rounding; the other normalisations depend on the image and stay.
    """
    copied = copy.deepcopy(model).eval()
    for part in [each for each in copied.modules() if isinstance(each, nn.Sequential)]:
        layers = list(part)
        for place, (conv, norm) in enumerate(itertools.pairwise(layers)):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                part[place] = fuse_conv_bn_eval(conv, norm)
                part[place + 1] = nn.Identity()
    return copied


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
    kind = ResidualBlock if config.residual else _double_conv
    return kind(before, after, config.norm)


def _double_conv(before: int, after: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(
        *_conv_norm_relu(before, after, norm),
        *_conv_norm_relu(after, after, norm),
    )


def _conv_norm_relu(before: int, after: int, norm: Norm) -> list[nn.Module]:
    # A normalisation layer has its own offset, so a bias before it would be dead weight.
    conv = nn.Conv2d(before, after, kernel_size=3, padding=1, bias=norm == "none")
    return [conv, *_norm(after, norm), nn.ReLU(inplace=True)]


def _norm(channels: int, norm: Norm) -> list[nn.Module]:
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    if norm == "group":
        return [nn.GroupNorm(math.gcd(8, channels), channels)]
    if norm == "instance":
        return [nn.InstanceNorm2d(channels, affine=True)]
    return []


def _double(below: int, above: int, up: Up) -> nn.Module:
    if up == "transposed":
        return nn.ConvTranspose2d(below, above, kernel_size=2, stride=2)
    # Both are linear, so the 1x1 convolution first gives the same values at a quarter of the cost.
    return nn.Sequential(
        nn.Conv2d(below, above, kernel_size=1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )

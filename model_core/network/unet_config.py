"""The shape of a U-Net, apart from the network: a card can be read without PyTorch."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from model_core.errors import ConfigError

Norm = Literal["none", "batch", "group", "instance"]
Up = Literal["transposed", "bilinear"]
Encoder = Literal["plain", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"]


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of a U-Net; saved in the card beside the weights.

    Attributes:
        width: Channels of the first level; each level below has twice as many.
        depth: Number of halvings; input sides are padded to a multiple of 2**depth.
        norm: Normalisation after each 3x3 convolution.
        up: How a level is doubled in size: a learned transposed convolution, or a 1x1
            convolution followed by bilinear interpolation (fewer parameters).
        patch: Side in px of the squares that enter as one: the first level works on rows and
            columns `patch` times shorter, and the heads give each pixel of a square a logit of its
            own (Shi et al. 2016, arXiv:1609.05158). 1 is the classic network; 2 is a quarter of
            its work at the same width.
        residual: Add a shortcut past each pair of 3x3 convolutions.
        deep_supervision: Let every level of the decoder give logits while training.
        encoder: `plain` is the U-Net's own. The others are EfficientNet-Lite, which can begin with
            ImageNet weights: its features at strides 2 to 32 are the levels, and the decoder has
            width, 2, 3 and 4 times width channels.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    width: int = 64
    depth: int = 4
    norm: Norm = "none"
    up: Up = "transposed"
    patch: int = 1
    residual: bool = False
    deep_supervision: bool = False
    encoder: Encoder = "plain"

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 256:
            raise ConfigError(f"U-Net width is {self.width}, expected 1 to 256")
        if not 1 <= self.depth <= 6:
            raise ConfigError(f"U-Net depth is {self.depth}, expected 1 to 6")
        if self.norm not in get_args(Norm):
            raise ConfigError(f"U-Net norm is {self.norm!r}, expected one of {get_args(Norm)}")
        if self.up not in get_args(Up):
            raise ConfigError(f"U-Net up is {self.up!r}, expected one of {get_args(Up)}")
        if not 1 <= self.patch <= 8:
            raise ConfigError(f"U-Net patch is {self.patch}, expected 1 to 8")
        if self.deep_supervision and self.depth == 1:
            raise ConfigError("U-Net depth is 1, expected 2 to 6 with deep_supervision")
        if self.encoder not in get_args(Encoder):
            raise ConfigError(
                f"U-Net encoder is {self.encoder!r}, expected one of {get_args(Encoder)}"
            )
        fixed = (self.patch, self.depth, self.norm)
        if self.encoder != "plain" and fixed != (2, 4, "batch"):
            raise ConfigError(
                f"U-Net patch, depth and norm are {fixed}, expected (2, 4, 'batch') with encoder "
                f"{self.encoder}: its features have strides 2 to 32"
            )


CLASSIC = UNetConfig()
"""64-128-256-512-1024 without normalisation: 31,031,745 parameters."""

"""A real model whose masks can be foreseen, and a registry of it: dark pixels are lesion."""

from dataclasses import replace
from pathlib import Path

import torch

from model_core.backends.pytorch import PyTorchBackend
from model_core.card import Card, DataRecord, ScoreRecord
from model_core.postprocess import PostprocessConfig
from model_core.predictor import Predictor
from model_core.preprocess import PreprocessConfig
from model_core.registry import Registry
from model_core.unet import UNet
from model_core.unet_config import UNetConfig
from model_core.weights import save_weights
from tests.pictures import encode, lesion

NAME = "lesion-unet"
VERSION = "1.0.0"

CARD = Card(
    name=NAME,
    version=VERSION,
    created="2026-01-01T00:00:00Z",
    git_commit="",
    architecture=UNetConfig(width=1, depth=1),
    preprocess=PreprocessConfig(size=64),
    postprocess=PostprocessConfig(),
    training={"name": "drawn by hand"},
    data=DataRecord(sha256="0" * 64, samples={"drawn": {"train": 1, "test": 1}}),
    scores=[
        ScoreRecord(
            dataset="drawn", part="test", conditions="dark ellipses", summary={"n": 1, "dice": 1.0}
        )
    ],
    licence="Apache-2.0",
    intended_use="Tests.",
    limits=["Knows only dark from light."],
)


def dark_is_lesion() -> UNet:
    """The smallest U-Net, its weights set by hand: logits are 8 - 16 * luma, luma in [0, 1].

    So black gives 8, white -8, and a pixel is lesion where (red + 2 green + blue) / 4 is under
    half of the scale. It needs the default mean and std of `PreprocessConfig`.
    """
    net = UNet(UNetConfig(width=1, depth=1))
    with torch.no_grad():
        for weight in net.parameters():
            weight.zero_()
        first, _, second, _ = net.down[0].children()
        _set(first, [0.25, 0.5, 0.25], bias=2.0)  # input is 4 * value - 2: this gives 4 * luma
        _set(second, [1.0], bias=0.0)
        merge_first, _, merge_second, _ = net.merge[0].children()
        _set(merge_first, [1.0, 0.0], bias=0.0)  # the skip connection; nothing from below
        _set(merge_second, [1.0], bias=0.0)
        net.head.weight.fill_(-4.0)
        assert net.head.bias is not None
        net.head.bias.fill_(8.0)
    return net


def dark_predictor(
    *,
    preprocess: PreprocessConfig = CARD.preprocess,
    postprocess: PostprocessConfig = CARD.postprocess,
) -> Predictor:
    """`dark_is_lesion` on the CPU, ready to predict."""
    backend = PyTorchBackend(dark_is_lesion(), preprocess, device="cpu")
    return Predictor(backend, preprocess, postprocess)


def tiny_registry(root: Path, *versions: str, card: Card = CARD) -> Registry:
    """A registry with `dark_is_lesion` published as each version, the last one in production."""
    weights = root / ".weights.safetensors"
    root.mkdir(parents=True, exist_ok=True)
    save_weights(dark_is_lesion().state_dict(), weights)
    golden = encode(lesion(48, 64))
    registry = Registry(root)
    for version in versions or (VERSION,):
        registry.publish(replace(card, version=version), weights, golden)
        registry.promote(NAME, version)
    weights.unlink()
    return registry


def _set(conv: torch.nn.Module, channels: list[float], *, bias: float) -> None:
    """Let a 3x3 convolution see only the pixel itself, weighted by channel."""
    assert isinstance(conv, torch.nn.Conv2d)
    assert conv.bias is not None
    conv.weight[0, :, 1, 1] = torch.tensor(channels)
    conv.bias.fill_(bias)

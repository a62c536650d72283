"""Narrow a U-Net: a smaller network that starts with the most important channels of a larger one.

Source: Li et al. 2017 (arXiv:1608.08710) for removing whole filters of little weight. Here what
counts is the weight of those that read a filter's output, times the size of that output.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from model_core.errors import ConfigError
from model_core.network.unet import UNet

_Weights = dict[str, Tensor]


class _Layer(NamedTuple):
    """A convolution: its name, its norm's, the features that it reads in order, those it writes."""

    conv: str
    norm: str
    reads: tuple[str, ...]
    writes: str

    @property
    def axes(self) -> tuple[int, int]:
        """Axes of its weights that count what it writes, and what it reads."""
        return (1, 0) if self.conv.startswith("up.") else (0, 1)


def narrowed(wide: UNet, width: int) -> UNet:
    """Keep the most important channels of every layer, and the weights between them.

    What is left needs training: sums over fewer channels are smaller, which batch norm has to find
    out.

    Args:
        wide: A plain U-Net with batch norm and transposed convolutions.
        width: Of the new network, below that of `wide`; all else of its shape stays.

    Raises:
        ConfigError: the network is of another kind, or not wider.
    """
    config = wide.config
    kind = (config.encoder, config.norm, config.up, config.residual, config.deep_supervision)
    if kind != ("plain", "batch", "transposed", False, False) or width >= config.width:
        raise ConfigError(
            f"{config} cannot be narrowed to width {width}: expected a wider plain U-Net with "
            "batch norm and transposed convolutions, neither residual nor with deep supervision"
        )
    narrow = UNet(replace(config, width=width))
    old, new = wide.state_dict(), narrow.state_dict()
    layers = _layers(config.depth)
    sizes = {layer.writes: old[f"{layer.conv}.weight"].shape[layer.axes[0]] for layer in layers}
    kept = {"image": torch.arange(3 * config.patch**2)}
    for layer in layers:
        count = new[f"{layer.conv}.weight"].shape[layer.axes[0]]
        importance = _importance(layer, layers, sizes, old)
        kept[layer.writes] = importance.topk(count).indices.sort().values
    for layer in layers:
        inputs, start = [], 0
        for name in layer.reads:
            inputs.append(kept[name] + start)
            start += sizes.get(name, 0)
        outputs, (written, read) = kept[layer.writes], layer.axes
        for name, value in old.items():
            if name == f"{layer.conv}.weight":
                new[name] = value.index_select(written, outputs).index_select(
                    read, torch.cat(inputs)
                )
            elif value.ndim and name.rpartition(".")[0] in (layer.conv, layer.norm):
                new[name] = value[outputs]
    narrow.load_state_dict(new)
    return narrow


def _layers(depth: int) -> list[_Layer]:
    """List the convolutions of a U-Net, each after those whose features it reads."""
    layers, below = [], "image"
    for level in range(depth + 1):
        layers += _pair(f"down.{level}", (below,))
        below = f"down.{level}"
    for place in range(depth):
        doubled = f"up.{place}"
        layers.append(_Layer(doubled, "", (below,), doubled))
        layers += _pair(f"merge.{place}", (f"down.{depth - 1 - place}", doubled))
        below = f"merge.{place}"
    return [*layers, _Layer("head", "", (below,), "head")]


def _pair(name: str, reads: tuple[str, ...]) -> list[_Layer]:
    between = f"{name} between"
    return [
        _Layer(f"{name}.0", f"{name}.1", reads, between),
        _Layer(f"{name}.3", f"{name}.4", (between,), name),
    ]


def _importance(
    layer: _Layer, layers: list[_Layer], sizes: dict[str, int], weights: _Weights
) -> Tensor:
    """Measure what each channel that a layer writes adds to the layers that read it."""
    count = sizes[layer.writes]
    heard = torch.ones(count) if layer.writes == "head" else torch.zeros(count)
    for reader in layers:
        if layer.writes in reader.reads:
            before = reader.reads[: reader.reads.index(layer.writes)]
            start = sum(sizes[name] for name in before)
            weight = weights[f"{reader.conv}.weight"].transpose(0, reader.axes[1])
            heard += weight[start : start + count].flatten(1).square().sum(dim=1)
    if layer.norm:
        gain, offset = (weights[f"{layer.norm}.{name}"] for name in ("weight", "bias"))
        return heard * _mean_square(gain.abs().clamp_min(1e-6), offset)
    own = weights[f"{layer.conv}.weight"].transpose(0, layer.axes[0])
    return heard * own.flatten(1).square().sum(dim=1)


def _mean_square(gain: Tensor, offset: Tensor) -> Tensor:
    """Compute the mean square of ReLU(offset + gain z) for a standard normal z."""
    ratio = offset / gain
    density = torch.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    below: Tensor = torch.special.ndtr(ratio)
    return (offset**2 + gain**2) * below + offset * gain * density

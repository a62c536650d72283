"""Narrow a U-Net: a smaller network that starts with the most important channels of a larger one.

Source: Li et al. 2017 (arXiv:1608.08710) for removing whole filters of little weight. Here what
counts is the weight of those that read a filter's output, times the size of that output.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_core.errors import ConfigError
from model_core.network.unet import UNet

_PLACES = 1024
"""Pixels of an image, at most, that a layer is fitted on."""
_RIDGE = 1e-3

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


def narrowed(wide: UNet, width: int, images: Tensor | None = None) -> UNet:
    """Keep the most important channels of every layer, and the weights between them.

    With images, each layer is then fitted to make the best of the channels that it still reads:
    least squares against what the wide network's layer computes, from the first layer on.

    Args:
        wide: A plain U-Net with batch norm and transposed convolutions.
        width: Of the new network, below that of `wide`; all else of its shape stays.
        images: float (N, 3, H, W), normalised; some hundred, for the deepest layers have few
            pixels. None leaves the weights as they are, which then need more training.

    Returns:
        The network, in evaluation mode.

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
    narrow = UNet(replace(config, width=width)).eval()
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
    if images is not None:
        _fit(narrow, wide, layers, kept, images)
    return narrow


@torch.no_grad()
def _fit(
    narrow: UNet, wide: UNet, layers: list[_Layer], kept: dict[str, Tensor], images: Tensor
) -> None:
    """Fit each layer's weights, in the order in which they run, to what the wide one's compute."""
    wanted: dict[str, Tensor] = {}
    hooks = []
    for layer in layers:

        def note(_: nn.Module, __: object, output: Tensor, layer: _Layer = layer) -> None:
            wanted[layer.conv] = output[:, kept[layer.writes]]

        def fit(conv: nn.Module, inputs: tuple[Tensor], layer: _Layer = layer) -> None:
            norm = narrow.get_submodule(layer.norm) if layer.norm else None
            _least_squares(conv, norm, inputs[0], wanted.pop(layer.conv))

        hooks.append(wide.get_submodule(layer.conv).register_forward_hook(note))
        hooks.append(narrow.get_submodule(layer.conv).register_forward_pre_hook(fit))
    was_training = wide.training
    wide.eval()(images)
    narrow(images)
    wide.train(was_training)
    for hook in hooks:
        hook.remove()


def _least_squares(conv: nn.Module, norm: nn.Module | None, inputs: Tensor, wanted: Tensor) -> None:
    """Change a convolution, and its offset, to give of these inputs what is wanted.

    A norm takes the offset up in its mean. What the inputs do not decide stays as it is.
    """
    if not isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
        raise TypeError(f"{conv} is no convolution")
    doubles, kernel = isinstance(conv, nn.ConvTranspose2d), conv.kernel_size[0]
    weights = conv.weight.flatten(1).T if doubles else conv.weight.flatten(1)
    offset = torch.zeros(len(weights)) if conv.bias is None else conv.bias
    if doubles:
        offset = offset.repeat_interleave(kernel**2)
    start = torch.cat([weights, offset[:, None]], dim=1)
    gram = torch.zeros(start.shape[1], start.shape[1])
    cross = torch.zeros_like(start)
    for image, answer in zip(inputs, wanted, strict=True):
        if doubles:
            seen, said = image, functional.pixel_unshuffle(answer, kernel)
        else:
            seen, said = functional.unfold(image[None], kernel, padding=kernel // 2)[0], answer
        seen, said = seen.flatten(1), said.flatten(1)
        places = torch.randperm(seen.shape[1])[:_PLACES]
        seen = torch.cat([seen[:, places], torch.ones(1, len(places))])
        gram += seen @ seen.T
        cross += said[:, places] @ seen.T
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
    fitted = start + torch.linalg.solve(gram + ridge, (cross - start @ gram).T).T
    weights, offset = fitted[:, :-1], fitted[:, -1]
    if doubles:
        conv.weight.copy_(weights.T.reshape(conv.weight.shape))
        offset = offset.view(-1, kernel**2).mean(dim=1)
    else:
        conv.weight.copy_(weights.view(conv.weight.shape))
    if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
        norm.running_mean -= offset
    elif conv.bias is not None:
        conv.bias.copy_(offset)


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

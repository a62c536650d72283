"""A narrowed network does what the wide one did, as far as its channels reach."""

from dataclasses import replace

import pytest
import torch

from model_core.errors import ConfigError
from model_core.network.narrow import narrowed
from model_core.network.unet import UNet
from model_core.network.unet_config import UNetConfig

CONFIG = UNetConfig(width=8, depth=2, norm="batch", patch=2)


def _with_silent_half() -> UNet:
    """A network in which every second channel of each layer is 0, whatever it sees."""
    torch.manual_seed(0)
    model = UNet(CONFIG).eval()
    for name, value in model.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
        elif value.ndim == 1 and not name.startswith("head"):
            value.normal_()[::2] = 0  # gain and offset of a norm, offset of an up-sampling
        elif name.startswith("up."):
            value[:, ::2] = 0
    return model


@pytest.mark.parametrize("fitted", [False, True])
def test_channels_that_add_nothing_are_left_out(fitted: bool) -> None:
    wide = _with_silent_half()
    narrow = narrowed(wide, 4, torch.randn(8, 3, 32, 32) if fitted else None)
    assert narrow.config == replace(CONFIG, width=4)
    images = torch.randn(2, 3, 24, 16)
    torch.testing.assert_close(narrow(images), wide(images), rtol=1e-3, atol=1e-4)


def test_layers_are_fitted_to_what_the_wide_network_computes() -> None:
    wide = _with_silent_half()
    weights = wide.state_dict()
    for name, value in weights.items():  # now every silent channel repeats its louder neighbour
        if name.startswith("up.") and value.ndim > 1:
            value[:, ::2] = 0.3 * value[:, 1::2]
        elif not name.startswith("head") and value.ndim:
            factor = 0.3 if value.ndim == 1 and "running" not in name else 1
            value[::2] = factor * value[1::2]
    images = torch.randn(24, 3, 32, 32)
    seen, unseen = images[:16], images[16:]
    answers = [narrowed(wide, 4, kind)(unseen) for kind in (None, seen)]
    without, fitted = ((answer - wide(unseen)).square().mean() for answer in answers)
    assert fitted < without / 10


def test_a_channel_counts_by_its_size_and_by_the_weights_that_read_it() -> None:
    wide = UNet(CONFIG)
    weights = wide.state_dict()
    weights["down.0.3.weight"].fill_(0.1)
    weights["down.0.3.weight"][:, 5] = 10.0  # heard loudly
    weights["down.0.1.weight"][2] = 10.0  # loud itself
    weights["down.0.1.bias"][7] = 10.0
    weights["down.0.1.bias"][3] = -10.0  # never above 0
    kept = narrowed(wide, 3).state_dict()
    for name in ("down.0.0.weight", "down.0.1.weight", "down.0.1.bias"):
        assert torch.equal(kept[name], weights[name][[2, 5, 7]])


def test_the_wide_network_stays_as_it_is() -> None:
    wide = _with_silent_half()
    before = {name: value.clone() for name, value in wide.state_dict().items()}
    narrowed(wide, 2)
    assert all(torch.equal(value, before[name]) for name, value in wide.state_dict().items())


@pytest.mark.parametrize(
    ("config", "width"),
    [
        (CONFIG, 8),
        (replace(CONFIG, norm="group"), 4),
        (replace(CONFIG, up="bilinear"), 4),
        (replace(CONFIG, residual=True), 4),
        (replace(CONFIG, deep_supervision=True), 4),
    ],
)
def test_a_network_of_another_kind_is_refused(config: UNetConfig, width: int) -> None:
    with pytest.raises(ConfigError, match=f"cannot be narrowed to width {width}: expected a wider"):
        narrowed(UNet(config), width)

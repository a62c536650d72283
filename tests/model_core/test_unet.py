from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_core.errors import ConfigError
from model_core.losses import bce, deep_supervised
from model_core.unet import CLASSIC, Norm, UNet, UNetConfig, Up, channels_last

SIZES = [(1, 1), (1, 7), (5, 3), (15, 17), (16, 16), (33, 64)]


def parameters(net: UNet) -> int:
    return sum(weight.numel() for weight in net.parameters())


def noise(height: int, width: int, *, count: int = 1) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def tiny(norm: Norm = "none", up: Up = "transposed", *, depth: int = 4) -> UNet:
    torch.manual_seed(0)
    return UNet(UNetConfig(width=4, depth=depth, norm=norm, up=up)).eval()


def test_the_classic_u_net_has_31_031_745_parameters() -> None:
    def conv(before: int, after: int, side: int) -> int:
        return before * after * side * side + after

    widths = [64, 128, 256, 512, 1024]
    encoder = sum(conv(b, a, 3) + conv(a, a, 3) for b, a in pairwise([3, *widths]))
    ups = sum(conv(below, above, 2) for above, below in pairwise(widths))
    decoder = sum(conv(2 * above, above, 3) + conv(above, above, 3) for above in widths[:-1])
    assert encoder + ups + decoder + conv(64, 1, 1) == 31_031_745

    with torch.device("meta"):  # counts without allocating 124 MB
        assert parameters(UNet(CLASSIC)) == 31_031_745


def test_a_normalised_convolution_has_scale_and_offset_instead_of_a_bias() -> None:
    # Depth 1 and width 4: two convolutions of 4, two of 8, two of 4 channels, each with a bias...
    biases = 2 * (4 + 8 + 4)
    # ...which a scale and an offset a channel replace.
    assert parameters(tiny("batch", depth=1)) == parameters(tiny(depth=1)) + biases


def test_bilinear_doubling_has_a_quarter_of_the_transposed_kernels() -> None:
    kernels = 8 * 4 * 2 * 2
    assert parameters(tiny(depth=1)) - parameters(tiny(up="bilinear", depth=1)) == kernels * 3 / 4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("norm", get_args(Norm))
def test_any_height_and_width_goes_in_and_comes_out(norm: Norm, size: tuple[int, int]) -> None:
    logits = tiny(norm)(noise(*size))
    assert logits.shape == (1, 1, *size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("up", get_args(Up))
@pytest.mark.parametrize("norm", get_args(Norm))
def test_every_norm_and_doubling_trains_every_parameter(norm: Norm, up: Up) -> None:
    net = tiny(norm, up).train()
    net(noise(20, 37, count=2)).square().sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("norm", get_args(Norm))
def test_one_pixel_can_be_trained_on(norm: Norm) -> None:
    assert tiny(norm).train()(noise(1, 1)).shape == (1, 1, 1, 1)


def test_an_odd_size_is_padded_by_repeating_its_last_row_and_column() -> None:
    net, images = tiny(depth=2), noise(7, 10)
    padded = functional.pad(images, (0, 2, 0, 1), mode="replicate")
    assert torch.equal(net(images), net(padded)[..., :7, :10])


@pytest.mark.parametrize(
    ("norm", "size", "expected"),
    [
        pytest.param("none", (16, 16), (16, 16), id="one stride"),
        pytest.param("none", (32, 48), (32, 48), id="multiples of the stride"),
        pytest.param("none", (17, 1), (32, 16), id="up to the next multiple"),
        pytest.param("batch", (32, 48), (32, 48), id="normalised, multiples of the stride"),
        pytest.param("batch", (16, 48), (32, 48), id="a norm needs two by two at the bottom"),
    ],
)
def test_only_what_is_no_multiple_of_the_stride_is_padded(
    norm: Norm, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    net, seen = tiny(norm), []
    net.down[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-2:]))
    net(noise(*size))
    assert seen == [expected]


def test_far_pixels_do_not_change_an_answer() -> None:
    # Depth 1 sees at most 13 pixels to each side (five 3x3 layers, two of them at half size).
    net, images = tiny(depth=1), noise(64, 64)
    other = images.clone()
    other[..., 48:] = 9.0
    near, far = net(images), net(other)
    assert torch.allclose(near[..., :34], far[..., :34], atol=1e-6)
    assert not torch.allclose(near[..., 48:], far[..., 48:], atol=1e-6)


def test_doubling_before_or_after_the_1x1_convolution_is_the_same() -> None:
    convolve, double = tiny(up="bilinear", depth=1).up[0].children()
    features = torch.randn(1, 8, 5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(double(convolve(features)), convolve(double(features)), atol=1e-6)


def test_images_of_one_batch_do_not_see_each_other() -> None:
    net, images = tiny("batch"), noise(16, 16, count=3)
    assert torch.allclose(net(images)[1:2], net(images[1:2]), atol=1e-6)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    tiny("batch")(noise(5, 5))
    assert capsys.readouterr() == ("", "")


def test_channels_last_changes_the_layout_and_not_the_answer() -> None:
    net, images = tiny("batch"), noise(16, 24)
    before = net(images)
    assert channels_last(net, torch.device("cpu")) is net
    assert net.down[1].get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(net(images), before, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("width", 0),
        ("width", 257),
        ("depth", 0),
        ("depth", 7),
        ("norm", "layer"),
        ("up", "nearest"),
    ],
)
def test_an_impossible_shape_is_refused_with_its_name_and_value(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{setting} is '?{value}'?, expected"):
        UNetConfig(**{setting: value})


def test_a_residual_network_learns_what_its_shortcuts_carry() -> None:
    plain = UNet(UNetConfig(width=4, depth=1))
    residual = UNet(UNetConfig(width=4, depth=1, residual=True))
    # A 1x1 convolution past each block: 3 to 4, 4 to 8 and 8 to 4 channels.
    shortcuts = (3 * 4 + 4) + (4 * 8 + 8) + (8 * 4 + 4)
    assert parameters(residual) == parameters(plain) + shortcuts
    for block in (*residual.down, *residual.merge):
        for conv in block.body.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.zeros_(conv.weight)
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    assert residual(noise(8, 8)).std() > 0


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_deep_supervision_gives_each_level_its_own_size_and_changes_no_answer(
    height: int, width: int
) -> None:
    torch.manual_seed(0)
    net = UNet(UNetConfig(width=4, depth=3, deep_supervision=True)).eval()
    images = noise(height, width, count=2)
    outputs = net.forward_all(images)
    assert [tuple(logits.shape) for logits in outputs] == [
        (2, 1, -(-height // side), -(-width // side)) for side in (1, 2, 4)
    ]
    assert torch.equal(outputs[0], net(images))


def test_without_deep_supervision_there_is_one_output() -> None:
    assert [logits.shape[-1] for logits in tiny().forward_all(noise(8, 8))] == [8]


@pytest.mark.parametrize("norm", get_args(Norm))
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
def test_every_kind_of_network_learns_and_answers_alike_alone_and_in_a_batch(
    norm: Norm, residual: bool
) -> None:
    torch.manual_seed(0)
    config = UNetConfig(width=4, depth=2, norm=norm, residual=residual, deep_supervision=True)
    net, images = UNet(config), noise(16, 16, count=4)
    truth = (images[:, :1] > 0).float()
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    losses = []
    for _ in range(12):
        loss = deep_supervised(bce, net.forward_all(images), truth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    net.eval()
    alone = torch.cat([net(image[None]) for image in images])
    assert torch.allclose(net(images), alone, atol=1e-5)

from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_core.errors import ConfigError
from model_core.network.losses import bce, deep_supervised
from model_core.network.unet import ResidualBlock, UNet, channels_last, fused
from model_core.network.unet_config import CLASSIC, Norm, UNetConfig, Up

SIZES = [(1, 1), (1, 7), (5, 3), (15, 17), (16, 16), (33, 64)]


def parameters(net: UNet) -> int:
    return sum(weight.numel() for weight in net.parameters())


def noise(height: int, width: int, *, count: int = 1) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def tiny(norm: Norm = "none", up: Up = "transposed", *, depth: int = 4, **options: Any) -> UNet:
    torch.manual_seed(0)
    return UNet(UNetConfig(width=4, depth=depth, norm=norm, up=up, **options)).eval()


every_norm = pytest.mark.parametrize("norm", get_args(Norm))
every_block = pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])


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


def test_a_shortcut_adds_a_1x1_kernel_and_its_norm() -> None:
    # Depth 1 and width 4: blocks from 3 to 4 channels, from 4 to 8, and from 4 + 4 to 4.
    kernels = 3 * 4 + 4 * 8 + 8 * 4
    plain, residual = tiny(depth=1), tiny(depth=1, residual=True)
    assert parameters(residual) == parameters(plain) + kernels
    plain, residual = tiny("batch", depth=1), tiny("batch", depth=1, residual=True)
    assert parameters(residual) == parameters(plain) + kernels + 2 * (4 + 8 + 4)


def test_deep_supervision_adds_a_head_to_every_coarser_level_of_the_decoder() -> None:
    # Depth 4 and width 4: levels 1, 2 and 3 have 8, 16 and 32 channels, and each head a bias.
    heads = (8 + 1) + (16 + 1) + (32 + 1)
    assert parameters(tiny(deep_supervision=True)) == parameters(tiny()) + heads


def test_options_that_are_off_leave_the_names_and_the_start_of_the_weights_alone() -> None:
    names = list(tiny("batch", depth=2).state_dict())
    assert names[0] == "down.0.0.weight"
    assert names[-1] == "head.bias"
    plain, deep = tiny().state_dict(), tiny(deep_supervision=True).state_dict()
    assert all(torch.equal(value, deep[name]) for name, value in plain.items())


def test_a_patch_widens_the_first_kernel_and_every_head_alone() -> None:
    # Width 4: each patch of 2x2 px brings 12 channels for 3 and takes 4 logits for 1; the heads of
    # levels 0 to 3 read 4, 8, 16 and 32 channels.
    more = (12 - 3) * 9 * 4 + 3 * sum(channels + 1 for channels in (4, 8, 16, 32))
    plain, patched = tiny(deep_supervision=True), tiny(deep_supervision=True, patch=2)
    assert parameters(patched) == parameters(plain) + more


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_the_first_level_works_on_patches(patch: int) -> None:
    net, seen = tiny(depth=2, patch=patch), []
    net.down[0].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1:]))
    net(noise(24, 48))
    assert seen == [(3 * patch**2, 24 // patch, 48 // patch)]


def test_each_logit_of_a_patch_belongs_to_its_own_pixel() -> None:
    # With the body silent and the head's biases 0, 1, 2, 3, a patch reads row by row.
    net = tiny(depth=1, patch=2)
    torch.nn.init.zeros_(net.head.weight)
    net.head.bias = torch.nn.Parameter(torch.arange(4.0))
    assert net(noise(4, 6))[0, 0].tolist() == [[0, 1] * 3, [2, 3] * 3] * 2


@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("size", SIZES)
@every_block
@every_norm
def test_any_height_and_width_goes_in_and_comes_out(
    norm: Norm, residual: bool, size: tuple[int, int], patch: int
) -> None:
    logits = tiny(norm, residual=residual, patch=patch)(noise(*size))
    assert logits.shape == (1, 1, *size)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("up", get_args(Up))
@every_block
@every_norm
def test_every_kind_of_network_trains_every_parameter(norm: Norm, residual: bool, up: Up) -> None:
    net = tiny(norm, up, residual=residual, deep_supervision=True).train()
    torch.stack(
        [logits.sum() for logits in net.forward_all(noise(20, 37, count=2))]
    ).sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("deep", [False, True], ids=["one head", "deep supervision"])
@every_block
@every_norm
def test_one_step_of_training_lowers_the_loss(norm: Norm, residual: bool, deep: bool) -> None:
    net = tiny(norm, depth=2, residual=residual, deep_supervision=deep).train()
    images = noise(16, 24, count=2)
    truth = (images.mean(dim=1, keepdim=True) > 0).float()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
    before = deep_supervised(bce, net.forward_all(images), truth)
    before.backward()
    optimiser.step()
    assert deep_supervised(bce, net.forward_all(images), truth) < before


@every_block
@every_norm
def test_one_pixel_can_be_trained_on(norm: Norm, residual: bool) -> None:
    net = tiny(norm, residual=residual, deep_supervision=True).train()
    assert [logits.shape for logits in net.forward_all(noise(1, 1))] == [(1, 1, 1, 1)] * 4


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((32, 48), [(32, 48), (16, 24), (8, 12), (4, 6)], id="multiples"),
        pytest.param((17, 33), [(17, 33), (9, 17), (5, 9), (3, 5)], id="halves rounded up"),
        pytest.param((1, 5), [(1, 5), (1, 3), (1, 2), (1, 1)], id="as low as one pixel"),
    ],
)
@pytest.mark.parametrize("patch", [1, 2])
def test_deep_supervision_gives_each_level_at_its_own_size(
    size: tuple[int, int], expected: list[tuple[int, int]], patch: int
) -> None:
    net = tiny("batch", deep_supervision=True, patch=patch).train()
    outputs = net.forward_all(noise(*size, count=2))
    assert [tuple(logits.shape) for logits in outputs] == [(2, 1, *side) for side in expected]
    truth = torch.ones(2, 1, *size)
    assert deep_supervised(bce, outputs, truth).isfinite()


def test_the_finest_of_all_outputs_is_the_answer() -> None:
    net, images = tiny(deep_supervision=True), noise(18, 20)
    answer = net(images)
    finest, *coarser = net.train().forward_all(images)
    assert torch.equal(finest, answer)
    assert len(coarser) == 3
    assert torch.equal(net(images), answer)


@pytest.mark.parametrize("training", [True, False])
def test_without_deep_supervision_all_outputs_are_the_one(training: bool) -> None:
    net, images = tiny().train(training), noise(18, 20)
    (only,) = net.forward_all(images)
    assert torch.equal(only, net(images))


def test_in_evaluation_coarse_heads_are_not_asked() -> None:
    net, images = tiny(deep_supervision=True), noise(18, 20)
    asked: list[object] = []
    for head in net.coarse_heads:
        head.register_forward_hook(lambda module, *_: asked.append(module))
    assert len(net.forward_all(images)) == 1
    assert asked == []
    assert torch.equal(net(images), tiny()(images))


@every_norm
def test_a_residual_block_with_silent_3x3_convolutions_is_its_shortcut(norm: Norm) -> None:
    block = ResidualBlock(3, 4, norm).eval()
    for weight in block.body.parameters():
        torch.nn.init.zeros_(weight)
    images = noise(6, 5)
    assert torch.equal(block(images), block.shortcut(images).relu())
    assert block(images).any()


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


@every_block
@every_norm
def test_images_of_one_batch_do_not_see_each_other(norm: Norm, residual: bool) -> None:
    net, images = tiny(norm, residual=residual), noise(32, 32, count=3)
    singles = torch.cat([net(image[None]) for image in images])
    assert torch.allclose(net(images), singles, atol=1e-5)


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
        ("patch", 0),
        ("patch", 9),
        ("norm", "layer"),
        ("up", "nearest"),
    ],
)
def test_an_impossible_shape_is_refused_with_its_name_and_value(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{setting} is '?{value}'?, expected"):
        UNetConfig(**{setting: value})


def test_deep_supervision_of_a_single_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="depth is 1, expected 2 to 6 with deep_supervision"):
        UNetConfig(depth=1, deep_supervision=True)


@pytest.mark.parametrize("residual", [False, True])
def test_folding_the_batch_norms_changes_no_logit_and_no_weight(residual: bool) -> None:
    torch.manual_seed(0)
    config = UNetConfig(width=4, depth=2, norm="batch", residual=residual)
    model = UNet(config)
    images = torch.randn(4, 3, 24, 24)
    for _ in range(3):
        model(images)  # running means and variances move away from 0 and 1
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = fused(model)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    with torch.inference_mode():
        assert torch.allclose(folded(images), model(images), atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

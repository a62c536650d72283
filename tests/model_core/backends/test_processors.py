"""The shipped version gives the same masks on other kinds of processors: slow, and run elsewhere.

Debian's `qemu-user` computes as a Haswell does (AVX2, neither AVX-512 nor VNNI) on any x86-64
machine; `ONEDNN_MAX_CPU_ISA` keeps OpenVINO from what a processor has beyond AVX2. A processor with
VNNI cannot be emulated: it is seen where these tests run on one.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.bodies import photographs
from model_core.backends.byte_network import ByteNetwork
from model_core.backends.protocol import Engine
from model_core.backends.select import INT8_FILE, WEIGHTS
from model_core.masks.rle import decode_rle
from model_core.network.unet import UNet
from model_core.network.weights import load_weights
from model_core.registry.registry import PRODUCTION, LoadedVersion, Registry
from model_core.scores.metrics import jaccard
from tests.conftest import REPOSITORY
from trainer.release.export import write_onnx
from trainer.release.publish import golden_images

TIMEOUT_S = 1200
LEAST: dict[Engine, float] = {"openvino-int8": 0.97, "pytorch-fp32": 0.99}
"""Jaccard of each engine's masks with float32's on this machine."""


@pytest.fixture(scope="module")
def images(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three real photographs in files."""
    folder = tmp_path_factory.mktemp("photographs")
    found = []
    for number, data in enumerate(photographs(real_data, limit=3)):
        found.append(folder / f"{number}.jpg")
        found[-1].write_bytes(data)
    return found


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors do not saturate")
def test_an_int8_network_that_overflows_fails_its_golden_images(tmp_path: Path) -> None:
    # Seen refused on AMD EPYC 7003 (AVX2 alone); with VNNI, what lies beyond AVX2 is switched off.
    shipped = Registry(REPOSITORY / "models")
    version = shipped.resolve("lesion-unet", PRODUCTION)
    loaded = shipped.load("lesion-unet", version, device="cpu")
    exports = tmp_path / "exports"
    _quantise_without_protection(loaded, exports / INT8_FILE)
    first, *further = golden_images()
    registry = Registry(tmp_path / "models")
    weights = loaded.folder / WEIGHTS
    card = replace(loaded.card, files={})  # which says that its int8 network is safe
    registry.publish(card, weights, first, more_golden_images=further, exports=exports)
    program = f"""
from pathlib import Path
from model_core.errors import CorruptVersionError
from model_core.registry.registry import Registry
registry = Registry(Path("models"))
loaded = registry.load("lesion-unet", {version!r}, device="cpu", backend="auto")
print(loaded.predictor.backend.name, loaded.passed_over["openvino-int8"])
try:
    registry.load("lesion-unet", {version!r}, device="cpu", backend="openvino-int8")
except CorruptVersionError as exc:
    print("refused:", exc)
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    auto, named = done.stdout.decode().splitlines()
    assert re.match(r"(pytorch|openvino)\S* the golden image's mask has Jaccard", auto)
    assert named.startswith("refused: the golden image's mask")


def _quantise_without_protection(loaded: LoadedVersion, path: Path) -> None:
    """Write an int8 network as versions before 1.1.1 had it."""
    os.environ.setdefault("NNCF_CI", "1")  # else it reports its use to its makers
    import nncf
    import openvino

    model = UNet(loaded.card.architecture)
    load_weights(loaded.folder / WEIGHTS, model)
    onnx = write_onnx(ByteNetwork(model, loaded.card.preprocess), path.with_name("model.onnx"))
    images = [loaded.predictor.prepare(image).pixels[None] for image in golden_images()]
    quantised = nncf.quantize(
        openvino.Core().read_model(onnx),
        nncf.Dataset(images),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.DISABLE
        ),
    )
    openvino.save_model(quantised, path)
    onnx.unlink()


@pytest.mark.foreign
@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates x86-64 on x86-64")
@pytest.mark.parametrize("engine", LEAST)
@pytest.mark.parametrize("processor", ["own", "own without what is beyond AVX2", "Haswell"])
def test_masks_agree_on_other_processors(
    processor: str, engine: Engine, images: list[Path]
) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "tests.fixtures.predict_elsewhere", engine]
    if processor == "Haswell":
        if (qemu := shutil.which("qemu-x86_64")) is None:
            pytest.skip("qemu-x86_64 is not installed (Debian: apt-get install qemu-user)")
        command = [qemu, "-cpu", processor, *command]
    elif processor != "own":
        environment["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    # Loading compares the masks of the golden images with the stored ones, or fails.
    done = subprocess.run(
        [*command, *map(str, images)],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    registry = Registry(REPOSITORY / "models")
    version = registry.resolve("lesion-unet", PRODUCTION)
    reference = registry.load("lesion-unet", version, device="cpu").predictor
    for path, rle in zip(images, json.loads(done.stdout), strict=True):
        mask = decode_rle(rle, max_pixels=2**24)
        assert jaccard(reference.predict(path.read_bytes()).mask, mask) >= LEAST[engine]

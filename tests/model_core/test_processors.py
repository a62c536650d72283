"""The shipped version gives the same masks on other kinds of processors: slow, and run elsewhere.

Debian's `qemu-user` computes as a Haswell does (AVX2, neither AVX-512 nor VNNI) on any x86-64
machine; `ONEDNN_MAX_CPU_ISA` keeps OpenVINO from what a processor has beyond AVX2. A processor with
VNNI cannot be emulated: it is seen where these tests run on one.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bodies import photographs
from model_core.backends.protocol import Engine
from model_core.metrics import jaccard
from model_core.registry import PRODUCTION, Registry
from model_core.rle import decode_rle
from tests.conftest import REPOSITORY

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


@pytest.mark.foreign
@pytest.mark.skipif(platform.machine() != "x86_64", reason="emulates x86-64 on x86-64")
@pytest.mark.parametrize("engine", LEAST)
@pytest.mark.parametrize("processor", ["own", "own without what is beyond AVX2", "Haswell"])
def test_masks_agree_on_other_processors(
    processor: str, engine: Engine, images: list[Path]
) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "tests.model_core.predict_elsewhere", engine]
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

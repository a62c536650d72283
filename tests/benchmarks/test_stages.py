"""The version to measure, the stages, and what peers answer: on real networks, small ones."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from benchmarks.bodies import draw_photograph, multipart, photographs
from benchmarks.engines import NullBackend, open_version
from benchmarks.make_version import random_network
from benchmarks.peers.options import PeerOptions, Steps
from benchmarks.peers.steps import open_steps, segment
from benchmarks.stages import measure, table
from model_core.errors import ConfigError
from model_core.masks.png import decode_mask
from model_core.network.unet_config import UNetConfig
from model_core.scores.metrics import jaccard
from tests.fixtures.models import NAME, VERSION, tiny_registry


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_registry(tmp_path_factory.mktemp("registry")).root


def test_a_drawn_photograph_is_a_jpeg_of_a_dark_lesion() -> None:
    picture = Pillow.open(io.BytesIO(draw_photograph(0)))
    assert (picture.format, picture.size) == ("JPEG", (1024, 768))
    grey = np.asarray(picture.convert("L"))
    assert 0.05 < (grey < 110).mean() < 0.4
    assert draw_photograph(0) == draw_photograph(0) != draw_photograph(1)


def test_photographs_come_from_a_folder(tmp_path: Path) -> None:
    for number in range(130):
        (tmp_path / f"{number:03}.JPG").write_bytes(b"%d" % number)
    found = photographs(tmp_path)
    assert (len(found), found[1]) == (64, b"2")
    with pytest.raises(ConfigError, match="holds no"):
        photographs(tmp_path / "000.JPG")
    assert multipart(b"abc").count(b"abc") == 1


def test_dark_is_lesion_in_a_network_of_random_weights() -> None:
    network = random_network(UNetConfig(width=4, depth=2, norm="batch"))
    grey = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    with torch.no_grad():
        logits = network(4 * grey - 2)
    assert torch.allclose(logits[0, 0], 4 - 8 * grey[0, 0], atol=0.05)


def test_every_stage_is_timed(root: Path) -> None:
    version = open_version(root, NAME, VERSION, "pytorch-fp32")
    measured = measure(version, [draw_photograph(0, height=96, width=128)], repeats=2)
    assert [stage.name for stage, seconds in measured if seconds > 0] == [
        "multipart", "decode", "resize", "network", "components",
        "upsample + threshold", "PNG, 8 bit", "PNG, 1 bit", "RLE", "JSON",
    ]  # fmt: skip
    assert "100%" in table(measured)


@pytest.mark.parametrize("steps", ["pil", "ours"])
def test_a_peers_mask_is_the_services(root: Path, steps: Steps) -> None:
    photograph = draw_photograph(3, height=192, width=256)
    options = PeerOptions(
        root=str(root), name=NAME, version=VERSION, engine="pytorch-fp32", port=0, steps=steps
    )
    ours = open_version(root, NAME, VERSION, "pytorch-fp32").predictor.predict(photograph).mask
    assert jaccard(ours, decode_mask(segment(open_steps(options), photograph))) > 0.98


def test_the_null_backend_gives_a_disc_for_every_image(root: Path) -> None:
    version = open_version(root, NAME, VERSION, "null")
    assert version.predictor.backend.name == "null"
    logits = NullBackend(64).run(np.zeros((2, 64, 64, 3), np.uint8))
    assert logits.shape == (2, 64, 64)
    assert (logits[0] > 0).mean() == pytest.approx(np.pi / 16, abs=0.01)

"""A prepared folder of discs, and a config that trains on it in a second."""

from pathlib import Path

import pytest

from tests.discs import row, write_manifest, write_pair
from trainer.config import TrainConfig, parse_config
from trainer.datasets import prepare
from trainer.layouts import read_manifest
from trainer.samples import write_samples


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of 40 discs."""
    source, out = tmp_path_factory.mktemp("discs"), tmp_path_factory.mktemp("prepared")
    names = [f"disc{index:02}" for index in range(40)]
    for index, name in enumerate(names):
        write_pair(source, name, seed=index)
    write_manifest(source, [row(name) for name in names])
    write_samples(prepare(read_manifest(source)).samples, out)
    return out


@pytest.fixture
def config(discs: Path) -> TrainConfig:
    """Two epochs of a tiny network with everything that is random switched on."""
    return parse_config(
        {
            "name": "disc-unet",
            "data": str(discs),
            "gate_dice": 0.1,
            "loss": "bce_dice",
            "checkpoint_steps": 3,
            "stages": [
                {"size": 16, "epochs": 1, "batch": 4},
                {"size": 32, "epochs": 1, "batch": 4},
            ],
            "model": {"width": 4, "depth": 2, "norm": "batch"},
            "preprocess": {"size": 32},
            "optim": {"lr": 0.01, "ema": 0.9, "schedule": "cosine", "weight_decay": 0.01},
            "augment": {"hflip": 0.5, "rotate_deg": 30.0, "brightness": 0.2, "occlude": 0.2},
        },
        "test",
    )

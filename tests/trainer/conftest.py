"""A prepared folder of discs, a config that trains on it in a second, and runs of it."""

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.conftest import BuiltOnce
from tests.fixtures.discs import row, write_manifest, write_pair
from tests.fixtures.undrawn import undrawn, without_charts
from trainer.commands.main import main
from trainer.config import TrainConfig, parse_config
from trainer.data.layouts import read_manifest
from trainer.data.prepare import prepare
from trainer.data.samples import write_samples
from trainer.training import loop


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is drawn of runs that a test trains or scores, unless it has `pictures`.

    Fixtures of a wider scope are not in this: they draw, unless they say `undrawn`.
    """
    with nullcontext() if "pictures" in request.fixturenames else undrawn():
        yield


@pytest.fixture
def pictures() -> None:
    """Runs have TensorBoard's files, curves and pictures, as they do for a user."""


@pytest.fixture(scope="session")
def discs(built_once: BuiltOnce) -> Path:
    """A prepared folder of 40 discs."""
    return built_once("discs", _prepare_discs) / "prepared"


def _prepare_discs(folder: Path) -> None:
    source = folder / "source"
    source.mkdir()
    names = [f"disc{index:02}" for index in range(40)]
    for index, name in enumerate(names):
        write_pair(source, name, seed=index)
    write_manifest(source, [row(name) for name in names])
    (folder / "prepared").mkdir()
    write_samples(prepare(read_manifest(source)).samples, folder / "prepared")


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def whole(config: TrainConfig, built_once: BuiltOnce) -> Path:
    """A run of `config`, trained to its end; only to be read."""
    return built_once("whole", lambda folder: loop.train(config, folder / "run")) / "run"


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """A copy of `whole` that a test may change."""
    return shutil.copytree(whole, tmp_path / "run")


@pytest.fixture(scope="session")
def scored(discs: Path, built_once: BuiltOnce) -> Path:
    """A run that finds discs well enough to be published, with its scores; only to be read."""

    def fill(folder: Path) -> None:
        table = {
            "name": "disc-unet",
            "data": str(discs),
            "loss": "bce_dice",
            "gate_dice": 0.5,
            "limits": ["Knows only discs."],
            "stages": [{"size": 32, "epochs": 8, "batch": 4}],
            "model": {"width": 4, "depth": 2, "norm": "batch", "patch": 2},
            "preprocess": {"size": 32},
            "optim": {"lr": 0.02, "ema": 0.8},
        }
        with undrawn():
            loop.train(parse_config(table, "test"), folder / "run")
        with without_charts():
            assert main(["evaluate", str(folder / "run"), "--data", str(discs)]) == 0

    return built_once("scored", fill) / "run"


@pytest.fixture(scope="session")
def exported(scored: Path, discs: Path, built_once: BuiltOnce) -> Path:
    """The same run calibrated, scored again, published as 1.0.0 in `models` beside it, and then
    exported; only to be read."""

    def fill(folder: Path) -> None:
        run = shutil.copytree(scored, folder / "run")
        publish = ["publish", str(run), "--registry", str(folder / "models"), "--version", "1.0.0"]
        for command in (
            ["calibrate", str(run), "--data", str(discs)],
            ["evaluate", str(run), "--data", str(discs)],
            [*publish, "--licence", "CC0-1.0"],
            ["export", str(run), "--data", str(discs)],
        ):
            with without_charts():
                assert main(command) == 0

    return built_once("exported", fill) / "run"

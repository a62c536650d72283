"""A published version that knows discs, and a clinic's photographs that it has not seen."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_core.registry.registry import LoadedVersion, Registry
from tests.conftest import BuiltOnce
from tests.fixtures.discs import row, write_manifest, write_pair
from tests.fixtures.undrawn import undrawn
from trainer.commands.main import main
from trainer.data.samples import Sample, read_samples
from trainer.finetuning import finetune
from trainer.finetuning.recipe import Recipe
from trainer.release.publish import publish

COUNT = 15
QUICK = Recipe(shown=100)


@contextmanager
def quick(recipe: Recipe = QUICK) -> Iterator[None]:
    """Show each training of a fine-tuning a few photographs alone, until the block ends."""
    with undrawn(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "recipe_for", lambda _: recipe)
        yield


@pytest.fixture(scope="session")
def models(scored: Path, discs: Path, built_once: BuiltOnce) -> Path:
    """A registry of disc-unet 1.0.0; only to be read."""

    def fill(folder: Path) -> None:
        publish(scored, Registry(folder / "models"), version="1.0.0", licence="CC-BY-NC-4.0")

    return built_once("disc-models", fill) / "models"


@pytest.fixture(scope="session")
def version(models: Path) -> LoadedVersion:
    return Registry(models).load("disc-unet", "1.0.0")


@pytest.fixture(scope="session")
def clinic(built_once: BuiltOnce) -> Path:
    """A prepared folder of 15 new discs."""

    def fill(folder: Path) -> None:
        source = folder / "source"
        source.mkdir()
        names = [f"clinic{index:02}" for index in range(COUNT)]
        for index, name in enumerate(names):
            write_pair(source, name, seed=900 + index)
        write_manifest(source, [row(name, dataset="clinic") for name in names])
        assert main(["prepare", str(source), "--out", str(folder / "prepared")]) == 0

    return built_once("clinic", fill) / "prepared"


@pytest.fixture(scope="session")
def samples(clinic: Path) -> list[Sample]:
    return sorted(read_samples(clinic), key=lambda sample: sample.key)


@pytest.fixture(scope="session")
def finetuned(models: Path, clinic: Path, discs: Path, built_once: BuiltOnce) -> Path:
    """The version fine-tuned on the clinic's photographs; only to be read."""

    def fill(folder: Path) -> None:
        with quick():
            code = main([
                "finetune", "disc-unet@1.0.0", "--data", str(clinic), "--out", str(folder / "run"),
                "--public", str(discs), "--registry", str(models),
            ])  # fmt: skip
        (folder / "exit").write_text(str(code))

    return built_once("finetuned", fill) / "run"

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from trainer.commands.main import main
from trainer.config import load_config
from trainer.data.drawn import write_drawn
from trainer.data.layouts import read_manifest
from trainer.data.prepare import prepare
from trainer.data.samples import write_samples
from trainer.data.split import Part
from trainer.training.run import read_log

NOTEBOOK = REPOSITORY / "trainer" / "configs" / "notebook.toml"


def test_the_notebook_s_recipe_is_kept_to_the_letter() -> None:
    config = load_config(NOTEBOOK)
    (stage,) = config.stages
    assert (stage.size, stage.epochs, stage.batch) == (256, 5, 8)
    assert (config.model.width, config.model.depth, config.model.norm) == (64, 4, "none")
    assert (config.optim.name, config.optim.lr, config.loss) == ("adam", 1e-4, "bce")
    assert (config.optim.ema, config.optim.schedule, config.postprocess.threshold) == (
        0.0,
        "constant",
        0.5,
    )


@pytest.mark.slow
def test_the_notebook_trains_and_scores_end_to_end_on_a_subset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of the recipe but its data and size: one step an epoch, on eight drawn lesions, 64 px."""
    recipe = tmp_path / "notebook.toml"
    recipe.write_text(NOTEBOOK.read_text(encoding="utf-8").replace("size = 256", "size = 64"))
    write_drawn(tmp_path / "drawn", count=12)
    samples = prepare(read_manifest(tmp_path / "drawn")).samples
    sides: dict[int, Part] = {8: "val", 9: "val", 10: "test", 11: "test"}
    write_samples(
        [
            replace(sample, dataset="isic", part=sides.get(number, "train"))
            for number, sample in enumerate(samples)
        ],
        tmp_path / "data",
    )
    run, data = str(tmp_path / "run"), str(tmp_path / "data")
    assert main(["train", str(recipe), "--data", data, "--out", run]) == 0
    assert len(read_log(Path(run))) == 5
    assert main(["evaluate", run, "--data", data]) == 0
    assert "isic test" in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").is_file()

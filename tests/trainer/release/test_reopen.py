import json
from pathlib import Path

import pytest

from model_core.backends.select import INT8_FILE
from model_core.registry.registry import Registry
from trainer.commands.main import main
from trainer.data.leaks import TRAINED_CSV
from trainer.training.run import CONFIG, WEIGHTS


@pytest.fixture
def reopened(exported: Path, discs: Path, tmp_path: Path) -> Path:
    """A run folder made of version 1.0.0, published beside the run `exported`."""
    run = tmp_path / "again"
    models = str(exported.parent / "models")
    command = ["reopen", "disc-unet@1.0.0", "--out", str(run), "--registry", models]
    assert main([*command, "--data", str(discs)]) == 0
    return run


def test_a_reopened_version_has_its_weights_config_and_record(
    exported: Path, reopened: Path
) -> None:
    for name in (WEIGHTS, TRAINED_CSV, CONFIG):
        assert (reopened / name).read_bytes() == (exported / name).read_bytes()
    records = [json.loads((run / "run.json").read_text()) for run in (exported, reopened)]
    assert records[1] == {key: records[0][key] for key in ("data", "initial", "teachers", "starts")}


def test_it_can_be_calibrated_scored_and_published_under_a_version_of_its_own(
    reopened: Path, discs: Path, tmp_path: Path
) -> None:
    run, models = str(reopened), tmp_path / "models"
    assert main(["calibrate", run, "--data", str(discs)]) == 0
    assert main(["evaluate", run, "--data", str(discs)]) == 0
    publish = ["publish", run, "--version", "1.0.1", "--licence", "CC0-1.0"]
    assert main([*publish, "--registry", str(models)]) == 0
    card = Registry(str(models)).load("disc-unet", "1.0.1").card
    assert (
        card.files[WEIGHTS]
        == json.loads((reopened / "scores_test.json").read_text())["weights_sha256"]
    )


def test_a_folder_that_exists_is_left_alone(
    exported: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reopen", "disc-unet@1.0.0", "--out", str(tmp_path)]
    assert main([*command, "--registry", str(exported.parent / "models")]) == 2
    assert "exists already: choose another --out" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_networks_that_it_has_are_measured_again_and_not_written(
    exported: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, run = str(tmp_path / "models"), tmp_path / "again"
    publish = ["publish", str(exported), "--version", "1.0.2", "--licence", "CC0-1.0"]
    assert main([*publish, "--registry", models]) == 0
    command = ["reopen", "disc-unet@1.0.2", "--out", str(run), "--data", str(discs)]
    assert main([*command, "--registry", models]) == 0
    network = (run / "exports" / INT8_FILE).read_bytes()
    assert network == (exported / "exports" / INT8_FILE).read_bytes()
    assert main(["export", str(run), "--data", str(discs), "--measure-only"]) == 0
    assert (run / "exports" / INT8_FILE).read_bytes() == network
    engines = json.loads((run / "precision.json").read_text())["engines"]
    assert [entry["engine"] for entry in engines][-1].endswith("int8")


def test_nothing_to_measure_is_said(
    finished: Path, discs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(finished), "--data", str(discs), "--measure-only"]) == 2
    assert "to measure: export without that" in capsys.readouterr().err

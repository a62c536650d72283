import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_core.registry import Registry
from tests.conftest import REPOSITORY
from trainer.commands import main


def test_the_whole_line_runs_on_drawn_lesions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, models = (str(tmp_path / name) for name in ("data", "run", "models"))
    (tmp_path / "tiny.toml").write_text(
        'name = "drawn-unet"\ndata = "unset"\nloss = "bce_dice"\ngate_dice = 0.3\n'
        "stages = [{ size = 32, epochs = 6, batch = 4 }]\n"
        '[model]\nwidth = 4\ndepth = 2\nnorm = "batch"\n'
        "[preprocess]\nsize = 32\n[optim]\nlr = 0.02\nema = 0.8\n"
    )
    registry = ["--registry", models, "--name", "drawn-unet"]
    assert main(["prepare", "--layout", "drawn", "--count", "40", "--out", data]) == 0
    assert main(["train", str(tmp_path / "tiny.toml"), "--data", data, "--out", run]) == 0
    assert {"scores_val.json", "triptychs_val.png"} <= {path.name for path in Path(run).iterdir()}
    assert main(["evaluate", run, "--data", data]) == 0
    publish = ["publish", run, "--version", "0.1.0", "--licence", "CC0-1.0", "--alias", "latest"]
    assert main([*publish, "--registry", models]) == 0
    assert main(["promote", "0.1.0", *registry]) == 0
    assert main(["evaluate", "production", "--data", data, "--out", run, *registry]) == 0
    assert "published drawn-unet@0.1.0" in capsys.readouterr().out
    assert Registry(Path(models)).aliases("drawn-unet") == {
        "latest": "0.1.0",
        "production": "0.1.0",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["prepare", "nowhere", "--out", "o"], "no file at", id="no data"),
        pytest.param(["prepare", "--out", "o"], "needs a SOURCE", id="no source"),
        pytest.param(["train", "no.toml", "--out", "o"], "no config file at", id="no config"),
        pytest.param(["evaluate", "9.9.9", "--data", "d"], "has no version", id="no version"),
        pytest.param(
            ["evaluate", "../x", "--data", "d"], "neither a run folder", id="a path for a version"
        ),
        pytest.param(
            ["publish", "o", "--version", "1.0.0", "--licence", "x"], "not a run", id="no run"
        ),
        pytest.param(["promote", "9.9.9"], "has no version", id="promote nothing"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_two(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert "Traceback" not in errors
    assert not any(tmp_path.iterdir())


def test_without_its_extra_a_command_that_needs_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "kornia.py").write_text("raise ModuleNotFoundError('no kornia', name='kornia')")

    def trainer(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trainer", *arguments],
            env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
            capture_output=True,
            text=True,
            check=False,
        )

    train = trainer("train", "any.toml", "--out", "run")
    assert train.returncode == 2
    assert train.stderr.startswith("trainer: kornia is not installed; this command needs the extra")
    assert trainer("promote", "--help").returncode == 0

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.fixtures.discs import row, write_manifest, write_pair
from trainer.commands.main import main
from trainer.config import TrainConfig
from trainer.data.samples import read_samples, write_samples
from trainer.data.split import Part


def test_the_whole_line_runs_on_drawn_lesions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, models = (str(tmp_path / name) for name in ("data", "run", "models"))
    (tmp_path / "tiny.toml").write_text(
        'name = "other"\ndata = "unset"\nloss = "bce_dice"\ngate_dice = 0.3\n'
        "stages = [{ size = 32, epochs = 6, batch = 4 }]\n"
        '[model]\nwidth = 4\ndepth = 2\nnorm = "batch"\n'
        "[preprocess]\nsize = 32\n[optim]\nlr = 0.02\nema = 0.8\n"
    )
    registry = ["--registry", models, "--name", "drawn-unet"]
    assert main(["prepare", "--layout", "drawn", "--count", "20", "--out", data]) == 0
    train = ["train", str(tmp_path / "tiny.toml"), "--name", "drawn-unet"]
    assert main([*train, "--data", data, "--out", run]) == 0
    assert Path(run, "scores_val.json").is_file()
    assert main(["evaluate", run, "--data", data]) == 0
    publish = ["publish", run, "--licence", "CC0-1.0", "--registry", models, "--version"]
    assert main([*publish, "0.1.0", "--alias", "latest"]) == 0
    assert main(["promote", "drawn-unet@0.1.0", "--registry", models]) == 0
    assert main(["promote", "0.1.0", *registry]) == 0
    assert main(["evaluate", "production", "--data", data, "--out", run, *registry]) == 0
    assert "published drawn-unet@0.1.0" in capsys.readouterr().out

    assert main([*publish, "0.2.0", "--alias", "production"]) == 0
    assert main(["list", "--registry", models]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[:3] for line in listed.splitlines()[-2:]] == [
        ["drawn-unet", "0.1.0", "latest"],
        ["drawn-unet", "0.2.0", "production"],
    ]
    assert "drawn test Dice 0." in listed
    assert main(["rollback", *registry]) == 0
    assert "production is now 0.1.0 again" in capsys.readouterr().out
    assert main(["show", "production", *registry]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == "0.1.0"
    assert main(["verify", *registry]) == main(["verify", "latest", *registry]) == 0

    photographs, masks = str(tmp_path / "data" / "drawn" / "images"), str(tmp_path / "masks")
    assert main(["predict", photographs, "--out", masks, *registry]) == 0
    assert "20 masks in" in capsys.readouterr().out

    weights = tmp_path / "models" / "drawn-unet" / "0.2.0" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert main(["verify", *registry]) == 1
    assert "drawn-unet 0.2.0: drawn-unet/0.2.0/model.safetensors has" in capsys.readouterr().out


def test_a_version_is_not_scored_on_what_it_was_trained_on(
    tmp_path: Path, discs: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_on_test = [replace(sample, part="test") for sample in read_samples(discs)]
    write_samples(train_on_test, tmp_path / "data")
    evaluate = ["evaluate", str(finished), "--data", str(tmp_path / "data")]
    assert main(evaluate) == 2
    assert "37 of 40 images to be scored were seen in training" in capsys.readouterr().err
    assert not (finished / "scores_test.json").exists()
    assert main([*evaluate, "--skip-bad"]) == 0
    scores = json.loads((finished / "scores_test.json").read_text())
    assert scores["sets"][0]["summary"]["n"] == 3


def test_initial_weights_are_not_scored_on_what_they_were_trained_on(
    tmp_path: Path, config: TrainConfig, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swap: dict[Part, Part] = {"train": "val", "val": "train"}
    swapped = [replace(s, part=swap.get(s.part, s.part)) for s in read_samples(config.data)]
    write_samples(swapped, tmp_path / "data")
    (tmp_path / "tiny.toml").write_text(
        'name = "x"\ndata = "unset"\nstages = [{ size = 16, epochs = 1, batch = 4 }]\n'
        '[model]\nwidth = 4\ndepth = 2\nnorm = "batch"\n[preprocess]\nsize = 16\n'
    )
    second = ["train", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "second")]
    assert main([*second, "--data", str(tmp_path / "data"), "--initial", str(whole)]) == 2
    assert "were seen in training" in capsys.readouterr().err
    assert not (tmp_path / "second" / "scores_val.json").exists()


def test_a_version_is_not_published_under_an_alias_that_cannot_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish = ["publish", str(tmp_path), "--version", "1.0.0", "--licence", "x"]
    assert main([*publish, "--registry", str(tmp_path / "models"), "--alias", "Prod uction"]) == 2
    assert "'Prod uction' is no name" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_manifest_is_scored_as_it_lies(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "clinic").mkdir()
    for number, name in enumerate("ab"):
        write_pair(tmp_path / "clinic", name, seed=900 + number)
    write_manifest(tmp_path / "clinic", [row(name, dataset="clinic") for name in "ab"])
    out = str(tmp_path / "out")
    evaluate = ["evaluate", str(whole), "--data", str(tmp_path / "clinic"), "--out", out]
    assert main([*evaluate, "--spacing-mm", "0.1,0.2"]) == 0
    assert "clinic" in capsys.readouterr().out
    items = json.loads((tmp_path / "out" / "scores_all.json").read_text())["items"]
    assert [item["id"] for item in items] == ["a", "b"]
    assert {"dice", "lesion_fraction", "assd_px", "assd_mm"} <= set(items[0])
    with (tmp_path / "out" / "scores_all.csv").open() as file:
        assert [line["id"] for line in csv.DictReader(file)] == ["a", "b"]


def test_leaks_lists_what_two_sets_share(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = read_samples(discs)
    write_samples(samples[:5], tmp_path / "first")
    write_samples(samples[4:8], tmp_path / "second")
    assert main(["leaks", str(tmp_path / "first"), str(tmp_path / "second")]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "discs/disc04 is discs/disc04: same ID"
    write_samples(samples[:4], tmp_path / "first")
    assert main(["leaks", str(tmp_path / "first"), str(tmp_path / "second")]) == 0


def test_bad_pairs_stop_prepare_unless_they_are_to_be_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    for number, name in enumerate("ab"):
        write_pair(source, name, seed=number)
    write_manifest(source, [row("a"), row("b"), row("c")])
    prepare = ["prepare", str(source), "--out", str(out)]
    assert main(prepare) == 2
    assert "1 pairs cannot be used (2 can; `prepare --skip-bad` goes on" in capsys.readouterr().err
    assert not out.exists()
    assert main([*prepare, "--skip-bad"]) == 0
    assert len(read_samples(out)) == 2
    assert (out / "skipped.txt").read_text().startswith("discs/c: no photograph at")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["prepare", "nowhere", "--out", "o"], "no file at", id="no data"),
        pytest.param(["prepare", "--out", "o"], "needs a SOURCE", id="no source"),
        pytest.param(["train", "no.toml", "--out", "o"], "no config file at", id="no config"),
        pytest.param(
            ["predict", "p", "--model", "x/y", "--out", "o"], "neither a run folder", id="no model"
        ),
        pytest.param(["rollback"], "--registry is", id="no registry"),
        pytest.param(["verify"], "there is no such folder", id="verify nothing"),
        pytest.param(["evaluate", "9.9.9", "--data", "d"], "has no version", id="no version"),
        pytest.param(
            ["evaluate", "../x", "--data", "d"], "neither a run folder", id="a path for a version"
        ),
        pytest.param(
            ["publish", "o", "--version", "1.0.0", "--licence", "x"], "not a run", id="no run"
        ),
        pytest.param(["promote", "9.9.9"], "there is no such folder", id="promote nothing"),
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["prepare", "--out", "o", "--seed", "-1"], "from 0 on", id="seed"),
        pytest.param(["prepare", "--out", "o", "--count", "0"], "from 1 on", id="count"),
        pytest.param(
            ["evaluate", "r", "--data", "d", "--spacing-mm", "1"], "such as 0.02,0.02", id="spacing"
        ),
    ],
)
def test_a_bad_option_says_what_would_be_right(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err


def test_help_and_the_list_of_versions_do_not_wait_for_pytorch() -> None:
    code = """
import contextlib, sys
sys.modules |= dict.fromkeys(["torch", "matplotlib", "tqdm", "httpx"])
from trainer.commands.main import main
for arguments in ["--help"], ["prepare", "--help"], ["train", "--help"], ["list"]:
    assert arguments == ["list"] or "scipy" not in sys.modules
    with contextlib.suppress(SystemExit):
        main(arguments)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("usage: ") == 3
    assert "production" in run.stdout


def test_without_its_extra_a_command_that_needs_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text(
        "raise ModuleNotFoundError('no matplotlib', name='matplotlib')"
    )

    # Both in one process: to start it takes longer than all else here.
    code = """
import contextlib, sys
from trainer.__main__ import main
with contextlib.suppress(SystemExit):
    sys.argv[1:] = ["promote", "--help"]
    main()
sys.argv[1:] = ["train", "any.toml", "--out", "run"]
raise SystemExit(main())
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "usage: " in run.stdout
    assert run.returncode == 2
    assert run.stderr.startswith(
        "trainer: matplotlib is not installed; this command needs the extra"
    )

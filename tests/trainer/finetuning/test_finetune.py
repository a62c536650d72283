"""Every photograph calibrates, chooses and compares, and none by weights that saw it."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_core.errors import ConfigError, DatasetError
from model_core.registry.registry import LoadedVersion
from tests.trainer.finetuning.conftest import COUNT, quick
from tests.trainer.studies.test_cross_validate import samples_in_groups
from trainer.commands.main import main
from trainer.data.folds import assign_folds
from trainer.data.leaks import fingerprint, read_trained, require_unseen
from trainer.data.samples import Sample, read_samples, write_samples
from trainer.evaluation.subjects import run_subject
from trainer.finetuning import cross_fit, finetune
from trainer.finetuning.recipe import CROSS_FIT_BELOW, FOLDS, Recipe, config_for, recipe_for
from trainer.training import loop
from trainer.training.run import load_run

Command = Callable[..., int]


@pytest.fixture
def command(models: Path, tmp_path: Path) -> Command:
    def run(data: Path, *more: str) -> int:
        with quick():
            return main([
                "finetune", "disc-unet@1.0.0", "--data", str(data), "--out", str(tmp_path / "run"),
                "--registry", str(models), *more,
            ])  # fmt: skip

    return run


def stored(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "comparison.json").read_text())
    return found


def test_network_preprocessing_and_rules_are_the_versions(
    finetuned: Path, version: LoadedVersion
) -> None:
    config, card = load_run(finetuned), version.card
    assert (config.name, config.model, config.preprocess) == (
        "disc-unet", card.architecture, card.preprocess,
    )  # fmt: skip
    rules = run_subject(finetuned).predictor.postprocess_config
    assert rules.largest_component == card.postprocess.largest_component
    assert rules.fill_holes == card.postprocess.fill_holes
    assert config.augment == config_for(card, Path("x"), Path("y"), 9, Recipe(shown=1)).augment


def test_every_photograph_is_compared_once_and_none_is_left_to_validate(finetuned: Path) -> None:
    with (finetuned / "out_of_fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["id"] for row in rows) == [f"clinic{n:02}" for n in range(COUNT)]
    assert all(row["predicted_jaccard"] for row in rows)
    first, *others = stored(finetuned)["sets"]
    assert first["n"] == COUNT
    dice = first["measures"]["dice"]
    assert dice["new"] - dice["before"] == pytest.approx(dice["difference"]["mean"])
    assert dice["difference"]["low"] <= dice["difference"]["mean"] <= dice["difference"]["high"]
    assert dice["new"] == pytest.approx(np.mean([float(row["dice"]) for row in rows]), abs=1e-5)
    # None of the discs is in the committed split, so there is nothing to compare on besides.
    assert others == []
    assert any("not at hand" in note for note in stored(finetuned)["notes"])


def test_the_exit_status_is_the_verdict(finetuned: Path) -> None:
    expected = "0" if stored(finetuned)["verdict"] == "better" else "3"
    assert (finetuned.parent / "exit").read_text() == expected


def test_the_run_is_calibrated_knows_what_it_saw_and_holds_no_folds(
    finetuned: Path, clinic: Path, version: LoadedVersion
) -> None:
    subject = run_subject(finetuned)
    assert subject.predictor.calibration is not None
    assert subject.predictor.calibration.score_spread is not None
    subject.require_current(finetuned / "x", stored(finetuned), again="finetune")
    with pytest.raises(DatasetError, match=f"{COUNT} of {COUNT} images to be scored were seen"):
        require_unseen(read_samples(clinic), read_trained(finetuned) or [])
    assert set(read_trained(version.folder) or []) < set(read_trained(finetuned) or [])
    assert not (finetuned / "folds").exists()


def test_done_it_is_read_and_not_done_again(
    finetuned: Path, clinic: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(finetuned, tmp_path / "run")
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    assert command(clinic) == 2
    assert "already holds a fine-tuning: add --resume" in capsys.readouterr().err
    assert command(clinic, "--resume") == int((finetuned.parent / "exit").read_text())
    said = capsys.readouterr().out
    assert "the clinic's" in said
    assert f"Beside disc-unet@1.0.0: {stored(finetuned)['verdict']}. Dice" in said
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before


def test_done_it_is_not_taken_for_one_of_another_version_or_of_other_photographs(
    finetuned: Path, samples: list[Sample], version: LoadedVersion, tmp_path: Path
) -> None:
    shutil.copytree(finetuned, tmp_path / "run")
    before = (tmp_path / "run" / "comparison.json").read_bytes()
    own, _ = finetune.usable_samples(samples, version, skip_bad=False)
    other = replace(version, sha256="0" * 64)
    with pytest.raises(ConfigError, match=r"was fine-tuned from disc-unet@1\.0\.0, not from"):
        finetune.finetune(other, own, tmp_path / "run", resume=True)
    with pytest.raises(DatasetError, match="on other photographs than these"):
        finetune.finetune(version, own[1:], tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "comparison.json").read_bytes() == before


def test_a_killed_fine_tuning_goes_on_to_the_same_weights(
    finetuned: Path, clinic: Path, command: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    real, trained = loop.train, []

    def killed(*arguments: Any, **more: Any) -> None:
        trained.append(arguments[1])
        if len(trained) == 3:
            raise KeyboardInterrupt
        real(*arguments, **more)

    monkeypatch.setattr(cross_fit, "train", killed)
    assert command(clinic) == 130
    assert not (tmp_path / "run" / "config.json").exists()
    monkeypatch.undo()
    assert command(clinic, "--resume") in (0, 3)
    name = "model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (finetuned / name).read_bytes()


@pytest.mark.parametrize(
    ("count", "group", "said"),
    [
        (9, "", "9 photographs of 9 lesions or patients can be used, expected at least 10"),
        (12, "one", "12 photographs of 1 lesions or patients can be used, expected .* least 5"),
    ],
)
def test_too_few_photographs_or_lesions_are_refused(
    samples: list[Sample], command: Command, tmp_path: Path, count: int, group: str, said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    few = [replace(sample, group=group or sample.group) for sample in samples[:count]]
    write_samples(few, tmp_path / "few")
    assert command(tmp_path / "few") == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_photographs_that_the_version_saw_are_refused_or_left_out(
    discs: Path, samples: list[Sample], version: LoadedVersion
) -> None:
    mixed = [*samples, *(s for s in read_samples(discs) if s.part != "test")]
    with pytest.raises(DatasetError, match=r"such as discs/disc0.*--skip-bad leaves them out"):
        finetune.usable_samples(mixed, version, skip_bad=False)
    kept, notes = finetune.usable_samples(mixed, version, skip_bad=True)
    assert [sample.id for sample in kept] == [sample.id for sample in samples]
    assert notes == ["37 photographs that disc-unet@1.0.0 has seen are left out"]


def test_external_sets_are_not_learned_from(samples: list[Sample], version: LoadedVersion) -> None:
    some = [replace(sample, part="external") for sample in samples[:3]]
    kept, notes = finetune.usable_samples([*some, *samples[3:]], version, skip_bad=False)
    assert len(kept) == COUNT - 3
    assert notes == ["3 photographs of external sets are left out"]


def test_a_version_that_lists_no_photographs_is_refused(
    samples: list[Sample], version: LoadedVersion, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="does not list the photographs it was trained on"):
        finetune.usable_samples(samples, replace(version, folder=tmp_path), skip_bad=False)


def test_another_run_is_not_overwritten(
    scored: Path, clinic: Path, command: Command, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(scored, tmp_path / "run")
    assert command(clinic, "--resume") == 2
    assert "holds another run" in capsys.readouterr().err


def test_calibration_and_threshold_of_a_photograph_are_chosen_without_it(
    samples: list[Sample], version: LoadedVersion, tmp_path: Path
) -> None:
    network, card = version.predictor.backend, version.card

    def fitted(own: list[Sample]) -> list[Any]:
        parts = [cross_fit.Unseen(network, own[start : start + 5]) for start in (0, 5, 10)]
        found = cross_fit.fit_apart(parts, card.preprocess, card.postprocess, most_least_score=0.5)
        return [(each.calibration, each.postprocess_config) for each in found[2]]

    first = fitted(samples)
    # Another mask for one photograph of the first part: the others' choices move, its own does not.
    swapped = replace(samples[0], mask=samples[7].mask, mask_sha256=samples[7].mask_sha256)
    second = fitted([swapped, *samples[1:]])
    assert second[0] == first[0]
    assert second[1] != first[1]


def test_one_network_alone_is_divided_so_that_each_part_has_others(
    samples: list[Sample], version: LoadedVersion
) -> None:
    parts = cross_fit.divided([cross_fit.Unseen(version.predictor.backend, samples)])
    assert len(parts) == FOLDS
    assert sorted(s.id for part in parts for s in part.samples) == [s.id for s in samples]


def test_of_a_large_set_one_fold_is_held_out_and_compared(
    clinic: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["finetune", "disc-unet@1.0.0", "--data", str(clinic), "--out", str(tmp_path / "run")]
    with quick(Recipe(shown=100, folds=(2,))):
        assert main([*command, "--registry", str(models)]) in (0, 3)
    with (tmp_path / "run" / "out_of_fold.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == COUNT // FOLDS
    assert f"the weights never saw these {COUNT // FOLDS} photographs" in capsys.readouterr().out
    seen = {entry.id_sha256 for entry in read_trained(tmp_path / "run") or []}
    held_out = {fingerprint(s).id_sha256 for s in read_samples(clinic) if s.id == rows[0]["id"]}
    assert held_out < seen  # the weights had not, but calibration and threshold have


def test_the_recipe_goes_by_the_number_of_photographs_and_lesions() -> None:
    few = samples_in_groups([1] * 10)
    many, fewer_lesions = samples_in_groups([2] * 250), samples_in_groups([50] * 10)
    assert len(many) == len(fewer_lesions) == CROSS_FIT_BELOW
    assert len(recipe_for(few).folds) == len(recipe_for(many[1:]).folds) == FOLDS
    assert len(recipe_for(many).folds) == 1
    assert len(recipe_for(fewer_lesions).folds) == FOLDS
    assert recipe_for(few).shown < recipe_for(many).shown
    # The fold with one person's 120 photographs is not the one to choose a threshold on.
    one_person = samples_in_groups([120, *[1] * 400])
    (number,) = recipe_for(one_person).folds
    assert assign_folds(one_person, FOLDS)["g0"] != number

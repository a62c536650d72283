import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from model_core.errors import ConfigError, DatasetError
from model_core.losses import LOSSES
from trainer import loop
from trainer.config import TrainConfig
from trainer.datasets import read_samples, write_samples


def weights_of(run: Path) -> bytes:
    return (run / loop.WEIGHTS).read_bytes()


class Killed(BaseException):
    """Stands for a signal: nothing in the loop catches it."""


def test_a_run_leaves_all_that_it_promises(config: TrainConfig, tmp_path: Path) -> None:
    loop.train(config, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.json", "run.json", "log.jsonl",
        "checkpoint.safetensors", "model.safetensors", "curves.png",
    }  # fmt: skip
    log = loop.read_log(tmp_path / "run")
    assert [entry["epoch"] for entry in log] == [1, 2]
    assert [entry["size_px"] for entry in log] == [16, 32]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"]["samples"]["discs"]["train"] == 29


def test_the_loss_falls_and_discs_are_found(config: TrainConfig, tmp_path: Path) -> None:
    longer = replace(config, stages=(replace(config.stages[1], epochs=10),))
    loop.train(longer, tmp_path / "run")
    log = loop.read_log(tmp_path / "run")
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert log[-1]["val_dice"] > 0.8


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    config: TrainConfig, tmp_path: Path
) -> None:
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        loop.train(replace(config, seed=seed), tmp_path / name)
    assert weights_of(tmp_path / "one") == weights_of(tmp_path / "same")
    assert weights_of(tmp_path / "one") != weights_of(tmp_path / "other")


@pytest.mark.parametrize("steps", [2, 4, 8, 11], ids=lambda steps: f"killed after {steps} steps")
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    loop.train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setitem(LOSSES, config.loss, _dies_after(steps, LOSSES[config.loss]))
        with pytest.raises(Killed):
            loop.train(config, tmp_path / "killed")
    loop.train(config, tmp_path / "killed", resume=True)
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "whole")
    epochs = [entry["loss"] for entry in loop.read_log(tmp_path / "killed")]
    assert epochs == [entry["loss"] for entry in loop.read_log(tmp_path / "whole")]


def test_a_log_cut_off_by_the_kill_is_mended(config: TrainConfig, tmp_path: Path) -> None:
    loop.train(config, tmp_path / "run")
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"epoch": 3, "total_st')
    loop.train(config, tmp_path / "run", resume=True)
    assert [entry["epoch"] for entry in loop.read_log(tmp_path / "run")] == [1, 2]


def test_kernels_are_stored_in_half_precision_and_statistics_are_not(
    config: TrainConfig, tmp_path: Path
) -> None:
    loop.train(config, tmp_path / "run")
    stored = load_file(tmp_path / "run" / loop.WEIGHTS)
    assert {str(value.dtype) for value in stored.values() if value.ndim > 1} == {"torch.float16"}
    assert str(stored["down.0.1.running_var"].dtype) == "torch.float32"


def test_a_run_can_start_from_another_runs_weights(config: TrainConfig, tmp_path: Path) -> None:
    loop.train(config, tmp_path / "first")
    loop.train(replace(config, initial=str(tmp_path / "first")), tmp_path / "second")
    first, second = (loop.read_log(tmp_path / name)[0]["loss"] for name in ("first", "second"))
    assert second < first


def test_a_folder_with_a_run_is_not_overwritten(config: TrainConfig, tmp_path: Path) -> None:
    loop.train(config, tmp_path / "run")
    before = weights_of(tmp_path / "run")
    with pytest.raises(ConfigError, match="add --resume"):
        loop.train(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="another config"):
        loop.train(replace(config, seed=5), tmp_path / "run", resume=True)
    assert weights_of(tmp_path / "run") == before


def test_a_loss_that_is_no_number_stops_with_advice_and_keeps_the_checkpoint(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, calls = LOSSES[config.loss], []

    def breaks(logits: object, truth: object) -> object:
        calls.append(1)
        return good(logits, truth) * (float("nan") if len(calls) > 5 else 1)  # type: ignore[arg-type]

    monkeypatch.setitem(LOSSES, config.loss, breaks)
    with pytest.raises(ConfigError, match=r"loss is nan at step 5: lower optim\.lr"):
        loop.train(config, tmp_path / "run")
    assert (tmp_path / "run" / loop.CHECKPOINT).is_file()


def test_data_without_a_validation_part_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    samples = [sample for sample in read_samples(config.data) if sample.part == "train"]
    write_samples(samples, tmp_path / "data")
    with pytest.raises(DatasetError, match="training needs train and val"):
        loop.train(replace(config, data=tmp_path / "data"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_named(config: TrainConfig, tmp_path: Path) -> None:
    loop.train(config, tmp_path / "run")
    (tmp_path / "run" / loop.CHECKPOINT).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(DatasetError, match=r"checkpoint\.safetensors is not a checkpoint"):
        loop.train(config, tmp_path / "run", resume=True)


def _dies_after(steps: int, loss: object) -> object:
    calls: list[int] = []

    def wrapped(logits: object, truth: object) -> object:
        calls.append(1)
        if len(calls) > steps:
            raise Killed
        return loss(logits, truth)  # type: ignore[operator]

    return wrapped

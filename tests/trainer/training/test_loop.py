import errno
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from model_core.errors import ConfigError, DatasetError
from model_core.network.losses import LOSSES
from model_core.registry.local_store import file_sha256
from trainer.config import TrainConfig
from trainer.data.samples import read_photo, read_samples, write_samples
from trainer.evaluation.subjects import run_subject
from trainer.training import checkpoint, loop, run, validate


def weights_of(folder: Path) -> bytes:
    return (folder / run.WEIGHTS).read_bytes()


class Killed(BaseException):
    """Stands for a signal: nothing in the loop catches it."""


def test_a_run_leaves_all_that_it_promises(whole: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert names - {".lock"} == {
        "config.json", "run.json", "trained_on.csv", "log.jsonl", "tensorboard",
        "checkpoint.safetensors", "model.safetensors", "curves.png",
    }  # fmt: skip
    log = run.read_log(whole)
    assert [entry["epoch"] for entry in log] == [1, 2]
    assert [entry["size_px"] for entry in log] == [16, 32]
    record = json.loads((whole / "run.json").read_text())
    assert record["data"]["samples"]["discs"]["train"] == 30


def test_the_loss_falls_and_discs_are_found(config: TrainConfig, tmp_path: Path) -> None:
    longer = replace(config, stages=(replace(config.stages[1], epochs=10),))
    loop.train(longer, tmp_path / "run")
    log = run.read_log(tmp_path / "run")
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]
    assert log[-1]["val_dice"] > 0.8


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    for name, seed in (("same", config.seed), ("other", config.seed + 1)):
        loop.train(replace(config, seed=seed), tmp_path / name)
    assert weights_of(tmp_path / "same") == weights_of(whole)
    assert weights_of(tmp_path / "other") != weights_of(whole)


@pytest.mark.parametrize("steps", [2, 4, 8, 11], ids=lambda steps: f"killed after {steps} steps")
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    config: TrainConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(LOSSES, config.loss, _dies_after(steps, LOSSES[config.loss]))
        with pytest.raises(Killed):
            loop.train(config, tmp_path / "killed")
    loop.train(config, tmp_path / "killed", resume=True)
    assert weights_of(tmp_path / "killed") == weights_of(whole)
    epochs = [entry["loss"] for entry in run.read_log(tmp_path / "killed")]
    assert epochs == [entry["loss"] for entry in run.read_log(whole)]


def test_a_log_cut_off_before_the_first_checkpoint_is_mended(
    config: TrainConfig, finished: Path
) -> None:
    (finished / run.CHECKPOINT).unlink()
    (finished / run.LOG).write_text('{"epoch": 1, "total_steps": 7}\n{"epoch": 2, "total_st')
    loop.train(config, finished, resume=True)
    assert [(entry["epoch"], entry["total_steps"]) for entry in run.read_log(finished)] == [
        (1, 7),
        (2, 14),
    ]


def test_one_process_at_a_time_writes_to_a_run(config: TrainConfig, tmp_path: Path) -> None:
    with run.held(tmp_path / "run"), pytest.raises(ConfigError, match="another process is writing"):
        loop.train(config, tmp_path / "run")


def test_the_order_of_the_rows_does_not_matter(
    config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    write_samples(read_samples(config.data)[::-1], tmp_path / "data")
    loop.train(replace(config, data=tmp_path / "data"), tmp_path / "other")
    assert weights_of(tmp_path / "other") == weights_of(whole)


def test_what_a_run_has_seen_is_noted_once_and_for_all(
    config: TrainConfig, finished: Path, tmp_path: Path
) -> None:
    second = replace(config, initial=str(finished))
    loop.train(second, tmp_path / "second")
    seen = run.trained_on(tmp_path / "second")
    (finished / "trained_on.csv").write_text("part,id_sha256,image_sha256,phash\n")
    loop.train(second, tmp_path / "second", resume=True)
    assert run.trained_on(tmp_path / "second") == seen


def test_a_damaged_log_is_named(tmp_path: Path) -> None:
    (tmp_path / run.LOG).write_text("no JSON\n")
    with pytest.raises(ConfigError, match=r"log\.jsonl is damaged"):
        run.read_log(tmp_path)


def test_kernels_are_stored_in_half_precision_and_statistics_are_not(whole: Path) -> None:
    stored = load_file(whole / run.WEIGHTS)
    assert {str(value.dtype) for value in stored.values() if value.ndim > 1} == {"torch.float16"}
    assert str(stored["down.0.1.running_var"].dtype) == "torch.float32"


def test_a_run_can_start_from_another_runs_weights(
    config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    loop.train(replace(config, initial=str(whole)), tmp_path / "second")
    first, second = (run.read_log(path)[0]["loss"] for path in (whole, tmp_path / "second"))
    assert second < first


def test_a_narrower_run_starts_with_the_main_channels_of_a_wider_one(
    config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    alone = replace(config, model=replace(config.model, width=2))
    loop.train(alone, tmp_path / "alone")
    loop.train(replace(alone, initial=str(whole)), tmp_path / "narrowed")
    losses = [run.read_log(tmp_path / name)[-1]["loss"] for name in ("alone", "narrowed")]
    assert losses[1] < losses[0]


def test_a_folder_with_a_run_is_not_overwritten(config: TrainConfig, finished: Path) -> None:
    before = weights_of(finished)
    with pytest.raises(ConfigError, match="add --resume"):
        loop.train(config, finished)
    with pytest.raises(ConfigError, match=r"another config \(seed was 0, is 5\)"):
        loop.train(replace(config, seed=5), finished, resume=True)
    assert weights_of(finished) == before


def test_a_loss_that_is_no_number_stops_with_advice_and_keeps_the_checkpoint(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, calls = LOSSES[config.loss], []

    def breaks(logits: object, truth: object) -> object:
        calls.append(1)
        return good(logits, truth) * (float("nan") if len(calls) > 5 else 1)  # type: ignore[arg-type]

    monkeypatch.setitem(LOSSES, config.loss, breaks)
    with pytest.raises(run.RunStoppedError, match=r"loss is nan .* at step 5: start again"):
        loop.train(config, tmp_path / "run")
    assert (tmp_path / "run" / run.CHECKPOINT).is_file()


def test_what_does_not_decide_the_weights_may_change_when_a_run_goes_on(
    config: TrainConfig, finished: Path
) -> None:
    before = weights_of(finished)
    loop.train(replace(config, gate_dice=0.2, checkpoint_steps=5), finished, resume=True)
    assert weights_of(finished) == before
    assert run.load_run(finished).gate_dice == 0.2
    assert len(run.load_record(finished)["starts"]) == 2


def test_a_run_of_a_config_from_before_a_setting_existed_goes_on(
    config: TrainConfig, finished: Path
) -> None:
    stored = json.loads((finished / run.CONFIG).read_text())
    del stored["patience"], stored["optim"]["clip_norm"]
    (finished / run.CONFIG).write_text(json.dumps(stored))
    loop.train(config, finished, resume=True)
    assert run.load_run(finished) == config


def test_a_run_stops_early_and_keeps_the_weights_of_its_best_epoch(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dices = iter([0.2, 0.6, 0.5, 0.4, 0.9])
    kept: list[bytes] = []

    def scripted(*_: object, **__: object) -> validate.Validation:
        if kept or (tmp_path / "run" / run.WEIGHTS).exists():
            kept.append(weights_of(tmp_path / "run"))
        picture = np.zeros((1, 8, 8, 3), np.uint8)
        return validate.Validation([next(dices)], picture, picture[..., 0] > 0, picture[..., 0] > 0)

    monkeypatch.setattr(loop, "validate", scripted)
    longer = replace(config, patience=2, stages=(replace(config.stages[0], epochs=5),))
    loop.train(longer, tmp_path / "run")
    assert [entry["val_dice"] for entry in run.read_log(tmp_path / "run")] == [0.2, 0.6, 0.5, 0.4]
    assert kept[0] != kept[1]  # after the first epoch, and after the second, its best
    assert weights_of(tmp_path / "run") == kept[1]
    loop.train(longer, tmp_path / "run", resume=True)
    assert len(run.read_log(tmp_path / "run")) == 4


def test_deep_supervision_and_residual_blocks_train_and_are_published_whole(
    config: TrainConfig, tmp_path: Path
) -> None:
    model = replace(config.model, deep_supervision=True, residual=True)
    loop.train(replace(config, model=model, loss="lovasz"), tmp_path / "run")
    predictor = run_subject(tmp_path / "run").predictor
    assert predictor.predict(read_photo(read_samples(config.data)[0])).mask.shape == (48, 64)


def test_a_long_gradient_is_shortened(config: TrainConfig, whole: Path, tmp_path: Path) -> None:
    clipped = replace(config, optim=replace(config.optim, clip_norm=1e-3, name="adam"))
    loop.train(clipped, tmp_path / "clipped")
    assert weights_of(tmp_path / "clipped") != weights_of(whole)


def test_a_full_disk_stops_with_a_clear_message_and_a_usable_checkpoint(
    config: TrainConfig, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def full(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        calls.append(1)
        if len(calls) == 3:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_file(tensors, path, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(run.RunStoppedError, match=r"No space left on device.*--resume"):
            loop.train(config, tmp_path / "run")
    loop.train(config, tmp_path / "run", resume=True)
    assert weights_of(tmp_path / "run") == weights_of(whole)


def test_a_dataset_that_vanishes_stops_the_run_by_name(config: TrainConfig, tmp_path: Path) -> None:
    gone = [
        replace(sample, image=tmp_path / "gone" / sample.image.name)
        for sample in read_samples(config.data)
    ]
    write_samples(gone, tmp_path / "data")
    with pytest.raises(DatasetError, match="is gone; put the dataset back"):
        loop.train(replace(config, data=tmp_path / "data"), tmp_path / "run")


def test_initial_weights_that_are_not_there_claim_no_folder(
    config: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"initial is '.*nowhere', and there is no"):
        loop.train(replace(config, initial=str(tmp_path / "nowhere")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_initial_weights_of_another_network_are_refused_with_what_to_write(
    config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    other = replace(config, initial=str(whole), model=replace(config.model, width=8, norm="group"))
    with pytest.raises(ConfigError) as refused:
        loop.train(other, tmp_path / "run")
    text = str(refused.value)
    assert 'whose network has width = 4, norm = "batch", and' in text
    assert 'says width = 8, norm = "group": write the former into [model]' in text
    assert "\n" not in text
    assert not (tmp_path / "run").exists()


def test_a_run_knows_what_its_initial_weights_had_seen(
    config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    fewer = [sample for sample in read_samples(config.data) if sample.id > "disc20"]
    write_samples(fewer, tmp_path / "data")
    second = replace(config, data=tmp_path / "data", initial=str(whole))
    loop.train(second, tmp_path / "second")
    assert run.trained_on(tmp_path / "second") == run.trained_on(whole)
    initial = run.load_record(tmp_path / "second")["initial"]
    assert initial["weights_sha256"] == file_sha256(whole / run.WEIGHTS)


def test_a_run_can_go_on_from_a_published_version(
    config: TrainConfig, whole: Path, tmp_path: Path
) -> None:
    version = tmp_path / "version"  # what a version keeps of the run that it came from
    version.mkdir()
    for name in (run.WEIGHTS, "trained_on.csv"):
        shutil.copy(whole / name, version / name)
    data = run.load_record(whole)["data"]
    said = {"name": "disc-unet", "version": "1.0.0", "licence": "MIT", "limits": ["Discs."]}
    shape = {"architecture": asdict(config.model)}
    (version / "card.json").write_text(json.dumps({"data": data, **said, **shape}))
    loop.train(replace(config, initial=str(version)), tmp_path / "second")
    initial = run.load_record(tmp_path / "second")["initial"]
    assert initial == {
        "weights_sha256": file_sha256(whole / run.WEIGHTS),
        "data_sha256": data["sha256"],
        "versions": [said | {"sha256": file_sha256(version / "card.json")}],
    }
    assert run.trained_on(tmp_path / "second") == run.trained_on(whole)


def test_a_dataset_that_is_not_there_is_named(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no dataset isci to train on; it has discs"):
        loop.train(replace(config, datasets=("isci",)), tmp_path / "run")


def test_data_without_a_validation_part_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    samples = [sample for sample in read_samples(config.data) if sample.part == "train"]
    write_samples(samples, tmp_path / "data")
    with pytest.raises(DatasetError, match="training needs train and val"):
        loop.train(replace(config, data=tmp_path / "data"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_named(config: TrainConfig, finished: Path) -> None:
    (finished / run.CHECKPOINT).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(DatasetError, match=r"checkpoint\.safetensors is not a checkpoint"):
        loop.train(config, finished, resume=True)


def _dies_after(steps: int, loss: object) -> object:
    calls: list[int] = []

    def wrapped(logits: object, truth: object) -> object:
        calls.append(1)
        if len(calls) > steps:
            raise Killed
        return loss(logits, truth)  # type: ignore[operator]

    return wrapped


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # within tensorboard
def test_tensorboard_finds_scalars_pictures_and_histograms_of_each_epoch(
    config: TrainConfig, whole: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(whole / "tensorboard"))
    events.Reload()
    dices = [(event.step, event.value) for event in events.Scalars("val/dice")]
    log = run.read_log(whole)
    assert dices == [(e["epoch"], pytest.approx(e["val_dice"])) for e in log]
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2]
    histogram = events.Histograms("val/dice_per_image")[0].histogram_value
    assert histogram.num == len([s for s in read_samples(config.data) if s.part == "val"])
    assert len(events.Images("val/photograph_truth_prediction")) == 2

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model_core.errors import ConfigError
from model_core.registry.local_store import file_sha256
from trainer.commands.main import main
from trainer.config import AugmentConfig, TrainConfig
from trainer.data.cache import open_cache
from trainer.data.samples import read_samples
from trainer.training import loop, run
from trainer.training.augment import Augment
from trainer.training.batches import batches
from trainer.training.teacher import open_teacher, teacher_maps


def test_maps_are_the_teacher_s_probabilities_and_are_made_once(
    exported: Path, discs: Path, tmp_path: Path
) -> None:
    samples = read_samples(discs)[:3]
    teacher = open_teacher(exported)
    maps = teacher_maps(samples, exported, size=32, fit="squash", cache=tmp_path)
    for sample, own in zip(samples, maps, strict=True):
        prediction = teacher.predict(Path(sample.image).read_bytes())
        probability = 1 / (1 + np.exp(-prediction.logits))
        assert np.abs(own / 255 - probability).max() < 0.02
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    again = teacher_maps(samples, exported, size=32, fit="squash", cache=tmp_path)
    assert np.array_equal(maps, again)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}


def test_a_published_version_teaches_as_the_run_it_came_from(exported: Path, discs: Path) -> None:
    version = exported.parent / "models" / "disc-unet" / "1.0.0"
    data = Path(read_samples(discs)[0].image).read_bytes()
    first, second = (open_teacher(folder).predict(data) for folder in (exported, version))
    assert np.array_equal(first.logits, second.logits)


def test_a_folder_without_weights_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run and no version's folder"):
        open_teacher(tmp_path)


def test_a_teacher_that_fits_images_otherwise_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fits images by squash, expected letterbox"):
        teacher_maps([], exported, size=32, fit="letterbox", cache=tmp_path)


def test_the_map_moves_with_the_mask_and_keeps_its_shades(config: TrainConfig) -> None:
    torch.manual_seed(0)
    masks = torch.zeros(4, 2, 32, 32)
    masks[:, 0, 8:20, 10:22], masks[:, 1, 8:20, 10:22] = 1.0, 0.7
    augment = Augment(AugmentConfig(rotate_deg=90.0, scale=(0.8, 1.2), fade=0.5, sticker=0.5))
    _, moved = augment(torch.rand(4, 3, 32, 32), masks)
    assert set(moved[:, 0].unique().tolist()) == {0.0, 1.0}
    inside = moved[:, 1][moved[:, 0] > 0]
    assert inside.min() > 0.3
    assert inside.max() == pytest.approx(0.7, abs=1e-3)


def test_a_batch_has_the_teachers_mean_as_a_second_channel(
    config: TrainConfig, discs: Path
) -> None:
    samples = [sample for sample in read_samples(discs) if sample.part == "train"]
    cache = open_cache(samples, replace(config.preprocess, size=16), discs / "cache")
    taught = replace(
        cache, teachers=tuple(np.full(cache.masks.shape, value, np.uint8) for value in (0, 102))
    )
    device = torch.device("cpu")
    for images, masks in batches(taught, config.stages[0], config, 0, 0, device):
        assert masks.shape == (len(images), 2, 16, 16)
        assert (masks[:, 1] == 0.2).all()


def test_a_run_that_learns_from_a_teacher_says_so_and_knows_what_it_had_seen(
    config: TrainConfig, exported: Path, discs: Path, tmp_path: Path
) -> None:
    plain = replace(config, stages=config.stages[:1])
    loop.train(plain, tmp_path / "plain")
    loop.train(replace(plain, teachers=(str(exported),)), tmp_path / "taught")
    weights = [(tmp_path / name / run.WEIGHTS).read_bytes() for name in ("plain", "taught")]
    assert weights[0] != weights[1]
    record = run.load_record(tmp_path / "taught")["teachers"]
    assert record[0]["weights_sha256"] == file_sha256(exported / run.WEIGHTS)
    assert set(run.trained_on(exported)) <= set(run.trained_on(tmp_path / "taught"))


def test_the_command_takes_a_teacher_and_refuses_what_is_none(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "trainer/configs/drawn.toml", "--data", str(discs)]
    out = ["--out", str(tmp_path / "run"), "--teacher", str(tmp_path)]
    assert main([*command, *out]) == 2
    assert "teacher" in capsys.readouterr().err


def test_the_same_weights_with_another_calibration_teach_other_maps(
    exported: Path, discs: Path, tmp_path: Path
) -> None:
    samples, again = read_samples(discs)[:2], shutil.copytree(exported, tmp_path / "again")
    report = json.loads((again / run.CALIBRATION).read_text())
    report["calibration"]["bias"] += 1.0
    (again / run.CALIBRATION).write_text(json.dumps(report))
    first, second = (
        teacher_maps(samples, folder, size=32, fit="squash", cache=tmp_path / "cache")
        for folder in (exported, again)
    )
    assert (second.astype(int) - first).sum() > 0


def test_a_run_of_before_there_could_be_several_teachers_is_read(
    scored: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(scored, old)
    config, record = (json.loads((old / name).read_text()) for name in (run.CONFIG, run.RUN))
    del config["teachers"], record["teachers"]
    (old / run.CONFIG).write_text(json.dumps(config | {"teacher": ""}))
    (old / run.RUN).write_text(json.dumps(record | {"teacher": None}))
    assert run.load_run(old).teachers == ()
    assert "teacher" not in run.load_record(old)
    taught = {"weights_sha256": "0" * 64, "data_sha256": "1" * 64}
    (old / run.CONFIG).write_text(json.dumps(config | {"teacher": "models/one"}))
    (old / run.RUN).write_text(json.dumps(record | {"teacher": taught}))
    assert run.load_run(old).teachers == ("models/one",)
    assert run.load_record(old)["teachers"] == [taught]

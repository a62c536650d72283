"""Every image is scored once, by a run that never saw it nor a near-duplicate of it."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_core.errors import DatasetError
from tests.conftest import REPOSITORY
from trainer.commands import main
from trainer.config import TrainConfig
from trainer.folds import deal, without
from trainer.loop import train
from trainer.samples import Sample, read_samples

CONFIG = """
data = "unset"
loss = "bce_dice"
stages = [{ size = 32, epochs = 2, batch = 4 }]
checkpoint_steps = 2
patience = 1
model = { width = 4, depth = 2, norm = "batch" }
preprocess = { size = 32 }
optim = { lr = 0.02, ema = 0.8 }
augment = { hflip = 0.5 }
"""
sizes_of_groups = st.lists(st.integers(1, 5), min_size=6, max_size=40)


def samples_in_groups(sizes: list[int]) -> list[Sample]:
    return [
        Sample(
            dataset="drawn",
            id=f"g{group}-{member}",
            image=Path("photograph.png"),
            mask=Path("mask.png"),
            height=48,
            width=64,
            group=f"g{group}",
            part="train",
            image_sha256="",
            mask_sha256="",
        )
        for group, size in enumerate(sizes)
        for member in range(size)
    ]


@given(sizes_of_groups, st.integers(2, 6), st.randoms())
def test_folds_are_even_and_the_same_for_any_order_of_rows(
    sizes: list[int], count: int, order: random.Random
) -> None:
    samples = samples_in_groups(sizes)
    folds = deal(samples, count)
    images = Counter(folds[sample.group] for sample in samples)
    assert sorted(images) == list(range(count))
    assert max(images.values()) - min(images.values()) <= max(sizes)
    order.shuffle(samples)
    assert deal(samples, count) == folds


@given(sizes_of_groups, st.integers(2, 6))
def test_a_run_is_kept_from_its_fold_and_near_duplicates_stay_on_one_side(
    sizes: list[int], count: int
) -> None:
    samples = samples_in_groups(sizes)
    folds = deal(samples, count)
    for fold in range(count):
        parts = defaultdict(set)
        for sample in without(samples, folds, fold):
            parts[sample.group].add(sample.part)
        assert all(len(sides) == 1 for sides in parts.values())
        sides = {group: next(iter(found)) for group, found in parts.items()}
        assert {group for group, side in sides.items() if side == "test"} == {
            group for group in folds if folds[group] == fold
        }
        assert {"train", "val"} <= set(sides.values())


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"6 images in 2 groups .* too few for 3 folds"):
        deal(samples_in_groups([4, 2]), 3)


def command(folder: Path, data: Path, *more: str) -> list[str]:
    config = folder / "tiny.toml"
    config.write_text(CONFIG)
    out = ["--out", str(folder / "folds"), "--data", str(data)]
    return ["cross-validate", str(config), *out, "--folds", "2", *more]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_image_that_may_steer_a_run_is_scored_once_by_the_run_kept_from_it(
    tmp_path: Path, discs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "folds"
    assert main(command(tmp_path, discs)) == 0
    printed = capsys.readouterr().out
    rows = rows_of(out / "out_of_fold.csv")
    wanted = {s.id for s in read_samples(discs) if s.part in ("train", "val")}
    assert sorted(row["id"] for row in rows) == sorted(wanted)
    assert {row["id"]: row["fold"] for row in rows} == {
        row["id"]: row["fold"] for row in rows_of(out / "folds.csv")
    }
    found = json.loads((out / "out_of_fold.json").read_text())
    [record] = found["sets"]
    assert record["part"] == "out of fold"
    assert "2-fold" in record["conditions"]
    assert record["summary"]["n"] == len(wanted)
    mean = sum(float(row["dice"]) for row in rows) / len(rows)
    assert record["summary"]["per_image"]["dice"]["mean"] == pytest.approx(mean, abs=1e-6)
    dice = [fold["discs"]["dice"] for fold in found["folds"]]
    assert found["spread"]["discs"]["dice"]["mean"] == pytest.approx(sum(dice) / 2)
    assert f"{record['summary']['per_image']['dice']['mean']:.4f}" in printed

    # A fold's run is a run like any other, and gives its fold these very scores.
    run, data = out / "fold-2" / "run", out / "fold-2" / "data"
    scored = tmp_path / "scored"
    assert main(["evaluate", str(run), "--data", str(data), "--out", str(scored)]) == 0
    alone = {row["id"]: row["dice"] for row in rows_of(scored / "scores_test.csv")}
    assert alone == {row["id"]: row["dice"] for row in rows if row["fold"] == "2"}
    assert not list(out.glob("fold-*/data/cache"))

    assert main(command(tmp_path, discs)) == 2
    assert "already holds a cross-validation: add --resume" in capsys.readouterr().err
    assert main(command(tmp_path, discs, "--resume", "--folds", "3")) == 2
    assert "another number of folds" in capsys.readouterr().err
    assert rows_of(out / "out_of_fold.csv") == rows


def test_initial_weights_that_saw_the_images_are_refused_before_anything_is_trained(
    tmp_path: Path, discs: Path, config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config, tmp_path / "first")
    arguments = command(tmp_path, discs)
    config_file = Path(arguments[1])
    config_file.write_text(f'initial = "{tmp_path / "first"}"\n{CONFIG}')
    assert main(arguments) == 2
    assert "were seen in training" in capsys.readouterr().err
    assert not (tmp_path / "folds").exists()


@pytest.mark.slow
def test_killed_at_random_instants_it_ends_with_the_same_scores(
    tmp_path: Path, discs: Path
) -> None:
    folders = [tmp_path / "whole", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
    began = time.monotonic()
    start = [sys.executable, "-m", "trainer"]
    subprocess.run([*start, *command(folders[0], discs)], cwd=REPOSITORY, check=True)
    whole_s = time.monotonic() - began
    rng = random.Random(0)
    for _ in range(3):
        program = subprocess.Popen(
            [*start, *command(folders[1], discs, "--resume")],
            cwd=REPOSITORY,
            start_new_session=True,
        )
        time.sleep(rng.uniform(0.4, 0.9) * whole_s)
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    resumed = [*start, *command(folders[1], discs, "--resume")]
    subprocess.run(resumed, cwd=REPOSITORY, check=True)
    whole, killed = (folder / "folds" / "out_of_fold.csv" for folder in folders)
    assert killed.read_bytes() == whole.read_bytes()

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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model_core.errors import DatasetError
from tests.conftest import REPOSITORY
from tests.fixtures.undrawn import without_charts
from trainer.commands.main import main
from trainer.data.folds import assign_folds, without
from trainer.data.samples import Sample, read_samples, write_samples
from trainer.training.run import load_record

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
    folds = assign_folds(samples, count)
    images = Counter(folds[sample.group] for sample in samples)
    assert sorted(images) == list(range(1, count + 1))
    assert max(images.values()) - min(images.values()) <= max(sizes)
    order.shuffle(samples)
    assert assign_folds(samples, count) == folds


@given(sizes_of_groups, st.integers(2, 6))
def test_a_run_is_kept_from_its_fold_and_near_duplicates_stay_on_one_side(
    sizes: list[int], count: int
) -> None:
    samples = samples_in_groups(sizes)
    folds = assign_folds(samples, count)
    assume(all(len(folds) - held >= 2 for held in Counter(folds.values()).values()))
    for fold in range(1, count + 1):
        parts = defaultdict(set)
        for sample in without(samples, folds, fold):
            parts[sample.group].add(sample.part)
        assert all(len(sides) == 1 for sides in parts.values())
        sides = {group: next(iter(found)) for group, found in parts.items()}
        assert {group for group, side in sides.items() if side == "test"} == {
            group for group in folds if folds[group] == fold
        }
        assert {"train", "val"} <= set(sides.values())
        others = [sizes[int(group[1:])] for group in folds if folds[group] != fold]
        assert max(others) in {
            sizes[int(group[1:])] for group, side in sides.items() if side == "train"
        }


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"6 images in 2 groups .* too few for 3 folds"):
        assign_folds(samples_in_groups([4, 2]), 3)


def test_a_run_needs_two_groups_beside_its_fold() -> None:
    samples = samples_in_groups([5, 1, 1])
    folds = assign_folds(samples, 2)
    with pytest.raises(DatasetError, match="beside fold 2 there is one group"):
        without(samples, folds, 2)


def test_one_large_group_is_trained_on_and_does_not_validate() -> None:
    samples = samples_in_groups([50, *[1] * 50])
    folds = assign_folds(samples, 5)
    for fold in range(2, 6):
        parts = Counter(sample.part for sample in without(samples, folds, fold))
        assert parts["train"] > 70
        assert parts["val"] < 10


def command(folder: Path, data: Path, *more: str) -> list[str]:
    config = folder / "tiny.toml"
    config.write_text(CONFIG)
    out = ["--out", str(folder / "folds"), "--data", str(data)]
    return ["cross-validate", str(config), *out, "--folds", "2", *more]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def _but_no_charts(pictures: None) -> Iterator[None]:
    with without_charts():
        yield


@pytest.mark.usefixtures("_but_no_charts")
def test_each_image_that_may_steer_a_run_is_scored_once_by_the_run_kept_from_it(
    tmp_path: Path, discs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, prepared = tmp_path / "folds", tmp_path / "data"
    samples = read_samples(discs)
    write_samples(samples, prepared)
    assert main(command(tmp_path, prepared)) == 0
    printed = capsys.readouterr().out
    assert "fold 2 of 2: " in printed
    rows = rows_of(out / "out_of_fold.csv")
    wanted = {s.id for s in samples if s.part in ("train", "val")}
    assert sorted(row["id"] for row in rows) == sorted(wanted)
    assert {row["id"]: row["fold"] for row in rows} == {
        row["id"]: row["fold"] for row in rows_of(out / "folds.csv")
    }
    found = json.loads((out / "out_of_fold.json").read_text())
    [record] = found["sets"]
    assert record["part"] == rows[0]["part"] == "out of fold"
    assert "2-fold" in record["conditions"]
    assert record["summary"]["n"] == len(wanted)
    mean = sum(float(row["dice"]) for row in rows) / len(rows)
    assert record["summary"]["per_image"]["dice"]["mean"] == pytest.approx(mean, abs=1e-6)
    dice = [fold["sets"]["discs"]["dice"] for fold in found["folds"]]
    assert found["spread"]["discs"]["dice"]["mean"] == pytest.approx(sum(dice) / 2)
    assert f"{record['summary']['per_image']['dice']['mean']:.4f}" in printed

    # A fold's run is a run, and gives its fold these very scores; they are not of a test part.
    run, data = out / "fold-2" / "run", out / "fold-2" / "data"
    assert {"report.html", "curves.png", "triptychs_test.png"} <= {p.name for p in run.iterdir()}
    publish = ["publish", str(run), "--licence", "CC0-1.0", "--version", "0.1.0"]
    assert main([*publish, "--registry", str(tmp_path / "models")]) == 2
    assert "was kept from fold 2 of 2 of a cross-validation" in capsys.readouterr().err
    assert "kept from fold 2 of 2" in (run / "report.html").read_text()
    scored = tmp_path / "scored"
    assert main(["evaluate", str(run), "--data", str(data), "--out", str(scored)]) == 0
    alone = {row["id"]: row["dice"] for row in rows_of(scored / "scores_test.csv")}
    assert alone == {row["id"]: row["dice"] for row in rows if row["fold"] == "2"}
    assert not list(out.glob("fold-*/data/cache"))

    assert main(command(tmp_path, prepared)) == 2
    assert "already holds a cross-validation: add --resume" in capsys.readouterr().err
    assert main(command(tmp_path, prepared, "--resume", "--folds", "3")) == 2
    assert "another number of folds" in capsys.readouterr().err
    noted = (out / "fold-1" / "data" / "samples.csv").read_bytes()
    first, *others = (sample for sample in samples if sample.part != "test")
    write_samples([replace(first, mask_sha256="0" * 64), *others], prepared)
    assert main(command(tmp_path, prepared, "--resume")) == 2
    assert "was begun with other images" in capsys.readouterr().err
    assert (out / "fold-1" / "data" / "samples.csv").read_bytes() == noted


def test_initial_weights_that_saw_the_images_are_refused_before_anything_is_trained(
    tmp_path: Path, discs: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(tmp_path, discs)
    config_file = Path(arguments[1])
    config_file.write_text(f'initial = "{whole}"\n{CONFIG}')
    assert main(arguments) == 2
    assert "were seen in training" in capsys.readouterr().err
    assert not (tmp_path / "folds").exists()


@pytest.mark.slow
def test_two_processes_score_each_image_once_too(tmp_path: Path, discs: Path) -> None:
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "trainer"]
    subprocess.run(
        [sys.executable, "-m", *torchrun, *command(tmp_path, discs)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        timeout=600,
    )
    out = tmp_path / "folds"
    scored = [row["id"] for row in rows_of(out / "out_of_fold.csv")]
    wanted = [sample.id for sample in read_samples(discs) if sample.part in ("train", "val")]
    assert sorted(scored) == sorted(wanted)
    assert load_record(out / "fold-2" / "run")["starts"][0]["device"] == "cpu x 2"


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
    for _ in range(2):
        program = subprocess.Popen(
            [*start, *command(folders[1], discs, "--resume")],
            cwd=REPOSITORY,
            start_new_session=True,
        )
        time.sleep(rng.uniform(0.2, 0.9) * whole_s)
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    resumed = [*start, *command(folders[1], discs, "--resume")]
    subprocess.run(resumed, cwd=REPOSITORY, check=True)
    for name in ("out_of_fold.csv", "out_of_fold.json"):
        whole, killed = (folder / "folds" / name for folder in folders)
        assert killed.read_bytes() == whole.read_bytes()

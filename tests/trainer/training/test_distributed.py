import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeVar

import pytest

from model_core.errors import ConfigError
from model_core.network.unet import UNet
from trainer.config import TrainConfig, load_config
from trainer.data.samples import read_samples
from trainer.training import loop, run
from trainer.training.distributed import Team
from trainer.training.validate import validate

T = TypeVar("T")

BATCH = 5
"""Two processes do not share it evenly."""
TOML = """
seed = 3
loss = "bce_dice"
checkpoint_steps = 1
gate_dice = 0.1
stages = [
    {{ size = 16, epochs = 2, batch = {batch} }},
    {{ size = 32, epochs = 1, batch = {batch} }},
]
[model]
width = 4
depth = 2
norm = "{norm}"
[preprocess]
size = 32
[optim]
lr = 0.003
ema = 0.5
schedule = "cosine"
clip_norm = 1.0
[augment]
hflip = 0.5
rotate_deg = 30.0
brightness = 0.2
coarse = 0.3
hair = 0.3
noise = 0.3
"""


class Apart(Team):
    """One of a team, who hears of nobody else's part."""

    def gather(self, part: list[T]) -> list[T]:
        return part


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [0, 1, 5, 14])
def test_the_shares_of_a_team_are_all_rows_each_once(count: int, total: int) -> None:
    rows = [list(range(total))[Team(rank, count).shard(total)] for rank in range(count)]
    assert [row for share in rows for row in share] == list(range(total))


def test_the_weighted_mean_of_the_shares_is_the_mean_of_all() -> None:
    values, team = [3.0, 1.0, 4.0, 1.0, 5.0], [Team(rank, 2) for rank in range(2)]
    means = [sum(values[one.shard(5)]) / len(values[one.shard(5)]) for one in team]
    weighed = [one.weight(5) * mean for one, mean in zip(team, means, strict=True)]
    assert sum(weighed) / 2 == pytest.approx(sum(values) / 5)
    assert Team(1, 2).weight(8) == 1


def test_more_processes_than_images_of_a_batch_are_refused(
    config: TrainConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="5 processes share a batch of 4 images"):
        loop.train(config, tmp_path / "run", team=Team(0, 5))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_shares_of_a_validation_are_the_whole_validation(
    config: TrainConfig, count: int
) -> None:
    samples = [sample for sample in read_samples(config.data) if sample.part == "train"][:6]
    weights = UNet(config.model).state_dict()
    weights["head.bias"].fill_(100)  # everything is found: each image has a Dice of its own
    whole = validate(config, samples, weights)
    shares = [validate(config, samples, weights, Apart(rank, count)) for rank in range(count)]
    assert len(set(whole.dices)) > 1
    assert [dice for share in shares for dice in share.dices] == whole.dices
    assert sum(len(share.masks) for share in shares) == len(whole.masks) == 4


@pytest.mark.slow  # processes that import PyTorch
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_two_processes_follow_the_loss_curve_of_one(discs: Path, tmp_path: Path, norm: str) -> None:
    path = _write_config(tmp_path, norm)
    loop.train(load_config(path, data=discs), tmp_path / "one")
    _finish(_start(2, path, discs, tmp_path / "two"))
    _require_same_curve(tmp_path / "two", tmp_path / "one")
    assert run.load_record(tmp_path / "two")["starts"][0]["device"] == "cpu x 2"
    items = json.loads((tmp_path / "two" / "scores_val.json").read_text())["items"]
    validation = [sample.id for sample in read_samples(discs) if sample.part == "val"]
    assert sorted(item["id"] for item in items) == sorted(validation)


@pytest.mark.slow  # processes that import PyTorch
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_killed_run_goes_on_with_another_number_of_processes(
    discs: Path, tmp_path: Path, before: int, after: int
) -> None:
    path = _write_config(tmp_path, "batch")
    loop.train(load_config(path, data=discs), tmp_path / "whole")
    killed = _start(before, path, discs, tmp_path / "run")
    while not (tmp_path / "run" / run.CHECKPOINT).exists():
        assert killed.poll() is None
        time.sleep(0.005)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert len(run.read_log(tmp_path / "run")) < 3
    _finish(_start(after, path, discs, tmp_path / "run", "--resume"))
    _require_same_curve(tmp_path / "run", tmp_path / "whole")


def _write_config(folder: Path, norm: str) -> Path:
    path = folder / "config.toml"
    path.write_text(TOML.format(batch=BATCH, norm=norm))
    return path


def _start(count: int, config: Path, data: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m"]
    words = [*(torchrun if count > 1 else []), "trainer", "train", str(config)]
    return subprocess.Popen(
        [sys.executable, "-m", *words, "--data", str(data), "--out", str(out), *more],
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def _finish(process: subprocess.Popen[bytes]) -> None:
    try:
        assert process.wait(timeout=600) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def _require_same_curve(found: Path, expected: Path) -> None:
    ours, theirs = run.read_log(found), run.read_log(expected)
    for name, within in (("loss", 1e-4), ("val_dice", 1e-2)):
        values = [entry[name] for entry in ours]
        assert values == pytest.approx([entry[name] for entry in theirs], rel=within), name

"""A run that is killed, at whatever instant, goes on to the weights it would have had anyway."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from trainer.config import TrainConfig
from trainer.training import loop, run

KILLED = 9


def dies_at_file_operation(number: int, config: TrainConfig, folder: Path) -> bool:
    """Train in a child that ends, without any clean-up, before its n-th touch of the run folder.

    Returns:
        Whether it died; False where the run ended before it came to that.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, KILLED)
        return code == KILLED
    try:
        left = number

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in ("open", "os.rename", "os.mkdir") and str(folder) in str(arguments[0]):
                left -= 1
                if left == 0:
                    os._exit(KILLED)

        sys.addaudithook(hook)
        loop.train(config, folder, resume=True)
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.usefixtures("pictures")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork, from Python 3.12 on
@pytest.mark.parametrize("stride", [10, pytest.param(3, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_touch_of_its_folder_ends_with_the_same_weights(
    config: TrainConfig, whole: Path, tmp_path: Path, stride: int
) -> None:
    expected = (whole / run.WEIGHTS).read_bytes()
    losses = [entry["loss"] for entry in run.read_log(whole)]
    instants = 0
    # Every third meets all kinds of file; each run begins where the last one died.
    while dies_at_file_operation(stride * instants + 1, config, tmp_path / "killed"):
        instants += 1
        if (tmp_path / "killed" / run.WEIGHTS).exists():
            run.load_run(tmp_path / "killed")
    assert instants >= (4 if stride == 3 else 2)
    assert (tmp_path / "killed" / run.WEIGHTS).read_bytes() == expected
    assert [entry["loss"] for entry in run.read_log(tmp_path / "killed")] == losses


@pytest.mark.slow
def test_a_real_run_killed_by_signal_at_random_instants_ends_with_the_same_weights(
    discs: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(
        f'name = "disc-unet"\ndata = "{discs}"\nloss = "bce_dice"\ncheckpoint_steps = 2\n'
        "stages = [{ size = 64, epochs = 3, batch = 2 }]\n"
        '[model]\nwidth = 8\ndepth = 3\nnorm = "batch"\n[preprocess]\nsize = 64\n'
        "[optim]\nlr = 0.01\nema = 0.9\n[augment]\nhflip = 0.5\nrotate_deg = 30.0\n"
    )

    def start(folder: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "trainer", "train", str(tmp_path / "config.toml"),
             "--out", str(tmp_path / folder), "--resume"],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def written() -> int:
        path = tmp_path / "killed" / run.CHECKPOINT
        return path.stat().st_mtime_ns if path.exists() else 0

    assert start("whole").wait() == 0
    instants, killed = random.Random(0), 0
    for _ in range(3):
        process, before = start("killed"), written()
        while written() == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(instants.uniform(0, 0.4))  # a checkpoint takes about a tenth of that
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 1
    assert start("killed").wait() == 0
    whole, resumed = ((tmp_path / name / run.WEIGHTS).read_bytes() for name in ("whole", "killed"))
    assert resumed == whole

"""Shards on Ray on this machine; it takes long to start."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from model_core.backends.cores import usable_cores
from tests.fixtures.models import tiny_registry
from trainer.data.drawn import draw_lesion

pytest.importorskip("ray", reason="ray is not installed (the extra `ray` brings it)")
pytestmark = pytest.mark.foreign

SHARDS = 40
_PATIENCE_S = 300


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry, photographs (a bad one among them), and what the local runner makes of them."""
    folder = tmp_path_factory.mktemp("archive")
    tiny_registry(folder / "models")
    (folder / "in").mkdir()
    for number in range(4):
        picture = Image.fromarray(draw_lesion(number, height=900, width=1200)[0])
        for copy in range(SHARDS // 4):
            picture.save(folder / "in" / f"{number}-{copy}.png", compress_level=1)
    (folder / "in" / "2-0.png").write_bytes(b"no photograph")
    run = start(folder, "local")
    assert run.wait(_PATIENCE_S) == 1  # one was skipped
    return folder


def start(folder: Path, out: str, *options: str) -> "subprocess.Popen[bytes]":
    places = [str(folder / "in"), "--out", str(folder / out), "--registry", str(folder / "models")]
    command = [sys.executable, "-m", "trainer", "predict", *places]
    command += ["--format", "png,coco,parquet", "--shard-size", "1"]
    return subprocess.Popen([*command, *options], env={**os.environ, "OMP_NUM_THREADS": "1"})


def start_on_ray(folder: Path, out: str) -> "subprocess.Popen[bytes]":
    return start(folder, out, "--runner", "ray", "--workers", str(min(2, usable_cores())))


def files(folder: Path) -> dict[str, bytes]:
    """Every file that readers see."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def done(out: Path) -> int:
    return len(list((out / "done").glob("*.json")))


def wait_for_two(run: "subprocess.Popen[bytes]", out: Path) -> None:
    """Until two shards of a run are done."""
    end = time.monotonic() + _PATIENCE_S
    while done(out) < 2:
        assert run.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)


def workers(driver: int) -> list[psutil.Process]:
    """Ray's processes that predict for a driver, which started Ray."""
    started = psutil.Process(driver).children(recursive=True)
    return [process for process in started if "_ShardWorker" in " ".join(process.cmdline())]


def test_workers_of_ray_leave_the_very_files_of_the_local_runner(archive: Path) -> None:
    assert start_on_ray(archive, "ray").wait(_PATIENCE_S) == 1
    assert files(archive / "ray") == files(archive / "local")
    assert done(archive / "ray") == SHARDS


def test_a_killed_worker_costs_no_photograph(archive: Path) -> None:
    run = start_on_ray(archive, "worker")
    wait_for_two(run, archive / "worker")
    workers(run.pid)[0].kill()
    assert done(archive / "worker") < SHARDS
    assert run.wait(_PATIENCE_S) == 1
    assert files(archive / "worker") == files(archive / "local")


def test_a_killed_driver_costs_no_photograph(archive: Path) -> None:
    run = start_on_ray(archive, "driver")
    wait_for_two(run, archive / "driver")
    orphans = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    psutil.wait_procs(orphans, timeout=_PATIENCE_S)
    left = done(archive / "driver")
    assert 2 <= left < SHARDS
    assert start_on_ray(archive, "driver").wait(_PATIENCE_S) == 1
    assert files(archive / "driver") == files(archive / "local")

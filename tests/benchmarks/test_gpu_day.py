"""What the script for a GPU leaves, read back; the script itself, on a CPU, is a slow test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu_day
from tests.conftest import REPOSITORY

ROW = {
    "engine": "pytorch-cuda-bf16",
    "n": 200,
    "median": 0.999,
    "first_percentile": 0.99,
    "least": 0.98,
}
SERVED = {
    "engine": "pytorch-bf16",
    "server": "service",
    "load": "64 callers",
    "rounds": [{}],
    "skipped": "",
    "median": {"requests_per_s": 1500.0, "p50_ms": 40.0, "p99_ms": 61.5},
}


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """A folder as the script leaves it where two of its steps failed."""
    (tmp_path / "steps.tsv").write_text("graphs\t0\t31\nservice\t0\t150\nloops\t124\t80\n")
    (tmp_path / "graphs.log").write_text("...\n11 passed in 20.00s\n")
    (tmp_path / "agreement.json").write_text(json.dumps({"rows": [ROW], "missing": []}))
    (tmp_path / "network-bf16.log").write_text(
        'a warning\n{"ways": {"1 x 16, batches of 32": 5000}}'
    )
    (tmp_path / "network-fp32.log").write_text("Traceback: out of memory")
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "results.json").write_text(json.dumps({"rows": [SERVED]}))
    (tmp_path / "run").mkdir()
    samples = {"isic": {"train": 2000, "val": 100}}
    (tmp_path / "run" / "run.json").write_text(json.dumps({"data": {"samples": samples}}))
    epochs = [{"epoch": each, "seconds": 20.0, "val_dice": 0.85} for each in (1, 2)]
    (tmp_path / "run" / "log.jsonl").write_text("\n".join(map(json.dumps, epochs)))
    return tmp_path


def test_one_json_holds_all_steps_and_the_tables_come_from_it(day: Path) -> None:
    found = gpu_day.gather(day)
    assert json.loads(json.dumps(found)) == found
    assert found["notebook"]["images_per_s"] == 2 * 2000 / 40
    text = gpu_day.tables(found)
    assert "| loops | 124 | 80 |" in text
    assert "Graphs: 11 passed in 20.00s" in text
    assert "| pytorch-cuda-bf16 | 200 | 0.9990 | 0.9900 | 0.9800 |" in text
    assert "| bf16 | 1 x 16, batches of 32 | 5000 |" in text
    assert "| fp32 |" not in text
    assert "| pytorch-bf16 | service | 64 callers | 1500.0 | 40.0, 61.5 |" in text
    assert "2 epochs of 2000 photographs: 40 s, 100.0 images/s with validation; Dice 0.8500" in text


def test_a_day_on_which_nothing_worked_still_says_what_was_tried(tmp_path: Path) -> None:
    (tmp_path / "steps.tsv").write_text("graphs\t1\t3\n")
    text = gpu_day.tables(gpu_day.gather(tmp_path))
    assert "| graphs | 1 | 3 |" in text
    assert "masks/s" not in text


def test_a_folder_of_something_else_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "mine.json").write_text("{}")
    command = [str(REPOSITORY / "benchmarks" / "gpu_day.sh"), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "name an empty folder" in run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "mine.json"]


@pytest.mark.slow
def test_every_step_of_the_script_runs_on_a_cpu(tmp_path: Path) -> None:
    environment = {**os.environ, "DRY": "1", "PYTHON": sys.executable}
    command = [str(REPOSITORY / "benchmarks" / "gpu_day.sh"), str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    found = json.loads((tmp_path / "gpu_day.json").read_text())
    assert all(step["exit_code"] == 0 for step in found["steps"])
    assert len(found["steps"]) == 9
    assert found["notebook"]["epochs"] == 5
    alone = f"1 x {found['conditions']['cores']}"
    assert list(found["networks"]["bf16"]["ways"]) == [alone, f"{alone}, batches of 2"]

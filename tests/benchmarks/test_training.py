import json
from pathlib import Path

import pytest

from benchmarks import training
from model_core.network.unet_config import UNetConfig


def test_the_work_of_an_image_is_that_of_its_convolutions_forwards_and_backwards() -> None:
    upper = 9 * 3 * 4 + 9 * 4 * 4 + 9 * 8 * 4 + 9 * 4 * 4 + 4  # at 16x16 px: down, up, head
    lower = 9 * 4 * 8 + 9 * 8 * 8 + 8 * 4 * 4  # at 8x8 px: the bottom, and the step up
    multiplications = 16 * 16 * upper + 8 * 8 * lower
    found = training.gflop(UNetConfig(width=4, depth=1), 16)
    assert found == pytest.approx(3 * 2 * multiplications / 1e9)


@pytest.mark.slow
def test_all_loops_take_their_turns_in_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = "--rounds 2 --seconds 0.1 --images 32 --sides 48 64 --width 4 --matrix-side 64"
    out = tmp_path / "training.json"
    assert training.main([*quick.split(), "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    names = [row["name"] for row in found["rows"]]
    assert names[:2] == [training.NOTEBOOK, training.OURS]
    assert len(names) > 2
    assert all(name.startswith(training.RECIPE) for name in names[2:])
    rows = found["rows"]
    assert all(len(row["rounds"]) == 2 and min(row["rounds"]) > 0 for row in rows)
    assert rows[0]["times_notebook"] == 1
    rates = [row["images_per_s"] for row in rows[2:]]
    assert min(rates) <= found["default_recipe"]["images_per_s"] <= max(rates)
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)

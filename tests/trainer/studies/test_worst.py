import io
import json
import re
from base64 import b64decode
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import BuiltOnce
from tests.fixtures.undrawn import undrawn
from trainer.commands.main import main
from trainer.config import parse_config
from trainer.data.samples import read_samples, write_samples
from trainer.plots.pictures import PRED_COLOUR, TRUTH_COLOUR
from trainer.training.loop import train


@pytest.fixture(scope="session")
def scored(discs: Path, built_once: BuiltOnce) -> Path:
    """A run scored on a validation part of 34 images; said.txt has what that printed."""

    def fill(folder: Path) -> None:
        samples = read_samples(discs)
        write_samples(
            [replace(s, part="train" if i < 6 else "val") for i, s in enumerate(samples)],
            folder / "data",
        )
        table = {
            "data": str(folder / "data"),
            "stages": [{"size": 16, "epochs": 2, "batch": 2}],
            "model": {"width": 4, "depth": 2, "norm": "batch"},
            "preprocess": {"size": 16},
        }
        said = io.StringIO()
        with redirect_stdout(said), undrawn():
            train(parse_config(table, "test"), folder / "run")
            evaluate = ["evaluate", str(folder / "run"), "--data", str(folder / "data")]
            assert main([*evaluate, "--part", "val"]) == 0
        (folder / "run" / "said.txt").write_text(said.getvalue())

    return built_once("worst", fill) / "run"


def test_validation_leaves_its_30_worst_images_to_be_looked_at(scored: Path) -> None:
    assert "worst_val.png" in (scored / "said.txt").read_text()
    items = json.loads((scored / "scores_val.json").read_text())["items"]
    assert len(items) > 30
    worst = sorted(items, key=lambda item: (item["dice"], item["id"]))[:30]
    page = (scored / "worst_val.html").read_text()
    assert re.findall(r'alt="\d+\. Dice ([\d.]+), discs, (disc\d+)', page) == [
        (f"{item['dice']:.3f}", item["id"]) for item in worst
    ]
    assert f"The 30 worst of {len(items)} images" in page
    assert not re.search(r'(src|href)="(?!data:)', page)  # it can be mailed and opened offline


def test_each_picture_has_both_outlines_over_the_photograph(scored: Path) -> None:
    sheet = np.asarray(Image.open(scored / "worst_val.png"))
    height, width, _ = sheet.shape
    assert width == 6 * 300
    assert height == 34 + 5 * 334
    page = (scored / "worst_val.html").read_text()
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(pictures) == 30
    for encoded in pictures:
        pixels = np.asarray(Image.open(io.BytesIO(b64decode(encoded)))).astype(int)
        assert max(pixels.shape) == 640
        for colour in (TRUTH_COLOUR, PRED_COLOUR):
            assert (np.abs(pixels - colour).sum(axis=2) < 60).sum() > 100


def test_validation_leaves_its_strata(scored: Path) -> None:
    strata = json.loads((scored / "strata_val.json").read_text())
    count = len(json.loads((scored / "scores_val.json").read_text())["items"])
    assert {sum(row["n"] for row in rows) for rows in strata.values()} == {count}
    assert "| dataset: discs val |" in (scored / "strata_val.md").read_text()

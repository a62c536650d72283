import csv
from pathlib import Path

import numpy as np
import pytest

from model_core.errors import DatasetError
from model_core.predictor import Predictor
from model_core.processing.postprocess import PostprocessConfig
from tests.fixtures.models import dark_predictor
from trainer.data.samples import Sample, read_samples
from trainer.evaluation import margins
from trainer.evaluation.margins import choose_margins, read_tools


def write_readers(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "annotator", "tool"), *((i, "A1", t) for i, t in rows)])
    return path


def test_the_tool_is_known_of_masks_with_one_reader(tmp_path: Path) -> None:
    path = write_readers(tmp_path / "r.csv", [("a", "T1"), ("b", "T2"), ("b", "T1"), ("c", "T3")])
    assert read_tools(path) == {"a": "T1", "c": "T3"}


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id,reader\na,A1\n")
    with pytest.raises(DatasetError, match="tool"):
        read_tools(tmp_path / "r.csv")


@pytest.fixture
def predictor() -> Predictor:
    """Finds dark pixels, with a threshold between two of those that are tried."""
    return dark_predictor(postprocess=PostprocessConfig(threshold=0.45))


def test_too_few_images_choose_no_margin(predictor: Predictor, discs: Path) -> None:
    rules, report = choose_margins(predictor, read_samples(discs)[:5], {})
    assert rules == predictor.postprocess_config
    assert report == {name: {"n": 0, "threshold": None} for name in ("tight", "loose")}


def test_a_margin_is_the_best_threshold_of_its_images_if_it_is_on_its_side(
    predictor: Predictor, discs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = read_samples(discs)
    tools = {sample.id: "T1" if place % 2 else "T3" for place, sample in enumerate(samples)}
    monkeypatch.setattr(margins, "LEAST_IMAGES", 5)

    def best_at(tight: float, loose: float) -> None:
        def jaccards(_: Predictor, chosen: list[Sample], thresholds: list[float]) -> object:
            best = loose if tools[chosen[0].id] == "T1" else tight
            return np.array([[1 - abs(cut - best) for cut in thresholds] for _ in chosen])

        monkeypatch.setattr(margins, "_jaccards", jaccards)

    best_at(tight=0.7, loose=0.25)
    rules, report = choose_margins(predictor, samples, tools)
    assert (rules.tight_threshold, rules.threshold, rules.loose_threshold) == (0.7, 0.45, 0.25)
    assert report["tight"]["jaccard"] > report["tight"]["jaccard_of_middle"]

    best_at(tight=0.3, loose=0.6)
    rules, report = choose_margins(predictor, samples, tools)
    assert rules == predictor.postprocess_config
    assert report["tight"]["threshold"] is None


def test_every_threshold_is_scored_on_the_masks_that_the_service_would_give(
    predictor: Predictor, discs: Path
) -> None:
    table = margins._jaccards(predictor, read_samples(discs)[:3], [0.2, 0.5])
    assert table.shape == (3, 2)
    assert ((table >= 0) & (table <= 1)).all()

import json
from dataclasses import replace
from pathlib import Path

import pytest

from model_core.errors import GateError
from model_core.processing.calibration import Calibration
from model_core.processing.postprocess import PostprocessConfig
from tests.fixtures.models import CARD, tiny_registry
from trainer.commands.main import main
from trainer.evaluation.subjects import EvaluationSubject
from trainer.release.accept_score import (
    Judged,
    choose,
    format_markdown,
    inherit,
    read_accept_score,
    tabulate,
    upper_bound,
)

GOOD = Judged("discs val", 0.9, 0.95, (), rejected=False)
BAD = replace(GOOD, score=0.5, jaccard=0.3)


def test_a_least_score_is_inherited_or_raised_and_none_stays_none() -> None:
    assert inherit([GOOD] * 10 + [BAD], 0.8) == 0.8
    assert inherit([GOOD] * 10 + [replace(BAD, score=0.85)], 0.8) == 0.86
    assert inherit([GOOD] * 200, None) is None


def test_the_lowest_score_is_chosen_at_which_few_enough_fail() -> None:
    assert choose([GOOD] * 100 + [BAD] * 10) == 0.51
    assert choose([GOOD] * 100) == 0.0
    assert choose([GOOD] * 100 + [replace(BAD, score=0.95)] * 10) is None


def test_few_images_prove_nothing() -> None:
    assert choose([GOOD] * 30) is None
    assert upper_bound(0, 30) > 0.02 > upper_bound(0, 100)


def test_what_is_seen_of_a_photograph_keeps_it_from_being_accepted() -> None:
    blurred = replace(BAD, score=0.95, reasons=("blurred",))
    assert choose([GOOD] * 100 + [blurred] * 10) == 0.0
    assert blurred.advice(0.0) == "review"
    assert replace(GOOD, reasons=("cut_by_frame",)).advice(0.8) == "accept"
    assert replace(GOOD, rejected=True).advice(0.0) == "reject"
    assert GOOD.advice(None) == replace(GOOD, score=None).advice(0.0) == "review"


def test_the_table_counts_what_was_let_through() -> None:
    missed = replace(BAD, score=0.9)
    (row,) = tabulate([GOOD, GOOD, missed, BAD], 0.8)
    assert (row["n"], row["failure_rate"], row["accept"], row["review"]) == (4, 0.5, 0.75, 0.25)
    assert (row["accepted_failures"], row["accepted_failure_rate"]) == (1, 1 / 3)
    assert "| discs val | 4 | 50.0% | 75.0% | 1 (33.3%) | 25.0% | 0.0% | – |" in format_markdown(
        [row]
    )


def test_the_command_chooses_counts_and_writes(
    tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.release.accept_score.COUNT", 2)
    calibration = Calibration(scale=1.0, bias=0.0, score_scale=1.0, score_bias=0.0)
    registry = tiny_registry(tmp_path / "models", card=replace(CARD, calibration=calibration))
    command = ["quality", "1.0.0", "--registry", str(registry.root), "--data", str(discs)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert found["accept_score"] is None  # three validation images are too few
    assert {row["group"] for row in found["test"]} == {"discs test"}
    assert {row["group"] for row in found["no_lesion"]} >= {"noise", "something else"}
    assert "| noise | 2 |" in (tmp_path / "out" / "quality.md").read_text()


def test_what_a_version_accepts_is_counted_on_the_engine_asked_for(
    tmp_path: Path, discs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.release.accept_score.COUNT", 1)
    calibration = Calibration(scale=1.0, bias=0.0, score_scale=1.0, score_bias=0.0)
    card = replace(CARD, calibration=calibration, accept_score=0.3)
    registry = tiny_registry(tmp_path / "models", card=card)
    command = ["quality", "1.0.0", "--registry", str(registry.root), "--data", str(discs)]
    assert main([*command, "--backend", "openvino-fp32", "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert (found["accept_score"], found["backend"]) == (0.3, "openvino-fp32")


def test_a_choice_for_other_weights_or_rules_is_not_published(tmp_path: Path) -> None:
    predictor = tiny_registry(tmp_path / "models").load(CARD.name, "1.0.0").predictor
    subject = EvaluationSubject(predictor, "a")
    assert read_accept_score(tmp_path, subject) is None
    (tmp_path / "quality.json").write_text(json.dumps(subject.conditions() | {"accept_score": 0.8}))
    assert read_accept_score(tmp_path, subject) == 0.8
    with pytest.raises(GateError, match="another weights_sha256"):
        read_accept_score(tmp_path, EvaluationSubject(predictor, "b"))
    predictor.postprocess_config = PostprocessConfig(threshold=0.4)
    with pytest.raises(GateError, match="another postprocess"):
        read_accept_score(tmp_path, subject)

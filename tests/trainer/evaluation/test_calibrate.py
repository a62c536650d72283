import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from model_core.errors import ConfigError, GateError
from model_core.processing.calibration import Calibration
from model_core.registry.registry import Registry
from trainer.commands.main import main
from trainer.data.samples import read_photo, read_samples, write_samples
from trainer.evaluation.fit import MOST_LEAST_SCORE, choose_least_score, fit_spread
from trainer.evaluation.subjects import read_calibrated, run_subject
from trainer.release.publish import publish
from trainer.training.run import CALIBRATION


@pytest.fixture
def run(exported: Path) -> Path:
    """A run that was calibrated, scored, published as 1.0.0 in `models` beside it, and exported."""
    return exported


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """A copy of that run that a test may change."""
    return shutil.copytree(exported, tmp_path / "run")


def photograph(discs: Path) -> bytes:
    return read_photo(read_samples(discs)[0])


def test_what_was_decided_is_written_with_what_was_tried(run: Path) -> None:
    report = json.loads((run / CALIBRATION).read_text())
    chosen = report["postprocess"]
    best = max(report["tried"], key=lambda entry: entry["jaccard"])
    assert {key: best[key] for key in chosen} == chosen
    assert len({entry["threshold"] for entry in report["tried"]}) == 11
    assert 0 <= report["fit"]["calibration_error_cross_validated"] < 0.2
    assert report["fit"]["calibration_error_after"] <= report["fit"]["calibration_error_before"]
    assert (run / "reliability_val.png").is_file()


def test_scores_of_a_calibrated_run_say_how_sure_it_was(run: Path) -> None:
    stored = json.loads((run / "scores_test.json").read_text())
    certainty = stored["sets"][0]["summary"]["certainty"]
    assert set(certainty) == {
        "calibration_error", "spearman", "predicted_jaccard", "mean_error", "coverage",
    }  # fmt: skip
    assert all(0 <= item["predicted_jaccard"] <= 1 for item in stored["items"])
    assert (run / "reliability_test.png").is_file()
    assert (run / "risk_coverage_test.png").is_file()


def test_the_published_version_answers_as_the_run_does(run: Path, discs: Path) -> None:
    loaded = Registry(run.parent / "models").load("disc-unet", "1.0.0")
    target = run_subject(run)
    assert loaded.card.calibration == target.predictor.calibration is not None
    assert loaded.card.postprocess == target.predictor.postprocess_config
    for_run = target.predictor.predict(photograph(discs))
    for_version = loaded.predictor.predict(photograph(discs))
    assert for_run.score == for_version.score is not None
    assert np.array_equal(for_run.mask, for_version.mask)


def test_every_engine_is_compared_with_the_same_calibration(run: Path) -> None:
    first = json.loads((run / "precision.json").read_text())["engines"][0]
    report = json.loads((run / CALIBRATION).read_text())
    chosen = max(report["tried"], key=lambda entry: entry["jaccard"])
    assert first["jaccard"] == pytest.approx(chosen["jaccard"], abs=1e-6)


def test_engines_measured_before_a_new_calibration_do_not_count(
    run: Path, copied: Path, tmp_path: Path
) -> None:
    path = copied / "precision.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"calibration": None}))
    with pytest.raises(GateError, match=r"another calibration, None and not .*: export again"):
        publish(copied, Registry(tmp_path), version="1.0.1", licence="CC0-1.0")
    assert publish(run, Registry(tmp_path), version="1.0.1", licence="CC0-1.0").card.engines


def test_a_calibration_of_other_weights_is_not_used(run: Path) -> None:
    with pytest.raises(ConfigError, match="is of other weights: calibrate again"):
        read_calibrated(run, "0" * 64)


def test_scores_from_before_the_calibration_cannot_be_published(
    copied: Path, tmp_path: Path
) -> None:
    path = copied / "scores_test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"calibration": None}))
    with pytest.raises(GateError, match=r"another calibration, None and not .*: evaluate again"):
        publish(copied, Registry(tmp_path), version="1.0.1", licence="CC0-1.0")


def test_too_few_validation_images_are_refused_with_what_to_do(
    run: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validating = [sample for sample in read_samples(discs) if sample.part == "val"]
    write_samples(validating[:4], tmp_path / "few")
    assert main(["calibrate", str(run), "--data", str(tmp_path / "few")]) == 2
    said = capsys.readouterr().err
    assert "4 validation images, expected at least 5: " in said
    assert "prepare --split FILE" in said


def test_a_damaged_calibration_is_named(tmp_path: Path) -> None:
    (tmp_path / CALIBRATION).write_text('{"weights_sha256": "x", "calibration": {}}')
    with pytest.raises(ConfigError, match="is no calibration"):
        read_calibrated(tmp_path, "x")


def test_without_a_calibration_there_is_none(tmp_path: Path) -> None:
    assert read_calibrated(tmp_path, "x") is None


def test_no_mask_worth_counting_is_dropped_for_a_low_score() -> None:
    predicted, jaccards = np.array([0.2, 0.38, 0.44, 0.9]), np.array([0.1, 0.3, 0.66, 0.9])
    assert choose_least_score(predicted, jaccards) == 0.4
    assert choose_least_score(predicted[3:], jaccards[3:]) == MOST_LEAST_SCORE
    assert choose_least_score(predicted[:2], jaccards[:2]) == 0.0


def test_an_interval_holds_its_share_of_other_images() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0.4, 0.95, 4000)
    jaccards = np.clip(predicted + rng.normal(0, 0.3, 4000) * (1 - predicted), 0, 1)
    spread = fit_spread(predicted[:2000], jaccards[:2000])
    fitted = Calibration(scale=1, bias=0, score_scale=1, score_bias=0, score_spread=spread)
    spans = [fitted.interval(float(score)) or (1.0, 0.0) for score in predicted[2000:]]
    held = [low <= true <= high for (low, high), true in zip(spans, jaccards[2000:], strict=True)]
    assert 0.88 <= np.mean(held) <= 0.92


def test_too_few_images_fit_no_interval() -> None:
    assert fit_spread(np.full(8, 0.8), np.full(8, 0.7)) is None
    assert fit_spread(np.full(9, 0.8), np.full(9, 0.7)) == pytest.approx(0.1 / 0.25)

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_core.backends.select import INT8_FILE, ONNX_FILE
from model_core.errors import ConfigError, DatasetError, GateError, VersionExistsError
from model_core.registry.golden import parse_golden
from model_core.registry.registry import GOLDEN, Registry
from trainer.data.leaks import read_trained
from trainer.data.samples import read_samples
from trainer.evaluation import evaluate, scores, subjects
from trainer.release import publish
from trainer.training.run import WEIGHTS, load_run, trained_on

LICENCE = "CC0-1.0"


@pytest.fixture
def run(scored: Path) -> Path:
    """A trained and scored run, fit to publish."""
    return scored


def score_run(run: Path, data: Path, part: str = "test") -> None:
    target = subjects.run_subject(run)
    scored = evaluate.score(target.predictor, evaluate.held_out(read_samples(data), part))
    scores.write_scores(scored, target, run, part=part, data_sha256="0" * 64, leak_checked=True)


def copied(run: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in run.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_scores_name_the_set_the_size_and_the_means(run: Path) -> None:
    stored = json.loads(scores.scores_path(run, "test").read_text())
    (record,) = stored["sets"]
    assert (record["dataset"], record["part"]) == ("discs", "test")
    assert "squashed to 32x32 px" in record["conditions"]
    summary = record["summary"]
    dice = summary["per_image"]["dice"]
    assert dice["low"] <= dice["mean"] <= dice["high"]
    with (run / "scores_test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == summary["n"]
    assert sum(float(row["dice"]) for row in rows) / len(rows) == pytest.approx(
        dice["mean"], abs=1e-5
    )
    assert (run / "triptychs_test.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_has_a_line_for_every_set(run: Path) -> None:
    predictor, config = subjects.run_subject(run).predictor, load_run(run)
    scored = evaluate.score(predictor, evaluate.held_out(read_samples(config.data), "val"))
    lines = scores.format_table(scores.summarise_sets(scored, predictor)).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("discs val")


def test_a_published_version_is_the_scored_run(run: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    loaded = publish.publish(run, registry, version="0.1.0", licence=LICENCE)
    again = registry.load("disc-unet", "0.1.0")
    assert (again.label, again.sha256) == ("disc-unet@0.1.0", loaded.sha256)
    assert again.card.licence == LICENCE
    assert again.card.limits[-1] == "Knows only discs."
    assert again.card.scores[0].summary["n"] == 3
    folder = tmp_path / "models" / "disc-unet" / "0.1.0"
    assert (folder / "model.safetensors").read_bytes() == (run / WEIGHTS).read_bytes()
    assert str(tmp_path) not in (folder / "card.json").read_text()


def test_what_is_true_of_a_teacher_alone_is_said_with_its_name(run: Path, tmp_path: Path) -> None:
    ours = copied(run, tmp_path / "run")
    record = json.loads((ours / "run.json").read_text())
    limits = ["Knows only discs.", "Its encoder is another.", "Of a@1.0.0, which ...: Small."]
    teacher = {"name": "big", "version": "2.0.0", "licence": LICENCE, "limits": limits}
    versions = [teacher | {"sha256": 64 * "0"}]
    record["teachers"] = [{"weights_sha256": "", "data_sha256": "", "versions": versions}]
    (ours / "run.json").write_text(json.dumps(record))
    card = publish.publish(ours, Registry(tmp_path / "models"), version="0.1.0").card
    assert card.limits[-3:] == [
        "Knows only discs.",
        "Of big@2.0.0, which it learned from: Its encoder is another.",
        "Of a@1.0.0, which ...: Small.",
    ]


def test_the_card_takes_the_gaps_between_groups_of_these_very_scores(
    run: Path, tmp_path: Path
) -> None:
    ours = copied(run, tmp_path / "run")
    gap = {"kind": "sex", "best": "female", "worst": "male", "n": [40, 30], "within_sets": None,
           "dice": {"mean": 0.1, "low": 0.05, "high": 0.15}}  # fmt: skip
    sets = json.loads((ours / "scores_test.json").read_text())["sets"]
    targets = [{"sets": sets, "gaps": [gap]}, {"sets": [], "gaps": [gap | {"kind": "age"}]}]
    (ours / "protocol.json").write_text(json.dumps({"targets": targets}))
    registry = Registry(tmp_path / "models")
    publish.publish(ours, registry, version="0.1.0", licence=LICENCE)
    card = registry.load("disc-unet", "0.1.0").card
    assert [(record.kind, record.n) for record in card.gaps] == [("sex", (40, 30))]


def test_a_version_can_be_read_by_whoever_can_read_other_new_folders(
    run: Path, tmp_path: Path
) -> None:
    publish.publish(run, Registry(tmp_path / "models"), version="0.1.0", licence=LICENCE)
    (tmp_path / "ordinary").mkdir()
    version = tmp_path / "models" / "disc-unet" / "0.1.0"
    assert version.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    (tmp_path / "ordinary" / "file").touch()
    expected = (tmp_path / "ordinary" / "file").stat().st_mode
    assert {path.stat().st_mode for path in version.iterdir()} == {expected}


def test_exports_and_what_the_run_has_seen_are_frozen_with_it(run: Path, tmp_path: Path) -> None:
    exported = copied(run, tmp_path / "run")
    (exported / "exports" / INT8_FILE).parent.mkdir(parents=True)
    (exported / "exports" / INT8_FILE).write_bytes(b"exported")
    registry = Registry(tmp_path / "models")
    card = publish.publish(exported, registry, version="0.1.0", licence=LICENCE).card
    assert {INT8_FILE, "trained_on.csv"} <= set(card.files)
    loaded = registry.load("disc-unet", "0.1.0")
    assert (loaded.folder / INT8_FILE).read_bytes() == b"exported"
    assert read_trained(loaded.folder) == trained_on(run)


def test_a_version_is_never_rewritten(run: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first = publish.publish(run, registry, version="0.1.0", licence=LICENCE)
    with pytest.raises(VersionExistsError, match="a version never changes"):
        publish.publish(run, registry, version="0.1.0", licence=LICENCE)
    assert registry.card("disc-unet", "0.1.0")[1] == first.sha256


def test_an_unscored_run_is_not_published(run: Path, tmp_path: Path) -> None:
    bare = copied(run, tmp_path / "run")
    scores.scores_path(bare, "test").unlink()
    with pytest.raises(GateError, match="trainer evaluate"):
        publish.publish(bare, Registry(tmp_path / "models"), version="0.1.0", licence=LICENCE)
    assert not (tmp_path / "models").exists()


def test_scores_of_other_weights_do_not_count(run: Path, tmp_path: Path) -> None:
    changed = copied(run, tmp_path / "run")
    stored = json.loads(scores.scores_path(changed, "test").read_text())
    scores.scores_path(changed, "test").write_text(
        json.dumps(stored | {"weights_sha256": "0" * 64})
    )
    with pytest.raises(GateError, match="evaluate again"):
        publish.publish(changed, Registry(tmp_path / "models"), version="0.1.0", licence=LICENCE)


def test_scores_on_validation_do_not_open_the_gate(run: Path, tmp_path: Path, discs: Path) -> None:
    tuned = copied(run, tmp_path / "run")
    scores.scores_path(tuned, "test").unlink()
    score_run(tuned, discs, "val")
    with pytest.raises(GateError, match=r"has no scores_test\.json"):
        publish.publish(tuned, Registry(tmp_path / "models"), version="0.1.0", licence=LICENCE)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: s | {"leak_checked": False}, id="maybe seen"),
        pytest.param(lambda s: s | {"sets": []}, id="of nothing"),
        pytest.param(
            lambda s: s | {"sets": [entry | {"part": "train"} for entry in s["sets"]]}, id="train"
        ),
        pytest.param(lambda s: {}, id="no scores"),
    ],
)
def test_scores_that_may_be_of_seen_images_do_not_open_the_gate(
    run: Path, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    other = copied(run, tmp_path / "run")
    path = scores.scores_path(other, "test")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(GateError, match="evaluate again"):
        publish.publish(other, Registry(tmp_path / "models"), version="0.1.0", licence=LICENCE)
    assert not (tmp_path / "models").exists()


def test_a_run_below_its_gate_is_refused_with_the_figure(run: Path, tmp_path: Path) -> None:
    low = copied(run, tmp_path / "run")
    config = json.loads((low / "config.json").read_text()) | {"gate_dice": 0.999}
    (low / "config.json").write_text(json.dumps(config))
    with pytest.raises(GateError, match=r"discs test: Dice 0\.\d+ is below"):
        publish.publish(low, Registry(tmp_path / "models"), version="0.1.0", licence=LICENCE)


def test_the_golden_images_are_drawn_and_the_same_every_time() -> None:
    publish.golden_images.cache_clear()
    first = publish.golden_images()
    publish.golden_images.cache_clear()
    assert publish.golden_images() == first
    assert len(set(first)) == len(publish.GOLDEN_LESIONS)


def test_a_version_is_checked_on_every_golden_image(run: Path, tmp_path: Path) -> None:
    loaded = publish.publish(run, Registry(tmp_path / "models"), version="0.1.0", licence=LICENCE)
    golden = parse_golden((loaded.folder / GOLDEN).read_bytes())
    assert tuple(image for image, _ in golden) == publish.golden_images()


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a run with a finished epoch"):
        subjects.run_subject(tmp_path)


def test_a_version_holds_the_onnx_network_only_where_that_is_asked_for(
    run: Path, tmp_path: Path
) -> None:
    exported = copied(run, tmp_path / "run")
    registry = Registry(tmp_path / "models")
    registry.root.mkdir()
    with pytest.raises(ConfigError, match=r"no exports/onnx/model\.onnx: .* export"):
        publish.publish(exported, registry, version="0.1.0", licence=LICENCE, onnx=True)
    for name in (INT8_FILE, ONNX_FILE):
        (exported / "exports" / name).parent.mkdir(parents=True)
        (exported / "exports" / name).write_bytes(b"a network")
    for version, onnx in (("0.1.0", False), ("0.2.0", True)):
        loaded = publish.publish(exported, registry, version=version, licence=LICENCE, onnx=onnx)
        assert INT8_FILE in loaded.card.files
        assert (ONNX_FILE in loaded.card.files) == onnx

"""A fine-tuned version carries its parent's terms and limits, and what it is worth beside it."""

import json
import shutil
from pathlib import Path

import pytest

from model_core.errors import DatasetError, GateError
from model_core.registry.registry import LoadedVersion, Registry
from trainer.commands.main import main
from trainer.data.samples import read_samples
from trainer.release.publish import publish
from trainer.release.reopen import reopen
from trainer.release.reproduce import describe, differences
from trainer.training.run import came_from, load_record


@pytest.fixture
def registry(models: Path, tmp_path: Path) -> Registry:
    """A registry that already holds the parent."""
    return Registry(shutil.copytree(models, tmp_path / "models"))


@pytest.fixture
def run(finetuned: Path, tmp_path: Path) -> Path:
    """A fine-tuned run of which it could not be told whether it is better."""
    return judged(shutil.copytree(finetuned, tmp_path / "run"), "cannot tell")


def judged(run: Path, verdict: str, *, loses_elsewhere: bool = False) -> Path:
    path, found = run / "comparison.json", {"loses_elsewhere": loses_elsewhere}
    stored = json.loads(path.read_text()) | found | {"verdict": verdict, "why": "so"}
    path.write_text(json.dumps(stored))
    return run


def test_licence_limits_and_lineage_are_inherited(
    run: Path, registry: Registry, version: LoadedVersion
) -> None:
    card = publish(run, registry, version="1.1.0").card
    assert card.licence == version.card.licence == "CC-BY-NC-4.0"
    assert set(version.card.limits) < set(card.limits)
    assert card.limits[-1].startswith("Fine-tuned from disc-unet@1.0.0 on 15 photographs of clinic")
    assert len(set(card.limits)) == len(card.limits)
    assert card.lineage is not None
    (parent,) = card.lineage.parents
    assert (parent.name, parent.version, parent.sha256) == ("disc-unet", "1.0.0", version.sha256)
    assert (card.lineage.verdict, card.lineage.why) == ("cannot tell", "so")
    assert card.lineage.sets[0]["n"] == 15
    (scores,) = card.scores
    assert (scores.dataset, scores.part, scores.summary["n"]) == ("clinic", "out of fold", 15)
    assert "each answered by weights, calibration and threshold that never saw it" in (
        scores.conditions
    )


def test_it_gives_scores_and_advice_like_its_parent(run: Path, registry: Registry) -> None:
    card = publish(run, registry, version="1.1.0").card
    assert card.calibration is not None
    quality = json.loads((run / "quality.json").read_text())
    assert card.accept_score == quality["accept_score"]
    assert quality["out_of_fold"][0]["n"] == 15


def test_what_is_worse_is_published_only_with_a_reason(
    run: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(run, "worse")
    command = ["publish", str(run), "--version", "1.1.0", "--registry", str(registry.root)]
    assert main(command) == 2
    assert "is worse than disc-unet@1.0.0: so; --worse-because" in capsys.readouterr().err
    assert main([*command, "--worse-because", "a new lens"]) == 0
    lineage = registry.card("disc-unet", "1.1.0")[0].lineage
    assert lineage is not None
    assert lineage.worse_because == "a new lens"


def test_what_others_lose_needs_a_reason_and_is_a_limit(run: Path, registry: Registry) -> None:
    judged(run, "better", loses_elsewhere=True)
    with pytest.raises(GateError, match=r"is worse than disc-unet@1\.0\.0: so; --worse-because"):
        publish(run, registry, version="1.1.0")
    card = publish(run, registry, version="1.1.0", worse_because="for our lens alone").card
    assert card.limits[-1] == "Beside that version it loses on other photographs: so."
    assert card.lineage is not None
    assert card.lineage.worse_because == "for our lens alone"


def test_a_comparison_of_other_weights_does_not_count(run: Path, registry: Registry) -> None:
    path = run / "comparison.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights_sha256": "0" * 64}))
    with pytest.raises(GateError, match=r"made with another weights_sha256.*finetune again"):
        publish(run, registry, version="1.1.0")


def test_a_freer_licence_and_its_reason_are_on_the_card(run: Path, registry: Registry) -> None:
    with pytest.raises(GateError, match="'MIT' is freer"):
        publish(run, registry, version="1.1.0", licence="MIT")
    card = publish(run, registry, version="1.1.0", licence="MIT", licence_because="we own it").card
    assert card.licence == "MIT"
    assert card.lineage is not None
    assert card.lineage.licence_because == "we own it"


def test_reproduce_names_the_parent_and_the_command(
    run: Path, registry: Registry, clinic: Path, version: LoadedVersion
) -> None:
    loaded = publish(run, registry, version="1.1.0")
    text = describe(loaded.card, loaded.sha256, "models/disc-unet/1.1.0")
    assert f"came from disc-unet@1.0.0, card SHA-256 {version.sha256}" in text
    assert "beside it: cannot tell. so" in text
    assert "python -m trainer finetune disc-unet@1.0.0 --data data/clinic" in text
    with pytest.raises(DatasetError, match="out of fold, of weights that are gone"):
        differences(loaded.card, loaded.predictor, read_samples(clinic))


def test_a_reopened_version_keeps_its_parents(
    run: Path, registry: Registry, clinic: Path, tmp_path: Path
) -> None:
    loaded = publish(run, registry, version="1.1.0")
    reopen(loaded, tmp_path / "again", clinic)
    (parent,) = came_from(load_record(tmp_path / "again"))
    assert (parent["version"], parent["licence"]) == ("1.0.0", "CC-BY-NC-4.0")
    assert parent["limits"] == loaded.card.limits

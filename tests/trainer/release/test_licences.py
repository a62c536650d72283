"""Weights are published under no freer terms than those that they came from, unless a person says
why."""

import json
import shutil
from pathlib import Path

import pytest

from model_core.errors import GateError
from model_core.registry.registry import Registry
from tests.trainer.release.test_publish import copied
from trainer.commands.main import main
from trainer.config import TrainConfig
from trainer.release.licences import settle_licence
from trainer.release.publish import publish
from trainer.training import loop
from trainer.training.run import RUN, WEIGHTS, came_from, load_record

SHIPPED = "Research and education only, non-commercial: trained on data under such terms."


def parent(licence: str, version: str = "1.0.0") -> dict[str, str]:
    return {"name": "lesion-unet", "version": version, "licence": licence}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (SHIPPED, SHIPPED),
        (SHIPPED, "For research, NON-COMMERCIAL"),
        ("CC-BY-NC-4.0", "CC BY-NC-SA 4.0"),
        ("Apache-2.0", "All rights reserved"),
        ("CC0-1.0", "MIT"),
        ("Ask the hospital", "ask  the hospital"),
    ],
)
def test_terms_that_keep_every_restriction_are_taken(theirs: str, ours: str) -> None:
    assert settle_licence(ours, [parent(theirs)]) == ours


@pytest.mark.parametrize(
    ("theirs", "ours", "lost"),
    [
        (SHIPPED, "MIT", "non-commercial, research or education only"),
        (SHIPPED, "CC-BY-NC-4.0", "research or education only"),
        ("CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", "share alike"),
        ("GPL-3.0", "Apache-2.0", "share alike"),
        ("CC-BY-ND-4.0", "CC-BY-4.0", "no derivatives"),
        ("Ask the hospital", "MIT", "not recognised"),
    ],
)
def test_freer_terms_need_a_reason(theirs: str, ours: str, lost: str) -> None:
    with pytest.raises(GateError, match=rf"lesion-unet@1\.0\.0.* is freer \(.*{lost}.*because"):
        settle_licence(ours, [parent(theirs)])
    assert settle_licence(ours, [parent(theirs)], because="the owner agreed") == ours


def test_without_terms_those_of_the_parents_are_taken() -> None:
    assert settle_licence(None, [parent(SHIPPED), parent(SHIPPED, "1.1.0")]) == SHIPPED
    with pytest.raises(GateError, match=r"expected the terms of the weights \(--licence\)$"):
        settle_licence(None, [])
    with pytest.raises(GateError, match="came from versions under 2 licences"):
        settle_licence(" ", [parent(SHIPPED), parent("MIT")])


def test_a_run_that_began_with_a_version_has_its_licence(
    config: TrainConfig, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(tmp_path / "models")
    version = publish(scored, registry, version="1.0.0", licence=SHIPPED)
    begun = TrainConfig(
        data=config.data,
        stages=config.stages,
        initial=str(version.folder),
        model=version.card.architecture,
        preprocess=config.preprocess,
    )
    loop.train(begun, tmp_path / "second")
    expected = [("disc-unet", "1.0.0", version.sha256, SHIPPED)]
    keys = ("name", "version", "sha256", "licence")
    found = came_from(load_record(tmp_path / "second"))
    assert [tuple(entry[key] for key in keys) for entry in found] == expected

    # A run that goes on from that one has it too.
    third = shutil.copytree(tmp_path / "second", tmp_path / "third")
    loop.train(
        TrainConfig(
            data=config.data,
            stages=config.stages,
            initial=str(third),
            model=begun.model,
            preprocess=config.preprocess,
        ),
        tmp_path / "fourth",
    )
    assert came_from(load_record(tmp_path / "fourth")) == found
    command = ["publish", str(tmp_path / "fourth"), "--registry", str(tmp_path / "models")]
    assert main([*command, "--version", "2.0.0", "--licence", "MIT"]) == 2
    assert "'MIT' is freer" in capsys.readouterr().err


def test_the_registry_knows_the_licence_of_a_run_of_before_it_was_noted(
    scored: Path, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "models")
    version = publish(scored, registry, version="1.0.0", licence=SHIPPED)
    old = copied(scored, tmp_path / "run")
    source = {"weights_sha256": version.card.files[WEIGHTS], "data_sha256": "0" * 64}
    (old / RUN).write_text(json.dumps(load_record(old) | {"teachers": [source]}))
    with pytest.raises(GateError, match="is freer"):
        publish(old, registry, version="1.0.1", licence="MIT")
    assert publish(old, registry, version="1.0.1").card.licence == SHIPPED

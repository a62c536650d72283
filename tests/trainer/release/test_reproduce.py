import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.registry.registry import Registry
from tests.conftest import REPOSITORY, BuiltOnce
from tests.fixtures.undrawn import undrawn
from trainer.commands.main import main
from trainer.config import parse_config
from trainer.data.samples import read_samples, write_samples
from trainer.release.reproduce import OF_THE_RUN, describe, dump_toml
from trainer.training.loop import train

KEYS = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
NUMBERS = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False,
                                                                  allow_infinity=False)  # fmt: skip
PLAIN = NUMBERS | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.lists(st.dictionaries(KEYS, PLAIN), max_size=2)


@pytest.fixture(scope="session")
def models(discs: Path, built_once: BuiltOnce) -> Path:
    """A registry with disc-unet@1.0.0, trained, calibrated and scored on the discs."""

    def fill(folder: Path) -> None:
        table = {
            "name": "disc-unet",
            "data": str(discs),
            "gate_dice": 0.0,
            "seed": 5,
            "stages": [{"size": 16, "epochs": 2, "batch": 4}],
            "model": {"width": 4, "depth": 2, "norm": "batch"},
            "preprocess": {"size": 16},
        }
        run = str(folder / "run")
        with undrawn():
            train(parse_config(table, "test"), folder / "run")
            assert main(["calibrate", run, "--data", str(discs)]) == 0
            assert main(["evaluate", run, "--data", str(discs)]) == 0
        publish = ["publish", run, "--version", "1.0.0", "--licence", "CC0-1.0"]
        registry = ["--registry", str(folder / "models"), "--alias", "production"]
        assert main([*publish, *registry]) == 0

    return built_once("reproduce", fill) / "models"


@pytest.fixture
def again(models: Path, discs: Path) -> list[str]:
    return ["reproduce", str(models / "disc-unet" / "1.0.0"), "--data", str(discs)]


def test_the_card_says_what_made_it_and_how_to_make_it_again(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = models / "disc-unet" / "1.0.0"
    card = json.loads((place / "card.json").read_text())
    assert main(["reproduce", str(place)]) == 0
    said = capsys.readouterr().out
    assert f"git commit: {card['git_commit']}" in said
    assert f"torch: {card['training']['starts'][0]['torch']}" in said
    assert f"data SHA-256: {card['data']['sha256']}" in said
    assert f"weights SHA-256: {card['files']['model.safetensors']}" in said
    assert "seed: 5" in said
    config = tomllib.loads(said.partition("data's place:\n")[2].partition("to make it again")[0])
    trained = {k: v for k, v in card["training"].items() if k not in OF_THE_RUN}
    assert parse_config({**config, "data": "d"}, "printed") == parse_config(
        {**trained, "data": "d"}, "card"
    )
    assert f"python -m trainer reproduce {place} --data data/skin" in said
    assert "python -m trainer train again.toml --data data/skin --out runs/again" in said
    assert "python -m trainer calibrate runs/again --data data/skin" in said
    assert "trainer quality" not in said  # it has no `accept_score`


def test_a_limit_for_the_advice_is_chosen_again_too(models: Path) -> None:
    card, sha256 = Registry(models).card("disc-unet", "1.0.0")
    said = describe(replace(card, accept_score=0.8), sha256, "models/disc-unet/1.0.0")
    assert "python -m trainer quality runs/again --data data/skin" in said


@pytest.mark.parametrize("name", ["1.0.0", "production", "disc-unet@1.0.0", "disc-unet@production"])
def test_a_version_goes_by_every_name(
    name: str, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["reproduce", name, "--registry", str(models), "--name", "disc-unet"]
    assert main(named) == 0
    assert capsys.readouterr().out.startswith("disc-unet@1.0.0, card SHA-256 ")


def test_scores_taken_again_are_the_cards(
    again: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(again) == 0
    assert "scored again, every figure is the card's" in capsys.readouterr().out


def test_scores_that_are_not_the_cards_are_listed(
    models: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models, tmp_path / "models")
    place = tmp_path / "models" / "disc-unet" / "1.0.0"
    card: dict[str, Any] = json.loads((place / "card.json").read_text())
    dice = card["scores"][0]["summary"]["per_image"]["dice"]
    true = dice["mean"]
    dice["mean"] = true + 2e-6
    (place / "card.json").write_text(json.dumps(card))
    assert main(["reproduce", str(place), "--data", str(discs)]) == 1
    differs = [x for x in capsys.readouterr().out.splitlines() if x.startswith("differs")]
    assert len(differs) == 1
    assert differs[0].startswith(f"differs: discs test mean dice: {true + 2e-6:.8g} in the card, ")


def test_other_data_is_named_and_not_scored(
    again: list[str], discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = read_samples(discs)
    write_samples([replace(samples[0], part="test"), *samples[2:]], tmp_path / "other")
    assert main([*again[:-1], str(tmp_path / "other")]) == 1
    said = capsys.readouterr().out
    assert "differs: data SHA-256: " in said
    assert " train, " in said.partition("  discs: ")[2]
    assert "scored again" not in said


def test_what_the_shipped_card_does_not_record_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", str(REPOSITORY / "models" / "lesion-unet" / "0.1.0")]) == 0
    said = capsys.readouterr().out
    assert "git commit: c5666ba57cda8fffaafa460909083200e8600acb" in said
    assert "torch: not recorded" in said


@settings(max_examples=30)
@given(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES)))
def test_a_config_as_toml_is_the_config(table: dict[str, Any]) -> None:
    assert tomllib.loads(dump_toml(table)) == table

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from model_core.card import (
    Card,
    GapRecord,
    check_name,
    check_version,
    dump_card,
    is_version,
    parse_card,
    version_order,
)
from model_core.errors import ConfigError, CorruptVersionError
from model_core.network.unet_config import UNetConfig
from model_core.processing.calibration import Calibration
from model_core.processing.postprocess import PostprocessConfig
from model_core.processing.preprocess import PreprocessConfig
from tests.fixtures.models import CARD


def changed(*path: str, value: Any) -> bytes:
    """`card.json` with one value, so many objects deep, set to another."""
    card = json.loads(dump_card(CARD))
    inner = card
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(card).encode()


def without(*path: str) -> bytes:
    card = json.loads(dump_card(CARD))
    inner = card
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return json.dumps(card).encode()


@pytest.mark.parametrize(
    "card",
    [
        pytest.param(CARD, id="the shortest"),
        pytest.param(
            replace(
                CARD,
                version="2.0.0-rc.1",
                git_commit="ab12",
                architecture=UNetConfig(width=16, depth=5, norm="batch", up="bilinear"),
                preprocess=PreprocessConfig(size=384, fit="letterbox", mean=(0.7, 0.6, 0.5)),
                postprocess=PostprocessConfig(threshold=0.45, fill_holes=False),
                calibration=Calibration(scale=0.8, bias=-0.1, score_scale=1.1, score_bias=0.2),
                training={"lr": 1e-4, "stages": [{"size": 128}], "note": "Überlänge"},
                limits=[],
                gaps=[
                    GapRecord(
                        kind="sex",
                        best="female",
                        worst="male",
                        n=(40, 30),
                        dice={"mean": 0.1, "low": 0.05, "high": 0.15},
                        within_sets=None,
                    )
                ],
                files={"model.safetensors": "f" * 64},
            ),
            id="everything set",
        ),
    ],
)
def test_a_card_comes_back_as_it_was(card: Card) -> None:
    assert parse_card(dump_card(card)) == card


def test_a_card_is_json_that_a_person_can_read() -> None:
    text = dump_card(replace(CARD, licence="CC BY-NC · Überall")).decode()
    assert '\n  "name": "lesion-unet",\n' in text
    assert "Überall" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b"null", id="null"),
        pytest.param(dump_card(CARD)[:-20], id="truncated"),
        pytest.param(b"[" * 10_000, id="too deep"),
    ],
)
def test_what_is_no_card_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptVersionError, match=r"card\.json is not a model card"):
        parse_card(data)


@pytest.mark.parametrize(
    "path",
    [
        ("name",),
        ("architecture",),
        ("licence",),
        ("intended_use",),
        ("data", "sha256"),
    ],
    ids=".".join,
)
def test_a_missing_field_is_refused_by_name(path: tuple[str, ...]) -> None:
    with pytest.raises(CorruptVersionError, match=rf"(?s){path[-1]}.*[Mm]issing"):
        parse_card(without(*path))


@pytest.mark.parametrize(
    "path",
    [
        ("tta",),
        ("architecture", "attention"),
        ("preprocess", "crop"),
        ("postprocess", "smooth"),
        ("data", "source"),
    ],
    ids=".".join,
)
def test_an_unknown_field_is_refused_because_it_may_mean_another_mask(
    path: tuple[str, ...],
) -> None:
    with pytest.raises(CorruptVersionError, match=f"(?s){path[-1]}.*[Uu]nexpected"):
        parse_card(changed(*path, value=1))


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("architecture", "width"), 0, "width is 0"),
        (("architecture", "width"), "wide", "integer"),
        (("architecture", "norm"), "layer", "norm"),
        (("preprocess", "size"), 8, "size is 8"),
        (("preprocess", "mean"), [0.5, 0.5], "mean"),
        (("preprocess", "std"), [0.2, 0.2, 0], "std"),
        (("postprocess", "threshold"), 1, "threshold is 1"),
        (("name",), "../etc", "is no name"),
        (("version",), "latest", "no semantic version"),
        (("files",), {"model.safetensors": 1}, "files"),
    ],
)
def test_an_impossible_value_is_refused(path: tuple[str, ...], value: Any, reason: str) -> None:
    with pytest.raises(CorruptVersionError, match=reason):
        parse_card(changed(*path, value=value))


@pytest.mark.parametrize("name", ["a", "lesion-unet", "0", "x" * 63])
def test_lower_case_letters_digits_and_hyphens_are_a_name(name: str) -> None:
    assert check_name(name) == name


BAD = ["", ".", "..", "../x", "a/b", "a\\b", "/etc", "a\0", "a\n", " a", "%2e%2e", "C:"]


@pytest.mark.parametrize("name", [*BAD, "Lesion", "-a", "a.b", "a_b", "ä", "x" * 64])
def test_what_could_climb_out_of_a_folder_or_differ_only_in_case_is_no_name(name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        check_name(name)
    with pytest.raises(ConfigError, match="is no name"):
        replace(CARD, name=name)


@pytest.mark.parametrize(
    "version", ["0.0.0", "1.2.0", "10.20.30", "1.0.0-rc.1", "1.0.0-alpha-2", "1.0.0-0A.x"]
)
def test_three_numbers_with_or_without_a_pre_release_are_a_version(version: str) -> None:
    assert check_version(version) == version
    assert is_version(version)


@pytest.mark.parametrize(
    "version",
    [*BAD, "1", "1.2", "1.2.3.4", "01.2.3", "v1.2.3", "1.2.3-", "1.2.3-a..b", "1.2.3+b",
     "1.2.3-../x", "1.2.3\n", "1.1\u0662.0"],
)  # fmt: skip
def test_anything_else_is_no_version(version: str) -> None:
    assert not is_version(version)
    with pytest.raises(ConfigError, match="no semantic version"):
        check_version(version)
    with pytest.raises(ConfigError, match="no semantic version"):
        replace(CARD, version=version)


def test_versions_are_ordered_as_semantic_versioning_says() -> None:
    # The example of semver.org, paragraph 11, between two of our own.
    ordered = [
        "0.9.10",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.2.0",
        "1.10.0",
        "2.0.0",
    ]
    shuffled = random.Random(0).sample(ordered, len(ordered))
    assert sorted(shuffled, key=version_order) == ordered

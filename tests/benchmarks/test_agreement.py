"""Every engine gives the masks of float32 PyTorch, on the shipped version and real photographs."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.agreement import ENGINES, Agreement, compare, opened, table
from benchmarks.bodies import photographs
from model_core.backends.protocol import Engine
from model_core.backends.pytorch import computes_in_bf16
from model_core.registry.registry import PRODUCTION, Registry
from tests.conftest import REPOSITORY

NAME = "lesion-unet"


def assert_agreement(engines: Sequence[Engine], images: list[bytes]) -> None:
    registry = Registry(REPOSITORY / "models")
    predictors, missing = opened(registry, NAME, registry.resolve(NAME, PRODUCTION), engines)
    assert missing == []
    found = compare(predictors, images)
    assert [each.engine for each in found if not each.sufficient] == [], table(found)


@pytest.mark.slow
def test_every_precision_agrees_on_real_photographs(real_data: Path) -> None:
    assert_agreement(ENGINES, photographs(real_data, limit=12))


@pytest.mark.slow
def test_every_float_engine_agrees_on_a_hundred_real_photographs(real_data: Path) -> None:
    # Where bfloat16 is only emulated it takes seconds a photograph: twelve, above, suffice.
    native = computes_in_bf16(on_gpu=False)
    floats = [each for each in ENGINES if each.endswith("fp32") or (native and "bf16" in each)]
    assert_agreement(floats, photographs(real_data, limit=100))


@pytest.mark.slow
def test_int8_agrees_on_hundreds_of_real_photographs(real_data: Path) -> None:
    assert_agreement(["pytorch-fp32", "openvino-int8"], photographs(real_data, limit=300))


def test_an_engine_must_agree_in_the_middle_and_at_its_worst() -> None:
    assert Agreement("good", (0.995,) * 99 + (0.975,)).sufficient
    assert not Agreement("dull", (0.985,) * 100).sufficient
    assert Agreement("once wrong", (0.995,) * 199 + (0.5,)).sufficient
    assert not Agreement("wrong in 2 of 100", (0.995,) * 98 + (0.5, 0.5)).sufficient
    assert "good" in table([Agreement("good", (1.0,))])

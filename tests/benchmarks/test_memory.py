from pathlib import Path

import numpy as np
import pytest

from benchmarks.bodies import photographs
from benchmarks.memory import LIMIT_MB, measure, summed_up
from benchmarks.servers import Version
from tests.conftest import REPOSITORY
from tests.fixtures.models import NAME, tiny_registry


def test_what_grows_is_told_from_what_is_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 2000)
    steady = summed_up([(n + 1, 200 + noise[n]) for n in range(2000)])
    leaking = summed_up([(n + 1, 200 + noise[n] + n / 50) for n in range(2000)])
    assert steady.flat
    assert not leaking.flat
    assert leaking.slope_mb == pytest.approx(20, abs=1)
    assert (leaking.requests, leaking.most_mb > 230) == (2000, True)


def test_pools_that_grow_at_first_are_no_leak() -> None:
    assert summed_up([(n + 1, 250 if n > 100 else 150) for n in range(1000)]).flat


@pytest.mark.slow
def test_a_service_is_weighed_while_it_works(tmp_path: Path) -> None:
    version = Version(tiny_registry(tmp_path).root, NAME, "production")
    found = measure(version, "auto", photographs(None), 60)
    assert found.requests == 60
    assert 50 < found.first_mb <= found.most_mb


@pytest.mark.slow
def test_the_shipped_version_keeps_within_its_memory() -> None:
    version = Version(REPOSITORY / "models", "lesion-unet", "production")
    assert measure(version, "auto", photographs(None), 200).most_mb < LIMIT_MB

from pathlib import Path

import pytest

from benchmarks.cold_start import start
from benchmarks.processes import free_port
from benchmarks.servers import Version, ours
from tests.conftest import REPOSITORY

LIMIT_S = 3.0


@pytest.mark.slow
def test_the_first_mask_of_the_shipped_version_comes_soon(tmp_path: Path) -> None:
    port, version = free_port(), Version(REPOSITORY / "models", "lesion-unet", "production")
    start(ours(version, "auto").environment(port), port, tmp_path / "log")  # fills the disk's cache
    port = free_port()
    seconds, weight = start(ours(version, "auto").environment(port), port, tmp_path / "log")
    # Of the processor's time, because others may be using it too.
    assert weight.cpu_s < LIMIT_S
    assert seconds > 0

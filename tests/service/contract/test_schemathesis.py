"""Schemathesis asks a real process everything that /openapi.json allows, and what it forbids."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.fixtures.service.process import free_port, service
from tests.service.access.test_auth import Keys

CONFIG = Path(__file__).with_name("schemathesis.toml")


def ask(port: int, *options: str, folder: Path) -> None:
    """All checks of the command line; fails with its report."""
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run",
         f"http://127.0.0.1:{port}/openapi.json", "--checks=all", "--continue-on-failure",
         "--warnings=off", "--generation-database=none", "--no-color", *options],
        cwd=folder, capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.fixtures.service.schemathesis_hooks",
             "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 0" not in run.stdout


@pytest.mark.parametrize("phase", ["examples", pytest.param("coverage", marks=pytest.mark.slow)])
def test_whatever_the_document_allows_is_answered_as_it_says(
    served: str, tmp_path: Path, phase: str
) -> None:
    port = int(served.rpartition(":")[2])
    ask(port, "--seed=1", f"--phases={phase}", "--no-shrink", folder=tmp_path)


@pytest.mark.parametrize(
    ("seed", "examples"),
    [
        pytest.param(1, 10, marks=pytest.mark.slow),
        pytest.param(1, 50, marks=pytest.mark.foreign),
        pytest.param(2, 50, marks=pytest.mark.foreign),
    ],
)
def test_so_it_is_over_many_drawn_requests_with_keys(
    registry_root: Path, tmp_path: Path, seed: int, examples: int
) -> None:
    port, keys = free_port(), Keys(tmp_path / "keys.json")
    settings = {"LESION_API_KEYS_FILE": str(keys.path)}
    authorization = f"Authorization: {keys.bearer('all')['Authorization']}"
    # Some names of fields that it makes up are `image` once they are written into a form, which is
    # then rightly accepted; the test above, which draws nothing, has this check.
    but = "--exclude-checks=negative_data_rejection"
    with service(port, registry_root, tmp_path / "log", settings):
        ask(port, f"--seed={seed}", but, f"--max-examples={examples}", "--header", authorization,
            folder=tmp_path)  # fmt: skip

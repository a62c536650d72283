"""The viewer's bundle: what is committed is what its source gives, and says whose it is."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY

pytest.importorskip("streamlit", reason="streamlit is not installed (make demo installs it)")

VIEWER = REPOSITORY / "demo" / "viewer"
BUNDLE = VIEWER / "bundle"


def test_the_bundle_is_small_names_its_packages_and_asks_nobody_for_anything() -> None:
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) < 2_000_000
    licences = (BUNDLE / "LICENSES.txt").read_text(encoding="utf-8")
    for name in ("openseadragon", "d3-contour", "d3-array"):
        assert re.search(rf"^{name} [\d.]+ \((BSD-3-Clause|ISC)\)$", licences, re.MULTILINE)
    style = (BUNDLE / "style.css").read_text(encoding="utf-8")
    assert "url(" not in style
    assert "@import" not in style


def test_a_mask_goes_to_the_browser_and_back() -> None:
    from demo.viewer.component import counts_of, mask_of

    random = np.random.default_rng(0)
    for shape in ((1, 1), (1, 7), (7, 1), (5, 9), (40, 30)):
        for share in (0.0, 0.5, 1.0):
            mask = random.random(shape) < share
            assert np.array_equal(mask_of(counts_of(mask), shape), mask)
    for counts in ([3], [], [2, -1, 3], [5]):
        with pytest.raises(ValueError, match="expected"):
            mask_of(counts, (2, 2))


@pytest.mark.slow
def test_the_committed_bundle_is_what_the_source_gives(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("no npm is installed (Debian: apt install nodejs npm)")
    copy = tmp_path / "viewer"
    shutil.copytree(VIEWER, copy, ignore=shutil.ignore_patterns("node_modules", "bundle"))
    run(copy, "npm", "ci", "--no-audit", "--no-fund")
    run(copy, "npm", "run", "check")
    run(copy, "npm", "run", "build")
    for path in BUNDLE.iterdir():
        assert (copy / "bundle" / path.name).read_bytes() == path.read_bytes(), path.name
    # And its arithmetic, where counting by eye ends: random masks, outlined and filled again.
    check = shutil.copy(Path(__file__).with_name("outlines.ts"), copy / "src")
    esbuild = ("npx", "esbuild", str(check), "--bundle", "--platform=node", "--outfile=check.cjs")
    run(copy, *esbuild)
    assert run(copy, "node", "check.cjs") == "300 masks\n"


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

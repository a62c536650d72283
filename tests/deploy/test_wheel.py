"""What `pip install` gets: the same bits from each build, and a service without the repository."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx2
import pytest

from model_core.registry.registry import Registry
from model_core.version import VERSION
from service.app import create_app
from service.settings import Settings
from tests.conftest import REPOSITORY, BuiltOnce
from tests.fixtures.service.process import START_S, free_port

pytestmark = pytest.mark.slow

MAX_WHEEL_BYTES = 60_000_000
"""An index takes 100 MB, and most of this is weights."""
START = "import sys; from service.__main__ import main; sys.exit(main(sys.argv[1:]))"
"""What the command `lesion-service` runs."""


def build(source: Path, out: Path) -> dict[str, str]:
    """Build sdist and wheel; gives the SHA-256 of each by its name."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)],
        cwd=source,
        env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
        capture_output=True,
    )
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


@pytest.fixture(scope="session")
def built(built_once: BuiltOnce) -> Path:
    """A folder with the sdist and the wheel of this repository."""
    pytest.importorskip("hatchling")

    def fill(folder: Path) -> None:
        build(REPOSITORY, folder)

    return built_once("built", fill)


def test_the_number_is_one_for_the_package_and_the_contract(built: Path) -> None:
    names = {path.name for path in built.iterdir()}
    stem = f"lesion_segmentation-{VERSION}"
    assert names == {f"{stem}.tar.gz", f"{stem}-py3-none-any.whl"}
    app = create_app(Settings(model_registry=REPOSITORY / "models"))
    assert app.version == VERSION
    log = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{VERSION}] - 20" in log


def test_built_twice_elsewhere_and_from_the_sdist_they_are_the_same_bits(
    built: Path, tmp_path: Path
) -> None:
    first = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built.iterdir()}
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    for path in unpacked.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)  # another umask
    shutil.copy(REPOSITORY / ".gitignore", unpacked)
    assert build(unpacked, tmp_path / "again") == first


def test_it_holds_the_model_that_serves_by_default_and_is_no_larger_than_an_index_takes(
    built: Path, tmp_path: Path
) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < MAX_WHEEL_BYTES
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    shipped = Registry(tmp_path / "service" / "shipped", signers=REPOSITORY / "keys")
    version = shipped.resolve("lesion-unet", "production")
    assert shipped.versions("lesion-unet") == [version]
    assert shipped.load("lesion-unet", version).signer == "RELEASE.pub"
    metadata = next(tmp_path.glob("*.dist-info/METADATA")).read_text()
    assert "License-Expression: Apache-2.0 AND LicenseRef-Shipped-Weights" in metadata


def test_it_serves_with_one_command_far_from_the_repository(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    site, elsewhere, port = tmp_path / "site", tmp_path / "elsewhere", free_port()
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LESION_")}
    environment |= {"PYTHONPATH": str(site), "LESION_PORT": str(port)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", START], cwd=elsewhere, env=environment, stderr=log
        )
    try:
        transport = httpx2.HTTPTransport(retries=START_S)  # each after twice as long
        with httpx2.Client(transport=transport, timeout=START_S) as client:
            picture = (REPOSITORY / "docs" / "example.png").read_bytes()
            url = f"http://127.0.0.1:{port}/segment"
            answer = client.post(url, files={"image": picture})
    finally:
        process.terminate()
        process.wait()
    assert answer.status_code == 200
    production = Registry(REPOSITORY / "models").resolve("lesion-unet", "production")
    assert answer.headers["X-Model-Version"] == f"lesion-unet@{production}"

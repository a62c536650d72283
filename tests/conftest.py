"""What every test may ask for."""

import gc
import os
import shutil
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

BuiltOnce = Callable[[str, Callable[[Path], None]], Path]

REPOSITORY = Path(__file__).parent.parent

# Doctests import every file; these need what only their own test has, in another process.
collect_ignore = ["fixtures/service/schemathesis_hooks.py", "service/clients/drive.py"]

# The same examples on every run, and none fails because the machine is busy.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")


# Half a million objects come with the libraries and stay: to look for garbage among them, now or
# in any test, takes time and finds none.
gc.disable()


def pytest_collection_finish() -> None:
    """The networks of the tests are so small that threads would only wait for each other."""
    gc.freeze()
    gc.enable()
    if "torch" in sys.modules:  # its import takes longer than most files of tests that do without
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_certificates() -> Iterator[None]:
    """Nothing here is asked over TLS, and reading whom to trust takes 50 ms for each client."""
    with patch.object(ssl.SSLContext, "load_verify_locations"):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real photographs with expert masks; the test skips where there is none.

    `LESION_TEST_DATA` names it; by default it is looked for beside the repository.
    """
    folder = Path(os.environ.get("LESION_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip(f"no real photographs: {folder} has no MANIFEST.csv (set LESION_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> BuiltOnce:
    """Folders that one worker fills and all of them read: a test that changes one takes a copy.

    Called with a name of the whole suite, and with what fills the folder; gives the folder.
    """
    ours = tmp_path_factory.getbasetemp()
    shared = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / "shared"
    shared.mkdir(exist_ok=True)

    def folder_of(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of an attempt that failed
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """URL of a bucket on a real S3 server of this machine."""
    from tests.fixtures.s3 import serve_s3  # its imports take a second

    with serve_s3() as url:
        yield url


@pytest.fixture(scope="session")
def shipped_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real process that serves the shipped version, and keeps corrections."""
    from tests.fixtures.service.process import free_port, service

    port, folder = free_port(), tmp_path_factory.mktemp("shipped")
    settings = {"LESION_BACKEND": "auto", "LESION_CORRECTIONS": str(folder / "corrections")}
    with service(port, REPOSITORY / "models", folder / "log", settings):
        yield f"http://127.0.0.1:{port}"

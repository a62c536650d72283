"""What every test may ask for."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real photographs with expert masks; the test skips where there is none.

    `LESION_TEST_DATA` names it; by default it is looked for beside the repository.
    """
    folder = Path(os.environ.get("LESION_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "MANIFEST.csv").is_file():
        pytest.skip(f"no real photographs: {folder} has no MANIFEST.csv (set LESION_TEST_DATA)")
    return folder

"""The examples of docs/languages.md, run against a real process; which needs Node or a JDK."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

yaml = pytest.importorskip("yaml")

PAGE = (REPOSITORY / "docs" / "languages.md").read_text(encoding="utf-8")
TOLD = REPOSITORY / "tests" / "service" / "clients" / "openapi-python-client.yaml"


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.mark.foreign
@pytest.mark.parametrize(
    ("language", "program", "name", "said"),
    [
        # Without annotations it is JavaScript too; the generated client's test has the types.
        pytest.param("typescript", "node", "segment.mjs", "true 45", id="TypeScript"),
        pytest.param("java", "java", "Segment.java", "lesion-unet@", id="Java"),
    ],
)
def test_an_example_runs(
    shipped_url: str, tmp_path: Path, language: str, program: str, name: str, said: str
) -> None:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"no {program} is installed (Debian: apt install nodejs default-jdk-headless)")
    (tmp_path / "docs").mkdir()
    shutil.copy(REPOSITORY / "docs" / "example.png", tmp_path / "docs")
    (tmp_path / name).write_text(block(language).replace("http://127.0.0.1:8000", shipped_url))
    run = subprocess.run(
        [path, name], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(said)
    assert (tmp_path / "mask.png").read_bytes().startswith(b"\x89PNG")


def test_a_generator_is_told_what_the_test_of_its_client_tells_it() -> None:
    assert yaml.safe_load(block("yaml")) == yaml.safe_load(TOLD.read_text())

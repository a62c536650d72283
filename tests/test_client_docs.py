"""Every example of docs/client.md, run against a real process with the shipped version."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from service.cli.main import _parser, main
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "client.md").read_text(encoding="utf-8")
OF_PACS = (REPOSITORY / "docs" / "pacs.md").read_text(encoding="utf-8")
DEFAULT = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)


PYTHON = blocks("python")
COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


@pytest.fixture
def _in_a_folder_with_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("example.png", "example_truth.png"):
        shutil.copy(REPOSITORY / "docs" / name, tmp_path / "docs" / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_in_a_folder_with_the_examples")
@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_an_example_in_python_runs(
    number: int,
    shipped_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = PYTHON[number].replace(DEFAULT, shipped_url)
    code = re.sub(r"Client\((?!\")", f'Client("{shipped_url}", ', code)
    exec(compile(code, f"docs/client.md, example {number}", "exec"), {"__name__": "example"})
    said = capsys.readouterr().out
    if "(384, 512) bool" in code:
        assert said.startswith("(384, 512) bool\n")
    if "unsupported-image" in code:
        assert said.startswith("415 unsupported-image\n")


@pytest.mark.usefixtures("_in_a_folder_with_the_examples")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command: str, shipped_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = shlex.split(command)
    assert program == "lesion"
    monkeypatch.setenv("LESION_CLIENT_URL", shipped_url)
    assert main(arguments) == 0


def test_a_page_names_every_option() -> None:
    parser = _parser()
    (commands,) = (action.choices for action in parser._actions if action.choices)
    missing = {
        text
        for name, command in commands.items()  # type: ignore[attr-defined]
        for action in command._actions
        for text in action.option_strings
        if text.startswith("--") and text not in (OF_PACS if name == "pacs" else PAGE)
    }
    assert missing - {"--help", "--spacing-mm"} == set()

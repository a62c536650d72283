"""What `make` installs: which PyTorch, from whose indexes, and again what was interrupted."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import install

Program = Callable[[str, str], None]
NO_TORCH = "echo 'error: Failed to fetch' >&2; echo '  cause: no such host' >&2; exit 2"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Write a shell program into a folder that is alone on the PATH, but for the shell."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.delenv("UV_TORCH_BACKEND", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")

    def write(name: str, body: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    # A machine of the tests may have a GPU.
    write("nvidia-smi", "exit 9")
    return write


@pytest.mark.parametrize(
    ("nvidia_smi", "expected"),
    [
        pytest.param("echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'", "NVIDIA H200", id="one"),
        pytest.param("echo 'GPU 0: Tesla T4'; echo 'GPU 1: L4'", "Tesla T4", id="the first of two"),
        pytest.param("echo 'No devices found.'", None, id="a driver without a GPU"),
        pytest.param("echo 'could not communicate with the driver'; exit 9", None, id="no driver"),
    ],
)
def test_the_gpu_is_the_one_that_nvidia_smi_lists(
    program: Program, nvidia_smi: str, expected: str | None
) -> None:
    program("nvidia-smi", nvidia_smi)
    assert install.nvidia_gpu() == expected


def test_without_nvidia_smi_there_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.nvidia_gpu() is None


@pytest.mark.parametrize(
    ("nvidia_smi", "uv", "arguments", "said"),
    [
        pytest.param(
            "exit 9", "exit 0", ["--torch-backend", "cpu"],
            "No NVIDIA GPU found: taking PyTorch's small build for CPUs.", id="cpu",
        ),
        pytest.param(
            "echo 'GPU 0: L4 (UUID: 1)'", "exit 0", ["--torch-backend", "auto"],
            "L4 found: taking PyTorch's CUDA build for its driver.", id="gpu",
        ),
        pytest.param(
            "exit 9", NO_TORCH, [], "cannot be had from download.pytorch.org (no such host)",
            id="cpu, index out of reach",
        ),
        pytest.param(
            "echo 'GPU 0: L4 (UUID: 1)'", NO_TORCH, [], "taking the build that the other indexes",
            id="gpu, index out of reach",
        ),
    ],
)  # fmt: skip
def test_the_build_of_pytorch_suits_the_machine_and_says_why(
    program: Program,
    capfd: pytest.CaptureFixture[str],
    nvidia_smi: str,
    uv: str,
    arguments: list[str],
    said: str,
) -> None:
    program("nvidia-smi", nvidia_smi)
    program("uv", uv)
    assert install.torch_arguments(["uv", "pip", "install"]) == arguments
    assert said in capfd.readouterr().out


def test_an_index_that_never_answers_is_given_up(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("uv", "exec sleep 60")
    monkeypatch.setattr(install, "PROBE_TIMEOUT_S", 0.1)
    assert install.why_not(["uv"], ["torch"]) == "no answer in 0.1 s"


@pytest.mark.parametrize(
    ("uv", "chosen", "platform"),
    [
        pytest.param(["uv"], "cu126", "linux", id="the user chose"),
        pytest.param(["uv", "--no-index"], "", "linux", id="pip is told to use no index"),
        pytest.param(["uv"], "", "darwin", id="a Mac has one build"),
    ],
)
def test_no_build_is_chosen_where_there_is_no_choice(
    program: Program, monkeypatch: pytest.MonkeyPatch, uv: list[str], chosen: str, platform: str
) -> None:
    program("uv", "exit 0")
    monkeypatch.setenv("UV_TORCH_BACKEND", chosen)
    monkeypatch.setattr(sys, "platform", platform)
    assert install.torch_arguments(uv) == []


def test_pip_settings_go_by_the_rank_that_pip_gives_them() -> None:
    listed = (
        ":env:.find-links='/wheels'\n"
        "global.find-links='/other'\n"
        "global.index-url='https://a/simple'\n"
        "install.index-url='https://b/simple?x=1'\n"
        "global.extra-index-url='\\nhttps://c/simple\\nhttps://d/simple'\n"
        "freeze.all='1'\n"
        "WARNING: a line of another kind\n"
    )
    assert install.parse_pip_settings(listed) == {
        "find-links": "/wheels",
        "index-url": "https://b/simple?x=1",
        "extra-index-url": "\nhttps://c/simple\nhttps://d/simple",
    }


def test_uv_looks_where_pip_looks() -> None:
    arguments, environment = install.from_pip(
        {
            "index-url": "https://mirror/simple",
            "extra-index-url": "\nhttps://c/simple\nhttps://d/simple",
            "find-links": "/wheels /more",
            "trusted-host": "mirror",
            "cert": "/ca.pem",
            "constraint": "/ours.txt",
            "no-index": "false",
        }
    )
    assert arguments == ["--constraints=/ours.txt"]
    assert environment.items() >= {
        ("UV_DEFAULT_INDEX", "https://mirror/simple"),
        ("UV_INDEX", "https://c/simple https://d/simple"),
        ("UV_FIND_LINKS", "/wheels,/more"),
        ("UV_INSECURE_HOST", "mirror"),
        ("SSL_CERT_FILE", "/ca.pem"),
    }


def test_pip_without_settings_leaves_uv_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    arguments, environment = install.from_pip({})
    assert arguments == []
    assert set(environment) == {"UV_INDEX_STRATEGY", "UV_SYSTEM_CERTS"}
    assert install.from_pip({"no-index": "1"})[0] == ["--no-index"]


@pytest.mark.parametrize(
    ("lost", "kept"),
    [
        pytest.param(None, True, id="whole"),
        pytest.param("drawn/pixels.py", False, id="a module is missing"),
        pytest.param("drawn-1.0.dist-info/RECORD", False, id="the list is missing"),
        pytest.param("drawn-1.0.dist-info/METADATA", False, id="the metadata is missing"),
        pytest.param("drawn/pixels.pyc", True, id="bytecode is missing"),
    ],
)
def test_a_package_that_lacks_a_file_is_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str | None, kept: bool
) -> None:
    metadata = tmp_path / "drawn-1.0.dist-info"
    paths = ["drawn/pixels.py", "drawn/pixels.pyc", f"{metadata.name}/METADATA"]
    for path in [*paths, f"{metadata.name}/RECORD"]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("".join(f"{name},,\n" for name in paths))
    if lost:
        (tmp_path / lost).unlink()
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    install.forget_damaged_packages()
    assert metadata.exists() == kept


def test_what_is_installed_needs_neither_uv_nor_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "ENVIRONMENT", tmp_path)
    monkeypatch.setattr(install, "uv_command", lambda: pytest.fail("uv was asked"))
    (tmp_path / ".installed-dev").write_text(install.checksum())
    for group in ("base", "demo", "docs", "dev"):
        install.main(group)


def test_a_changed_pin_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n\n[tool.ruff]\nline-length = 100\n")
    (tmp_path / "constraints.txt").write_text("torch==1.0\n")
    monkeypatch.chdir(tmp_path)
    before = install.checksum()
    (tmp_path / "pyproject.toml").write_text("[project]\n\n[tool.ruff]\nline-length = 80\n")
    assert install.checksum() == before
    (tmp_path / "constraints.txt").write_text("torch==1.1\n")
    assert install.checksum() != before


@pytest.mark.parametrize("arguments", [[], ["everything"]], ids=["nothing", "no such group"])
def test_an_unknown_group_is_answered_with_the_known_ones(arguments: list[str]) -> None:
    command = [sys.executable, install.__file__, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert answer.returncode == 1
    assert "{base,demo,docs,dev,bench}" in answer.stderr

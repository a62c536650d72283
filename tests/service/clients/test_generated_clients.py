"""Clients that generators make of /openapi.json: type-checked, and every operation driven."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.conftest import BuiltOnce
from tests.fixtures.pictures import encode, lesion

HERE = Path(__file__).parent
PYTHON_TOOL = "openapi-python-client==0.29.1"
NODE_TOOLS = ("@hey-api/openapi-ts@0.94.0", "typescript@5.9.3", "@types/node@20.19.0")
TSCONFIG = {
    "compilerOptions": {
        "strict": True,
        "target": "es2022",
        "lib": ["es2023", "dom", "dom.iterable"],
        "module": "commonjs",
        "esModuleInterop": True,
        "types": ["node"],
        "outDir": "built",
    },
    "include": ["client", "drive.ts"],
}


def run(*command: object, folder: Path) -> None:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def install(*command: object, folder: Path) -> None:
    """Install a generator, apart from the project's own libraries; skip where that cannot be."""
    try:
        run(*command, folder=folder)
    except AssertionError as exc:
        pytest.skip(f"{command[-1]} cannot be installed: {str(exc).strip()[-200:]}")


@pytest.fixture
def files(served: str, tmp_path: Path) -> tuple[Path, Path]:
    """A photograph, and the mask that the service answers with; the document lies beside them."""
    photograph, mask = tmp_path / "photograph.png", tmp_path / "mask.png"
    photograph.write_bytes(encode(lesion(48, 64)))
    answer = httpx2.post(f"{served}/segment", files={"image": photograph.read_bytes()})
    mask.write_bytes(answer.content)
    document = httpx2.get(f"{served}/openapi.json").content
    (tmp_path / "openapi.json").write_bytes(document)
    return photograph, mask


@pytest.mark.slow
def test_a_client_in_python(
    served: str, files: tuple[Path, Path], tmp_path: Path, built_once: BuiltOnce
) -> None:
    def fill(folder: Path) -> None:
        run(sys.executable, "-m", "venv", folder, folder=folder)
        install(folder / "bin/pip", "install", "--quiet", PYTHON_TOOL, folder=folder)

    tools = built_once("openapi-python-client", fill) / "bin"
    options = ("--path", "openapi.json", "--config", HERE / "openapi-python-client.yaml")
    where = ("--meta", "none", "--output-path", "skin_lesion_segmentation_client")
    run(tools / "openapi-python-client", "generate", *options, *where, folder=tmp_path)
    shutil.copy(HERE / "drive.py", tmp_path)
    run(sys.executable, "-m", "mypy", "--strict", "--python-executable", tools / "python",
        "skin_lesion_segmentation_client", "drive.py", folder=tmp_path)  # fmt: skip
    run(tools / "python", "drive.py", served, *files, folder=tmp_path)


@pytest.mark.foreign
def test_a_client_in_typescript(
    served: str, files: tuple[Path, Path], tmp_path: Path, built_once: BuiltOnce
) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("no Node is installed (Debian: apt install nodejs npm)")

    def fill(folder: Path) -> None:
        (folder / "package.json").write_text("{}")
        install(npm, "install", "--no-audit", "--no-fund", *NODE_TOOLS, folder=folder)

    modules = built_once("openapi-ts", fill) / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    run(modules / ".bin/openapi-ts", "-i", "openapi.json", "-o", "client", folder=tmp_path)
    shutil.copy(HERE / "drive.ts", tmp_path)
    (tmp_path / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    run(modules / ".bin/tsc", "-p", ".", folder=tmp_path)
    run(node, "built/drive.js", served, *files, folder=tmp_path)

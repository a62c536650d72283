"""The rules of the house that no type checker knows: who may import whom, and what nobody may."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED: dict[str, set[str]] = {
    "model_core": set(),
    "trainer": {"model_core"},
    "service": {"model_core"},
    "benchmarks": {"model_core"},
}
# A measurement of the service has to start it; a version to measure comes of the trainer's code.
BENCHMARKS_MAY = {
    "null_service.py": {"service"},
    "stages.py": {"service"},
    "make_version.py": {"trainer"},
    "training.py": {"trainer"},
}
# Inside model_core imports go one way: down, or along the same floor. What is not named is a leaf.
FLOORS = {
    0: {"errors", "arrays"},
    2: {"card", "backends"},
    3: {"predictor", "golden", "version"},
    4: {"registry"},
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "core", "manager", "misc"}
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports anywhere in it, `from a import b` as `a` and as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(module: str) -> int:
    """Number of the floor that a module of model_core stands on; a leaf's is 1."""
    name = module.split(".")[1]
    return next((number for number, names in FLOORS.items() if name in names), 1)


every_file = pytest.mark.parametrize(
    "path", sources(*ALLOWED), ids=lambda path: str(path.relative_to(ROOT))
)


@every_file
def test_a_package_imports_only_the_packages_it_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    found = {name.split(".")[0] for name in imports(path)} & {*ALLOWED, "tests", "demo", "deploy"}
    extra = BENCHMARKS_MAY.get(path.name, set()) if package == "benchmarks" else set()
    assert found - ALLOWED[package] - extra - {package} == set()


@pytest.mark.parametrize(
    "path", sources("model_core"), ids=lambda path: str(path.relative_to(ROOT / "model_core"))
)
def test_inside_model_core_imports_go_one_way(path: Path) -> None:
    if path.name == "__init__.py":
        return
    inner = {name for name in imports(path) if name.startswith("model_core.")}
    above = {name for name in inner if floor(name) > floor(module_of(path))}
    assert above == set()


@pytest.mark.parametrize("package", ALLOWED)
def test_no_imports_go_round_in_a_circle(package: str) -> None:
    modules = {module_of(path): path for path in sources(package)}
    graph = {name: {other for other in imports(path) if other in modules and other != name}
             for name, path in modules.items()}  # fmt: skip
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_only_tests_the_demo_and_deployments_know_the_service() -> None:
    outside = sources("docs", "notebooks", "model_core", "trainer")
    outside.remove(ROOT / "docs" / "reference.py")  # writes the routes from their own document
    found = {str(path) for path in outside for name in imports(path)
             if name.split(".")[0] == "service"}  # fmt: skip
    assert found == set()
    demo = {name for path in sources("demo") for name in imports(path) if "service" in name}
    assert {name for name in demo if not name.startswith("service.client")} <= {"service"}


def test_every_init_file_is_empty() -> None:
    found = [path for path in sources(*ALLOWED) if path.name == "__init__.py"]
    assert len(found) >= len(ALLOWED)
    assert [str(path) for path in found if path.read_bytes().strip()] == []


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    paths = [path.relative_to(ROOT) for path in sources(*ALLOWED, "tests", "demo")]
    names = {
        part.removesuffix(".py").removeprefix("test_") for path in paths for part in path.parts
    }
    assert names & FORBIDDEN_NAMES == set()


@every_file
def test_nothing_is_ever_unpickled(path: Path) -> None:
    assert {name.split(".")[0] for name in imports(path)} & UNSAFE == set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"torch.load", "torch.save", "eval", "exec"}, called
            assert "allow_pickle=True" not in ast.unparse(node)


@pytest.mark.parametrize("module", ["model_core.rle", "model_core.mask_png", "service.client"])
def test_a_light_module_imports_without_torch(module: str) -> None:
    if not (ROOT / f"{module.replace('.', '/')}.py").is_file():
        pytest.skip(f"{module} does not exist yet")
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr

"""The rules of the house that no type checker knows: who may import whom, and what nobody may."""

import ast
import subprocess
import sys
from collections.abc import Callable
from functools import cache
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
    "way.py": {"service"},
    "make_version.py": {"trainer"},
    "training.py": {"trainer"},
}
# Inside model_core imports go one way: down, or along the same floor. What is not named is a leaf.
# A folder stands on one floor with all its modules.
FLOORS = {
    0: {"errors", "arrays"},
    2: {"card", "backends"},
    3: {"predictor"},
    4: {"registry"},
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "core", "manager", "misc"}
# A docstring that begins so says nothing where an editor shows it without its file. A class or a
# module may be called what something is; a function does something.
RIDDLES = ("It ", "Its ", "All of ", "They ")
RIDDLES_OF_FUNCTIONS = (*RIDDLES, "All ", "What ", "Who ", "Whoever ", "How ", "Of ")
UNSAFE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@cache
def sources(*folders: str) -> tuple[Path, ...]:
    return tuple(sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All that a file says; each is parsed once for all rules."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports anywhere in it, `from a import b` as `a` and as `a.b`."""
    found: list[str] = []
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def floor(module: str) -> int:
    """Number of the floor that a module of model_core stands on; a leaf's is 1."""
    name = module.split(".")[1]
    return next((number for number, names in FLOORS.items() if name in names), 1)


def forbidden_packages(path: Path) -> set[str]:
    package = path.relative_to(ROOT).parts[0]
    found = {name.split(".")[0] for name in imports(path)} & {*ALLOWED, "tests", "demo", "deploy"}
    extra = BENCHMARKS_MAY.get(path.name, set()) if package == "benchmarks" else set()
    return found - ALLOWED[package] - extra - {package}


def imports_from_above(path: Path) -> set[str]:
    if path.name == "__init__.py":
        return set()
    inner = {name for name in imports(path) if name.startswith("model_core.")}
    return {name for name in inner if floor(name) > floor(module_of(path))}


def unsafe_calls(path: Path) -> set[str]:
    """What a file does that may run the code in a file it reads."""
    found = {name for name in imports(path) if name.split(".")[0] in UNSAFE}
    for call in nodes(path):
        if isinstance(call, ast.Call):
            name = ast.unparse(call.func)
            given = {each.arg: ast.unparse(each.value) for each in call.keywords}
            # Reads tensors alone, and refuses every other object of a pickle.
            tensors_alone = name == "torch.load" and given.get("weights_only") == "True"
            pickles = given.get("allow_pickle") == "True"
            if pickles or (
                name in {"torch.load", "torch.save", "eval", "exec"} and not tensors_alone
            ):
                found.add(name)
    return found


def bars_everywhere(path: Path) -> set[str]:
    """Progress bars that are drawn where standard error is no terminal too."""
    bars = [call for call in nodes(path)
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "tqdm"]  # fmt: skip
    return {
        f"line {bar.lineno}"
        for bar in bars
        if not any(each.arg == "disable" and "None" in ast.unparse(each.value)
                   for each in bar.keywords)
    }  # fmt: skip


def riddles(path: Path) -> set[str]:
    """First lines of docstrings that mean nothing by themselves."""
    found = set()
    for node in nodes(path):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node) or ""
            does = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            if text.startswith(RIDDLES_OF_FUNCTIONS if does else RIDDLES):
                found.add(text.partition("\n")[0])
    return found


def offenders(rule: Callable[[Path], set[str]], *folders: str) -> dict[str, set[str]]:
    """Every file that breaks a rule, with what it does against it."""
    found = {str(path.relative_to(ROOT)): rule(path) for path in sources(*folders)}
    assert len(found) > 20
    return {path: broken for path, broken in found.items() if broken}


def test_a_package_imports_only_the_packages_it_may() -> None:
    assert offenders(forbidden_packages, *ALLOWED) == {}


def test_inside_model_core_imports_go_one_way() -> None:
    assert offenders(imports_from_above, "model_core") == {}


@pytest.mark.parametrize("package", ALLOWED)
def test_no_imports_go_round_in_a_circle(package: str) -> None:
    modules = {module_of(path): path for path in sources(package)}
    graph = {name: {other for other in imports(path) if other in modules and other != name}
             for name, path in modules.items()}  # fmt: skip
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("package", ["model_core", "service"])
def test_no_folders_import_each_other_in_a_circle(package: str) -> None:
    # A module beside the folders stands for itself, and a folder within another one apart from it.
    def folder(module: str) -> str:
        return module if module in single else module.rpartition(".")[0]

    modules = {module_of(path) for path in sources(package) if path.name != "__init__.py"}
    single = {name for name in modules if name.count(".") == 1}
    graph: dict[str, set[str]] = {}
    for path in sources(package):
        if (name := module_of(path)) in modules:
            others = {folder(other) for other in imports(path) if other in modules}
            graph.setdefault(folder(name), set()).update(others - {folder(name)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_only_tests_the_demo_and_deployments_know_the_service() -> None:
    may = ROOT / "docs" / "reference.py"  # writes the routes from their own document
    outside = sources("docs", "notebooks", "model_core", "trainer")
    assert may in outside
    found = {str(path) for path in outside for name in imports(path)
             if path != may and name.split(".")[0] == "service"}  # fmt: skip
    assert found == set()
    demo = {name for path in sources("demo") for name in imports(path) if "service" in name}
    assert {name for name in demo if not name.startswith("service.client")} <= {"service"}


def test_every_init_file_is_empty_but_that_of_the_client_which_others_import() -> None:
    found = [path for path in sources(*ALLOWED) if path.name == "__init__.py"]
    assert len(found) >= len(ALLOWED)
    filled = [path.relative_to(ROOT) for path in found if path.read_bytes().strip()]
    assert filled == [Path("service/client/__init__.py")]


def test_no_file_or_folder_has_a_name_that_says_nothing() -> None:
    paths = [path.relative_to(ROOT) for path in sources(*ALLOWED, "tests", "demo")]
    names = {
        part.removesuffix(".py").removeprefix("test_") for path in paths for part in path.parts
    }
    assert names & FORBIDDEN_NAMES == set()


def test_a_docstring_means_something_by_itself() -> None:
    assert offenders(riddles, *ALLOWED) == {}


def test_nothing_is_ever_unpickled() -> None:
    assert offenders(unsafe_calls, *ALLOWED) == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import pickle", {"pickle"}),
        ("from joblib.memory import Memory", {"joblib.memory", "joblib.memory.Memory"}),
        ("torch.load(path)", {"torch.load"}),
        ("torch.load(path, weights_only=False)", {"torch.load"}),
        ("torch.load(path, weights_only=True)", set()),
        ("np.load(path, allow_pickle=True)\nnp.load(path)", {"np.load"}),
        ("json.loads(text)", set()),
    ],
)
def test_the_rule_against_pickle_sees_what_it_forbids(
    code: str, found: set[str], tmp_path: Path
) -> None:
    (tmp_path / "code.py").write_text(code)
    assert unsafe_calls(tmp_path / "code.py") == found


@pytest.mark.parametrize(
    "module", ["model_core.masks.rle", "model_core.masks.png", "service.client"]
)
def test_a_light_module_imports_without_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_progress_bar_fills_no_redirected_log() -> None:
    assert offenders(bars_everywhere, "trainer", "service") == {}

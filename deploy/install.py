"""Install a group of packages into the environment that runs this file, with the PyTorch it needs.

    .venv/bin/python deploy/install.py base    # what the service needs
    .venv/bin/python deploy/install.py dev     # on top: what the tests and checks need

The Makefile calls it before each command. It does nothing, and needs no network, where
`.venv/.installed-GROUP` holds the checksum of what pyproject.toml and constraints.txt ask for now.
uv installs in seconds what takes pip minutes; pip is used once, to install uv.
"""

import ast
import csv
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = Path(sys.prefix)
# Each group in words, and the extras of pyproject.toml that it installs.
GROUPS = {
    "base": ("the service", "dicom,heic"),
    "demo": ("the page", "demo"),
    "docs": ("what builds the site", "docs"),
    "dev": ("what the tests and checks need", "dev"),
    "bench": ("the servers that the service is measured against", "bench"),
}
FAILED = """\
The packages could not be installed: the reason stands above. Run the same command again once that
is put right. A first installation needs the internet, or a mirror of PyPI in pip's configuration;
where no torch is found for this Python, name another: make PYTHON=python3.12 ..."""
# The index answers in one; a firewall that drops packets never does.
PROBE_TIMEOUT_S = 20


def main(group: str) -> None:
    """Install `group` and the groups that it stands on, unless they are there."""
    wanted = checksum()
    # `dev` holds all groups but `bench`.
    if is_installed(group, wanted) or (group != "bench" and is_installed("dev", wanted)):
        return
    if group == "base":
        for outdated in ENVIRONMENT.glob(".installed-*"):
            outdated.unlink()
    else:
        main("dev" if group == "bench" else "base")
    words, extras = GROUPS[group]
    say(f"Installing {words}.")
    # Left behind by a kill or a full disk, when a package may lack half of its files.
    unfinished = ENVIRONMENT / ".installing"
    if unfinished.exists():
        forget_damaged_packages()
    unfinished.touch()
    install(group, extras)
    unfinished.unlink()
    (ENVIRONMENT / f".installed-{group}").write_text(wanted)


def checksum() -> str:
    """Return the checksum of constraints.txt, and of pyproject.toml down to the tools' settings."""
    project = Path("pyproject.toml").read_text(encoding="utf-8").partition("\n[tool.ruff]")[0]
    pins = Path("constraints.txt").read_text(encoding="utf-8")
    return hashlib.sha256((project + pins).encode()).hexdigest()


def is_installed(group: str, wanted: str) -> bool:
    """Tell whether `group` was installed from files with the checksum `wanted`."""
    marker = ENVIRONMENT / f".installed-{group}"
    return marker.exists() and marker.read_text() == wanted


def install(group: str, extras: str) -> None:
    """Install this project with `extras`, or exit; go on without OpenVINO and the ISIC scorer."""
    uv = uv_command()
    torch = [] if version_of("torch") == pin("torch") else torch_arguments(uv)
    uv.append("--editable")
    # A GPU needs no other engine.
    openvino = group == "base" and nvidia_gpu() is None
    if openvino and subprocess.call([*uv, f".[{extras},cpu]", *torch]) == 0:
        return
    if openvino:
        say("Going on without OpenVINO: slower, and the same masks.")
    if subprocess.call([*uv, f".[{extras}]", *torch]) != 0:
        sys.exit(FAILED)
    if group == "dev":
        log = ENVIRONMENT / "scorer.log"
        with log.open("wb") as stream:
            if subprocess.call([*uv, ".[scorer]"], stdout=stream, stderr=stream) != 0:
                say("isic-challenge-scoring could not be installed (it needs a C compiler; log:")
                say(f"{log}): its tests will skip.")


# --- PyTorch's build ---------------------------------------------------------------------------


def torch_arguments(uv: list[str]) -> list[str]:
    """Say which build of PyTorch this machine gets and why; return uv's arguments for it.

    PyPI has one build for Linux, with gigabytes of CUDA; PyTorch's own index has more.
    """
    if sys.platform != "linux" or "--no-index" in uv:
        return []
    if chosen := os.environ.get("UV_TORCH_BACKEND"):
        say(f"Taking PyTorch's build {chosen}, as UV_TORCH_BACKEND says.")
        return []
    gpu = nvidia_gpu()
    if gpu:
        found, build, backend = f"{gpu} found", "PyTorch's CUDA build for its driver", "auto"
    else:
        found, build, backend = "No NVIDIA GPU found", "PyTorch's small build for CPUs", "cpu"
    arguments = ["--torch-backend", backend]
    if reason := why_not(uv, [*arguments, "--no-deps", f"torch=={pin('torch')}"]):
        say(f"{found}, but {build} cannot be had from download.pytorch.org ({reason}):")
        say("taking the build that the other indexes have; PyPI's has gigabytes of CUDA.")
        return []
    say(f"{found}: taking {build}.")
    return arguments


def nvidia_gpu() -> str | None:
    """Return the name of the first NVIDIA GPU whose driver answers, or None."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"^GPU \d+: (.+?)( \(UUID|$)", listed.stdout, re.MULTILINE)
    return found[1] if found else None


def why_not(uv: list[str], arguments: list[str]) -> str | None:
    """Return why uv cannot install `arguments`, or None where it can; install nothing."""
    # One answer decides: more would only add minutes where a firewall stands.
    environment = os.environ | {"UV_HTTP_RETRIES": "0"}
    try:
        probe = subprocess.run(
            [*uv, "--dry-run", "--color", "never", *arguments],
            env=environment, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_TIMEOUT_S} s"
    if probe.returncode == 0:
        return None
    reasons = re.findall(r"^\s*(?:error|cause|×|╰─▶|├─▶):? (.+)", probe.stderr, re.MULTILINE)
    return reasons[-1].strip() if reasons else f"uv ended with {probe.returncode}"


# --- uv ----------------------------------------------------------------------------------------


def uv_command() -> list[str]:
    """Return the start of a `uv pip install` with our pins; install uv if it is missing."""
    wanted = pin("uv")
    if version_of("uv") != wanted:
        environment = os.environ | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        command = [sys.executable, "-m", "pip", "install", "--quiet", f"uv=={wanted}"]
        if subprocess.call(command, env=environment) != 0:
            sys.exit(FAILED)
    arguments, settings = from_pip(pip_settings())
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    return [
        str(ENVIRONMENT / "bin" / "uv"), "pip", "install", "--python", sys.executable,
        "--constraints", "constraints.txt", "--build-constraints", "constraints.txt", *arguments,
    ]  # fmt: skip


def pip_settings() -> dict[str, str]:
    """Return the settings of `pip install`, from pip's files and environment; uv reads neither."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    return parse_pip_settings(subprocess.run(command, capture_output=True, text=True).stdout)


def parse_pip_settings(listed: str) -> dict[str, str]:
    """Read the output of `pip config list`: the environment over [install] over [global]."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        key, separator, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if separator and section in found:
            found[section][name] = ast.literal_eval(value)
    return found["global"] | found["install"] | found[":env:"]


def from_pip(settings: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """Translate pip's settings into arguments of uv and environment variables for it.

    The variables are defaults: what the user has set for uv itself goes first.
    """
    lists = {name: value.split() for name, value in settings.items()}
    environment = {
        # pip takes the best version of all its indexes, and the system's certificates.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_SYSTEM_CERTS": str(system_has_certificates()).lower(),
        "UV_DEFAULT_INDEX": settings.get("index-url"),
        "UV_INDEX": " ".join(lists.get("extra-index-url", [])),
        "UV_FIND_LINKS": ",".join(lists.get("find-links", [])),
        "UV_INSECURE_HOST": " ".join(lists.get("trusted-host", [])),
        "UV_HTTP_TIMEOUT": settings.get("timeout", settings.get("default-timeout")),
        "SSL_CERT_FILE": settings.get("cert", os.environ.get("REQUESTS_CA_BUNDLE")),
        "SSL_CLIENT_CERT": settings.get("client-cert"),
        "ALL_PROXY": settings.get("proxy"),
    }
    # uv has no variable for the second, and the first's gives way to the argument for our pins.
    arguments = [f"--constraints={path}" for path in lists.get("constraint", [])]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        arguments.append("--no-index")
    return arguments, {name: value for name, value in environment.items() if value}


def system_has_certificates() -> bool:
    """Tell whether this system has a store of certificates; uv has its own for one without."""
    paths = ssl.get_default_verify_paths()
    return sys.platform == "darwin" or bool(
        paths.cafile or (paths.capath and any(Path(paths.capath).iterdir()))
    )


# --- what is there -----------------------------------------------------------------------------


def pin(package: str) -> str:
    """Return the version of `package` that constraints.txt asks for."""
    lines = Path("constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and line[0] != "#")[package]


def version_of(package: str) -> str | None:
    """Return the installed version of `package` without its build (`+cpu`), or None."""
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def forget_damaged_packages() -> None:
    """Remove the metadata of each package that lacks a file, so that it is installed again."""
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for metadata in Path(folder).glob("*.dist-info"):
            if is_damaged(metadata):
                say(f"Installing {metadata.name.partition('-')[0]} again: it was interrupted.")
                shutil.rmtree(metadata)


def is_damaged(metadata: Path) -> bool:
    """Tell whether the package of a `.dist-info` folder lacks a file of its list."""
    record = metadata / "RECORD"
    if not record.exists() or not (metadata / "METADATA").exists():
        return True
    with record.open(encoding="utf-8", newline="") as rows:
        paths = [row[0] for row in csv.reader(rows) if row]
    # Bytecode comes and goes.
    return not all((metadata.parent / path).exists() for path in paths if path[-4:] != ".pyc")


def say(text: str) -> None:
    """Print a line, ahead of what the programs that follow print."""
    print(text, flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    if sys.argv[1:2] == [] or sys.argv[1] not in GROUPS or sys.prefix == sys.base_prefix:
        sys.exit(f"usage: .venv/bin/python deploy/install.py {{{','.join(GROUPS)}}}")
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(130)

"""What is measured: our service and its peers, each a command line with an environment."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.engines import NULL
from benchmarks.peers import triton_setup
from benchmarks.peers.options import PeerOptions, Steps
from benchmarks.wires import FORM, PLAIN, TENSORS
from model_core.backends.cores import usable_cores

OURS, NAIVE, TRITON = "service", "naive", "triton"
PEERS: dict[str, tuple[str, str, str]] = {
    NAIVE: ("naive_fastapi", "fastapi", FORM),
    "litserve": ("lit_serve", "litserve", FORM),
    "bentoml": ("bento_ml", "bentoml", FORM),
    "ray": ("ray_serve", "ray", FORM),
    "mosec": ("mosec_stages", "mosec", PLAIN),
    TRITON: ("py_triton", "pytriton", TENSORS),
}
"""Module within `benchmarks.peers`, the package that it needs, and the wire, by the peer's name."""

Environment = dict[str, str]


@dataclass(frozen=True)
class Version:
    """The version that every server serves.

    Attributes:
        root: Folder of the registry.
        name: Model.
        version: Version or alias.
    """

    root: Path
    name: str
    version: str


@dataclass(frozen=True)
class Contender:
    """One server around one engine.

    Attributes:
        label: Its name in the table.
        engine: As LESION_BACKEND, or `null`.
        command: Its command line.
        environment: From the port that it is to listen on.
        skipped: Why it cannot run here; empty where it can.
        wire: How it wants to be asked.
    """

    label: str
    engine: str
    command: Sequence[str]
    environment: Callable[[int], Mapping[str, str]]
    skipped: str = ""
    wire: str = FORM


def ours(version: Version, engine: str) -> Contender:
    """Our service as `make serve` starts it, told its version, engine and port."""

    def environment(port: int) -> Environment:
        wanted = {
            "LESION_HOST": "127.0.0.1",
            "LESION_PORT": str(port),
            "LESION_MODEL_REGISTRY": str(version.root),
            "LESION_MODEL_NAME": version.name,
            "LESION_RELOAD_SECONDS": "0",
            "LESION_LOG_LEVEL": "WARNING",
        }
        return wanted if engine == NULL else wanted | {"LESION_BACKEND": engine}

    module = "benchmarks.null_service" if engine == NULL else "service"
    skipped = "" if version.version == "production" else "it serves the alias production alone"
    return Contender(OURS, engine, (sys.executable, "-m", module), environment, skipped)


def peer(name: str, version: Version, engine: str, *, workers: int = 1, batch: int = 1,
         steps: Steps = "pil") -> Contender:  # fmt: skip
    """A peer around the same version and engine.

    Args:
        name: One of `PEERS`.
        version: What it serves.
        engine: As LESION_BACKEND, or `null`.
        workers: Processes that run the network; the cores are shared out among them.
        batch: Largest batch of its own batching; 1 leaves it off.
        steps: What stands around the network, see `PeerOptions`.
    """
    module, package, wire = PEERS[name]
    options = PeerOptions(
        root=str(version.root.resolve()),
        name=version.name,
        version=version.version,
        engine=engine,
        port=0,
        workers=workers,
        threads=max(1, usable_cores() // workers),
        batch=batch,
        steps=steps,
    )
    extras = [f"x{workers}"] * (workers > 1) + [f"batch {batch}"] * (batch > 1)
    extras += ["our steps"] * (steps == "ours")
    return Contender(
        " ".join([name, *extras]),
        engine,
        (
            str(triton_setup.PYTHON) if name == TRITON else sys.executable,
            "-m",
            f"benchmarks.peers.{module}",
        ),
        lambda port: replace(options, port=port).environment(),
        _why_not(name, package, batch),
        wire,
    )


def _why_not(name: str, package: str, batch: int) -> str:
    if name == TRITON:
        how = "python -m benchmarks.peers.triton_setup"
        return "" if triton_setup.is_made() else f"{package} is not installed ({how})"
    if find_spec(package) is None:
        return f"{package} is not installed (pip install -c constraints.txt -e '.[bench]')"
    if name == NAIVE and batch > 1:
        return "it has no batching"
    return ""

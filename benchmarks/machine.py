"""The conditions of a measurement: without them a figure means nothing."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import ROOT
from model_core.backends.cores import usable_cores

PACKAGES = (
    "aiohttp", "bentoml", "fastapi", "litserve", "mosec", "numpy", "openvino", "pillow", "ray",
    "torch", "uvicorn",
)  # fmt: skip
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")
"""What decides how fast a network runs on a CPU."""
BUSY_CORES = 0.1
"""From so much work of others on, figures are not to be trusted."""


def conditions() -> dict[str, Any]:
    """Machine, versions and commit, and how busy others keep the machine just now."""
    busy = psutil.cpu_percent(interval=1.0) / 100 * (psutil.cpu_count() or 1)
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "cpu": _cpu_info("model name") or platform.processor(),
        "cpu_flags": [flag for flag in FLAGS if flag in _cpu_info("flags").split()],
        "cores": usable_cores(),
        "cgroup_cpu_max": _read("/sys/fs/cgroup/cpu.max"),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", ""),
        "busy_cores_before": round(busy, 2),
        "quiet": busy < BUSY_CORES,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()


def _cpu_info(field: str) -> str:
    for line in _read("/proc/cpuinfo").split("\n"):
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""

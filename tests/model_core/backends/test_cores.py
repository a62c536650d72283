import os
from pathlib import Path

import pytest

from model_core.backends.cores import share_cores, usable_cores

ALLOWED = len(os.sched_getaffinity(0))


def machine(root: Path, files: dict[str, str], own: str = "0::/\n") -> dict[str, Path]:
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "own").write_text(own)
    return {"cgroups": root / "cgroup", "own": root / "own"}


@pytest.mark.parametrize(
    ("files", "own"),
    [
        pytest.param({"cpu.max": "100000 100000\n"}, "0::/\n", id="version 2, in a container"),
        pytest.param({"cpu.max": "190000 100000\n"}, "0::/\n", id="rounded down"),
        pytest.param({"cpu.max": "20000 100000\n"}, "0::/\n", id="less than one"),
        pytest.param({"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b\n",
                     id="a quota further up"),
        pytest.param({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"},
                     "4:cpu,cpuacct:/\n", id="version 1"),
    ],
)  # fmt: skip
def test_a_container_s_quota_counts(files: dict[str, str], own: str, tmp_path: Path) -> None:
    assert usable_cores(**machine(tmp_path, files, own)) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"cpu.max": "max 100000\n"},
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        {"cpu.max": "no numbers\n"},
        {"cpu.max": "6400000 100000\n"},
        {},
    ],
)
def test_without_a_quota_the_scheduler_decides(files: dict[str, str], tmp_path: Path) -> None:
    assert usable_cores(**machine(tmp_path, files)) == ALLOWED


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert usable_cores(cgroups=tmp_path / "none", own=tmp_path / "none") == ALLOWED


@pytest.mark.parametrize(
    ("processes", "expected"), [(1, ALLOWED), (2, max(1, ALLOWED // 2)), (500, 1)]
)
def test_processes_share_out_the_cores(processes: int, expected: int, tmp_path: Path) -> None:
    share_cores(processes)
    try:
        assert usable_cores(**machine(tmp_path, {})) == expected
    finally:
        share_cores(1)

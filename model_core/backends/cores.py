"""Count the CPU cores that this process may really use."""

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")

_sharers = 1
"""Processes that share out the cores among themselves."""


def usable_cores(*, cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """Count the cores that the scheduler and a container's quota allow, at least 1.

    A quota that is not whole is rounded down: threads beyond it would be held up in the middle of
    a step that the others wait for. Other places of the control groups are for tests.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quotas = [quota for folder in _lineage(cgroups, own) if (quota := _quota(folder)) is not None]
    return max(1, int(min([allowed, *quotas])) // _sharers)


def share_cores(processes: int) -> None:
    """Count only this process's part of the cores from now on, as one of so many equal ones."""
    global _sharers  # as the cores themselves, it is the process's
    _sharers = processes


def _lineage(cgroups: Path, own: Path) -> list[Path]:
    """List the folders of the process's control group and of all above it, versions 2 and 1."""
    roots = [cgroups, cgroups / "cpu"]
    try:
        paths = [line.split(":", 2)[2] for line in own.read_text().splitlines()]
    except (OSError, IndexError):
        paths = []
    folders = list(roots)
    for path in paths:
        parts = [part for part in path.split("/") if part not in ("", "..")]
        folders += [root.joinpath(*parts[:n]) for root in roots for n in range(1, len(parts) + 1)]
    return folders


def _quota(folder: Path) -> float | None:
    """Read the cores of a control group's quota; None where it has none."""
    try:
        if (file := folder / "cpu.max").is_file():  # version 2
            quota, period = file.read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None

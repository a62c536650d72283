"""How many CPU cores this process may really use."""

import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


_sharers = 1
"""Processes that share out the cores among themselves."""


def usable_cores(*, cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """The cores that the scheduler allows, or fewer where a container's quota or others do.

    A quota that is not whole is rounded down: threads beyond it would be held up in the middle of
    a step that the others wait for.

    Args:
        cgroups: Where the control groups are mounted.
        own: Which of them is this process's.

    Returns:
        At least 1.
    """
    allowed = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quotas = [quota for folder in _lineage(cgroups, own) if (quota := _quota(folder)) is not None]
    return max(1, int(min([allowed, *quotas])) // _sharers)


def share_cores(processes: int) -> None:
    """Leave the others of so many equal processes their parts of the cores, from now on."""
    global _sharers  # as the cores themselves, it is the process's
    _sharers = processes


def _lineage(cgroups: Path, own: Path) -> list[Path]:
    """Folders of the process's control group and of all above it, for versions 2 and 1."""
    roots = [cgroups, cgroups / "cpu"]
    try:
        paths = [line.split(":", 2)[2] for line in own.read_text().splitlines()]
    except (OSError, IndexError):
        paths = []
    found = list(roots)
    for path in paths:
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [root.joinpath(*parts[:n]) for root in roots for n in range(1, len(parts) + 1)]
    return found


def _quota(folder: Path) -> float | None:
    """Cores of a control group's quota; None where it has none."""
    try:
        if (file := folder / "cpu.max").is_file():  # version 2
            quota, period = file.read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None

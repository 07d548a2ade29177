"""How many threads to use when nobody says: the CPUs that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

#: CPUs where there is no quota.
_NO_QUOTA = 1 << 20


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else the CPUs allowed by affinity and by cgroup quotas."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cpus, cgroup_cpus(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))))


def cgroup_cpus(root: Path, membership: Path) -> int:
    """CPUs that the cgroup quotas of this process grant, rounded up; _NO_QUOTA for none.

    root: where cgroups are mounted; membership: a file such as /proc/self/cgroup.
    """
    fewest = _NO_QUOTA
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return fewest
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount = root
        elif "cpu" in controllers.split(","):
            mount = root / "cpu"
        else:
            continue
        here = mount / path.lstrip("/")
        # Inside a container the path may lie outside what is mounted: the root then counts.
        for folder in [here, *here.parents]:
            fewest = min(fewest, _quota(folder))
            if folder == mount:
                break
    return fewest


def _quota(folder: Path) -> int:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else _NO_QUOTA
    except (OSError, ValueError):  # no such file, or "max"
        return _NO_QUOTA

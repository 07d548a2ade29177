"""Threads: how many to use when nobody says, and whether so many can be made."""

from __future__ import annotations

import math
import os
import re
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from rbmcli.errors import RbmError

#: More than any machine has use for here.
MOST_THREADS = 1024

#: CPUs where there is no quota.
_NO_QUOTA = 1 << 20


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else the CPUs allowed by affinity and by cgroup quotas."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if re.fullmatch(r"\d{1,9}", asked, re.ASCII) and int(asked) > 0:
        return min(int(asked), MOST_THREADS)
    return min(_cpus(), MOST_THREADS)


def use_threads(asked: int | None) -> None:
    """Let the kernels use so many threads; None for as many as `default_threads` says.

    They are made here once. RbmError where the system does not make so many, before anything else
    is begun: OpenMP would end the process later without a word of what to do.
    """
    from rbmcli import _kernels

    count = asked or default_threads()
    if (made := _kernels.make_threads(count, _stack_bytes(os.environ))) < count:
        fewer = "--threads 1" if count < 4 else "fewer --threads, such as 1"
        raise RbmError(
            f"of {count} threads only {made} can be made here: give {fewer}, or raise the limits of"
            " processes and memory (ulimit -u, ulimit -v, or those of the job)"
        )
    _kernels.set_threads(count)


def spare_blas_threads() -> None:
    """Let numpy's matrix products do with one thread where others cannot be made.

    To be called before numpy is imported, which makes them then, and whose library interrupts the
    process where that fails. Afterwards it does nothing: threads on their way out are bad company
    for a process that forks.
    """
    told = any(os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"))
    if told or "numpy" in sys.modules:
        return
    if not _can_start(_cpus() - 1):
        os.environ["OPENBLAS_NUM_THREADS"] = "1"


def _can_start(count: int) -> bool:
    """Whether so many threads can be at the same time beside this one."""
    over, started = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        over.set()
        for thread in started:
            thread.join()
    return True


def _stack_bytes(environ: Mapping[str, str]) -> int:
    """The size of a thread's stack that OpenMP is told to use; 0 where it is not."""
    asked = environ.get("OMP_STACKSIZE") or environ.get("GOMP_STACKSIZE") or ""
    parts = re.fullmatch(r"\s*(\d{1,12})\s*([bkmg]?)\s*", asked, re.ASCII | re.IGNORECASE)
    if parts is None:
        return 0
    return int(parts[1]) << {"b": 0, "k": 10, "m": 20, "g": 30}[parts[2].lower() or "k"]


def _cpus() -> int:
    """The CPUs allowed by affinity and by cgroup quotas."""
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

"""How many threads are used where nobody says."""

from __future__ import annotations

import os

import pytest
from commands import write_images

from rbmcli import _kernels
from rbmcli.cli import threads
from rbmcli.cli.main import run as rbm
from rbmcli.cli.threads import _NO_QUOTA, cgroup_cpus, default_threads


@pytest.fixture
def cgroup(tmp_path):
    """Write a tree of cgroup files and a membership file, and ask what is granted."""

    def granted(membership: str, **files: str) -> int:
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        (tmp_path / "self").write_text(membership + "\n")
        return cgroup_cpus(tmp_path / "cgroup", tmp_path / "self")

    return granted


def v1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {
        f"cpu{folder}/cpu.cfs_quota_us": str(quota),
        f"cpu{folder}/cpu.cfs_period_us": str(period),
    }


@pytest.mark.parametrize(
    ("quota", "cpus"),
    [
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("25000 50000", 1),
        ("max 100000", _NO_QUOTA),
        ("", _NO_QUOTA),
    ],
)
def test_version_2(cgroup, quota, cpus):
    assert cgroup("0::/job", **{"job/cpu.max": quota}) == cpus


def test_version_2_the_tightest_above_counts(cgroup):
    files = {"a/b/c/cpu.max": "max 100000", "a/b/cpu.max": "300000 100000", "a/cpu.max": "9 2"}
    assert cgroup("0::/a/b/c", **files) == 3


def test_version_2_inside_a_container(cgroup):
    """The path is the host's and cannot be seen; the quota stands at the root."""
    assert cgroup("0::/kubepods/pod1/abc", **{"cpu.max": "400000 100000"}) == 4
    assert cgroup("0::/../other", **{"cpu.max": "400000 100000"}) == 4


@pytest.mark.parametrize(("quota", "cpus"), [(300_000, 3), (150_000, 2), (-1, _NO_QUOTA)])
def test_version_1(cgroup, quota, cpus):
    membership = "5:memory:/elsewhere\n4:cpu,cpuacct:/job\n1:name=systemd:/x"
    assert cgroup(membership, **v1("/job", quota)) == cpus


def test_version_1_the_tightest_above_counts(cgroup):
    files = v1("/a/b", -1) | v1("/a", 200_000) | v1("", -1)
    assert cgroup("4:cpu,cpuacct:/a/b", **files) == 2


def test_version_1_inside_a_container(cgroup):
    assert cgroup("4:cpuacct,cpu:/docker/abc", **v1("", 500_000)) == 5


def test_both_versions(cgroup):
    assert cgroup("4:cpu,cpuacct:/job\n0::/job", **v1("/job", 200_000)) == 2


def test_other_controllers_do_not_count(cgroup):
    assert cgroup("4:cpuset:/job\n3:cpuacct:/job", **v1("/job", 200_000)) == _NO_QUOTA


def test_no_cgroups(tmp_path):
    assert cgroup_cpus(tmp_path, tmp_path / "nowhere") == _NO_QUOTA


@pytest.fixture
def machine(monkeypatch):
    """A machine with 8 CPUs for this process, no quota and no variable, to be changed."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "cgroup_cpus", lambda *_: _NO_QUOTA)
    return monkeypatch


def test_affinity(machine):
    assert default_threads() == 8


def test_no_affinity_on_this_system(machine):
    machine.delattr(os, "sched_getaffinity")
    machine.setattr(os, "cpu_count", lambda: 5)
    assert default_threads() == 5
    machine.setattr(os, "cpu_count", lambda: None)
    assert default_threads() == 1


def test_quota_below_affinity(machine):
    machine.setattr(threads, "cgroup_cpus", lambda *_: 3)
    assert default_threads() == 3


@pytest.mark.parametrize(
    ("variable", "count"), [("3", 3), ("16", 16), ("4,2", 4), ("0", 8), ("", 8), ("many", 8)]
)
def test_omp_num_threads(machine, variable, count):
    machine.setenv("OMP_NUM_THREADS", variable)
    assert default_threads() == count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_the_affinity_of_this_process(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert default_threads() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.skipif(not _kernels.openmp_version(), reason="built without OpenMP")
def test_the_kernels_are_told(tmp_path, machine):
    train = ["train", str(write_images(tmp_path / "images.npy", 20)), "--epochs", "0", "--quiet"]
    output = ["-o", str(tmp_path / "run.h5"), "--force"]
    for options, count in [([], 8), (["--threads", "3"], 3)]:
        assert rbm([*train, *output, *options]) == 0
        assert _kernels.threads() == count

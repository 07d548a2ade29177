"""A few faults at each command that writes; `python -m tests.faults.sweep` lets all of them happen.

The calls at which they happen are spread evenly over those of the undisturbed command, so they are
the same every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import preload
from faults.children import Children, children, work_folder
from faults.preload import Plan
from faults.problems import TRAIN, write_data
from faults.sweep import SCENARIOS, Sweep

#: Faults, and at how many calls each of them happens, of commands that write a run file.
OF_RUNS = {
    "train": {"kill": 6, "half": 2, "EIO": 4, "sticky-ENOSPC": 2, "partial": 2, "ENOLCK": 2},
    "train-force": {"kill": 4, "ENOSPC": 2},
    "train-metrics": {"kill": 4, "short": 2},
    "resume-stopped": {"kill": 3, "EDQUOT": 2},
    "resume-killed": {"kill": 3, "EIO": 2},
    "resume-finished": {"kill": 3, "sticky-EIO": 2},
    "stack": {"kill": 4, "ENOSPC": 2},
    "stack-up-down": {"kill": 3, "short": 1},
    "grow": {"kill": 3, "EACCES": 2},
}
#: The same of those that write another file, once.
OF_OUTPUTS = {"kill": 3, "ENOSPC": 2, "short": 1}


@pytest.fixture(scope="module")
def forking() -> Iterator[Children]:
    """Children with the library preloaded that makes calls fail."""
    if reason := preload.why_not():
        pytest.skip(reason)
    with work_folder() as base, children(base, faults=True) as forking:
        yield forking


@pytest.mark.parametrize("name", SCENARIOS)
def test_faults_at_calls_of(name: str, forking: Children) -> None:
    if name.endswith("mp4"):
        pytest.importorskip("imageio_ffmpeg")
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors")
    sweep = Sweep(forking, name, forking.scratch)
    trials, failures = 0, []
    for fault, most in OF_RUNS.get(name, OF_OUTPUTS).items():
        result = sweep.run(fault, most=most)
        trials += result.trials
        failures += [f"{fault}: {line}" for line in result.summary()]
    assert trials > 1
    assert not failures, "\n".join(failures)


def test_faults_happen_where_they_are_said_to(forking: Children, tmp_path: Path) -> None:
    """The library counts what it should: without it, the sweep would find nothing wrong."""
    folder, log = tmp_path.resolve(), tmp_path.parent / "calls"
    write_data(folder)
    forking.must(*TRAIN, cwd=folder, plan=Plan(str(folder), log=str(log)))
    calls = log.read_text().splitlines()
    assert {call[0] for call in calls} >= set("OWSRCUF")
    renames = [place for place, call in enumerate(calls, 1) if call == "R run.h5"]
    assert len(renames) > 5
    (folder / "run.h5").unlink()
    # Before the first rename there is no run file, and before the second there is one.
    for place, exists in zip(renames, (False, True), strict=False):
        done = forking.run(*TRAIN, "--force", cwd=folder, plan=Plan(str(folder), place, "kill"))
        assert done.status == -9
        assert (folder / "run.h5").exists() == exists
    done = forking.run(*TRAIN, "--force", cwd=folder, plan=Plan(str(folder), renames[2], "EDQUOT"))
    assert done.status == 1
    assert "Disk quota exceeded" in (done.refusal or "")

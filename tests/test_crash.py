"""Run files whose writer is killed, cut off between and within its writes, or out of space.

RBM_KILLS sets how many times a writer is killed at random (default 20).
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from crash import replay, toy

from rbmcli.errors import RbmError

HERE = Path(__file__).parent

#: A file of a single machine, and one of a stack.
either = pytest.mark.parametrize("plan", [toy.machine, toy.stack])


@pytest.fixture(scope="module")
def processes():
    """A source of processes that have everything imported, and start in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crash.toy"])
    return context


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder, in memory where possible: syncing costs nothing there."""
    folder = tmp_path_factory.mktemp("crash")
    if os.access("/dev/shm", os.W_OK):
        folder = Path(f"/dev/shm/rbm-test-{os.getpid()}")
        folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def recorded(folder, tmp_path_factory):
    """Every change that `toy.life` made to its folder, and the checkpoints it committed."""
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler")
    work, acted = tmp_path_factory.mktemp("record"), folder / "acted"
    acted.mkdir()
    shim, log = work / "record.so", work / "log"
    source = HERE / "crash" / "record.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    recording = {"LD_PRELOAD": shim, "RECORD_FOLDER": acted, "RECORD_LOG": log}
    done = subprocess.run(
        [sys.executable, "-m", "crash.toy", acted],
        env=os.environ
        | {name: str(value) for name, value in recording.items()}
        | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        stdout=subprocess.PIPE,
        check=True,
    )
    records, commits = replay.read_log(log), json.loads(done.stdout)
    whole = replay.Folder()
    for record in records:
        whole.apply(record)
    # Nothing escaped the recorder: all of it replayed gives what is there.
    assert whole.now() == {path.name: path.read_bytes() for path in acted.iterdir()}
    assert sum(record.operation == "R" for record in records) == len(commits)
    return records, [None, *(tuple(map(tuple, commit)) for commit in commits)]


def check(folder: Path, files: dict[str, bytes], commit: toy.Plan | None, *, tidy: bool) -> None:
    """`files` hold that checkpoint, and the run goes on from there to the end it ought to have.

    tidy: nothing else is left in the end.
    """
    folder = folder / str(os.getpid())
    replay.put(folder, files)
    path = folder / "run.h5"
    if commit:
        assert toy.same(toy.contents(path), toy.expected(commit))
    else:
        assert not path.exists()
    plan = toy.further(commit or toy.machine(1, 0))
    toy.run(path, plan, "finish")
    assert toy.same(toy.contents(path), toy.expected(plan))
    assert not tidy or [path.name for path in folder.iterdir()] == ["run.h5"]


def check_all(processes, cases) -> None:
    with ProcessPoolExecutor(os.cpu_count(), processes) as pool:
        for result in [pool.submit(check, *case, tidy=tidy) for *case, tidy in cases]:
            result.result()


def test_killed_after_and_within_every_write(folder, recorded, processes):
    records, commits = recorded
    state, count, seen, cases = replay.Folder(), 0, None, []
    for record in records:
        size = len(record.first) if record.operation == "W" else 0
        for change in [record.part(size // 2), record] if size > 1 else [record]:
            state.apply(change)
            count += change.operation == "R"
            if state.now() != seen:
                seen = state.now()
                cases.append((folder, seen, commits[count], True))
    assert len(cases) > 300
    check_all(processes, cases)


def test_power_cut_after_every_change(folder, recorded, processes):
    records, commits = recorded
    state, count, seen, cases = replay.Folder(), 0, [], []
    for record in records:
        state.apply(record)
        replaced = record.operation == "R"
        count += replaced
        # Right after the replacement its name may not be on disk, but that is made sure of next.
        for files, index in (
            (state.after_power_cut(state.synced_names), count - replaced),
            (state.after_power_cut(state.names), count),
            (state.after_power_cut(state.only_synced_but(b"run.h5")), count),
        ):
            if files not in seen[-3:]:
                cases.append((folder, files, commits[index], False))
            seen.append(files)
    assert len(cases) > 50
    check_all(processes, cases)


@either
def test_killed_at_random(tmp_path, processes, plan):
    path, done = tmp_path / "run.h5", tmp_path / "done"
    kills, last, scale = int(os.environ.get("RBM_KILLS", "20")), 12, 500
    plans = [plan(1, checkpoint) for checkpoint in range(last + 1)]
    chance = random.Random(1)
    while kills:
        before = plans.index(toy.plan_of(toy.contents(path))) if path.exists() else -1
        if before == last:
            for each in tmp_path.iterdir():
                each.unlink()
            before = -1
        done.unlink(missing_ok=True)
        arguments = {"scale": scale, "done": done}
        run = processes.Process(target=toy.run, args=(path, plans[-1], "finish"), kwargs=arguments)
        run.start()
        while not done.exists() and run.is_alive():
            time.sleep(0.001)
        run.join(chance.uniform(0, 0.1))
        killed = run.is_alive()
        run.kill()
        run.join()
        assert killed or run.exitcode == 0
        kills -= killed
        complete = before + len(done.read_bytes())
        if path.exists():
            found = toy.plan_of(toy.contents(path))
            assert plans.index(found) in (complete, complete + 1)
            assert toy.same(toy.contents(path), toy.expected(found, scale))
        else:
            assert complete == -1
    toy.run(path, plans[-1], "finish", scale=scale)
    assert toy.same(toy.contents(path), toy.expected(plans[-1], scale))
    assert {each.name for each in tmp_path.iterdir()} == {"run.h5", "done"}


def train_with_limit(path: Path, limit: int, plan: toy.Plan) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    toy.run(path, plan, "finish")


@either
def test_file_size_limit(folder, processes, plan):
    """At each limit the run fails with one line, and leaves its last checkpoint or nothing."""
    whole = folder / "whole.h5"
    toy.run(whole, plan(1, 4), "finish")
    path, left, sizes = folder / "run.h5", set(), whole.stat().st_size
    with ProcessPoolExecutor(1, processes, max_tasks_per_child=1) as pool:
        for limit in (10, 100, 1000, 2400, *range(sizes // 2, sizes, sizes // 20)):
            with pytest.raises(RbmError, match="file size limit") as failure:
                pool.submit(train_with_limit, path, limit, plan(1, 4)).result()
            assert "\n" not in str(failure.value)
            assert not list(folder.glob("*.tmp"))
            assert not list(folder.glob("*.lock"))
            if path.exists():
                found = toy.plan_of(toy.contents(path))
                assert toy.same(toy.contents(path), toy.expected(found))
                assert "resume" in str(failure.value)
                left.add(found)
            else:
                assert not list(folder.glob("run.h5*"))
    assert len(left) > 1
    toy.run(path, plan(1, 4), "finish")
    assert toy.same(toy.contents(path), toy.expected(plan(1, 4)))
    assert not list(folder.glob("run.h5.*"))
    path.unlink()
    whole.unlink()


@either
def test_full_disk(tmp_path, plan):
    """The same on a file system that fills up."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        path = disk / "run.h5"
        with pytest.raises(RbmError, match="free some space, then resume") as failure:
            toy.run(path, plan(1, 1000), "finish")
        assert "\n" not in str(failure.value)
        found = toy.plan_of(toy.contents(path))
        assert found[-1][2] > 1
        assert toy.same(toy.contents(path), toy.expected(found))
        assert not list(disk.glob("*.tmp"))
        with pytest.raises(RbmError, match="free some space, then run the command again"):
            toy.run(disk / "other.h5", plan(1, 1), "finish", scale=1000)
        assert not list(disk.glob("other*"))
    finally:
        subprocess.run(["umount", disk], check=True)

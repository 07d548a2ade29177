"""Training, killed and stopped in every way and resumed: it ends as if nothing had happened.

RBM_KILLS sets how many times each of some trainings is killed at random (by default 6 to 15).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
from commands import contents, names, running, wait_for, write_images
from faults.children import children, work_folder
from faults.kills import Killing, live
from faults.problems import logged

from rbmcli.cli.main import run as rbm
from rbmcli.io.lock import is_locked
from rbmcli.io.runfile import RunReader
from rbmcli.learning.loop import StepDone
from rbmcli.learning.trainer import Trainer

EPOCHS, STEPS_PER_EPOCH, CHECKPOINT_STEPS, SNAPSHOT_STEPS = 8, 17, 3, 2
#: 167 images to train on: the last of the 17 batches of an epoch is short.
COMMON = [
    *("-o", "run.h5", "--batch-size", 10, "--validation", 0.1, "--threads", 1),
    *("--checkpoint-every", "3steps", "--snapshot-every", "2steps", "--quiet"),
]
TRAIN = ["train", "images.npy", "--hidden", 12, "--epochs", EPOCHS, *COMMON]
GO_ON = [*TRAIN, "--resume"]


class Reference(NamedTuple):
    """An uninterrupted run: what its file holds, and digests of the model at every step.

    layers: the keys of its sections in the file. digests: of each layer. epochs: of each.
    """

    command: list
    folder: Path
    contents: dict
    layers: list[str]
    digests: list[dict[int, str]]
    epochs: int = EPOCHS

    @property
    def steps(self) -> int:
        """Steps of each layer."""
        return self.epochs * STEPS_PER_EPOCH

    def is_in(self, path: Path) -> bool:
        return contents(path) == self.contents


def digest(parameters, velocities) -> str:
    arrays = [*sorted(parameters.items()), *sorted(velocities.items())]
    return hashlib.sha256(
        b"".join(np.ascontiguousarray(x).tobytes() for _, x in arrays)
    ).hexdigest()


def uninterrupted(folder: Path, command: list, layers: list[str], epochs: int) -> Reference:
    """Run the command to its end in a folder that gets its data."""
    write_images(folder / "images.npy", 185)
    np.save(folder / "labels.npy", np.arange(185) % 4)
    digests = []
    run = Trainer.run

    def watched(trainer, free):
        """One step at a time, as others are not."""
        model = trainer.model
        digests.append({0: digest(model.parameters(), model.velocities())})
        for event in run(trainer):
            if isinstance(event, StepDone):
                digests[-1][event.step] = digest(model.parameters(), model.velocities())
            yield event

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(Trainer, "run", watched)
        assert rbm([*map(str, command)]) == 0
    assert len(digests) == len(layers)
    for of_layer in digests:
        assert len(set(of_layer.values())) == 1 + epochs * STEPS_PER_EPOCH
    return Reference(command, folder, contents(folder / "run.h5"), layers, digests, epochs)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return uninterrupted(tmp_path_factory.mktemp("reference"), TRAIN, ["/"], EPOCHS)


@pytest.fixture
def folder(tmp_path, reference, monkeypatch):
    """An empty folder, entered, with the data of the reference run in it."""
    shutil.copy(reference.folder / "images.npy", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(arguments) -> list[str]:
    return [*map(str, arguments)]


def check_checkpoint(path: Path, reference: Reference) -> int:
    """The file holds a checkpoint of the reference run, whole; return its step, of all layers."""
    with h5py.File(path) as file, h5py.File(reference.folder / "run.h5") as whole:
        steps = [
            check_section(file[key], whole[key], digests)
            for key, digests in zip(reference.layers, reference.digests, strict=True)
            if key in file
        ]
    assert all(step == reference.steps for step in steps[:-1])
    return sum(steps)


def check_section(section: h5py.Group, whole: h5py.Group, digests: dict[int, str]) -> int:
    """A layer is as that of the reference run was at its step, which is returned."""
    step = int(section["trainer/step"][()])
    parameters = {name: x[()] for name, x in section["model"].items()}
    velocities = {name: x[()] for name, x in section["trainer/velocity"].items()}
    assert digest(parameters, velocities) == digests[step]
    snapshots = 1 + step // SNAPSHOT_STEPS
    for name in ("filters", "filters_epoch"):
        assert section[name].shape[0] == snapshots
        assert section[name][()].tobytes() == whole[name][:snapshots].tobytes()
    rows = section["metrics"][()]
    assert rows.tobytes() == whole["metrics"][: len(rows)].tobytes()
    assert len(rows) == 1 + step // STEPS_PER_EPOCH
    assert len(section["metrics_wall_clock"]) == len(rows)
    return step


def logged_step(log: Path) -> int:
    """The last step in a metrics log; 0 for none."""
    return max((int(row["step"]) for row in logged(log)), default=0)


@pytest.fixture(scope="module")
def forking():
    with work_folder() as base, children(base, faults=False) as forking:
        yield forking


@pytest.mark.parametrize(
    ("name", "times"), [("cd", 15), ("up-down", 8), ("conv", 8), ("grow", 6), ("gather", 8)]
)
def test_killed_at_random(name, times, forking):
    """The same of more of them: `python -m tests.faults.kills`."""
    base = forking.scratch
    killing = Killing(forking, live(forking, name, base), base, random.Random(1))
    times = int(os.environ.get("RBM_KILLS", times))
    while killing.kills < times and not killing.failures:
        killing.live(times - killing.kills)
    print(f"killed {dict(killing.places)}; not killed in time {killing.ends}")
    assert not killing.failures, "\n".join(killing.failures)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGXCPU]
)
def test_a_signal_stops_with_a_checkpoint(folder, reference, number):
    with running(*TRAIN[:-1], "--metrics", "log") as process:
        wait_for(lambda: logged_step(folder / "log"), process)
        process.send_signal(number)
        output, error = process.communicate()
    assert process.returncode == 75
    assert output == ""
    assert error.splitlines()[-1] == f"run.h5: stopped by {number.name}; go on with --resume"
    assert names(folder) == {"images.npy", "log", "run.h5"}
    assert 17 <= check_stopped(folder, reference) < EPOCHS * STEPS_PER_EPOCH
    assert rbm(command(GO_ON)) == 0
    assert reference.is_in(folder / "run.h5")


def check_stopped(folder: Path, reference: Reference) -> int:
    """The step of a stopped run, whose model is that of the reference run there."""
    with RunReader(folder / "run.h5") as run:
        assert not run.finished
        assert run.beside == []
        step = int(run.state["trainer/step"])
        parameters = {name: run.state[f"model/{name}"] for name in
                      ("weights", "visible_bias", "hidden_bias")}  # fmt: skip
        velocities = {name: run.state[f"trainer/velocity/{name}"] for name in parameters}
    assert digest(parameters, velocities) == reference.digests[0][step]
    return step


def test_a_signal_sent_again_and_again_does_no_harm(folder, reference):
    with running(*TRAIN, "--metrics", "log") as process:
        wait_for(lambda: logged(folder / "log"), process)
        while not (folder / "run.h5").exists() or is_locked(folder / "run.h5"):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.001)
        assert process.communicate() == ("", "")
    assert process.returncode == 75
    check_stopped(folder, reference)


def test_second_interrupt_quits_at_once(folder):
    never_ending = ["--gibbs-steps", 10_000, "--hidden", 2000, "--metrics", "log"]
    with running(*TRAIN, *never_ending) as process:
        wait_for(lambda: logged(folder / "log"), process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=20)[1]
    assert process.returncode == 130
    left = "run.h5 holds the checkpoint of epoch 0; go on with --resume"
    assert error == f"rbm: interrupted: {left}\n"
    with RunReader(folder / "run.h5") as run:
        assert run.state["trainer/step"] == 0


def test_stopped_while_loading(folder, reference, monkeypatch):
    """A signal before the first step is not lost: there is a checkpoint to go on from."""

    def load(*_, **__):
        os.kill(os.getpid(), signal.SIGUSR1)
        return original(*_, **__)

    monkeypatch.setattr("rbmcli.io.sources.open_source", load)
    from rbmcli.io.sources.opening import open_source as original

    assert rbm(command(TRAIN)) == 75
    assert check_stopped(folder, reference) == 0


def test_max_time_step_by_step(folder, reference):
    """However little time there is, a run that is requeued comes to its end."""
    statuses = []
    while not statuses or statuses[-1] == 75:
        statuses.append(rbm(command([*GO_ON, "--max-time", "0.05s"])))
    assert statuses[-1] == 0
    assert statuses.count(75) == len(statuses) - 1 >= 1
    assert reference.is_in(folder / "run.h5")


def test_stopped_between_the_last_step_of_an_epoch_and_its_measurement(folder, reference, capfd):
    """What is measured then is kept, so that a run comes to its end that has no time at all."""
    statuses = []
    while not statuses or statuses[-1] == 75:
        statuses.append(rbm(command([*GO_ON, "--max-time", "0.000001s"])))
    assert statuses == [75] * (len(statuses) - 1) + [0]
    assert len(statuses) <= EPOCHS * (STEPS_PER_EPOCH + 1) + 1
    assert reference.is_in(folder / "run.h5")


def test_max_time_says_so(folder, capsys):
    assert rbm(command([*TRAIN[:-1], "--max-time", "1e-4s"])) == 75
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "run.h5: stopped after --max-time of 0.0001 s; go on with --resume"


def test_resume_of_a_finished_run_changes_nothing(folder, reference):
    path = folder / "run.h5"
    shutil.copy(reference.folder / "run.h5", path)
    before, bytes_before = path.stat(), path.read_bytes()
    assert rbm(command(GO_ON)) == 0
    assert (path.stat().st_ino, path.read_bytes()) == (before.st_ino, bytes_before)
    assert names(folder) == {"images.npy", "run.h5"}


def test_resume_takes_what_is_not_asked_for_from_the_run(folder, reference):
    assert rbm(command([*TRAIN, "--max-time", "1e-4s", "--seed", 3])) == 75
    assert rbm(["train", "-o", "run.h5", "--resume", "--quiet", "--max-time", "1h"]) == 0
    assert rbm(command([*TRAIN, "--seed", 3, "-o", "other.h5"])) == 0
    assert contents(folder / "run.h5") == contents(folder / "other.h5")
    assert not reference.is_in(folder / "run.h5")


def test_epochs_may_grow(folder, reference):
    assert rbm(command([*TRAIN, "--epochs", 3])) == 0
    assert rbm(command([*GO_ON, "--epochs", 5])) == 0
    assert rbm(command([*GO_ON, "--epochs", EPOCHS])) == 0
    assert reference.is_in(folder / "run.h5")
    with RunReader(folder / "run.h5") as run:
        assert run.finished
        assert run.config["epochs"] == EPOCHS


def test_metrics_log_goes_on(folder, reference):
    assert rbm(command([*TRAIN, "--epochs", 3, "--metrics", "log"])) == 0
    assert rbm(command([*GO_ON, "--metrics", "log"])) == 0
    assert [row["epoch"] for row in logged(folder / "log")] == [*range(EPOCHS + 1)]


def test_how_often_is_written_may_change(folder, reference):
    assert rbm(command([*TRAIN, "--epochs", 3, "--checkpoint-every", "5steps"])) == 0
    options = ["--snapshot-every", "1epochs", "--checkpoint-every", "1epochs", "--threads", 2]
    assert rbm(command([*GO_ON, *options])) == 0
    found = contents(folder / "run.h5")
    assert {name for name in found if found[name] != reference.contents[name]} == {
        "filters",
        "filters_crc32",
        "filters_epoch",
    }


def test_moved_data_are_recognised(folder, reference):
    assert rbm(command([*TRAIN, "--epochs", 3])) == 0
    (folder / "images.npy").rename(folder / "moved.npy")
    assert rbm(command(["train", "moved.npy", *GO_ON[2:]])) == 0
    assert reference.is_in(folder / "run.h5")


def test_file_size_limit(folder, reference):
    """A run that can write no more fails with one line, and goes on when it can again."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    with running(*TRAIN, preexec_fn=limit) as process:
        _, error = process.communicate()
    assert process.returncode == 1
    assert error.startswith("rbm: error: run.h5: cannot write the filters (File too large)")
    assert error.count("\n") == 1
    assert "--resume" in error
    assert check_checkpoint(folder / "run.h5", reference) > STEPS_PER_EPOCH
    assert rbm(command(GO_ON)) == 0
    assert reference.is_in(folder / "run.h5")
    assert names(folder) == {"images.npy", "run.h5"}


def test_full_disk(folder, reference, monkeypatch):
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        there = [*GO_ON, "-o", "disk/run.h5"]
        with running(*there) as process:
            _, error = process.communicate()
        assert process.returncode == 1
        assert error.startswith("rbm: error: disk/run.h5: cannot write ")
        assert "(No space left on device)" in error
        assert error.count("\n") == 1
        assert check_checkpoint(disk / "run.h5", reference) > 0
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
        assert rbm(command(there)) == 0
        assert reference.is_in(disk / "run.h5")
        assert names(disk) == {"run.h5"}
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_second_run_on_one_file_is_refused(folder, capfd):
    with running(*TRAIN, "--epochs", 10_000) as process:
        wait_for((folder / "run.h5").exists, process)
        for options in ([], ["--resume"], ["--force"]):
            assert rbm(command([*TRAIN, "--epochs", 10_000, *options])) == 1
            error = capfd.readouterr().err
            assert error.startswith("rbm: error: ")
            assert f"run.h5: process {process.pid} on " in error
            assert error.count("\n") == 1
        process.terminate()
        assert process.communicate() == ("", "")
        assert process.returncode == 75


def test_read_while_training(folder, reference, capsys):
    """`rbm info`, `rbm render-gif` and plain h5py, again and again, disturb nothing."""
    path, steps = folder / "run.h5", []
    with running(*TRAIN) as process:
        wait_for(path.exists, process)
        while process.poll() is None:
            steps.append(check_checkpoint(path, reference))
            assert rbm(["info", "run.h5", "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["status"] in ("in progress", "finished")
            if len(steps) == 3:
                assert rbm(["render-gif", "run.h5", "-o", "filters.gif", "--quiet"]) == 0
                assert rbm(["sample", "run.h5", "-o", "samples.npz", "-k", "1", "--quiet"]) == 0
        assert process.communicate() == ("", "")
        assert process.returncode == 0
    assert reference.is_in(path)
    assert steps == sorted(steps)
    assert len(set(steps)) > 2

"""Processes: signals, what is said and where, logs, threads, forks, names that are none."""

from __future__ import annotations

import json
import os
import pwd
import resource
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from changing import changing
from commands import contents, names, refused, running, wait_for, write_images

from rbmcli import _kernels
from rbmcli.cli import signals
from rbmcli.cli.main import run as rbm
from rbmcli.cli.progress import TrainingProgress
from rbmcli.cli.threads import _stack_bytes, default_threads, spare_blas_threads
from rbmcli.io.probe import probe
from rbmcli.io.runfile import RunReader
from rbmcli.io.runwriter import RunWriter
from rbmcli.terminal import say

TRAIN = [
    *("train", "images.npy", "-o", "run.h5", "--hidden", "6", "--batch-size", "20"),
    *("--epochs", "2", "--threads", "1", "--quiet"),
]
NEVER_ENDING = [*TRAIN, "--epochs", "100000", "--metrics", "log", "--checkpoint-every", "1000steps"]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder, entered, with 60 images of 8 x 8 in it."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npy", 60)
    return tmp_path


@pytest.fixture
def trained(folder):
    """And a run in it, with its weights."""
    assert rbm(TRAIN) == 0
    assert rbm(["export", "run.h5", "-o", "weights.npz", "--quiet"]) == 0
    return folder


def one_line(capfd) -> str:
    """What was said on stderr, which is one line, and nothing on stdout."""
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.rstrip("\n")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


# Signals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_what_is_ignored_at_the_start_stays_ignored(folder, number):
    """As for `rbm train &` in a script, and under nohup."""

    def ignoring() -> None:
        signal.signal(number, signal.SIG_IGN)

    with running(*NEVER_ENDING, preexec_fn=ignoring) as process:
        assert wait_for((folder / "log").exists, process)
        process.send_signal(number)
        lines = len((folder / "log").read_bytes().splitlines())
        assert wait_for(
            lambda: len((folder / "log").read_bytes().splitlines()) > lines + 20, process
        )
        process.terminate()
        process.communicate()
    assert process.returncode == 75


#: Sends a signal when something is imported for the first time, and then is `rbm`.
EARLY = """if True:
    import importlib.abc, os, sys
    module, number = sys.argv[1], int(sys.argv[2])
    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            global number
            if name == module and number:
                number, sent = 0, number
                os.kill(os.getpid(), sent)
    sys.meta_path.insert(0, Finder())
    sys.argv[1:] = sys.argv[3:]
    from rbmcli.__main__ import main
    main()
"""


def early(module: str, number: int, *arguments: str) -> tuple[int, str]:
    """Status and stderr of `rbm` with a signal at an import."""
    program = [sys.executable, "-c", EARLY, module, str(int(number)), *arguments]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("module", ["click", "numpy", "h5py"])
def test_signals_before_anything_is_imported_count(folder, module):
    assert early(module, signal.SIGTERM, *TRAIN) == (75, "")
    with RunReader("run.h5") as run:
        assert run.state["trainer/step"] == 0
    (folder / "run.h5").unlink()
    assert early(module, signal.SIGINT, *TRAIN) == (130, "rbm: interrupted\n")
    assert early(module, signal.SIGHUP, "info", "run.h5") == (129, "rbm: ended by SIGHUP\n")
    assert names(folder) == {"images.npy"}


def test_an_interrupt_while_data_are_read(folder, monkeypatch, capfd):
    """It ends soon: with 75 where there is a checkpoint, and else as anything interrupted."""

    def load(*_: object, **__: object) -> None:
        send(signal.SIGINT)
        raise AssertionError("nothing is read any more")

    assert rbm([*TRAIN, "--epochs", "1"]) == 0
    before = (folder / "run.h5").read_bytes()
    monkeypatch.setattr("rbmcli.io.sources.open_source", load)
    assert rbm([*TRAIN, "--resume"]) == 75
    assert one_line(capfd) == "run.h5: stopped by SIGINT before it went on; go on with --resume"
    assert (folder / "run.h5").read_bytes() == before
    assert rbm([*TRAIN, "-o", "new.h5"]) == 130
    assert one_line(capfd) == "rbm: interrupted"
    assert names(folder) == {"images.npy", "run.h5"}


def test_an_interrupt_that_comes_twice_at_once_is_one(folder, monkeypatch):
    """`timeout -s INT` sends it to the command and to its group."""
    original = RunWriter.create

    def create(*arguments: object, **options: object) -> RunWriter:
        send(signal.SIGINT)
        send(signal.SIGINT)
        return original(*arguments, **options)

    monkeypatch.setattr("rbmcli.cli.signals._ONE_KEY", 60)
    monkeypatch.setattr(RunWriter, "create", create)
    assert rbm(TRAIN) == 75


def test_a_signal_after_the_last_step_changes_nothing(folder, monkeypatch):
    original = RunWriter.finish

    def finish(self: RunWriter) -> None:
        send(signal.SIGTERM)
        original(self)

    monkeypatch.setattr(RunWriter, "finish", finish)
    assert rbm(TRAIN) == 0


def test_a_signal_as_the_process_ends_changes_nothing(trained):
    """When the interpreter clears up, what was wanted is there, and the status says so."""
    program = """if True:
        import atexit, os, signal
        atexit.register(os.kill, os.getpid(), signal.SIGTERM)
        from rbmcli.__main__ import main
        main()
    """
    done = subprocess.run(
        [sys.executable, "-c", program, "export", "run.h5", "-o", "late.npz"], capture_output=True
    )
    assert done.returncode == 0
    assert Path("late.npz").exists()


WRITING = [
    ["sample", "run.h5", "-k", "3", "-n", "4", "-o", "new.png"],
    ["sample", "run.h5", "-k", "3", "-n", "4", "-o", "new.gif"],
    ["sample", "run.h5", "-k", "3", "-n", "4", "-o", "new.npz"],
    ["features", "run.h5", "images.npy", "-o", "new.h5"],
    ["features", "run.h5", "images.npy", "-o", "new.npz"],
    ["export", "run.h5", "-o", "new.npz"],
    ["import", "weights.npz", "-o", "new.h5"],
    ["render-gif", "run.h5", "-o", "new.webp"],
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", WRITING, ids=lambda x: f"{x[0]} {x[-1]}")
def test_a_signal_leaves_nothing_half_written(trained, monkeypatch, capfd, command, number):
    """At the moment when the file is whole and not yet in its place."""
    capfd.readouterr()
    before = names(trained)
    original = os.fsync

    def fsync(descriptor: int) -> None:
        original(descriptor)
        send(number)

    monkeypatch.setattr(os, "fsync", fsync)
    assert rbm([*command, "--quiet", "--threads", "1"]) == 128 + number
    told = "interrupted" if number == signal.SIGINT else "ended by SIGTERM"
    assert one_line(capfd) == f"rbm: {told}"
    assert names(trained) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_unwinds(trained, monkeypatch, capfd, number):
    monkeypatch.setattr("rbmcli.cli.info._facts", lambda _: send(number))
    assert rbm(["info", "run.h5"]) == 128 + number
    assert number.name in one_line(capfd) or number == signal.SIGINT
    assert signal.getsignal(number) is not signals._take  # left as it was found


def test_a_film_that_is_interrupted(trained, monkeypatch, capfd):
    """Its encoder is ended, not waited for."""
    pytest.importorskip("imageio_ffmpeg")
    started = []
    original = subprocess.Popen

    def popen(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(original(*arguments, **options))
        return started[-1]

    def pictures(*_: object, **__: object) -> object:
        yield np.zeros((64, 64), np.uint8)
        send(signal.SIGTERM)
        yield np.zeros((64, 64), np.uint8)

    capfd.readouterr()
    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr("rbmcli.pictures.animation.filter_frames", pictures)
    assert rbm(["render-gif", "run.h5", "-o", "new.mp4", "--quiet"]) == 143
    assert one_line(capfd) == "rbm: ended by SIGTERM"
    assert started[-1].returncode == -signal.SIGKILL
    assert "new.mp4" not in " ".join(names(trained))


def test_a_signal_within_a_finalizer_is_not_lost(trained, monkeypatch, capfd):
    """There no exception comes out: it is raised again where it does."""

    class Dying:
        def __del__(self) -> None:
            send(signal.SIGTERM)

    def facts(_: object) -> dict[str, object]:
        Dying()
        threading.Event().wait(60)
        return {}

    monkeypatch.setattr("rbmcli.cli.info._facts", facts)
    assert rbm(["info", "run.h5"]) == 143
    assert one_line(capfd) == "rbm: ended by SIGTERM"


def test_a_child_that_reads_leaves_signals_to_its_parent():
    """A terminal and a batch system send them to both; a sound file is no damaged one for that."""
    assert probe(lambda: [send(number) for number in SIGNALS])


# What is said ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["full", "closed"])
def test_lines_that_cannot_be_written_end_nothing(folder, gone):
    """Neither a line of progress, nor what is left of it as the process ends."""
    reading, writing = os.pipe()
    os.close(reading)
    with open("/dev/full", "w") as full:
        stderr = full if gone == "full" else writing
        loud = [*TRAIN[:-1], "--patience", "1", "--validation", "0.2"]
        with running(*loud, stderr=stderr) as process:
            process.communicate()
        assert process.returncode == 0
        with running("info", "nowhere.h5", stderr=stderr) as process:
            process.communicate()
        assert process.returncode == 1
        with running("train", "--bogus", stderr=stderr) as process:
            process.communicate()
        assert process.returncode == 2
    os.close(writing)


class Gone:
    """A terminal that has gone away."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.tried = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.tried += 1
        raise BrokenPipeError

    def flush(self) -> None:
        raise OSError(5, "Input/output error")

    def fileno(self) -> int:
        raise OSError(9, "Bad file descriptor")


def test_a_bar_on_a_terminal_that_went_away(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Gone())
    terminal = sys.stderr
    with TrainingProgress(3, 10, 0, quiet=False) as progress:
        assert progress._bar is not None
        progress.show(5, "half")
    say("a line")
    assert terminal.tried > 2


WILD = "\x1b]0;owned\x07 \x9b31m \u202e \udce9 \x7f"


def test_text_from_files_obeys_nobody(trained, capfd):
    with changing("run.h5") as file:
        config = json.loads(file.attrs["config"]) | {"labels": WILD[:-4], WILD[:8]: 1}
        file.attrs["config"] = json.dumps(config)
        file.attrs["data"] = json.dumps({"source": WILD, "shape": [60, 8, 8]})
        file.attrs["program"] = "a\x1b[2Jb"
    capfd.readouterr()
    for options in ([], ["--json"], ["--config"]):
        assert rbm(["info", "run.h5", *options]) == 0
        out = capfd.readouterr().out
        assert out.replace("\n", "").isprintable()
        assert "owned" in out
    config["labels"] = WILD
    with changing("run.h5") as file:
        file.attrs["config"] = json.dumps(config)
    assert rbm(["info", "run.h5"]) == 0
    capfd.readouterr()
    assert rbm(["info", "run.h5", "--config"]) == 1
    assert "its option 'labels' is not in UTF-8" in one_line(capfd)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["info", f"{WILD}.h5"], 1), ([WILD], 2), (["train", f"--{WILD}"], 2), (["data", WILD], 2)],
)
def test_errors_are_lines_that_obey_nobody(folder, capfd, arguments, status):
    assert rbm(arguments) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert err.replace("\n", "").isprintable()
    assert "owned" in err.splitlines()[-1]


def test_a_message_is_never_longer_than_can_be_read(capfd):
    say("x" * 100_000 + ": do this")
    err = capfd.readouterr().err
    assert len(err) < 2100
    assert err.endswith(": do this\n")


# The log of metrics ------------------------------------------------------------------------------


@pytest.fixture
def whole(folder) -> list[bytes]:
    """The log of six epochs, a line each; the run file there has done three of them."""
    assert rbm([*TRAIN, "--epochs", "6", "--metrics", "whole", "-o", "whole.h5"]) == 0
    assert rbm([*TRAIN, "--epochs", "3"]) == 0
    lines = (folder / "whole").read_bytes().splitlines(keepends=True)
    assert len(lines) == 7
    return lines


def resumed(log: Path, before: bytes) -> bytes:
    """What is in a log in the end, where this was in it when the run had been killed."""
    log.write_bytes(before)
    assert rbm([*TRAIN, "--epochs", "6", "--resume", "--metrics", str(log)]) == 0
    return log.read_bytes()


@pytest.mark.parametrize("logged", [3, 4, 6, 7])
@pytest.mark.parametrize("cut", [0, 5, 60])
def test_each_epoch_is_logged_once(folder, whole, logged, cut):
    """What was logged after the last checkpoint is not repeated, nor left in halves."""
    half = whole[logged][:cut] if logged < 7 else b""
    assert resumed(folder / "log", b"".join(whole[:logged]) + half) == b"".join(whole)
    assert contents(folder / "run.h5") == contents(folder / "whole.h5")


def test_lines_of_others_are_left_alone(folder, whole):
    theirs = [b'{"epoch": 0.0, "other": 1}\n', b'{"epoch": 5.0, "step": 15.0}\n']
    before = [theirs[0], *whole[:5], theirs[1]]
    after = resumed(folder / "log", b"".join(before))
    assert after == b"".join([*before, *whole[5:]])
    assert resumed(folder / "log", b"".join(before) + b'{"mine": tru') != after
    assert b'{"mine": tru\n' in (folder / "log").read_bytes()


def test_a_run_that_is_the_same_logs_to_the_same_file(folder, whole):
    """One has ended, and the other was killed after five epochs."""
    after = resumed(folder / "log", b"".join([*whole, *whole[:5]]))
    assert after == b"".join([*whole, *whole])


def test_a_log_that_is_new_when_the_run_goes_on(folder, whole):
    assert resumed(folder / "log", b"") == b"".join(whole[4:])


def test_a_run_without_checkpoint_begins_anew_in_the_log(folder, whole):
    """Killed before its first checkpoint, it is started afresh by the same command."""
    (folder / "run.h5").unlink()
    assert resumed(folder / "log", b"".join(whole[:3]) + whole[3][:9]) == b"".join(whole)


def test_a_new_run_is_appended(folder, whole):
    (folder / "log").write_bytes(b"".join(whole[:2]))
    assert rbm([*TRAIN, "--metrics", "log", "--force"]) == 0
    assert (folder / "log").read_bytes() == b"".join([*whole[:2], *whole[:3]])


def test_the_log_of_a_stack_has_each_epoch_of_each_layer_once(folder):
    stack = ["stack", *TRAIN[1:], "--add-layer", "5", "--add-layer", "4", "--resume"]
    assert rbm([*stack, "--metrics", "whole", "-o", "whole.h5"]) == 0
    whole = (folder / "whole").read_bytes()
    lines = whole.splitlines(keepends=True)
    for logged in (2, 3, 4, 5):
        (folder / "log").write_bytes(b"".join(lines[:logged]))
        with running(*stack, "--metrics", "log", "--max-time", "0.001s") as process:
            process.communicate()
        assert process.returncode == 75
        assert rbm([*stack, "--metrics", "log", "--max-time", "1h"]) == 0
        assert (folder / "log").read_bytes() == whole
        (folder / "run.h5").unlink()
    assert rbm([*stack, "--metrics", "log"]) == 0
    (folder / "log").write_bytes(b"".join(lines[:2]))
    assert rbm([*stack, "--metrics", "log"]) == 0  # finished long ago: only the log lacks lines
    assert (folder / "log").read_bytes() == whole


def test_a_log_on_a_full_disk(folder, capfd):
    assert rbm([*TRAIN, "--metrics", "/dev/full"]) == 0
    assert one_line(capfd) == (
        "note: --metrics /dev/full: metrics can no longer be written (No space left on device);"
        " training goes on without"
    )


def test_a_log_that_can_be_written_again(folder, capfd, monkeypatch):
    """What the disk had no room for follows when there is some."""
    original, writes = os.write, []

    def write(descriptor: int, data: bytes) -> int:
        if not bytes(data).startswith(b'{"epoch"') and not writes:
            return original(descriptor, data)
        writes.append(len(data))
        if len(writes) == 1:
            return original(descriptor, bytes(data)[:10])
        if len(writes) < 4:
            raise OSError(28, "No space left on device")
        return original(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    assert rbm([*TRAIN, "--epochs", "5", "--metrics", "log"]) == 0
    monkeypatch.undo()
    assert "metrics can no longer be written" in one_line(capfd)
    epochs = [json.loads(line)["epoch"] for line in (folder / "log").read_text().splitlines()]
    assert epochs == [0, 1, 2, 3, 4, 5]


def test_a_reader_of_the_log_that_leaves(folder):
    """Of a pipe by name, too; and one that is slow gets every line in the end."""
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    with running(*TRAIN, "--epochs", "400", "--metrics", "pipe") as process:
        assert wait_for(lambda: select.select([reader], [], [], 0)[0], process)
        os.set_blocking(reader, True)
        with os.fdopen(reader, "rb") as lines:
            assert len(lines.readlines()) == 401
        assert process.communicate() == ("", "")
    assert process.returncode == 0
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    with running(*NEVER_ENDING, "--metrics", "pipe", "--force") as process:
        assert wait_for(lambda: select.select([reader], [], [], 0)[0], process)
        os.close(reader)
        assert "metrics can no longer be written (Broken pipe)" in process.stderr.readline()
        process.terminate()
        assert process.communicate() == ("", "")
    assert process.returncode == 75


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("pipe", "--metrics pipe: a pipe that nobody reads: start its reader first"),
        (".", "--metrics .: is a folder: name a file"),
        ("nowhere/log", "--metrics nowhere/log: there is no folder "),
        ("text", "--metrics text: is no log of metrics: name another file"),
        ("run.h5", "--metrics run.h5: is the run file: name another one"),
        ("link", "--metrics link: is the run file: name another one"),
        (
            "run.h5.tmp",
            "--metrics run.h5.tmp: has the name of a file of the run",
        ),
        ("run.h5.lock", "--metrics run.h5.lock: has the name of a file of the run"),
        (
            "run.h5.filters.3",
            "has the name of a file of the run itself: name another",
        ),
    ],
)
def test_logs_that_are_refused(folder, capfd, log, says):
    """Before data are read."""
    os.mkfifo("pipe")
    (folder / "text").write_text("precious")
    (folder / "run.h5").write_text("{")
    (folder / "link").symlink_to("run.h5")
    command = ["train", "nowhere.npy", *TRAIN[2:], "--metrics", log]
    assert says in refused(capfd, *command, "--force")
    assert "is the run file" in refused(capfd, *TRAIN, "--metrics", "a.h5", "-o", "./a.h5")


def test_a_run_file_does_not_say_what_is_written_to(folder):
    (folder / "precious").write_text("{}\n")
    assert rbm([*TRAIN, "--epochs", "1", "--metrics", "log"]) == 0
    with RunReader("run.h5") as run:
        assert "metrics" not in run.config
    with changing("run.h5") as file:
        config = json.loads(file.attrs["config"]) | {"metrics": "precious"}
        file.attrs["config"] = json.dumps(config)
    assert rbm(["train", "--resume", "-o", "run.h5", "--epochs", "2", "--quiet"]) == 0
    with changing("run.h5") as file:
        file.attrs["config"] = json.dumps(config)
    assert rbm(["stack", "--grow", "-o", "run.h5", "--add-layer", "3", "--quiet"]) == 0
    assert (folder / "precious").read_text() == "{}\n"


# Threads and forks -------------------------------------------------------------------------------


@pytest.mark.skipif(not _kernels.openmp_version(), reason="built without OpenMP")
def test_threads_that_cannot_be_made(folder):
    """Told before anything is made, instead of an end without a word."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4_000_000_000, 4_000_000_000))

    environment = os.environ | {"OMP_STACKSIZE": "64M"}
    many = [*TRAIN, "--threads", "600"]
    with running(*many, preexec_fn=limited, env=environment) as process:
        out, err = process.communicate()
    assert (process.returncode, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("rbm: error: of 600 threads only ")
    assert "give fewer --threads, such as 1" in err
    assert names(folder) == {"images.npy"}
    with running(*TRAIN, "--threads", "2", preexec_fn=limited) as process:
        assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_how_many_threads_can_be_made():
    assert _kernels.make_threads(1) == 1
    assert _kernels.make_threads(2) == 2
    assert _kernels.make_threads(3, 1 << 20) == 3
    if _kernels.openmp_version():
        assert 1 <= _kernels.make_threads(100, 1 << 46) < 100  # more than there are addresses for


def test_threads_are_never_absurdly_many(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "9" * 9)
    assert default_threads() == 1024
    monkeypatch.setenv("OMP_NUM_THREADS", "9" * 9000)
    assert default_threads() < 1024


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("64", 64 << 10), (" 8 M ", 8 << 20), ("2g", 2 << 30), ("5B", 5), ("lots", 0)],
)
def test_the_stack_that_openmp_is_told_of(text, size):
    assert _stack_bytes({"OMP_STACKSIZE": text}) == size


def test_numpy_does_with_one_thread_where_others_cannot_be_made(monkeypatch):
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("rbmcli.cli.threads._cpus", lambda: 3)
    monkeypatch.delitem(sys.modules, "numpy")
    spare_blas_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == ""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    spare_blas_threads()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"


FORKED = """if True:
    import os
    import numpy as np
    from rbmcli import _kernels

    def product(threads):
        _kernels.set_threads(threads)
        random = np.random.default_rng(0)
        a, b = (random.random((512, 512), np.float32) for _ in range(2))
        out = np.empty((512, 512), np.float32)
        _kernels.multiply(a, 512, b, 512, np.zeros(512, np.float32), out)
        return out

    wanted = product(2)
    child = os.fork()
    if not child:
        same = np.array_equal(product(2), wanted)
        used = _kernels.threads()
        os._exit(0 if same and (used == 1 or not _kernels.openmp_version()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(product(2), wanted)
    assert _kernels.threads() == 2
"""


def test_a_forked_child_works():
    """Threads are not forked, and OpenMP waits for them for ever; the same bits without."""
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)


def test_a_forked_child_may_have_threads_where_its_parent_had_none():
    program = """if True:
        import os
        from rbmcli import _kernels
        if not os.fork():
            _kernels.set_threads(2)
            os._exit(_kernels.threads())
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 2
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Homes and names ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [None, "~/sets", "~nobody-there/sets"])
@pytest.mark.parametrize(
    "command", [["data", "list"], ["data", "where", "mnist"], ["train", "mnist", "-o", "m.h5"]]
)
def test_no_home(folder, monkeypatch, capfd, command, cache):
    """As in a container, for a user who stands in no list."""

    def unknown(*_: object) -> None:
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME", "RBM_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    if cache:
        monkeypatch.setenv("RBM_DATA_DIR", cache)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)
    assert rbm(command) == 1
    assert "set HOME, or RBM_DATA_DIR to a folder" in one_line(capfd)
    assert names(folder) == {"images.npy"}


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("render", ["render-gif"]),
        ("plot", ["render-gif"]),
        ("animate", ["render-gif"]),
        ("fit", ["train"]),
        ("generate", ["sample"]),
        ("eval", ["evaluate"]),
        ("test", ["evaluate"]),
        ("show", ["info"]),
        ("download", ["data"]),
        ("convert", ["export", "import"]),
        ("trian", ["train"]),
        ("feature", ["features"]),
        ("EVALUATE", ["evaluate"]),
        ("data get", ["data fetch"]),
        ("data ls", ["data list"]),
        ("data path", ["data where"]),
        ("data fecth", ["data fetch"]),
    ],
)
def test_commands_that_may_have_been_meant(capfd, words, meant):
    assert rbm(words.split()) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    shown = " or ".join(f"'rbm {name}'" for name in meant)
    assert last == f"Error: there is no command '{words.split()[-1]}': did you mean {shown}?"


def test_commands_that_are_far_from_any(capfd):
    assert rbm(["xyzzy"]) == 2
    assert "there is no command 'xyzzy': there are train, stack, " in capfd.readouterr().err
    assert rbm(["train", "--hiden", "3"]) == 2
    assert "--hidden" in capfd.readouterr().err
    assert rbm(["data", "where", "mnits"]) == 2
    assert "Invalid value for 'NAME': 'mnits' is not one of " in (err := capfd.readouterr().err)
    assert "did you mean 'mnist'?" in err

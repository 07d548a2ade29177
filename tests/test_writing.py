"""Files are written one way: whole, through links, with their mode, on any file system, by one."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import h5py
import numpy as np
import pytest
from changing import changing
from crash import toy

from rbmcli import files
from rbmcli.cli.main import run as rbm
from rbmcli.errors import RbmError
from rbmcli.files import new_file, replacing
from rbmcli.io import confined
from rbmcli.io.confined import open_hdf5
from rbmcli.io.lock import Lock, is_locked, lock_name
from rbmcli.io.runfile import RunReader
from rbmcli.io.runwriter import RunWriter

TRAIN = "train images.npy --hidden 4 --threads 1 -q -o run.h5 --epochs".split()  # noqa: SIM905


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("images.npy", (rng.random((60, 6, 6)) < 0.3).astype(np.uint8))
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"images.npy"}


def mode(path: str) -> str:
    return oct(stat.S_IMODE(os.stat(path).st_mode))[2:]


def test_modes_outlive_what_is_written_anew(folder):
    os.umask(os.umask(0o022) | 0o022)
    assert rbm([*TRAIN, "1"]) == 0
    assert rbm(["render-gif", "run.h5", "-q", "-o", "a.gif"]) == 0
    assert mode("run.h5") == mode("a.gif") == "644"
    for name, bits in (("run.h5", 0o600), ("a.gif", 0o640)):
        os.chmod(name, bits)
    assert rbm([*TRAIN, "2", "--resume"]) == 0
    assert rbm(["render-gif", "run.h5", "-q", "-o", "a.gif", "--force"]) == 0
    assert (mode("run.h5"), mode("a.gif")) == ("600", "640")


def test_files_beside_a_private_run_are_private(folder):
    toy.run(Path("run.h5"), toy.machine(1, 1), "finish")
    os.chmod("run.h5", 0o600)
    toy.run(Path("run.h5"), toy.machine(1, 2), "close")
    assert {mode(name) for name in names(folder)} == {"600"}
    with replacing(folder / "run.h5"):
        assert mode("run.h5.tmp") == "600"


@pytest.mark.parametrize("dangling", [True, False])
def test_a_link_given_as_output_stays_one(folder, dangling):
    assert rbm([*TRAIN, "1"]) == 0
    Path("big").mkdir()
    outputs = {
        "o.npz": "export run.h5 -q -o o.npz",
        "o.png": "render-gif run.h5 -q -o o.png",
        "o.h5": "features run.h5 images.npy -q -o o.h5",
        "s.npz": "sample run.h5 -k 1 -n 2 -q -o s.npz",
        "r.h5": "train images.npy --hidden 2 --epochs 1 -q -o r.h5",
    }
    for name, command in outputs.items():
        Path(name).symlink_to(f"big/{name}")
        if not dangling:
            Path("big", name).write_text("old")
            assert rbm(command.split()) == 1
        assert rbm([*command.split(), *([] if dangling else ["--force"])]) == 0
        assert Path(name).is_symlink()
        assert Path("big", name).stat().st_size > 10
    assert {path.name for path in Path("big").iterdir()} == set(outputs)


def test_what_cannot_be_written_is_refused_before_the_work(folder, capfd, monkeypatch):
    assert rbm([*TRAIN, "1"]) == 0
    monkeypatch.setattr(
        "rbmcli.io.runfile.RunReader.__init__", lambda *_, **__: pytest.fail("opened")
    )
    commands = ("export run.h5", "render-gif run.h5", "sample run.h5", "features run.h5 images.npy")
    for command in commands:
        suffix = "png" if command.startswith("render") else "npz"
        assert rbm([*command.split(), "-o", f"no/o.{suffix}"]) == 1
        assert f"no/o.{suffix}: there is no folder" in capfd.readouterr().err


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_systems_without_locks(folder, monkeypatch, capfd, number):
    def flock(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert rbm([word for word in TRAIN if word != "-q"] + ["1"]) == 0
    assert "has no locks" in capfd.readouterr().err
    assert names(folder) == {"run.h5"}
    Path("run.h5.lock").touch()
    assert rbm(["info", "run.h5"]) == 0
    assert rbm(["export", "run.h5", "-q", "-o", "o.npz"]) == 0
    # Whose lock file names a living process is taken to be written.
    Path("run.h5.lock").write_text(f"process {os.getppid()} on {os.uname().nodename}")
    assert is_locked(folder / "run.h5")
    assert rbm([*TRAIN, "2", "--resume"]) == 1
    assert f"process {os.getppid()}" in capfd.readouterr().err


def test_hdf5_without_locks(folder, monkeypatch):
    toy.run(Path("run.h5"), toy.machine(1, 1), "finish")
    real = h5py.File

    def no_locks(name, mode="r", locking=None):
        if locking is None:
            raise OSError(errno.ENOSYS, "unable to lock file")
        return real(name, mode, locking=locking)

    monkeypatch.setattr(confined.h5py, "File", no_locks)
    with open_hdf5(Path("run.h5")) as file:
        assert "filters" in file


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_folders_that_cannot_be_brought_to_disk(folder, monkeypatch, number):
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert rbm([*TRAIN, "1"]) == 0
    assert rbm(["export", "run.h5", "-q", "-o", "o.npz"]) == 0


def test_outputs_are_on_disk_before_they_have_their_names(folder, monkeypatch):
    seen = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append("sync"), real_sync(fd))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (seen.append("rename"), real_replace(self, to))[1]
    )
    with new_file(Path("a.bin"), force=False) as aside:
        aside.write_bytes(b"content")
    assert seen == ["sync", "rename", "sync"]
    assert names(folder) == {"a.bin"}


def test_two_writers_of_one_output(folder):
    with new_file(Path("a.bin"), force=False) as aside:
        aside.write_bytes(b"first")
        with (
            pytest.raises(RbmError, match=r"a\.bin: another process is writing it"),
            new_file(Path("a.bin"), force=False),
        ):
            pass
    assert Path("a.bin").read_bytes() == b"first"


def test_what_a_killed_writer_left_is_taken_over_and_links_are_not(folder):
    Path("a.bin.tmp").write_bytes(b"left")
    with new_file(Path("a.bin"), force=False) as aside:
        aside.write_bytes(b"new")
    assert names(folder) == {"a.bin"}
    Path("victim").write_bytes(b"precious")
    Path("b.bin.tmp").symlink_to("victim")
    with pytest.raises(RbmError, match="no regular file"), new_file(Path("b.bin"), force=False):
        pass
    assert Path("victim").read_bytes() == b"precious"


def test_a_write_that_takes_nothing_is_a_full_disk(monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(OSError, match="No space left"):
        files.write_at(1, memoryview(b"x"), 0)


@pytest.mark.parametrize("make", ["link", "hard link", "other", "folder"])
def test_what_has_the_name_of_a_lock_and_is_none_is_left_alone(folder, make):
    victim, lock = Path("victim"), Path("run.h5.lock")
    victim.write_text("precious")
    if make == "link":
        lock.symlink_to(victim)
    elif make == "hard link":
        victim.write_text("process 1 on a")
        os.link(victim, lock)
    elif make == "folder":
        lock.mkdir()
    else:
        lock.write_text("precious")
    before = victim.read_text()
    with pytest.raises(RbmError, match=r"run\.h5\.lock: is no lock file.*move it away"):
        Lock(folder / "run.h5")
    assert victim.read_text() == before
    assert lock.is_dir() or "p" in lock.read_text()


def test_a_writer_whose_lock_went_away_stops_before_its_next_checkpoint(folder):
    path = Path("run.h5")
    toy.run(path, toy.machine(1, 1), "finish")
    state = toy.start("", 1)
    with RunWriter.resume(path) as first:
        lock_name(path).unlink()
        with RunWriter.resume(path) as second:
            with pytest.raises(RbmError, match=r"was removed or replaced.*--resume"):
                first.section("").checkpoint(toy.after(state))
            first.close()
            assert is_locked(path)  # the second's lock is not taken from it
            second.section("").checkpoint(toy.after(toy.after(state)))
            second.finish()
    with RunReader(path) as run:
        assert run.state["trainer/epoch"] == 2
    assert names(folder) == {"run.h5"}


def test_the_number_of_a_part_that_went_away_is_not_given_again(folder):
    """Its snapshots are NaN in the end, the others what they were, and a line says so."""
    path, states = Path("run.h5"), [toy.start("", 1)]
    with RunWriter.create(path, config={}, data=toy.DATA, image_shape=toy.IMAGE) as writer:
        section = writer.begin("", snapshot_shape=(toy.HIDDEN[""], *toy.IMAGE))
        written = []
        for epoch in range(5):
            for when, filters in toy.snapshots(states[-1]):
                section.snapshot(when, filters)
                written.append(filters)
            section.checkpoint(states[-1])
            if epoch == 1:
                Path("run.h5.filters.0").unlink()
            if epoch == 2:
                Path("run.h5.filters.1").unlink()
            states.append(toy.after(states[-1]))
        assert {name for name in names(folder) if "filters" in name} == {
            "run.h5.filters.2", "run.h5.filters.3"
        }  # fmt: skip
        writer.finish()
        (notice,) = writer.notices
        assert "snapshots of its filters are lost" in notice
    found = toy.contents(path)["filters"]
    lost = np.isnan(found).all(axis=(1, 2, 3))
    assert 0 < lost.sum() < len(found)
    assert not np.isnan(found[~lost]).any()
    for row in np.flatnonzero(~lost):
        assert np.array_equal(found[row], written[row])
    with RunReader(path) as run:  # what is lost is so by its checksum too
        assert np.isnan(run.sections[""].snapshot(int(np.flatnonzero(lost)[0]))).all()


def test_a_run_of_version_1_goes_on_as_one_of_version_2(folder):
    assert rbm([*TRAIN, "3"]) == 0
    whole = toy.contents(Path("run.h5"))
    Path("run.h5").unlink()
    assert rbm([*TRAIN, "1"]) == 0
    with changing("run.h5") as file:
        file.attrs["version"] = 1
        del file["filters_crc32"]
    content = Path("run.h5").read_bytes()
    Path("run.h5").write_bytes(content[: content.rfind(b"{")])  # and without the seal
    assert rbm(["info", "run.h5"]) == 0
    assert rbm([*TRAIN, "3", "--resume"]) == 0
    assert toy.same(toy.contents(Path("run.h5")), whole)
    with RunReader("run.h5") as run:
        assert run.version == 2

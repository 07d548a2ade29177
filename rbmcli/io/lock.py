"""One writer for each run file, and a note of what a killed writer leaves behind.

The lock is an advisory one (`flock`) on a file of its own beside the run file, because HDF5
takes such locks on the files it reads. The system drops it with the process that held it, so a
lock file left behind by a killed writer is no obstacle to the next one.

The lock file also lists the files beside the run file that are *in doubt*: about to become
needed, or no longer needed, at the next checkpoint. Whoever takes the lock over removes those
that the run file does not refer to, and touches no others.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from rbmcli.errors import RbmError
from rbmcli.files import create_like, is_named, remedy, take_lock, write_at
from rbmcli.opening import descriptor_of
from rbmcli.text import printable

#: Seconds for which a taken lock is tried again: `is_locked` holds it for an instant.
_PATIENCE = 0.3

#: Seconds for which readers of a replaced file are waited for.
_READERS = 2.0

_HEADER_BYTES = 128


def lock_name(target: Path) -> Path:
    """Return the path of the lock file of the run file `target`."""
    return target.with_name(target.name + ".lock")


def is_locked(target: Path) -> bool:
    """Return whether a process is writing the run file `target`."""
    try:
        descriptor = descriptor_of(lock_name(target), follow=False)
    except (OSError, RbmError):
        return False
    try:
        taken = take_lock(descriptor, fcntl.LOCK_SH)
        return _holder_lives(descriptor) if taken is None else not taken
    except OSError:
        return False
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def outlasting_readers(path: Path) -> Iterator[None]:
    """Run a block that may replace `path`, then wait for those who still read what was there.

    They are known by the locks that HDF5 takes on what it reads, and waited for no longer than
    _READERS seconds: one may have forgotten to close the file.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield
        deadline = time.monotonic() + _READERS
        replaced = not is_named(descriptor, path)
        while replaced and time.monotonic() < deadline:
            if take_lock(descriptor, fcntl.LOCK_EX) is not False:
                break
            time.sleep(0.01)
    finally:
        os.close(descriptor)


class Lock:
    """The right to write one run file, held until `release`.

    notices: lines worth telling the user.
    """

    def __init__(self, target: Path) -> None:
        """Take the lock of the run file `target`.

        Raises RbmError where another process holds it, or where its folder cannot be written.
        """
        self._path = lock_name(target)
        if not target.parent.is_dir():
            raise RbmError(f"{target}: there is no folder {target.parent}: make it first")
        self._target = target
        try:
            self._descriptor, exclusive = _acquire(target)
            self._doubtful = set(_names(self._descriptor))
        except OSError as error:
            raise RbmError(
                f"{target}: cannot lock it for writing ({error.strerror}): {remedy(error)}"
            ) from error
        self.notices: tuple[str, ...] = ()
        if not exclusive:
            self.notices = (
                f"{target}: its file system has no locks, so see to it that no other process"
                " writes this file at the same time",
            )
        with contextlib.suppress(OSError):  # for people only, so a full disk is no reason to stop
            os.pwrite(self._descriptor, _header(), 0)

    @property
    def doubtful(self) -> frozenset[str]:
        """Names of files in doubt; at first those that a killed holder left."""
        return frozenset(self._doubtful)

    def check(self) -> None:
        """RbmError where the lock file was removed: another process may be writing by now."""
        if not is_named(self._descriptor, self._path):
            raise RbmError(
                f"{self._path}: was removed or replaced while its run was under way, and another"
                f" process may be writing {self._target.name} now, so nothing more is written; the"
                " last checkpoint is kept: go on with --resume, and leave the .lock file alone"
            )

    def doubt(self, name: str) -> None:
        """Note that the file `name` is in doubt, before it is made or ceases to be needed."""
        self.check()
        end = max(os.fstat(self._descriptor).st_size, _HEADER_BYTES)
        write_at(self._descriptor, memoryview(f"{name}\n".encode()), end)
        self._doubtful.add(name)

    def settle(self) -> None:
        """Forget all doubts."""
        if self._doubtful:
            os.ftruncate(self._descriptor, _HEADER_BYTES)
            self._doubtful.clear()

    def release(self) -> None:
        """Give the lock up and remove its file, unless that is another process's by now."""
        with contextlib.suppress(OSError):  # a lock file without holder is in nobody's way
            if is_named(self._descriptor, self._path):
                self._path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def _acquire(target: Path) -> tuple[int, bool]:
    """Return a descriptor of the lock file, and whether it is locked: not all file systems can."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        descriptor = _open_lock(target)
        taken = take_lock(descriptor, fcntl.LOCK_EX)
        if taken is None and not _holder_lives(descriptor):
            return descriptor, False
        if taken and is_named(descriptor, lock_name(target)):
            return descriptor, True
        holder = _holder(descriptor)
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise RbmError(
                f"{target}: {holder or 'another process'} is writing it: "
                "wait until it ends, or choose another output file"
            )
        time.sleep(_PATIENCE / 10)


def _open_lock(target: Path) -> int:
    """Open the lock file, or make it; RbmError where something else has its name."""
    path = lock_name(target)
    while True:
        try:
            return create_like(target, path)
        except FileExistsError:
            pass
        try:
            descriptor = descriptor_of(path, os.O_RDWR, follow=False)
        except FileNotFoundError:  # its holder has just removed it
            continue
        except RbmError:
            raise RbmError(_no_lock(path, target)) from None
        about = os.fstat(descriptor)
        if about.st_nlink > 1 or (about.st_size and _holder(descriptor) is None):
            os.close(descriptor)
            raise RbmError(_no_lock(path, target))
        return descriptor


def _no_lock(path: Path, target: Path) -> str:
    return f"{path}: is no lock file, and that of {target.name} must be there: move it away"


def _holder(descriptor: int) -> str | None:
    """Who holds a lock, by what its file says; "" where it says nothing, None where it is none."""
    header = os.pread(descriptor, _HEADER_BYTES, 0).strip(b"\0 \n")  # a full disk may have cut it
    if header and not (header.startswith(b"process ") or b"process ".startswith(header)):
        return None
    return printable(header.decode(errors="replace"))


def _holder_lives(descriptor: int) -> bool:
    """Whether a process of this machine that a lock file names is there, and is not this one."""
    found = re.fullmatch(r"process (\d{1,9}) on (.*)", _holder(descriptor) or "")
    if found is None or found[2] != os.uname().nodename or int(found[1]) == os.getpid():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _header() -> bytes:
    """Say who holds the lock, in a line of fixed length: what follows it never moves."""
    text = f"process {os.getpid()} on {os.uname().nodename}"
    return text.encode()[: _HEADER_BYTES - 1].ljust(_HEADER_BYTES - 1) + b"\n"


def _names(descriptor: int) -> list[str]:
    """Return the names noted; one without its newline was cut off in the writing."""
    noted = os.pread(descriptor, os.fstat(descriptor).st_size, _HEADER_BYTES)
    return noted.decode(errors="replace").split("\n")[:-1]

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
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from rbmcli.errors import RbmError
from rbmcli.files import remedy, write_at

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
        descriptor = os.open(lock_name(target), os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
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
        replaced = not _is_named(descriptor, path)
        while replaced and time.monotonic() < deadline:
            if _try_lock(descriptor, fcntl.LOCK_EX):
                break
            time.sleep(0.01)
    finally:
        os.close(descriptor)


class Lock:
    """The right to write one run file, held until `release`."""

    def __init__(self, target: Path) -> None:
        """Take the lock of the run file `target`.

        Raises RbmError where another process holds it, or where its folder cannot be written.
        """
        self._path = lock_name(target)
        if not target.parent.is_dir():
            raise RbmError(f"{target}: there is no folder {target.parent}: make it first")
        try:
            self._descriptor = _acquire(target)
            self._doubtful = set(_names(self._descriptor))
        except OSError as error:
            raise RbmError(
                f"{target}: cannot lock it for writing ({error.strerror}): {remedy(error)}"
            ) from error
        with contextlib.suppress(OSError):  # for people only, so a full disk is no reason to stop
            os.pwrite(self._descriptor, _header(), 0)

    @property
    def doubtful(self) -> frozenset[str]:
        """Names of files in doubt; at first those that a killed holder left."""
        return frozenset(self._doubtful)

    def doubt(self, name: str) -> None:
        """Note that the file `name` is in doubt, before it is made or ceases to be needed."""
        end = max(os.fstat(self._descriptor).st_size, _HEADER_BYTES)
        write_at(self._descriptor, memoryview(f"{name}\n".encode()), end)
        self._doubtful.add(name)

    def settle(self) -> None:
        """Forget all doubts."""
        if self._doubtful:
            os.ftruncate(self._descriptor, _HEADER_BYTES)
            self._doubtful.clear()

    def release(self) -> None:
        """Give the lock up and remove its file."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def _acquire(target: Path) -> int:
    """Return a descriptor of the lock file, locked."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        descriptor = os.open(lock_name(target), os.O_RDWR | os.O_CREAT, 0o666)
        if _try_lock(descriptor, fcntl.LOCK_EX) and _is_named(descriptor, lock_name(target)):
            return descriptor
        holder = os.pread(descriptor, _HEADER_BYTES, 0).decode(errors="replace").strip()
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise RbmError(
                f"{target}: {holder or 'another process'} is writing it: "
                "wait until it ends, or choose another output file"
            )
        time.sleep(_PATIENCE / 10)


def _try_lock(descriptor: int, kind: int) -> bool:
    """Lock an open file without waiting; return whether that was possible."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(descriptor: int, path: Path) -> bool:
    """Return whether `path` still names the open file: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _header() -> bytes:
    """Say who holds the lock, in a line of fixed length: what follows it never moves."""
    text = f"process {os.getpid()} on {socket.gethostname()}"
    return text.encode()[: _HEADER_BYTES - 1].ljust(_HEADER_BYTES - 1) + b"\n"


def _names(descriptor: int) -> list[str]:
    """Return the names noted; one without its newline was cut off in the writing."""
    noted = os.pread(descriptor, os.fstat(descriptor).st_size, _HEADER_BYTES)
    return noted.decode(errors="replace").split("\n")[:-1]

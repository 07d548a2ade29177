"""Reading what others made, which may make a library crash, loop or swell.

HDF5 itself can be led to that by a file that somebody has made for it, or that a disk has damaged.
There are two ways, both with the same limits. A forked child reads the file before this process
does (`probe`): that takes some milliseconds, and whatever happens is an exception here. Or this
process reads it at once, and ends in a line where the library does not come back (`guarded`): that
takes no time, and is for files whose checksums say that no disk has damaged them.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import NoReturn

from rbmcli import _guard
from rbmcli.errors import RbmError

#: Seconds of computing, not of waiting for a disk, after which a reading is given up.
_SECONDS = 2.0
#: Bytes of data that a slow computer unpacks in a second.
_UNPACKED = 10e6
#: Bytes that a reading may take beyond those that there are.
_BYTES = 768 << 20
#: What a child says: that it came to its end, or, before a message, that the file is refused, or
#: that something was raised.
_FINE, _REFUSED, _DAMAGED = b"+", b"-", b"?"
#: Signals that are for the parent, which ends the child if they are to end the reading: a terminal
#: and a batch system send them to all processes of a job.
_FROM_OUTSIDE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1)

_SWOLLEN = "reading it takes too much memory"

_is_child = False


class Unreadable(Exception):
    """A reading did not come to its end; the text says why."""


def going_on(size: int, memory: int = 0) -> None:
    """Begin to count anew how long a child computes: so many bytes of data are to be read next.

    memory: bytes that this takes beyond what a child may have.
    """
    if _is_child:
        signal.setitimer(signal.ITIMER_PROF, _SECONDS + size / _UNPACKED)
        _limit_memory(memory)


def probe(read: Callable[[], object]) -> bool:
    """Do in a child what this process is about to do; whether there was a child.

    Passes on an RbmError. Raises Unreadable where the child crashes, computes for too long or takes
    too much memory. Where processes cannot be forked, nothing is done.
    """
    if sys.platform == "darwin":  # where libraries do not bear it
        return False
    ours, theirs = os.pipe()
    sys.stdout.flush()
    # Or a child, as it begins, would take a signal as its parent does, and clear up after it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FROM_OUTSIDE)
    try:
        with warnings.catch_warnings():
            # Python warns of other threads: the child enters no code that waits for them.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            _be_child(read, theirs)
    except OSError:  # no more processes: then without
        os.close(ours)
        os.close(theirs)
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(theirs)
    answer, status = b"", 0
    try:
        with os.fdopen(ours, "rb") as pipe:
            answer = pipe.read()
    except BaseException:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
        raise
    finally:
        with contextlib.suppress(ChildProcessError):  # where our own parent ignores SIGCHLD
            status = os.waitpid(child, 0)[1]
    if answer.startswith(_REFUSED):
        raise RbmError(answer[1:].decode(errors="replace"))
    if answer.startswith(_DAMAGED):
        raise Unreadable(answer[1:].decode(errors="replace"))
    if answer != _FINE:
        raise Unreadable(_ending(status))
    return True


@contextlib.contextmanager
def guarded(told: Callable[[object], str]) -> Iterator[None]:
    """Read within the limits of a child, but here.

    Raises Unreadable where it takes too much memory. Where it crashes or computes for too long the
    process ends, with status 1 and a line: what `told` makes of the reason.
    """
    before, after = f"rbm: error: {told(chr(0))}\n".encode(errors="backslashreplace").split(
        b"\0", 1
    )
    begun = _guard.begin(before, after, _SECONDS, _BYTES)
    try:
        yield
    except MemoryError:
        raise Unreadable(_SWOLLEN) from None
    finally:
        if begun:
            _guard.finish()


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGPROF:
            return "reading it does not come to an end"
        return f"reading it ends in {signal.Signals(number).name}"
    return _SWOLLEN


def _be_child(read: Callable[[], object], pipe: int) -> NoReturn:
    """Read, answer, and end without any of what the parent has yet to do."""
    global _is_child
    try:
        _is_child = True
        faulthandler.disable()  # how the child ends is for the parent to say
        for number in _FROM_OUTSIDE:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit_memory()
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)
        try:
            read()
            answer = _FINE
        except RbmError as error:
            answer = _REFUSED + str(error).encode(errors="backslashreplace")
        except (OSError, LookupError, ValueError, RuntimeError, TypeError) as error:
            reason = error.args[0] if isinstance(error, KeyError) and error.args else error
            answer = _DAMAGED + str(reason).encode(errors="backslashreplace")
        os.write(pipe, answer[:4096])
    except BaseException:
        os._exit(1)
    os._exit(0)


def _limit_memory(more: int = 0) -> None:
    try:
        with open("/proc/self/statm", "rb") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = now + _BYTES + more
    if most == resource.RLIM_INFINITY or wanted < most:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))

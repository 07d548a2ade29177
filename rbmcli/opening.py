"""Opening files that others may have made: only regular ones, and links only where they may be."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from rbmcli.errors import RbmError

#: What a file is that is not regular, and what can be done about it.
_KINDS = {
    stat.S_IFDIR: "a folder: name a file",
    stat.S_IFIFO: "a pipe, which can be read only once: write it to a file, and name that",
    stat.S_IFSOCK: "a socket: name a file",
    stat.S_IFCHR: "a device: name a file",
    stat.S_IFBLK: "a device: name a file",
    stat.S_IFLNK: "a symbolic link, which is not followed here: put the file itself there",
}


def why_not_regular(mode: int) -> str | None:
    """What a file of this `st_mode` is if it is not regular, and what to do; None if it is."""
    return None if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no file: name one")


def descriptor_of(path: Path, flags: int = os.O_RDONLY, *, follow: bool = True) -> int:
    """Open a regular file and return its descriptor; nothing is waited for, whatever it is.

    follow: whether the last part of the path may be a symbolic link. RbmError where the file is
    not regular, OSError where it cannot be opened.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            look = os.stat if follow else os.lstat
            try:
                why = why_not_regular(look(path).st_mode)
            except OSError:
                why = None
            if why is not None:
                raise RbmError(f"{path}: is {why}") from None
        raise
    except ValueError:  # a zero in it
        raise RbmError(f"{path}: is no name of a file: give another") from None
    if (why := why_not_regular(os.fstat(descriptor).st_mode)) is not None:
        os.close(descriptor)
        raise RbmError(f"{path}: is {why}")
    return descriptor


def check_regular(path: Path) -> None:
    """RbmError where there is something at `path` other than a regular file, or a link to one."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if (why := why_not_regular(mode)) is not None:
        raise RbmError(f"{path}: is {why}")


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file opened for reading bytes, as `descriptor_of` opens it."""
    with os.fdopen(descriptor_of(path), "rb") as file:
        yield file

"""Output files: never half a file under the final name, nothing replaced unasked."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rbmcli.errors import RbmError

#: What the user can do about a write that failed, by error number.
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EACCES: "allow writing there",
    errno.EROFS: "choose another folder",
    errno.ENOENT: "make its folder first",
}


def remedy(error: OSError) -> str:
    """Say what to do about `error`, as the end of a sentence."""
    return _REMEDIES.get(error.errno or 0, "check the disk")


def check_free(
    path: Path,
    force: bool,
    choices: str = "choose another name, or replace it with --force",
) -> None:
    """RbmError where `path` exists already: a file, unless `force`; anything else always.

    choices: what the user can do about the file.
    """
    if path.is_dir():
        raise RbmError(f"{path}: a folder: give the name of a file")
    if path.exists() and not path.is_file():
        raise RbmError(f"{path}: a device or the like, which cannot be replaced: name a file")
    if path.exists() and not force:
        raise RbmError(f"{path}: exists already: {choices}")


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a name beside `path` to write to; the file becomes `path` unless the block raises.

    RbmError where `path` exists (unless `force`) or cannot be written.
    """
    check_free(path, force)
    aside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        aside.replace(path)
    except OSError as error:
        if error.errno is None:
            raise
        raise RbmError(f"{path}: cannot be written ({error.strerror}); {remedy(error)}") from error
    finally:
        aside.unlink(missing_ok=True)

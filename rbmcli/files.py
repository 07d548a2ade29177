"""Output files: one way to write them, whole or not there, nothing replaced unasked.

A file is written aside, under its name and `.tmp`, in the folder that it will be in. It is brought
to disk, renamed, and then the change of names is brought to disk. So there is the old file or the
new one at every instant, whole, after a crash of the machine too. Where the name is a symbolic
link, the file that it leads to is replaced, and keeps its mode and group.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rbmcli.errors import RbmError
from rbmcli.opening import descriptor_of, why_not_regular

#: What the user can do about a write that failed, by error number.
_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the file size limit (ulimit -f)",
    errno.EACCES: "allow writing there",
    errno.EPERM: "allow writing there",
    errno.EROFS: "choose another folder",
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs' files",
}

#: What can be done where there is an output file already.
REPLACE = "choose another name, or replace it with --force"

#: What file systems answer that have no locks, or do not bring folders to disk.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES)


def remedy(error: OSError) -> str:
    """Say what to do about `error`, as the end of a sentence."""
    return _REMEDIES.get(error.errno or 0, "check the disk")


def real(path: str | os.PathLike[str]) -> Path:
    """Follow links, so that the file itself is replaced and not a link to it."""
    return Path(os.path.realpath(path))


def check_output(
    path: Path,
    force: bool,
    choices: str = REPLACE,
) -> None:
    """RbmError where a file cannot be written at `path`, or is there already, unless `force`.

    To be asked before the work. choices: what the user can do about the file.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _unwritable(path, error) from error
    else:
        if stat.S_ISDIR(mode):
            raise RbmError(f"{path}: a folder: give the name of a file")
        if why_not_regular(mode) is not None:
            raise RbmError(f"{path}: a device or the like, which cannot be replaced: name a file")
        if not force:
            raise RbmError(f"{path}: exists already: {choices}")
    folder = real(path).parent
    if not folder.is_dir():
        raise RbmError(f"{path}: there is no folder {folder}: make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        raise _unwritable(path, OSError(errno.EROFS if read_only else errno.EACCES, ""))


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[Path]:
    """Give a name beside `path` to write to; the file becomes `path` unless the block raises.

    RbmError where `path` exists (unless `force`), cannot be written, or is being written.
    """
    check_output(path, force)
    try:
        with replacing(real(path), shared=True):
            yield aside_name(real(path))
    except OSError as error:
        if error.errno is None:
            raise
        raise _unwritable(path, error) from error


@contextmanager
def replacing(target: Path, *, shared: bool = False) -> Iterator[int]:
    """Yield the descriptor of an empty file that takes the place of `target` on a clean exit.

    The new file is on disk before its name changes, and the change of name is on disk before the
    block ends. If the block raises, `target` is untouched and the file aside is removed.

    target: follows no link (see `real`). shared: whether other processes might write `target` too;
    then the file aside is locked, and RbmError where another one has it. Without, the caller sees
    to it that there is one writer.
    """
    aside, is_new = aside_name(target), not os.path.lexists(target)
    descriptor = _create(aside, target, shared)
    try:
        yield descriptor
        _take_after(target, descriptor)
        os.fsync(descriptor)
        aside.replace(target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    finally:
        with suppress(OSError):  # all of it is on disk, or it does not matter
            os.close(descriptor)
    try:
        sync_folder(target.parent)
    except OSError:
        if shared and is_new:  # what is said not to be written had better not be there
            target.unlink(missing_ok=True)
        raise


def remove_aside(target: Path) -> None:
    """Remove what a killed writer of `target` left, where the caller is the only writer."""
    aside_name(target).unlink(missing_ok=True)


def take_lock(descriptor: int, kind: int) -> bool | None:
    """Lock an open file without waiting: whether that was possible; None where there are no locks.

    kind: LOCK_EX or LOCK_SH of fcntl.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True


def is_named(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the open file: it may have been removed or replaced."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of `data` (C-contiguous) at byte `offset`, however many calls that takes."""
    rest = data.cast("B")
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rest, offset = rest[written:], offset + written


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` (created, renamed, removed) to disk, where that is offered."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:  # one may be allowed to make names in a folder and not to list them
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Give the file `source` a second name, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        import shutil  # which costs milliseconds that no other use of this file should pay

        try:
            with (
                os.fdopen(descriptor_of(source), "rb") as old,
                os.fdopen(create_like(source, target), "wb") as new,
            ):
                shutil.copyfileobj(old, new, 1 << 20)
                new.flush()
                os.fsync(new.fileno())
        except FileExistsError:
            raise
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    sync_folder(target.parent)


def create_like(model: Path, path: Path) -> int:
    """Make a new file with mode and group of the file `model`, if there is one; its descriptor.

    FileExistsError where there is something at `path`, a link as well.
    """
    exists = os.path.exists(model)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # What a private file will hold is never open to others, not for an instant.
    descriptor = os.open(path, flags, 0o600 if exists else 0o666)
    if exists:
        try:
            _take_after(model, descriptor)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
    return descriptor


def aside_name(target: Path) -> Path:
    """Where a file is written before it is renamed: the same folder, hence the same file system."""
    return target.with_name(target.name + ".tmp")


def _create(aside: Path, target: Path, shared: bool) -> int:
    """Make the file aside anew, in the place of what a killed writer left; its descriptor."""
    while True:
        try:
            descriptor = create_like(target, aside)
        except FileExistsError:
            _clear(aside, target, shared)
            continue
        ours = not shared or take_lock(descriptor, fcntl.LOCK_EX) is not False
        if ours and is_named(descriptor, aside):
            return descriptor
        os.close(descriptor)  # another one took it for a stray in that very instant


def _clear(aside: Path, target: Path, shared: bool) -> None:
    """Remove a file aside that no process is writing."""
    try:
        descriptor = descriptor_of(aside, os.O_RDWR, follow=False)
    except FileNotFoundError:
        return
    except RbmError:
        raise RbmError(
            f"{aside}: is no regular file, and {target.name} is first written there: move it away"
        ) from None
    try:
        if shared and take_lock(descriptor, fcntl.LOCK_EX) is False:
            raise RbmError(
                f"{target}: another process is writing it: wait until it ends, or choose another"
                " output file"
            )
        if is_named(descriptor, aside):
            aside.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _take_after(target: Path, descriptor: int) -> None:
    """Give an open file the mode, the group and if possible the owner of the file `target`."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except OSError:  # only an administrator gives files away; a member may give to a group
            with suppress(OSError):
                os.fchown(descriptor, -1, old.st_gid)
    mode = stat.S_IMODE(old.st_mode)
    if os.fstat(descriptor).st_gid != old.st_gid:
        mode &= ~stat.S_IRWXG  # what was for one group is not for another
    with suppress(PermissionError, NotImplementedError):  # file systems without modes
        os.fchmod(descriptor, mode)


def _unwritable(path: Path, error: OSError) -> RbmError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.EIO and error.strerror:
        reason = error.strerror  # what an encoder said
    return RbmError(f"{path}: cannot be written ({reason}); {remedy(error)}")

"""Writing so that a crash at any instant leaves the old file or the new one, whole.

Every byte of a run file reaches the disk through this module.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def aside_name(path: Path) -> Path:
    """Where `replacing` writes before it renames: the same folder, hence the same file system."""
    return path.with_name(path.name + ".tmp")


@contextmanager
def replacing(path: Path) -> Iterator[int]:
    """Yield the descriptor of an empty file that takes the place of `path` on a clean exit.

    The new file is on disk before its name changes, and the change of name is on disk before the
    block ends. If the block raises, `path` is untouched and the file aside is removed.
    """
    aside = aside_name(path)
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of `data` (C-contiguous) at byte `offset`, however many calls that takes."""
    rest = data.cast("B")
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` (created, renamed, removed) to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_or_copy(source: Path, target: Path) -> None:
    """Give the file `source` a second name, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(target.parent)

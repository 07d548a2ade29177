"""Work that a thread of its own does ahead of time, and gzip files unpacked so.

A training takes most of the time to its first step for imports, which need one processor, and for
unpacking its images, which zlib does without Python's lock. So files that a command line names are
unpacked while its command is imported, before anything is known of what they are for.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import BinaryIO, Generic, TypeVar

from rbmcli.errors import RbmError
from rbmcli.opening import descriptor_of

T = TypeVar("T")

GZIP_MAGIC = b"\x1f\x8b"
#: Bytes of a file, and of what it unpacks to, beyond which it is left to who asks for it.
_MOST = 1 << 27
_MOST_FILES = 4
_GZIP_FORMAT = 31


class Ahead(Generic[T]):
    """What `work` returns, which a thread begins at once."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._results: list[T] = []
        self._error: Exception | None = None
        self._thread = Thread(target=self._run, daemon=True)
        with suppress(RuntimeError):  # no more threads: then it is done when it is asked for
            self._thread.start()

    def result(self) -> T:
        """The result, waited for; raises what the work raised."""
        if self._thread.ident is None:
            return self._work()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except Exception as error:
            self._error = error


#: Files by what tells them apart, and whether they have changed.
_unpacking: dict[tuple[int, ...], Ahead[bytes | None]] = {}


def unpack(words: Sequence[str]) -> None:
    """Begin to unpack the gzip files among the words of a command line."""
    for word in words:
        with suppress(OSError, RbmError):
            descriptor = descriptor_of(Path(word))
            # Numbers up to 2 are of streams that the process was started without.
            wanted = descriptor > 2 and len(_unpacking) < _MOST_FILES
            if wanted and os.pread(descriptor, 2, 0) == GZIP_MAGIC:
                identity = _identity(descriptor)  # before the thread, which closes it
                _unpacking[identity] = Ahead(partial(_unpacked, descriptor))
            else:
                os.close(descriptor)


def unpacked(file: BinaryIO) -> bytes | None:
    """What a gzip file holds, if `unpack` was told of it, it is sound and of moderate size."""
    begun = _unpacking.pop(_identity(file.fileno()), None)
    return None if begun is None else begun.result()


def _identity(descriptor: int) -> tuple[int, ...]:
    now = os.fstat(descriptor)
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns


def _unpacked(descriptor: int) -> bytes | None:
    """All that a gzip file unpacks to, or None; closes it."""
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > _MOST:
            return None
        packed = file.read()
    stream = zlib.decompressobj(_GZIP_FORMAT)
    try:
        content = stream.decompress(packed, _MOST)  # in one go: Python's lock is taken but once
    except (zlib.error, MemoryError):
        return None
    return content if stream.eof and not stream.unused_data else None

"""HDF5 files laid out in memory.

HDF5 itself never writes to the disk here: a library that fails in the middle of its own
book-keeping (a full disk) cannot be relied on to close the file, and what it writes in place
cannot be made whole by a rename. It lays a file out in a `FileImage`, whose `write_to` puts the
bytes where they belong. Large data sets need not pass through memory: `reserve` leaves room for
them, to be filled with plain writes.
"""

from __future__ import annotations

import io
import os
from typing import Any

import h5py
import numpy as np

from rbmcli.files import write_at


class FileImage(io.RawIOBase):
    """A file for `h5py.File` that keeps what is written, and only that: holes take no memory."""

    def __init__(self) -> None:
        self._writes = [(0, bytearray())]
        self._size = 0
        self._position = 0

    def write_to(self, descriptor: int) -> None:
        """Write the image into an empty file; holes stay holes."""
        for offset, data in self._writes:
            write_at(descriptor, memoryview(data), offset)
        os.ftruncate(descriptor, self._size)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._size

    def content(self, start: int, length: int) -> bytearray:
        """The bytes at `start`; those never written are zero."""
        block = bytearray(length)
        self.seek(start)
        self.readinto(block)
        return block

    def readable(self) -> bool:
        """Return True: HDF5 reads back some of what it wrote."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` bytes from the start, the position or the end."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def write(self, data: Any) -> int:
        """Keep a copy of `data` as the content at the position."""
        content = memoryview(data).cast("B")
        offset, last = self._writes[-1]
        if offset + len(last) == self._position:
            last += content  # HDF5 writes its own structures in many small pieces, end to end
        else:
            self._writes.append((self._position, bytearray(content)))
        self._position += len(content)
        self._size = max(self._size, self._position)
        return len(content)

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from the position on; bytes never written are zero."""
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))
        start, end = self._position, self._position + len(view)
        for offset, data in self._writes:
            first, last = max(offset, start), min(offset + len(data), end)
            if first < last:
                view[first - start : last - start] = data[first - offset : last - offset]
        self._position = end
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size in bytes (default: the position)."""
        self._size = self._position if size is None else size
        return self._size


def reserve(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Create a contiguous data set without content; return the byte offset of its first element.

    The offset is 0 for a data set without elements.
    """
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(
        group.id, name.encode(), h5py.h5t.py_create(dtype, logical=True), space, properties
    )
    return int(dataset.get_offset() or 0)

"""IDX files, plain or gzip: the format of MNIST and its relatives.

Two zero bytes, an element type, the number of dimensions, each dimension as a big-endian 32-bit
count, then the elements, big-endian, last dimension fastest.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from rbmcli.errors import RbmError

_ELEMENT_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_MOST_DIMENSIONS = 32
_GZIP_MAGIC = b"\x1f\x8b"
#: Deflate never packs tighter than this, so a count beyond it is a lie told before any reading.
_MOST_BYTES_PER_GZIP_BYTE = 1032
_CHUNK = 1 << 20


def read(path: Path) -> np.ndarray:
    """Return the array in an IDX file, compressed or not, of the shape and type its header states.

    The elements are streamed into the array, so nothing else of its size is ever in memory.
    Raises RbmError for a file that is not IDX, is damaged, or is longer or shorter than it says.
    """
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        most = os.fstat(file.fileno()).st_size * (_MOST_BYTES_PER_GZIP_BYTE if compressed else 1)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file
        try:
            return _read_stream(stream, path, most)
        except EOFError:
            raise RbmError(
                f"{path}: truncated: the gzip data end early; get a complete copy"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise RbmError(f"{path}: damaged gzip data ({error}); get a sound copy") from None


def _read_stream(stream: BinaryIO, path: Path, most: int) -> np.ndarray:
    dtype, shape = _read_header(stream, path)
    size = math.prod(shape) * dtype.itemsize
    if size > most:
        held = _drain(stream)
    else:
        array = np.empty(shape, dtype)
        held = _fill(stream, array.reshape(-1).view(np.uint8).data)
    if held < size:
        item = size // shape[0]
        raise RbmError(
            f"{path}: the header says {shape[0]} items but the file holds {held // item}; "
            "get a complete copy"
        )
    # Reading past the end is also what makes gzip compare its checksum.
    if extra := _drain(stream):
        raise RbmError(
            f"{path}: {extra} bytes follow the {shape[0]} items that the header says; "
            "get a sound copy"
        )
    return array


def _read_header(stream: BinaryIO, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or not 1 <= magic[3] <= _MOST_DIMENSIONS:
        start = f"starts with the bytes {magic.hex(' ')}" if magic else "is empty"
        raise RbmError(
            f"{path}: {start}, which is no IDX magic number; "
            "give an IDX (plain or gzip), .npy, .npz or HDF5 file"
        )
    code, dimensions = magic[2], magic[3]
    if code not in _ELEMENT_TYPES:
        known = ", ".join(f"0x{code:02x}" for code in _ELEMENT_TYPES)
        raise RbmError(
            f"{path}: IDX element type 0x{code:02x} is unknown; store the data as one of {known}"
        )
    counts = stream.read(4 * dimensions)
    if len(counts) < 4 * dimensions:
        raise RbmError(f"{path}: ends within its IDX header; get a complete copy")
    shape = struct.unpack(f">{dimensions}I", counts)
    if 0 in shape:
        raise RbmError(f"{path}: has shape {shape}, so holds nothing; name another file")
    return np.dtype(_ELEMENT_TYPES[code]), shape


def _fill(stream: BinaryIO, target: memoryview) -> int:
    """Read into `target` until it is full or the stream ends; return the bytes read."""
    filled = 0
    while filled < len(target):
        # Piecewise, for gzip makes a bytes object of whatever size is asked for.
        count = stream.readinto(target[filled : filled + _CHUNK])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled


def _drain(stream: BinaryIO) -> int:
    """Read to the end, keeping nothing; return the number of bytes."""
    return sum(len(chunk) for chunk in iter(lambda: stream.read(_CHUNK), b""))

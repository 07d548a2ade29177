"""IDX files, plain or gzip: the format of MNIST and its relatives.

Two zero bytes, an element type, the number of dimensions, each dimension as a big-endian 32-bit
count, then the elements, big-endian, last dimension fastest.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from rbmcli.ahead import GZIP_MAGIC, unpacked
from rbmcli.errors import RbmError
from rbmcli.io.sources.formats import refusal
from rbmcli.io.sources.streams import MOST_PER_PACKED_BYTE, check_unpacked, drain, fill
from rbmcli.opening import opened

_ELEMENT_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_MOST_DIMENSIONS = 32
#: As much as is unpacked to count what a file holds, or what is behind its end.
_MOST_COUNTED = 1 << 28


def read(path: Path) -> np.ndarray:
    """Return the array in an IDX file, compressed or not, of the shape and type its header states.

    The elements are streamed into the array, so nothing else of its size is ever in memory; or the
    array, then read-only, is of what was unpacked ahead.
    Raises RbmError for a file that is not IDX (naming what it is instead), is damaged, or is
    longer or shorter than it says.
    """
    with opened(path) as file:
        packed = os.fstat(file.fileno()).st_size
        compressed = file.read(2) == GZIP_MAGIC
        if compressed and (content := unpacked(file)) is not None:
            array = _in_place(content, path)
            if array is not None:
                return array
        file.seek(0)
        most = packed * (MOST_PER_PACKED_BYTE if compressed else 1)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file
        try:
            return _read_stream(stream, path, packed, most)
        except EOFError:
            raise RbmError(
                f"{path}: truncated: the gzip data end early; get a complete copy"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise RbmError(f"{path}: damaged gzip data ({error}); get a sound copy") from None


def _in_place(content: bytes, path: Path) -> np.ndarray | None:
    """The array in what a file unpacks to, without a copy; None if it holds more or less."""
    stream = io.BytesIO(content)
    dtype, shape = _read_header(stream, path)
    if len(content) - stream.tell() != math.prod(shape) * dtype.itemsize:
        return None
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)


def _read_stream(stream: BinaryIO, path: Path, packed: int, most: int) -> np.ndarray:
    dtype, shape = _read_header(stream, path)
    size = math.prod(shape) * dtype.itemsize
    if size > most:
        held = drain(stream, _MOST_COUNTED)
    else:
        check_unpacked(path, packed, size)
        try:
            array = np.empty(shape, dtype)
        except ValueError:  # beyond what NumPy has
            raise RbmError(
                f"{path}: the header says shape {shape}, which no array can have; get a sound copy"
            ) from None
        held = fill(stream, array.reshape(-1).view(np.uint8).data)
    if held < size:
        item = size // shape[0]
        raise RbmError(
            f"{path}: the header says {shape[0]} items but the file holds {held // item}; "
            "get a complete copy"
        )
    if size > most:  # only where more is held than was counted
        raise RbmError(f"{path}: the header says more than the file can hold; get a sound copy")
    # Reading past the end is also what makes gzip compare its checksum.
    if extra := drain(stream, _MOST_COUNTED):
        many = f"{extra}" if extra <= _MOST_COUNTED else f"more than {_MOST_COUNTED}"
        raise RbmError(
            f"{path}: {many} bytes follow the {shape[0]} items that the header says; "
            "get a sound copy"
        )
    return array


def _read_header(stream: BinaryIO, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if magic[:2] != b"\0\0":
        raise refusal(path)
    if len(magic) < 4 or not 1 <= magic[3] <= _MOST_DIMENSIONS:
        raise RbmError(
            f"{path}: begins as an IDX file, with two zeros, but has no IDX magic number: it is"
            " damaged, or of another format; get a sound copy, or make a .npy file of it"
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

"""NumPy's own files: one array (`.npy`) or several under names (`.npz`).

They are read here and not by numpy.load, so that a header is believed only as far as the file can
hold what it says, and nothing is ever unpickled.
"""

from __future__ import annotations

import ast
import math
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from rbmcli.errors import RbmError
from rbmcli.io.sources.formats import zip_content
from rbmcli.io.sources.streams import MOST_PER_PACKED_BYTE, check_unpacked, drain, fill
from rbmcli.opening import opened

NPY_MAGIC = b"\x93NUMPY"
NPZ_MAGIC = b"PK"

#: Longer ones are of structured types, or malicious.
_MOST_HEADER = 10_000
#: Bytes of a table of contents, some hundred thousand names, that can be read in no time.
_MOST_CONTENTS = 1 << 25
#: Characters of a library's message.
_MOST_QUOTED = 80
_SUFFIX = ".npy"
_SPARSE = ("csr", "csc", "coo", "bsr", "dia")

#: What is raised where an archive is damaged.
_DAMAGE = (
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npy(path: Path) -> np.ndarray:
    """Return the array in a `.npy` file; RbmError if it is damaged or would need unpickling."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        return _read_stream(file, size, size, str(path), path)


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in a `.npz` file; RbmError where it is none or damaged."""
    with _archive(path) as archive:
        return list(_members(archive, path))


def has(path: Path, name: str) -> bool:
    """There is nothing but what `array_names` says."""
    return False


def read_array(path: Path, name: str) -> np.ndarray:
    """Return the array called `name` in a `.npz` file; RbmError as for `read_npy`."""
    with _archive(path) as archive:
        return _read_member(archive, _members(archive, path)[name], name, path)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, and one line for what its damage raises."""
    with opened(path) as file:
        try:
            _check_contents(file, path)
            with zipfile.ZipFile(file) as archive:
                yield archive
        except _DAMAGE as error:
            reason = str(error)  # which may quote what the file holds
            reason = reason if len(reason) <= _MOST_QUOTED else f"{reason[:_MOST_QUOTED]}..."
            raise RbmError(
                f"{path}: damaged ({reason}); get a sound copy, or write it again with numpy.savez"
            ) from None


def _check_contents(file: BinaryIO, path: Path) -> None:
    """RbmError where the table of contents says to be too long to be read."""
    size = os.fstat(file.fileno()).st_size
    file.seek(-min(size, 22 + 0xFFFF), os.SEEK_END)
    end = file.read()
    at = end.rfind(b"PK\5\6")
    if at >= 0 and len(end) >= at + 16:
        length = struct.unpack_from("<I", end, at + 12)[0]
        if _MOST_CONTENTS < length < 0xFFFFFFFF:
            raise RbmError(f"{path}: holds far too many arrays; store the images as one")
    file.seek(0)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """What an archive holds, by the names of the arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(_SUFFIX)
        if name in members:
            raise RbmError(
                f"{path}: holds two arrays named {name!r}; write it again with numpy.savez"
            )
        members[name] = info
    if members and not any(info.filename.endswith(_SUFFIX) for info in members.values()):
        raise RbmError(f"{path}: is {zip_content(path)}")
    if {"format", "shape"} <= members.keys():
        _check_not_sparse(archive, members, path)
    return members


def _check_not_sparse(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], path: Path
) -> None:
    if members["format"].file_size > _MOST_HEADER:
        return
    said = _read_member(archive, members["format"], "format", path)
    if said.ndim == 0 and said.dtype.kind in "SU":
        form = said.item()
        form = form.decode("latin-1") if isinstance(form, bytes) else form
        if form in _SPARSE:
            raise RbmError(
                f"{path}: is a sparse matrix of scipy ({form}), which is not read: store it dense,"
                f" numpy.save('images.npy', scipy.sparse.load_npz('{path.name}').toarray())"
            )


def _read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, path: Path
) -> np.ndarray:
    if not info.filename.endswith(_SUFFIX):
        raise RbmError(f"{path}: {name} is not an array; write the file with numpy.savez")
    if info.flag_bits & 1:
        raise RbmError(f"{path}: {name} is encrypted; write the file with numpy.savez")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RbmError(
            f"{path}: {name} is packed by another method than deflate; write the file with"
            " numpy.savez"
        )
    assert archive.fp is not None
    packed = min(info.compress_size, os.fstat(archive.fp.fileno()).st_size)
    most = packed * (MOST_PER_PACKED_BYTE if info.compress_type else 1)
    with archive.open(info) as stream:
        size = min(info.file_size, most)
        return _read_stream(cast(BinaryIO, stream), size, packed, f"{path}: {name}", path)


def _read_stream(stream: BinaryIO, size: int, packed: int, where: str, path: Path) -> np.ndarray:
    """The array that begins here, C- or Fortran-contiguous.

    size: bytes that the stream can have at most; packed: those of the file that they take.
    """
    header, length = _read_header(stream, where)
    dtype, fortran, shape = _parsed(header, where)
    values = math.prod(shape) * dtype.itemsize
    if values > size - length:
        raise RbmError(
            f"{where}: damaged: the header says shape {_short(shape)} of {dtype}, but there are"
            f" {max(0, size - length)} bytes; get a complete copy"
        )
    check_unpacked(path, packed, values)
    try:
        array = np.empty(shape[::-1] if fortran else shape, dtype)
    except (ValueError, OverflowError):  # dimensions beyond what NumPy has
        raise RbmError(
            f"{where}: damaged: the header says shape {_short(shape)}, which no array can have; get"
            " a sound copy"
        ) from None
    # Reading past the end is also what makes zip compare its checksum.
    if values and fill(stream, array.reshape(-1).view(np.uint8).data) < values:
        raise RbmError(f"{where}: damaged: ends early; get a complete copy")
    if drain(stream, 0):
        raise RbmError(
            f"{where}: more follows its array, as where numpy.save wrote several into one file;"
            " store one, or all with numpy.savez"
        )
    return array.T if fortran else array


def _read_header(stream: BinaryIO, where: str) -> tuple[str, int]:
    """(the header's text, bytes up to its end)."""
    start = stream.read(8)
    if start[:6] != NPY_MAGIC:
        raise RbmError(f"{where}: is not an array of NumPy; write it with numpy.save")
    wide = start[6:7] in (b"\2", b"\3")
    if start[6:7] not in (b"\1", b"\2", b"\3"):
        raise RbmError(f"{where}: damaged: .npy of an unknown version; get a sound copy")
    count = stream.read(4 if wide else 2)
    length = int.from_bytes(count, "little")
    text = stream.read(min(length, _MOST_HEADER + 1))
    if len(count) < (4 if wide else 2) or len(text) < min(length, _MOST_HEADER + 1):
        raise RbmError(f"{where}: damaged: ends within its header; get a complete copy")
    if length > _MOST_HEADER:
        raise RbmError(f"{where}: damaged, or holds records; store one array of numbers")
    return text.decode("latin-1"), 8 + len(count) + length


def _parsed(header: str, where: str) -> tuple[np.dtype, bool, tuple[int, ...]]:
    """(type, whether the first dimension is fastest, shape) of a header."""
    try:
        # Python 2 wrote long integers with an L.
        said = _literal(re.sub(r"(?<=\d)L\b", "", header).strip())
        descr, fortran, shape = said["descr"], said["fortran_order"], said["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
        raise RbmError(f"{where}: damaged: an unreadable header; get a sound copy") from None
    if isinstance(descr, list | tuple):
        raise RbmError(
            f"{where}: holds records (a structured type, {str(descr)[:60]}); store one array of"
            " numbers"
        )
    if not isinstance(descr, str) or not re.fullmatch(
        r"[<>|=]?[a-zA-Z?]\d{0,9}(\[.{1,9}\])?", descr
    ):
        raise RbmError(f"{where}: damaged: type {str(descr)[:60]!r}; get a sound copy")
    try:
        with warnings.catch_warnings(action="ignore"):  # of names that are to go
            dtype = np.dtype(descr)
    except (TypeError, ValueError, SyntaxError):
        raise RbmError(f"{where}: damaged: type {descr!r}; get a sound copy") from None
    if dtype.hasobject:
        raise RbmError(f"{where}: holds Python objects, which are not read; store numbers")
    if dtype.kind == "V":
        raise RbmError(f"{where}: holds values of type {dtype}; store numbers that NumPy knows")
    if (
        not isinstance(fortran, bool)
        or not isinstance(shape, tuple)
        or not all(type(count) is int and count >= 0 for count in shape)
        or not dtype.itemsize
    ):
        raise RbmError(f"{where}: damaged: an unreadable header; get a sound copy")
    return dtype, fortran, shape


def _literal(text: str) -> Any:
    with warnings.catch_warnings(action="ignore"):  # of escapes that mean nothing
        return ast.literal_eval(text)


def _short(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) <= 80 else f"{text[:80]}..."

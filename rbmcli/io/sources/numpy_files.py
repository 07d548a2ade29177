"""NumPy's own files: one array (`.npy`) or several under names (`.npz`)."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rbmcli.errors import RbmError

NPY_MAGIC = b"\x93NUMPY"
NPZ_MAGIC = b"PK"

#: What NumPy lets through from the parsers it uses when a file is damaged.
_DAMAGE = (
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npy(path: Path) -> np.ndarray:
    """Return the array in a `.npy` file; RbmError if it is damaged or would need unpickling."""
    with _loaded(path) as array:
        return np.asarray(array)


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in a `.npz` file."""
    with _loaded(path) as archive:
        return list(archive.files)


def read_array(path: Path, name: str) -> np.ndarray:
    """Return the array called `name` in a `.npz` file; RbmError as for `read_npy`."""
    with _loaded(path) as archive:
        array = archive[name]
    if not isinstance(array, np.ndarray):  # NumPy returns other members of a zip as bytes.
        raise RbmError(f"{path}: {name} is not an array; write the file with numpy.savez")
    return array


@contextmanager
def _loaded(path: Path) -> Iterator[Any]:
    """Yield what NumPy finds in the file, and turn what it raises for a bad one into one line."""
    with path.open("rb") as file:  # Opened here, for NumPy leaves a damaged archive open.
        try:
            yield np.load(file, allow_pickle=False)
        except _DAMAGE as error:
            if "allow_pickle" in str(error):
                reason = "holds Python objects, which are not read; store numbers"
            else:
                reason = f"damaged ({error}); write it again with numpy.save or numpy.savez"
            raise RbmError(f"{path}: {reason}") from None

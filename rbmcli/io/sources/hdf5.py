"""HDF5 files: data sets under paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from rbmcli.errors import RbmError


def is_hdf5(path: Path) -> bool:
    """Tell whether the file is HDF5, by its content."""
    return bool(h5py.is_hdf5(path))


def array_names(path: Path) -> list[str]:
    """Return the paths of all data sets in the file, without the leading slash."""
    names: list[str] = []

    def note(name: str | bytes, item: h5py.Group | h5py.Dataset) -> None:
        # A name that is not text comes as bytes; nobody can ask for it.
        if isinstance(item, h5py.Dataset) and isinstance(name, str):
            names.append(name)

    with _opened(path) as file:
        file.visititems(note)
    return names


def read_array(path: Path, name: str) -> np.ndarray:
    """Return the data set called `name`; RbmError if it cannot be read or holds nothing."""
    with _opened(path) as file:
        array = file[name][()]
    if isinstance(array, h5py.Empty):
        raise RbmError(f"{path}: data set {name} is empty; name another")
    return np.asarray(array)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise RbmError(f"{path}: cannot be read ({error}); get a sound copy") from None

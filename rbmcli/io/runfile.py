"""Reading run files: everything known of one training run, in one HDF5 file.

docs/run-file.md describes the format, `rbmcli.io.runwriter` writes it. A run file can be read at
any time, also while it is being written. This room knows arrays and names, no model class.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.io.lock import is_locked
from rbmcli.io.parts import Part, joined

FORMAT_NAME = "rbm run"
FORMAT_VERSION = 1

#: Data sets that the run file keeps itself. Every other one is part of the state.
TABLES = ("filters_epoch", "metrics", "metrics_wall_clock")

#: What a state is made of: arrays, and Python scalars.
Value = NDArray[Any] | int | float | str


class State(Mapping[str, Any]):
    """The state in an open run file by name ("model/weights", ...); each value is read on use."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self._path = path
        self._file = file
        self._names: list[str] = []
        with _read_of(path):
            file.visititems(self._note)

    def __getitem__(self, name: str) -> Any:
        """Read one value: an array, int, float or str. Raises KeyError for an unknown name."""
        if name not in self._names:
            raise KeyError(name)
        return _read(self._path, self._file, name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in alphabetical order."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._names)

    def shape_and_dtype(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return shape and dtype of a value without reading it."""
        dataset = self._file[name]
        return dataset.shape, dataset.dtype

    def _note(self, name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and name not in (*TABLES, "filters"):
            self._names.append(name)


class RunReader:
    """A run file opened for reading, finished or not: one checkpoint, however long it is open.

    path: as given. name: its last part without suffix, a caption for the run.
    config, data: as given to `RunWriter.create`.
    image_shape: shape of one image.
    finished: whether training came to its end.
    version, program: of the format; the program that wrote the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the run file `path`.

        Raises RbmError where there is none, where it is no run file, and where it is of a version
        other than FORMAT_VERSION.
        """
        self.path = Path(path)
        self.name = self.path.stem
        # Links are followed here so that the parts are looked for beside the file itself.
        self._target = Path(os.path.realpath(path))
        self._open()
        if self._missing:
            # The run may just have ended, and gathered its filters in a file of the same name.
            self._file.close()
            self._open()
        attributes = self._file.attrs
        with _read_of(self.path):
            self.version = int(attributes["version"])
            self.program = str(attributes["program"])
            self.config: dict[str, Any] = json.loads(attributes["config"])
            self.data: dict[str, Any] = json.loads(attributes["data"])
            self.image_shape = tuple(int(size) for size in attributes["image_shape"])
            self.finished = bool(attributes["finished"])

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; `state` and `filters` can no longer be read."""
        self._file.close()

    @cached_property
    def state(self) -> State:
        """What training goes on from, and the model: name -> value, each read on use."""
        return State(self.path, self._file)

    @property
    def filters(self) -> h5py.Dataset:
        """All snapshots (snapshots, *snapshot_shape), float32, as an open data set to slice.

        Raises RbmError where a file that holds some of them is missing.
        """
        if self._missing:
            raise RbmError(
                f"{self.path}: some of its filters are in {self._missing[0]}, which is missing or "
                f"damaged: put that file back into {self._target.parent}"
            )
        return self._filters

    @property
    def filters_epoch(self) -> NDArray[np.float64]:
        """The epoch at which each snapshot was taken (snapshots,)."""
        return self.table("filters_epoch")

    @property
    def metrics(self) -> NDArray[np.void]:
        """A row for each epoch, by named columns of float64."""
        return self.table("metrics")

    @property
    def wall_clock(self) -> NDArray[np.void]:
        """A row for each epoch: what depends on the clock and not on the seed."""
        return self.table("metrics_wall_clock")

    @property
    def parts(self) -> list[Part]:
        """The files beside the run file that hold filters; none once they are gathered."""
        return joined(self._filters)

    @property
    def in_progress(self) -> bool:
        """Whether a process is writing the run file now."""
        return is_locked(self._target)

    def table(self, name: str) -> NDArray[Any]:
        """Return one of TABLES by name."""
        table: NDArray[Any] = _read(self.path, self._file, name)
        return table

    def _open(self) -> None:
        """Open the file and every part it joins, so that they stay readable once removed."""
        self._file = _open_run(self.path, self._target)
        with _read_of(self.path):
            self._filters = self._file["filters"]
            self._missing = _hold(self._filters, self._target.parent)


@contextmanager
def _read_of(path: Path) -> Iterator[None]:
    """Turn what h5py raises where a file is damaged into an RbmError."""
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise RbmError(
            f"{path}: a damaged run file ({error}): restore it from a copy, or train again"
        ) from error


def _open_run(path: Path, target: Path) -> h5py.File:
    """Open `target`, given as `path`, if it is a run file of a version known here."""
    try:
        file = h5py.File(target, "r")
    except OSError as error:
        raise RbmError(f"{path}: {_why_unreadable(target, error)}") from error
    with _read_of(path):
        name, version = str(file.attrs.get("format")), file.attrs.get("version")
    if name != FORMAT_NAME:
        raise RbmError(f"{path}: not a run file: give one that `rbm train` wrote")
    if version != FORMAT_VERSION:
        raise RbmError(
            f"{path}: a run file of version {version}, and this program reads version "
            f"{FORMAT_VERSION}: use the rbm that wrote it, or a newer one"
        )
    return file


def _why_unreadable(target: Path, error: OSError) -> str:
    if target.is_dir():
        return "a folder, not a run file"
    if not target.exists():
        if is_locked(target):
            return "not there yet: its run is under way, but has written no checkpoint so far"
        return "no such file"
    if error.errno is not None:
        return f"cannot be opened ({os.strerror(error.errno)})"
    if not h5py.is_hdf5(target):
        return "not an HDF5 file: give a run file that `rbm train` wrote"
    return f"a damaged HDF5 file ({error}): restore it from a copy, or train again"


def _hold(filters: h5py.Dataset, folder: Path) -> list[str]:
    """Make HDF5 open each part that `filters` joins, as it does at the first reading.

    Returns the names of those that cannot be opened.
    """
    missing, start = [], 0
    for part in joined(filters):
        try:
            filters[(start,) + (0,) * (filters.ndim - 1)]
            # Looked for after the reading: a part that is there now was there then.
            (folder / part.name).stat()
        except OSError:
            missing.append(part.name)
        start += part.rows
    return missing


def _read(path: Path, file: h5py.File, name: str) -> Any:
    """Read a data set of any kind; scalars come as Python's own."""
    with _read_of(path):
        dataset = file[name]
        text = h5py.check_string_dtype(dataset.dtype) is not None
        value = dataset.asstr()[()] if text else dataset[()]
        return value.item() if isinstance(value, np.generic) and dataset.shape == () else value

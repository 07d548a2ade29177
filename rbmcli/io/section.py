"""Reading a section of a run file: all that belongs to one machine, or to one phase of training.

A section is a group of the file: its root where the file holds a single machine, else "layers/0",
"layers/1", ... and "up-down". docs/run-file.md says what is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.io.parts import DATASET, Part, joined

#: Key of the section of a file that holds a single machine, at the root.
ROOT = ""
#: Key of the last phase of training, over all layers.
UP_DOWN = "up-down"

#: Data sets that a section keeps itself. Every other one but the filters is part of the state.
TABLES = ("filters_epoch", "metrics", "metrics_wall_clock")

#: What a state is made of: arrays, and Python scalars.
Value = NDArray[Any] | int | float | str


def layer_key(index: int) -> str:
    """Key of the section of the layer `index`, counted from 0 at the bottom of the stack."""
    return f"layers/{index}"


class State(Mapping[str, Any]):
    """The state in an open section by name ("model/weights", ...); each value is read on use."""

    def __init__(self, path: Path, group: h5py.Group) -> None:
        self._path = path
        self._group = group
        self._names: list[str] = []
        with damage_of(path):
            group.visititems(self._note)

    def __getitem__(self, name: str) -> Any:
        """Read one value: an array, int, float or str. Raises KeyError for an unknown name."""
        if name not in self._names:
            raise KeyError(name)
        return _read(self._path, self._group, name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in alphabetical order."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._names)

    def shape_and_dtype(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return shape and dtype of a value without reading it."""
        dataset = self._group[name]
        return dataset.shape, dataset.dtype

    def stored(self, name: str) -> Any:
        """The data set of an array in the open file, to be sliced; other values as they are."""
        dataset = self._group[name]
        return dataset if dataset.shape else self[name]

    def _note(self, name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset) and name not in (*TABLES, DATASET):
            self._names.append(name)


class Section:
    """A section of a run file that is open for reading.

    key: "" of the root, else the name of its group. path: of the file. name: a caption: the last
    part of the path without suffix, then the key. config: its own resolved options by name.
    finished: whether its training came to its end. missing: the names of files that hold some of
    its filters and cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        folder: Path,
        key: str,
        group: h5py.Group,
        *,
        config: dict[str, Any],
        finished: bool,
    ) -> None:
        """Read `group` of the run file `path`, with its parts in `folder`.

        The parts are opened here, so that they stay readable once removed. Raises RbmError where
        there are no filters.
        """
        self.key = key
        self.path = path
        self.name = f"{path.stem} {key}" if key else path.stem
        self.config = config
        self.finished = finished
        self._folder = folder
        self._group = group
        with damage_of(path):
            self._filters = group[DATASET]
            self.missing = _hold(self._filters, folder)

    @cached_property
    def state(self) -> State:
        """What training goes on from, and the model: name -> value, each read on use."""
        return State(self.path, self._group)

    @property
    def filters(self) -> h5py.Dataset:
        """All snapshots (snapshots, *snapshot_shape), float32, as an open data set to slice.

        Raises RbmError where a file that holds some of them is missing.
        """
        if self.missing:
            raise RbmError(
                f"{self.path}: some of its filters are in {self.missing[0]}, which is missing or "
                f"damaged: put that file back into {self._folder}"
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
        """What lies beside the run file of its filters; nothing once they are gathered."""
        return joined(self._filters)

    def table(self, name: str) -> NDArray[Any]:
        """Return one of TABLES by name."""
        table: NDArray[Any] = _read(self.path, self._group, name)
        return table


@contextmanager
def damage_of(path: Path) -> Iterator[None]:
    """Turn what h5py raises where the file `path` is damaged into an RbmError."""
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise RbmError(
            f"{path}: a damaged run file ({error}): restore it from a copy, or train again"
        ) from error


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


def _read(path: Path, group: h5py.Group, name: str) -> Any:
    """Read a data set of any kind; scalars come as Python's own."""
    with damage_of(path):
        dataset = group[name]
        text = h5py.check_string_dtype(dataset.dtype) is not None
        value = dataset.asstr()[()] if text else dataset[()]
        return value.item() if isinstance(value, np.generic) and dataset.shape == () else value

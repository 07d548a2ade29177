"""Reading a section of a run file: all that belongs to one machine, or to one phase of training.

A section is a group of the file: its root where the file holds a single machine, else "layers/0",
"layers/1", ... and "up-down". docs/run-file.md says what is in it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.io.confined import in_its_folder
from rbmcli.io.parts import DTYPE, Part, joined
from rbmcli.io.schema import CHECKSUMS, DATASET, SectionPlan, checked, part_form
from rbmcli.io.seal import Seal

#: What a state is made of: arrays, and Python scalars.
Value = NDArray[Any] | int | float | str


class Source:
    """Where the arrays of an open run file come from: its path, and its seal if it has one.

    descriptor: of the file as HDF5 has it open.
    """

    def __init__(self, path: Path, folder: Path, seal: Seal | None, descriptor: int) -> None:
        self.path = path
        self.folder = folder
        self._seal = seal
        self._descriptor = descriptor

    def check(self, dataset: h5py.Dataset) -> None:
        """ValueError where the bytes of a data set are not those that were written."""
        if self._seal is not None and (start := dataset.id.get_offset()) is not None:
            self._seal.check_range(self._descriptor, start, dataset.id.get_storage_size())

    def read(self, group: h5py.Group, name: str) -> Any:
        """Read a data set of any kind; scalars come as Python's own."""
        with damage_of(self.path):
            dataset = group[name]
            self.check(dataset)
            text = h5py.check_string_dtype(dataset.dtype) is not None
            value = dataset.asstr()[()] if text else dataset[()]
            if isinstance(value, np.generic) and dataset.shape == ():
                value = value.item()
            return checked(name, value)


class State(Mapping[str, Any]):
    """The state in an open section by name ("model/weights", ...); each value is read on use."""

    def __init__(self, source: Source, group: h5py.Group, names: list[str]) -> None:
        self._source = source
        self._group = group
        self._names = dict.fromkeys(names)  # in their order, and found at once

    def __getitem__(self, name: str) -> Any:
        """Read one value: an array, int, float or str. Raises KeyError for an unknown name.

        RbmError where it is not as it was written, or not finite.
        """
        if name not in self._names:
            raise KeyError(f"it has no {name}")
        return self._source.read(self._group, name)

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
        if not dataset.shape:
            return self[name]
        with damage_of(self._source.path):
            self._source.check(dataset)
        return dataset


class Section:
    """A section of a run file that is open for reading.

    key: "" of the root, else the name of its group. path: of the file. name: a caption: the last
    part of the path without suffix, then the key. config: its own resolved options by name.
    finished: whether its training came to its end. missing: the names of files that hold some of
    its filters and cannot be opened. state: what training goes on from, and the model.
    filters_epoch: the epoch at which each snapshot was taken (snapshots,). metrics: a row for each
    epoch, by named columns of float64; wall_clock: what depends on the clock and not on the seed.
    """

    def __init__(self, source: Source, group: h5py.Group, plan: SectionPlan) -> None:
        """Take a section of an open run file as it was looked over; its parts are yet to `hold`."""
        self.key = plan.key
        self.path = source.path
        self.name = f"{self.path.stem} {plan.key}" if plan.key else self.path.stem
        self.config = plan.config
        self.finished = plan.finished
        self.state = State(source, group, plan.state)
        self.filters_epoch: NDArray[np.float64] = plan.tables["filters_epoch"]
        self.metrics: NDArray[np.void] = plan.tables["metrics"]
        self.wall_clock: NDArray[np.void] = plan.tables["metrics_wall_clock"]
        self._folder = source.folder
        self._checksums = plan.tables.get(CHECKSUMS)
        with damage_of(self.path):
            self._filters = group[DATASET]
            self.parts: list[Part] = joined(self._filters)
        self.missing: list[str] = []

    def hold(self, own: bool) -> None:
        """Open the parts, so that they stay readable once removed.

        own: whether they were written by this process, so that they need not be looked over.
        """
        with damage_of(self.path):
            self.missing = _hold(self._filters, self.parts, self._folder, own)

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

    def snapshot(self, number: int) -> NDArray[np.float32]:
        """Read a snapshot (*snapshot_shape); RbmError where it is not as it was written."""
        with damage_of(self.path):
            filters: NDArray[np.float32] = self.filters[number]
            if self._checksums is not None and crc_of_row(filters) != self._checksums[number]:
                raise ValueError(f"snapshot {number} of its filters has changed since")
        return filters

    def snapshots(self) -> Iterator[NDArray[np.float32]]:
        """Every snapshot, in order, NaN where it is lost or not as it was written."""
        for number in range(len(self._filters)):
            with damage_of(self.path):
                filters: NDArray[np.float32] = self._filters[number]
            if self._checksums is not None and crc_of_row(filters) != self._checksums[number]:
                filters = np.full_like(filters, np.nan)
            yield filters

    @property
    def step(self) -> int:
        """Steps that its training has taken. RbmError where the file does not say."""
        with damage_of(self.path):
            return int(self.state["trainer/step"])

    @property
    def checksums(self) -> list[int]:
        """The checksum of each snapshot; of files of version 1, as they are now."""
        if self._checksums is not None:
            return [int(crc) for crc in self._checksums]
        return [crc_of_row(filters) for filters in self.snapshots()]

    @property
    def dataset(self) -> tuple[str, tuple[int, ...]]:
        """Path and shape of the data set of filters, whether or not all of them are there."""
        return self._filters.name.lstrip("/"), self._filters.shape


def crc_of_row(filters: NDArray[np.float32]) -> int:
    """The checksum of a snapshot: CRC-32 of its numbers as they lie in the file."""
    return zlib.crc32(np.ascontiguousarray(filters, DTYPE).data)


#: What is raised, by h5py and by what goes on from there, where parts do not fit.
DAMAGE = (OSError, LookupError, ValueError, TypeError, RuntimeError, AttributeError, OverflowError)


@contextmanager
def damage_of(path: Path) -> Iterator[None]:
    """Turn what is raised where parts of a run file are missing or do not fit into an RbmError."""
    try:
        yield
    except DAMAGE as error:
        raise RbmError(damaged(path, error)) from error


def damaged(path: Path, why: object) -> str:
    """What is said of a damaged run file."""
    if isinstance(why, KeyError) and why.args:
        why = why.args[0]
    return f"{path}: a damaged run file ({why}): restore it from a copy, or train again"


def _hold(filters: h5py.Dataset, parts: list[Part], folder: Path, own: bool) -> list[str]:
    """Make HDF5 open each part that `filters` joins, as it does at the first reading.

    Returns the names of those that cannot be opened. own: whether this process wrote them, so that
    they need not be looked over.
    """
    missing, start = [], 0
    for part in parts:
        try:
            if not own:
                if not in_its_folder(part.name.replace("%", "%%"), folder):
                    raise FileNotFoundError
                shape, dtype = part_form(folder / part.name, part.dataset)
                if (shape[1:], dtype) != (filters.shape[1:], DTYPE) or shape[0] < part.rows:
                    raise ValueError(f"{part.name} holds other filters")
            filters[(start,) + (0,) * (filters.ndim - 1)]
            # Looked for after the reading: a part that is there now was there then.
            (folder / part.name).stat()
        except OSError:
            missing.append(part.name)
        start += part.rows
    return missing

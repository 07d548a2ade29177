"""Snapshots that grow with a run, appended to part files beside the run file.

A part is an HDF5 file with one contiguous data set `filters` of fixed capacity, laid out when the
part is made; afterwards rows are written in place and nothing else in the file ever changes. The
run file joins the rows it knows of with a virtual data set, so a checkpoint costs the same
however many there are. Rows a checkpoint refers to are never written again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.io.durable import link_or_copy, sync_folder, write_at
from rbmcli.io.hdf5_image import FileImage, reserve

#: Rows the first part has room for. A later one has room for as many as there are already, which
#: keeps the parts few; what is not written takes no space.
_FIRST_CAPACITY = 8

_DATASET = "filters"
#: Type of a snapshot's numbers.
DTYPE = np.dtype("<f4")


@dataclass(frozen=True)
class Part:
    """The first `rows` rows of the data set `filters` in a file beside the run file."""

    name: str
    rows: int


def join(file: h5py.File, parts: Sequence[Part], shape: tuple[int, ...]) -> None:
    """Create the virtual data set `filters` over `parts`; each row has `shape`.

    Rows of a part that is missing read as NaN.
    """
    layout = h5py.VirtualLayout((sum(part.rows for part in parts), *shape), DTYPE)
    start = 0
    for part in parts:
        name = part.name.replace("%", "%%")  # HDF5 takes a single one for a format
        # One row more than is selected: HDF5 would take a selection of all for all of the part.
        source = h5py.VirtualSource(name, _DATASET, (part.rows + 1, *shape), DTYPE)
        layout[start : start + part.rows] = source[: part.rows]
        start += part.rows
    file.create_virtual_dataset(_DATASET, layout, fillvalue=np.nan)


def joined(dataset: h5py.Dataset) -> list[Part]:
    """Return the parts that the data set `filters` of a run file joins; none if not virtual."""
    if not dataset.is_virtual:
        return []
    return [
        Part(
            name=source.file_name.replace("%%", "%"),
            rows=int(source.src_space.get_select_bounds()[1][0]) + 1,
        )
        for source in dataset.virtual_sources()
    ]


def part_path(target: Path, number: int) -> Path:
    """Return the path of a part of the run file `target`."""
    return target.with_name(f"{target.name}.filters.{number}")


def is_part_of(target: Path, name: str) -> bool:
    """Return whether `name` is that of a part made for the run file `target`."""
    return name.startswith(f"{target.name}.filters.")


class SnapshotLog:
    """The parts of one run: snapshots are appended, and none is ever changed."""

    def __init__(
        self,
        target: Path,
        shape: tuple[int, ...],
        parts: Sequence[Part],
        announce: Callable[[str], None],
    ) -> None:
        """Go on after `parts` of the run file `target`, whose snapshots have `shape`.

        A part may be the run file itself, when its filters have been gathered. `announce` is
        called with the name of each new part just before it is made.
        """
        self._target = target
        self.shape = shape
        self._parts = list(parts)
        self._announce = announce
        self._descriptor: int | None = None  # of the last part, while it is open
        self._offset = 0  # of its first row
        self._capacity = 0  # of it, in rows

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that hold snapshots, in their order."""
        return tuple(part for part in self._parts if part.rows)

    @property
    def rows(self) -> int:
        """How many snapshots there are."""
        return sum(part.rows for part in self._parts)

    def append(self, filters: NDArray[np.float32]) -> None:
        """Write one snapshot; it counts from the next checkpoint on.

        Raises ValueError for filters of another shape, OSError where they cannot be written.
        """
        if filters.shape != self.shape:
            raise ValueError(f"snapshot of shape {filters.shape}, expected {self.shape}")
        row = np.ascontiguousarray(filters, DTYPE)
        if self._descriptor is None:
            self._continue_part()
        if self._descriptor is None or self._parts[-1].rows == self._capacity:
            self._start_part()
        assert self._descriptor is not None
        part = self._parts[-1]
        write_at(self._descriptor, row.data, self._offset + part.rows * row.nbytes)
        self._parts[-1] = replace(part, rows=part.rows + 1)

    def sync(self) -> None:
        """Bring all snapshots to disk, in files that outlast the present run file."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)
        for index, part in enumerate(self._parts):
            if part.name == self._target.name:
                path = self._announced()
                link_or_copy(self._target, path)
                self._parts[index] = replace(part, name=path.name)

    def close(self) -> None:
        """Close the part being written, if any."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _continue_part(self) -> None:
        """Open the last part, if it is this run file's own.

        It is not where the filters are gathered, and where the run file was renamed or copied:
        then another one may be writing that part.
        """
        if not self._parts or not is_part_of(self._target, self._parts[-1].name):
            return
        path = self._target.with_name(self._parts[-1].name)
        with h5py.File(path, "r") as file:
            self._capacity = len(file[_DATASET])
            self._offset = file[_DATASET].id.get_offset()
        self._descriptor = os.open(path, os.O_RDWR)

    def _start_part(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            self.close()
        path = self._announced()
        self._capacity = max(_FIRST_CAPACITY, self.rows)
        image = FileImage()
        with h5py.File(image, "w") as file:
            file.attrs["format"] = "rbm run part"
            self._offset = reserve(file, _DATASET, (self._capacity, *self.shape), DTYPE)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        image.write_to(self._descriptor)
        sync_folder(path.parent)
        self._parts.append(Part(path.name, rows=0))

    def _announced(self) -> Path:
        """Choose the path of a new part and announce its name."""
        path = next(
            path
            for number in itertools.count()
            if not (path := part_path(self._target, number)).exists()
        )
        self._announce(path.name)
        return path

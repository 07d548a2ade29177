"""Snapshots that grow with a run, appended to part files beside the run file.

A part is an HDF5 file with one contiguous data set `filters` of fixed capacity, laid out when the
part is made; afterwards rows are written in place and nothing else in the file ever changes. Each
section of the run file joins the rows it knows of with a virtual data set, so a checkpoint costs
the same however many there are. Rows a checkpoint refers to are never written again. A run file
whose filters were gathered in it serves as a part of each of its sections.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.files import create_like, is_named, link_or_copy, sync_folder, write_at
from rbmcli.io.hdf5_image import FileImage, reserve
from rbmcli.io.schema import DATASET
from rbmcli.opening import descriptor_of

#: Rows the first part has room for. A later one has room for as many as there are already, which
#: keeps the parts few; what is not written takes no space.
_FIRST_CAPACITY = 8

#: Type of a snapshot's numbers.
DTYPE = np.dtype("<f4")


class Part(NamedTuple):
    """The first `rows` rows of a data set in the file `name` beside the run file."""

    name: str
    rows: int
    dataset: str = DATASET


def join(group: h5py.Group, parts: Sequence[Part], shape: tuple[int, ...]) -> None:
    """Create the virtual data set `filters` of a section over `parts`; each row has `shape`.

    Rows of a part that is missing read as NaN. In calls of HDF5 itself: h5py's own layout copies
    each selection over and over, which of ten parts takes as long as the rest of a checkpoint.
    """
    count = sum(part.rows for part in parts)
    whole = h5py.h5s.create_simple((count, *shape))
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_fill_value(np.full((), np.nan, DTYPE))
    start, origin = 0, (0,) * len(shape)
    for part in parts:
        name = part.name.replace("%", "%%")  # HDF5 takes a single one for a format
        # One row more than is selected: HDF5 would take a selection of all for all of the part.
        source = h5py.h5s.create_simple((part.rows + 1, *shape))
        source.select_hyperslab((0, *origin), (part.rows, *shape))
        whole.select_hyperslab((start, *origin), (part.rows, *shape))
        creation.set_virtual(whole, name.encode(), part.dataset.encode(), source)
        start += part.rows
    whole.select_all()
    file_type = h5py.h5t.py_create(DTYPE)
    h5py.h5d.create(group.id, DATASET.encode(), file_type, whole, dcpl=creation)


def joined(dataset: h5py.Dataset) -> list[Part]:
    """Return the parts that the data set `filters` of a section joins; none if not virtual."""
    if not dataset.is_virtual:
        return []
    return [
        Part(
            name=source.file_name.replace("%%", "%"),
            rows=int(source.src_space.get_select_bounds()[1][0]) + 1,
            dataset=source.dset_name,
        )
        for source in dataset.virtual_sources()
    ]


def part_path(target: Path, number: int) -> Path:
    """Return the path of a part of the run file `target`."""
    return target.with_name(f"{target.name}.filters.{number}")


def part_number(target: Path, name: str) -> int | None:
    """The number of a part made for the run file `target`; None for any other name."""
    found = re.fullmatch(re.escape(target.name) + r"\.filters\.(\d{1,18})", name, re.ASCII)
    return None if found is None else int(found[1])


def is_part_of(target: Path, name: str) -> bool:
    """Return whether `name` is that of a part made for the run file `target`."""
    return part_number(target, name) is not None


class Numbering:
    """Gives parts of a run file their numbers, none of them twice.

    Not even that of a part that somebody removed: the run file may still refer to it, and would
    take the new one for it.
    """

    def __init__(self, target: Path, announce: Callable[[str], None]) -> None:
        """`announce` is called with the name of each new part just before it is made."""
        self._target = target
        self._announce = announce
        self._last = -1

    def note(self, name: str) -> None:
        """Take it that there is, or was, a part of this name; any other name is passed over."""
        number = part_number(self._target, name)
        if number is not None:
            self._last = max(self._last, number)

    def new_part(self) -> Path:
        """Choose the path of a new part, and announce its name."""
        for entry in os.scandir(self._target.parent):
            self.note(entry.name)
        self._last += 1
        path = part_path(self._target, self._last)
        self._announce(path.name)
        return path


def outlast(target: Path, logs: Iterable[SnapshotLog], numbering: Numbering) -> None:
    """Before the run file `target` is replaced, keep the snapshots of `logs` gathered in it.

    It gets a second name, announced just before, as a part of each of them.
    """
    inside = [log for log in logs if log.gathered]
    if inside:
        path = numbering.new_part()
        link_or_copy(target, path)
        for log in inside:
            log.move(path.name)


class SnapshotLog:
    """The parts of one section: snapshots are appended, and none is ever changed."""

    def __init__(
        self,
        target: Path,
        shape: tuple[int, ...],
        parts: Sequence[Part],
        numbering: Numbering,
    ) -> None:
        """Go on after `parts` of the run file `target`, whose snapshots have `shape`.

        A part may be the run file itself, when its filters have been gathered. numbering: that of
        the run file's parts.
        """
        self._target = target
        self.shape = shape
        self._parts = list(parts)
        self._numbering = numbering
        #: Names of parts that went away while they were written.
        self.lost: list[str] = []
        for part in parts:
            numbering.note(part.name)
        self._descriptor: int | None = None  # of the last part, while it is open
        self._offset = 0  # of its first row
        self._capacity = 0  # of it, in rows

    def first(self, count: int) -> list[Part]:
        """Return the parts, in their order, as far as they hold the first `count` snapshots."""
        found = []
        for part in self._parts:
            if rows := min(part.rows, count):
                found.append(part._replace(rows=rows))
            count -= rows
        return found

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
        self._parts[-1] = part._replace(rows=part.rows + 1)

    def sync(self) -> None:
        """Bring all snapshots to disk.

        Where the part that is being written was removed or replaced, its snapshots are lost, and
        the next ones go to another part.
        """
        if self._descriptor is None:
            return
        os.fsync(self._descriptor)
        name = self._parts[-1].name
        if not is_named(self._descriptor, self._target.with_name(name)):
            self.lost.append(name)
            self.close()

    @property
    def gathered(self) -> bool:
        """Whether snapshots are in the run file itself."""
        return any(part.name == self._target.name for part in self._parts)

    def move(self, name: str) -> None:
        """Take the snapshots that are in the run file from the file `name` from now on."""
        self._parts = [
            part._replace(name=name) if part.name == self._target.name else part
            for part in self._parts
        ]

    def close(self) -> None:
        """Close the part being written, if any."""
        if self._descriptor is not None:
            with suppress(OSError):  # what counts was brought to disk before
                os.close(self._descriptor)
            self._descriptor = None

    def _continue_part(self) -> None:
        """Open the last part, if it is this run file's own.

        It is not where the filters are gathered, and where the run file was renamed or copied:
        then another one may be writing that part. Nor is one that was removed.
        """
        name = self._parts[-1].name if self._parts else ""
        if not is_part_of(self._target, name) or name in self.lost:
            return
        if not self._target.with_name(name).exists():
            return
        path = self._target.with_name(self._parts[-1].name)
        with h5py.File(path, "r") as file:
            dataset = file[self._parts[-1].dataset]
            self._capacity, self._offset = len(dataset), dataset.id.get_offset()
        self._descriptor = descriptor_of(path, os.O_RDWR, follow=False)

    def _start_part(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            self.close()
        path = self._numbering.new_part()
        self._capacity = max(_FIRST_CAPACITY, self.rows)
        image = FileImage()
        with h5py.File(image, "w") as file:
            file.attrs["format"] = "rbm run part"
            self._offset = reserve(file, DATASET, (self._capacity, *self.shape), DTYPE)
        self._descriptor = create_like(self._target, path)
        image.write_to(self._descriptor)
        sync_folder(path.parent)
        self._parts.append(Part(path.name, rows=0))

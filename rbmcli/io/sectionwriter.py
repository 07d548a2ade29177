"""Writing a section of a run file: what is recorded of one machine, or of one phase of training."""

from __future__ import annotations

import json
import math
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.files import write_at
from rbmcli.io.hdf5_image import reserve
from rbmcli.io.parts import DTYPE, SnapshotLog, join
from rbmcli.io.schema import CHECKSUMS, DATASET, ROOT
from rbmcli.io.seal import Array, Extent
from rbmcli.io.section import Section, Value, crc_of_row
from rbmcli.io.table import Table

#: Bytes from which on an array is written from where it is, instead of being laid out in memory.
_LARGE = 1 << 16
#: Bytes of an array that are copied at a time.
_BLOCK = 8 << 20


class Reserved(NamedTuple):
    """Values for which a file that is laid out leaves room from byte `start` on."""

    start: int
    values: NDArray[Any] | h5py.Dataset

    def write_to(self, descriptor: int) -> Array:
        """Write the values, a block in memory at a time; what the seal says of them."""
        values = self.values
        row_bytes = values.dtype.itemsize * math.prod(values.shape[1:])
        step = max(1, _BLOCK // max(row_bytes, 1))
        crc = 0
        for row in range(0, len(values), step):
            block = np.ascontiguousarray(values[row : row + step]).view(np.uint8)
            write_at(descriptor, block.data, self.start + row * row_bytes)
            crc = zlib.crc32(block.data, crc)
        return Array(self.start, row_bytes * len(values), crc)


class ReservedFilters(NamedTuple):
    """Filters for which a file that is laid out leaves room; their checksums are in the file.

    checksums: (snapshots,), filled in as the snapshots are written.
    """

    start: int
    shape: tuple[int, ...]
    snapshots: Iterable[NDArray[np.float32]]
    checksums: NDArray[np.uint32]

    def write_to(self, descriptor: int) -> Extent:
        """Write the snapshots one by one; where they lie."""
        place = self.start
        for number, filters in enumerate(self.snapshots):
            row = np.ascontiguousarray(filters, DTYPE)
            write_at(descriptor, row.data, place)
            place += row.nbytes
            self.checksums[number] = crc_of_row(row)
        return self.start, math.prod(self.shape) * DTYPE.itemsize


@dataclass(frozen=True)
class Contents:
    """All data sets of a section but its filters, as a checkpoint shows them.

    finished: whether the training of the section came to its end.
    """

    state: Mapping[str, Value]
    filters_epoch: NDArray[np.float64]
    checksums: NDArray[np.uint32]
    metrics: NDArray[np.void]
    wall_clock: NDArray[np.void]
    finished: bool

    @classmethod
    def read(cls, section: Section, *, large_in_place: bool = False) -> Contents:
        """Take the contents of a section of an open file into memory.

        large_in_place: whether large arrays are left in the file, to be read when they are written.
        """
        state = section.state
        return cls(
            {name: state.stored(name) if large_in_place else state[name] for name in state},
            section.filters_epoch,
            np.array(section.checksums, np.uint32),
            section.metrics,
            section.wall_clock,
            section.finished,
        )

    def gather(
        self, group: h5py.Group, shape: tuple[int, ...], snapshots: Iterable[NDArray[np.float32]]
    ) -> list[Reserved | ReservedFilters]:
        """Create the data sets in `group`, the filters among them; large ones still to be filled.

        shape, snapshots: of the filters. Their checksums are those of what is then written.
        """
        reserved: list[Reserved | ReservedFilters] = [*self.lay_out(group, with_checksums=False)]
        checksums = np.zeros(shape[0], np.uint32)
        start = reserve(group, DATASET, shape, DTYPE)
        reserved.append(ReservedFilters(start, shape, snapshots, checksums))
        start = reserve(group, CHECKSUMS, checksums.shape, checksums.dtype)
        return [*reserved, Reserved(start, checksums)]

    def lay_out(self, group: h5py.Group, *, with_checksums: bool = True) -> list[Reserved]:
        """Create the data sets in `group` but the filters; large ones are still to be filled."""
        values = {
            **self.state,
            "filters_epoch": self.filters_epoch,
            "metrics": self.metrics,
            "metrics_wall_clock": self.wall_clock,
            **({CHECKSUMS: self.checksums} if with_checksums else {}),
        }
        reserved = []
        for name, value in values.items():
            if isinstance(value, np.ndarray | h5py.Dataset) and value.nbytes >= _LARGE:
                folder, _, leaf = name.rpartition("/")
                parent = group.require_group(folder) if folder else group
                start = reserve(parent, leaf, value.shape, value.dtype)
                reserved.append(Reserved(start, value))
            else:
                group[name] = value[()] if isinstance(value, h5py.Dataset) else value
        return reserved


def section_group(
    file: h5py.File, key: str, config: Mapping[str, Any], *, finished: bool
) -> h5py.Group:
    """The group of a section in a file that is laid out.

    At the root, `config` and `finished` are those of the file, which it has already.
    """
    if key == ROOT:
        return file
    group = file.create_group(key)
    group.attrs["config"] = json.dumps(config, sort_keys=True)
    group.attrs["finished"] = finished
    return group


class SectionWriter:
    """What is recorded of a section, from `RunWriter.begin` or `RunWriter.section`.

    What is recorded counts from the section's next checkpoint on. An OSError comes as an RbmError,
    and leaves the last checkpoint as it was.

    config: what the next checkpoint will say of the section; a resumed run may change it. At the
    root it does not count: that of the `RunWriter` does.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        snapshots: SnapshotLog,
        commit: Callable[[], None],
        explained: Callable[[str], AbstractContextManager[None]],
        contents: Contents | None = None,
    ) -> None:
        """Use `RunWriter.begin`, or `RunWriter.section`.

        commit: writes all sections. explained: explains an OSError in what its argument names.
        contents: those of the last checkpoint, of a resumed run.
        """
        self.config = dict(config)
        self._snapshots = snapshots
        self._commit = commit
        self._explained = explained
        self._contents = contents
        # These grow in place and are copied as they lie, where lists of numbers would cost more.
        self._filters_epoch = array("d", contents.filters_epoch if contents else [])
        self._checksums = array("I", contents.checksums if contents else [])
        self._metrics = Table(contents.metrics if contents else None)
        self._wall_clock = Table(contents.wall_clock if contents else None)

    def snapshot(self, epoch: float, filters: NDArray[np.float32]) -> None:
        """Add a snapshot of the filters (*snapshot_shape), taken at `epoch`."""
        with self._explained("write the filters"):
            self._snapshots.append(filters)
        self._filters_epoch.append(epoch)
        self._checksums.append(crc_of_row(filters))

    def record(self, metrics: Mapping[str, float], wall_clock: Mapping[str, float]) -> None:
        """Add a row to each of the two tables; the first rows decide which columns there are.

        Only what depends on the clock belongs in `wall_clock`: a resumed run ends with the same
        metrics as one that was never interrupted.
        """
        self._metrics.append(metrics)
        self._wall_clock.append(wall_clock)

    def checkpoint(self, state: Mapping[str, Value], *, finished: bool = False) -> None:
        """Make the run file hold `state`, and all that was recorded of the section so far.

        state: name -> array or Python scalar. The names become data sets, with "/" for groups
        ("model/weights"). finished: whether the training of the section has come to its end; at
        the root, what `RunWriter.finish` says counts instead.

        On return the checkpoint is on disk. The other sections are written as their own last
        checkpoints gave them. The arrays of those are kept, not copied: do not change them once
        another section is trained. Memory: some megabytes.
        """
        with self._explained("write a checkpoint"):
            self._snapshots.sync()
            self._contents = Contents(
                dict(state),
                np.array(self._filters_epoch, np.float64),
                np.array(self._checksums, np.uint32),
                self._metrics.rows,
                self._wall_clock.rows,
                finished,
            )
            self._commit()

    @property
    def snapshots(self) -> SnapshotLog:
        """Where the snapshots are, for the `RunWriter`."""
        return self._snapshots

    def lay_out(self, file: h5py.File, key: str) -> list[Reserved]:
        """Create the section in a file that is laid out, unless it has had no checkpoint yet.

        Returns what is still to be filled.
        """
        contents = self._contents
        if contents is None:
            return []
        group = section_group(file, key, self.config, finished=contents.finished)
        reserved = contents.lay_out(group)
        parts = self._snapshots.first(len(contents.filters_epoch))
        if parts:
            join(group, parts, self._snapshots.shape)
        else:
            reserve(group, DATASET, (0, *self._snapshots.shape), DTYPE)
        return reserved

    def close(self) -> None:
        """Close the part that is being written, if any."""
        self._snapshots.close()

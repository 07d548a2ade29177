"""Writing run files: a checkpoint is whole or it is not there, whenever the process is killed.

A checkpoint is laid out in memory, written aside, and renamed over the run file. Snapshots of the
filters, which grow with the run, go to part files instead (`rbmcli.io.parts`), which the run file
refers to until they are gathered in it at the end. docs/run-file.md says why.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli import __version__
from rbmcli.errors import RbmError
from rbmcli.files import check_free, remedy
from rbmcli.io.durable import aside_name, replacing, write_at
from rbmcli.io.hdf5_image import FileImage, reserve
from rbmcli.io.lock import Lock, outlasting_readers
from rbmcli.io.parts import DTYPE, Part, SnapshotLog, is_part_of, join
from rbmcli.io.runfile import FORMAT_NAME, FORMAT_VERSION, TABLES, RunReader, Value
from rbmcli.io.table import Table

#: Bytes of filters in memory at a time while they are gathered.
_BLOCK = 8 << 20


#: What can be done where a run file exists.
_CHOICES = "use --resume to go on with it, --force to replace it, or another output file"


class RunWriter:
    """The one writer of a run file, from `create` or `resume` to `finish`, `stop` or `close`.

    What is recorded counts from the next checkpoint on. An OSError comes as an RbmError, and
    leaves the last checkpoint as it was.

    config, data: what the next checkpoint will say of the run; a resumed run may change them.
    """

    def __init__(
        self,
        path: Path,
        lock: Lock,
        snapshots: SnapshotLog,
        *,
        config: Mapping[str, Any],
        data: Mapping[str, Any],
        image_shape: Sequence[int],
    ) -> None:
        """Use `create` or `resume`."""
        self.path = path
        self.config = dict(config)
        self.data = dict(data)
        self._target = _real(path)
        self._lock = lock
        self._snapshots = snapshots
        self._image_shape = tuple(image_shape)
        self._filters_epoch: list[float] = []
        self._metrics = Table()
        self._wall_clock = Table()
        self._committed = False
        self._closed = False

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        config: Mapping[str, Any],
        data: Mapping[str, Any],
        image_shape: Sequence[int],
        snapshot_shape: Sequence[int],
        force: bool = False,
    ) -> Self:
        """Begin a run file; until the first checkpoint, what is at `path` stays as it is.

        config: the resolved options of the run by name. data: where its data came from. Both hold
        what JSON can hold. image_shape: shape of an image. snapshot_shape: shape of a snapshot,
        hidden units first.

        Raises RbmError where the folder cannot be written, where another process writes `path`,
        and where `path` exists, unless `force`.
        """
        path, target = Path(path), _real(path)
        with _owned(target) as lock:
            check_free(path, force, _CHOICES)
            for name in _referenced(target) or ():
                lock.doubt(name)
            snapshots = SnapshotLog(target, tuple(snapshot_shape), [], lock.doubt)
            return cls(path, lock, snapshots, config=config, data=data, image_shape=image_shape)

    @classmethod
    def resume(cls, path: str | os.PathLike[str]) -> Self:
        """Go on after the last checkpoint in `path`, from a finished run as well.

        Raises RbmError where `path` is no run file, where snapshots are missing, and where another
        process writes it.
        """
        path, target = Path(path), _real(path)
        if not target.exists():
            raise RbmError(f"{path}: no such file to resume from")
        with _owned(target) as lock, RunReader(path) as run:
            rows, *snapshot_shape = run.filters.shape
            gathered = [Part(target.name, rows)] if rows else []
            snapshots = SnapshotLog(
                target, tuple(snapshot_shape), run.parts or gathered, lock.doubt
            )
            writer = cls(
                path,
                lock,
                snapshots,
                config=run.config,
                data=run.data,
                image_shape=run.image_shape,
            )
            writer._filters_epoch = run.filters_epoch.tolist()
            writer._metrics = Table(run.metrics)
            writer._wall_clock = Table(run.wall_clock)
            writer._committed = True
            return writer

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the writer."""
        self.close()

    def snapshot(self, epoch: float, filters: NDArray[np.float32]) -> None:
        """Add a snapshot of the filters (*snapshot_shape), taken at `epoch`."""
        with self._explained("write the filters"):
            self._snapshots.append(filters)
        self._filters_epoch.append(epoch)

    def record(self, metrics: Mapping[str, float], wall_clock: Mapping[str, float]) -> None:
        """Add a row to each of the two tables; the first rows decide which columns there are.

        Only what depends on the clock belongs in `wall_clock`: a resumed run ends with the same
        metrics as one that was never interrupted.
        """
        self._metrics.append(metrics)
        self._wall_clock.append(wall_clock)

    def checkpoint(self, state: Mapping[str, Value]) -> None:
        """Make the run file hold `state` and all that was recorded so far.

        state: name -> array or Python scalar. The names become data sets, with "/" for groups
        ("model/weights"). On return the checkpoint is on disk. Memory: a copy of the state.
        """
        image = FileImage()
        with self._explained("write a checkpoint"):
            self._snapshots.sync()
            values = dict(state) | {
                "filters_epoch": np.array(self._filters_epoch, np.float64),
                "metrics": self._metrics.rows,
                "metrics_wall_clock": self._wall_clock.rows,
            }
            with self._laid_out(image, values, finished=False) as file:
                if self._snapshots.parts:
                    join(file, self._snapshots.parts, self._snapshots.shape)
                else:
                    reserve(file, "filters", (0, *self._snapshots.shape), DTYPE)
            with replacing(self._target) as descriptor:
                image.write_to(descriptor)
            self._committed = True
            _settle(self._target, self._lock)

    def finish(self) -> None:
        """End a run that is done: gather the filters of its last checkpoint, mark it, close."""
        self._end(finished=True)

    def stop(self) -> None:
        """End a run that may be resumed: gather the filters of its last checkpoint, close."""
        self._end(finished=False)

    def close(self) -> None:
        """Give the run file up as the last checkpoint left it, its filters beside it."""
        if self._closed:
            return
        self._closed = True
        self._snapshots.close()
        with suppress(OSError):  # the next writer will do it
            _settle(self._target, self._lock)
        self._lock.release()

    def _end(self, *, finished: bool) -> None:
        if self._committed:
            with self._explained("gather the filters in it"):
                with outlasting_readers(self._target), RunReader(self._target) as run:
                    if run.parts or run.finished != finished:
                        self._gather(run, finished=finished)
                _settle(self._target, self._lock)
        self.close()

    def _gather(self, run: RunReader, *, finished: bool) -> None:
        """Write the checkpoint `run` anew with its filters inside, a block in memory at a time."""
        for part in run.parts:
            self._lock.doubt(part.name)
        values = dict(run.state) | {name: run.table(name) for name in TABLES}
        filters = run.filters
        image = FileImage()
        with self._laid_out(image, values, finished=finished) as file:
            start = reserve(file, "filters", filters.shape, DTYPE)
        row_bytes = DTYPE.itemsize * math.prod(filters.shape[1:])
        step = max(1, _BLOCK // row_bytes)
        with replacing(self._target) as descriptor:
            image.write_to(descriptor)
            for row in range(0, len(filters), step):
                write_at(descriptor, filters[row : row + step].data, start + row * row_bytes)

    @contextmanager
    def _laid_out(
        self, image: FileImage, values: Mapping[str, Value], *, finished: bool
    ) -> Iterator[h5py.File]:
        """Lay out all of the run file but its filters, which are left to the block."""
        with h5py.File(image, "w") as file:
            file.attrs["format"] = FORMAT_NAME
            file.attrs["version"] = FORMAT_VERSION
            file.attrs["program"] = f"rbmcli {__version__}"
            file.attrs["config"] = json.dumps(self.config, sort_keys=True)
            file.attrs["data"] = json.dumps(self.data, sort_keys=True)
            file.attrs["image_shape"] = np.array(self._image_shape, np.int64)
            file.attrs["finished"] = finished
            for name, value in values.items():
                file[name] = value
            yield file

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        """Turn an OSError into a line that says what is left and what to do."""
        try:
            yield
        except OSError as error:
            left = "; its last checkpoint is whole" if self._committed else ""
            again = "resume the run with --resume" if self._committed else "run the command again"
            raise RbmError(
                f"{self.path}: cannot {action} ({error.strerror or error}){left}: "
                f"{remedy(error)}, then {again}"
            ) from error


def _real(path: str | os.PathLike[str]) -> Path:
    """Follow links, so that the file itself is replaced and not a link to it."""
    return Path(os.path.realpath(path))


@contextmanager
def _owned(target: Path) -> Iterator[Lock]:
    """Take the lock of `target`, clear up after a killed holder; release it if the block raises."""
    try:
        target.name.encode()
    except UnicodeEncodeError:
        raise RbmError(f"{target}: not a name in UTF-8, as HDF5 needs: choose another") from None
    lock = Lock(target)
    try:
        aside_name(target).unlink(missing_ok=True)
        _settle(target, lock)
        yield lock
    except BaseException:
        lock.release()
        raise


def check_new(path: Path, force: bool) -> None:
    """RbmError where `RunWriter.create` would refuse `path`; nothing is changed."""
    with _owned(_real(path)) as lock:
        check_free(path, force, _CHOICES)
        lock.release()


def _settle(target: Path, lock: Lock) -> None:
    """Remove the parts in doubt that the run file does not refer to."""
    referenced = _referenced(target)
    if not lock.doubtful or referenced is None:
        return
    for name in lock.doubtful - referenced:
        if is_part_of(target, name):
            target.with_name(name).unlink(missing_ok=True)
    lock.settle()


def _referenced(target: Path) -> set[str] | None:
    """The names of the parts that the run file `target` refers to; None where it cannot be read."""
    if not target.is_file():  # to open a pipe would wait for its other end
        return set()
    try:
        with RunReader(target) as run:
            return {part.name for part in run.parts}
    except RbmError:
        return None if h5py.is_hdf5(target) else set()

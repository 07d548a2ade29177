"""Writing run files: a checkpoint is whole or it is not there, whenever the process is killed.

A checkpoint is laid out in memory, written aside, and renamed over the run file. Snapshots of the
filters, which grow with the run, go to part files instead (`rbmcli.io.parts`), which the run file
refers to until they are gathered in it at the end. docs/run-file.md says why.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from rbmcli import __version__
from rbmcli.arrays import Floats
from rbmcli.errors import RbmError
from rbmcli.files import aside_name, check_output, real, remedy, remove_aside, replacing, write_at
from rbmcli.io.hdf5_image import FileImage
from rbmcli.io.lock import Lock, lock_name, outlasting_readers
from rbmcli.io.parts import Numbering, Part, SnapshotLog, is_part_of, outlast
from rbmcli.io.runfile import RunReader
from rbmcli.io.schema import FORMAT_NAME, FORMAT_VERSION, ROOT, UP_DOWN, layer_key
from rbmcli.io.seal import Seal, between
from rbmcli.io.section import Section, Value
from rbmcli.io.sectionwriter import (
    Contents,
    Reserved,
    ReservedFilters,
    SectionWriter,
    section_group,
)

#: What can be done where a run file exists.
_CHOICES = "use --resume to go on with it, --force to replace it, or another output file"


class RunWriter:
    """The one writer of a run file, from `create` or `resume` to `finish`, `stop` or `close`.

    What is written belongs to its sections, which are begun one after another, in the order of
    training. What they record counts from their next checkpoints on. An OSError comes as an
    RbmError, and leaves the last checkpoint as it was.

    config, data: what the next checkpoint will say of the run; a resumed run may change them.
    notices: lines worth telling the user; more may come until the end.
    """

    def __init__(
        self,
        path: Path,
        lock: Lock,
        *,
        config: Mapping[str, Any],
        data: Mapping[str, Any],
        image_shape: Sequence[int],
    ) -> None:
        """Use `create` or `resume`."""
        self.path = path
        self.config = dict(config)
        self.data = dict(data)
        self._target = real(path)
        self._lock = lock
        self._numbering = Numbering(self._target, lock.doubt)
        self.notices = list(lock.notices)
        self._image_shape = tuple(image_shape)
        self._sections: dict[str, SectionWriter] = {}
        self._committed = False
        self._renamed = False  # a section, since the last checkpoint
        self._closed = False

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        config: Mapping[str, Any],
        data: Mapping[str, Any],
        image_shape: Sequence[int],
        force: bool = False,
    ) -> Self:
        """Begin a run file; until the first checkpoint, what is at `path` stays as it is.

        config: the resolved options of the run by name. data: where its data came from. Both hold
        what JSON can hold. image_shape: shape of an image.

        Raises RbmError where the folder cannot be written, where another process writes `path`,
        and where `path` exists, unless `force`.
        """
        path, target = Path(path), real(path)
        with _owned(target) as lock:
            check_output(path, force, _CHOICES)
            writer = cls(path, lock, config=config, data=data, image_shape=image_shape)
            for name in _referenced(target) or () if target.exists() else ():
                lock.doubt(name)
                writer._numbering.note(name)
            return writer

    @classmethod
    def resume(cls, path: str | os.PathLike[str]) -> Self:
        """Go on after the last checkpoint in `path`, from a finished run as well.

        Its sections are taken into memory, but for their filters. Raises RbmError where `path` is
        no run file, where snapshots are missing, and where another process writes it.
        """
        path, target = Path(path), real(path)
        if not target.exists():
            raise RbmError(f"{path}: no such file to resume from")
        with _owned(target) as lock, RunReader(path) as run:
            writer = cls(path, lock, config=run.config, data=run.data, image_shape=run.image_shape)
            for key, section in run.sections.items():
                writer._take_up(key, section)
            writer._committed = True
            return writer

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the writer."""
        self.close()

    def begin(
        self, key: str, *, snapshot_shape: Sequence[int], config: Mapping[str, Any] | None = None
    ) -> SectionWriter:
        """Begin the section `key`, which will be in the file from its first checkpoint on.

        key: "" for a file of a single machine, else "layers/0", "layers/1", ..., and at the end
        "up-down". snapshot_shape: shape of a snapshot, hidden units first. config: the section's
        own resolved options by name; "" has none, those of the run are its own.

        Raises ValueError for a key that cannot follow the sections there are.
        """
        if key not in self._may_follow():
            raise ValueError(f"section {key!r} cannot follow {list(self._sections)}")
        snapshots = SnapshotLog(self._target, tuple(snapshot_shape), [], self._numbering)
        self._sections[key] = SectionWriter(config or {}, snapshots, self._commit, self._explained)
        return self._sections[key]

    @property
    def sections(self) -> list[str]:
        """The keys of the sections there are, in their order."""
        return list(self._sections)

    def section(self, key: str) -> SectionWriter:
        """Return the section `key` of a resumed run. Raises KeyError where there is none."""
        return self._sections[key]

    def rename(self, old: str, new: str) -> None:
        """Make the single machine of a resumed file, "", the first layer of a stack, "layers/0".

        That counts from the next checkpoint on; until there is one, the file is left as it is. The
        options of the run become those of the layer too; `config` is to be set anew.

        Raises ValueError for any other pair of keys, and for a file that is a stack already.
        """
        if (old, new) != (ROOT, layer_key(0)) or old not in self._sections:
            raise ValueError(f"section {old!r} of {list(self._sections)} cannot become {new!r}")
        section = self._sections.pop(old)
        section.config = dict(self.config)
        self._sections[new] = section
        self._renamed = True

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
        for section in self._sections.values():
            section.close()
        with suppress(OSError):  # the next writer will do it
            _settle(self._target, self._lock)
        self._lock.release()

    def _take_up(self, key: str, section: Section) -> None:
        """Go on with a section of the file."""
        rows, *shape = section.filters.shape  # RbmError where a part is missing: put it back
        dataset = section.dataset[0]
        gathered = [Part(self._target.name, rows, dataset)] if rows else []
        snapshots = SnapshotLog(
            self._target, tuple(shape), section.parts or gathered, self._numbering
        )
        self._sections[key] = SectionWriter(
            section.config, snapshots, self._commit, self._explained, Contents.read(section)
        )

    def _may_follow(self) -> set[str]:
        """The keys of sections that can follow those there are."""
        if not self._sections:
            return {ROOT, layer_key(0)}
        if ROOT in self._sections or UP_DOWN in self._sections:
            return set()
        return {layer_key(len(self._sections)), UP_DOWN}

    def _commit(self) -> None:
        """Write a checkpoint of all sections."""
        self._lock.check()
        logs = [section.snapshots for section in self._sections.values()]
        outlast(self._target, logs, self._numbering)
        image = FileImage()
        reserved: list[Reserved | ReservedFilters] = []
        with self._laid_out(image, finished=False) as file:
            for key, section in self._sections.items():
                reserved += section.lay_out(file, key)
        self._replace(image, reserved)
        self._committed = True
        self._renamed = False
        _settle(self._target, self._lock)

    def _end(self, *, finished: bool) -> None:
        if self._committed and not self._renamed:
            with self._explained("gather the filters in it"):
                self._lock.check()
                with outlasting_readers(self._target), RunReader(self._target, own=True) as run:
                    if run.beside or run.finished != finished:
                        self._gather(run, finished=finished)
                _settle(self._target, self._lock)
        self.close()

    def _gather(self, run: RunReader, *, finished: bool) -> None:
        """Write the checkpoint `run` anew with its filters inside, a block in memory at a time."""
        for name in run.beside:
            self._lock.doubt(name)
        image = FileImage()
        reserved: list[Reserved | ReservedFilters] = []
        stored: list[int] = []
        with self._laid_out(image, finished=finished) as file:
            for key, section in run.sections.items():
                config = self._sections[key].config
                group = section_group(file, key, config, finished=section.finished)
                contents = Contents.read(section, large_in_place=True)
                reserved += contents.gather(group, section.dataset[1], section.snapshots())
                stored += contents.checksums.tolist()
        self._replace(image, reserved)
        written = [x.checksums.tolist() for x in reserved if isinstance(x, ReservedFilters)]
        if lost := sum(old != new for old, new in zip(stored, chain(*written), strict=True)):
            self.notices.append(
                f"{self.path}: {lost} snapshots of its filters are lost, since files beside it went"
                " away or changed: they are NaN now; the model is not affected"
            )

    def write_finished(
        self,
        sections: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Value], Floats]],
    ) -> None:
        """Write the run file once, as that of a finished run, and close.

        sections: of each, its key, its own options, its state, and a snapshot of its filters.
        """
        image = FileImage()
        reserved: list[Reserved | ReservedFilters] = []
        empty = np.empty(0, [("epoch", "<f8")])
        with self._laid_out(image, finished=True) as file:  # in memory
            for key, config, state, filters in sections:
                group = section_group(file, key, config, finished=True)
                crc = np.zeros(1, np.uint32)
                contents = Contents(state, np.zeros(1), crc, empty, empty, True)
                reserved += contents.gather(group, (1, *filters.shape), [filters])
        with self._explained("write it"):
            self._replace(image, reserved)
            _settle(self._target, self._lock)
        self.close()

    def _replace(self, image: FileImage, reserved: Sequence[Reserved | ReservedFilters]) -> None:
        """Write a file that was laid out, and its seal, over the run file."""
        with replacing(self._target) as descriptor:
            image.write_to(descriptor)
            arrays, elsewhere = [], []
            for values in reserved:
                if isinstance(values, Reserved):
                    arrays.append(values.write_to(descriptor))
                else:
                    elsewhere.append(values.write_to(descriptor))
            size = image.size
            loose = between([(x.start, x.length) for x in arrays], elsewhere, size)
            structure = 0
            for start, length in loose:
                structure = zlib.crc32(image.content(start, length), structure)
            seal = Seal(size, structure, arrays, elsewhere).to_bytes()
            write_at(descriptor, memoryview(seal), size)

    @contextmanager
    def _laid_out(self, image: FileImage, *, finished: bool) -> Iterator[h5py.File]:
        """Lay out all of the run file but its sections, which are left to the block."""
        with h5py.File(image, "w") as file:
            file.attrs["format"] = FORMAT_NAME
            file.attrs["version"] = FORMAT_VERSION
            file.attrs["program"] = f"rbmcli {__version__}"
            file.attrs["config"] = json.dumps(self.config, sort_keys=True)
            file.attrs["data"] = json.dumps(self.data, sort_keys=True)
            file.attrs["image_shape"] = np.array(self._image_shape, np.int64)
            file.attrs["finished"] = finished
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


@contextmanager
def _owned(target: Path) -> Iterator[Lock]:
    """Take the lock of `target`, clear up after a killed holder; release it if the block raises."""
    try:
        target.name.encode()
    except UnicodeEncodeError:
        raise RbmError(f"{target}: not a name in UTF-8, as HDF5 needs: choose another") from None
    lock = Lock(target)
    try:
        remove_aside(target)
        _settle(target, lock, own=False)
        yield lock
    except BaseException:
        lock.release()
        raise


def is_beside(path: Path, output: Path) -> bool:
    """Whether `path` has the name of a file that a run has beside its run file `output`."""
    path, target = real(path), real(output)
    names = (aside_name(target), lock_name(target))
    return path.parent == target.parent and (path in names or is_part_of(target, path.name))


def check_new(path: Path, force: bool, choices: str = _CHOICES) -> None:
    """RbmError where `RunWriter.create` would refuse `path`; nothing is changed.

    choices: what can be done where there is a file already.
    """
    with _owned(real(path)) as lock:
        check_output(path, force, choices)
        lock.release()


def _settle(target: Path, lock: Lock, *, own: bool = True) -> None:
    """Remove the parts in doubt that the run file does not refer to.

    own: whether this process wrote the run file.
    """
    if not lock.doubtful:
        return
    referenced = _referenced(target, own=own)
    if referenced is None:
        return
    for name in lock.doubtful - referenced:
        if is_part_of(target, name):
            target.with_name(name).unlink(missing_ok=True)
    lock.settle()


def _referenced(target: Path, *, own: bool = False) -> set[str] | None:
    """The names of the parts that the run file `target` refers to; None where it cannot be read."""
    if not target.is_file():  # to open a pipe would wait for its other end
        return set()
    try:
        with RunReader(target, own=own) as run:
            return set(run.beside)
    except RbmError:
        return None if h5py.is_hdf5(target) else set()

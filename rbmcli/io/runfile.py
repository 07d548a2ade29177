"""Reading run files: everything known of one training run, in one HDF5 file.

docs/run-file.md describes the format, `rbmcli.io.runwriter` writes it. A run file can be read at
any time, also while it is being written. This room knows arrays and names, no model class.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.io.confined import open_hdf5
from rbmcli.io.lock import is_locked
from rbmcli.io.probe import Unreadable, guarded, probe
from rbmcli.io.schema import (
    FORMAT_VERSION,
    READABLE,
    UP_DOWN,
    is_run_file,
    plan_of,
    version_of,
)
from rbmcli.io.seal import Seal, is_sealed, read_seal
from rbmcli.io.section import Section, Source, State, damage_of, damaged
from rbmcli.opening import descriptor_of

#: Files that a child has read, as they were then: it need not read them again.
_PROBED: set[tuple[int, ...]] = set()


class RunReader:
    """A run file opened for reading, finished or not: one checkpoint, however long it is open.

    path: as given. name: its last part without suffix, a caption for the run.
    config, data: as given to `RunWriter.create`.
    image_shape: shape of one image.
    finished: whether training came to its end.
    version, program: of the format; the program that wrote the file.
    sections: by key, in the order of training: "" alone, or "layers/0", "layers/1", ... and, where
    there was such a phase, "up-down".

    What commands for a single machine need of its section is here too: `state`, `filters`,
    `filters_epoch`, `metrics` and `wall_clock` are those of the first section.
    """

    def __init__(self, path: str | os.PathLike[str], *, own: bool = False) -> None:
        """Open the run file `path`, and look all of it over.

        own: whether this process wrote it just now. Others are read within limits (`probe`).

        Raises RbmError where there is none, where it is no run file, where it is damaged, where it
        would bring in other files, and where it is of a version that is not READABLE.
        """
        self.path = Path(path)
        self.name = self.path.stem
        # Links are followed here so that the parts are looked for beside the file itself.
        self._target = Path(os.path.realpath(path))
        state = _state(self._target)
        probed = own or state in _PROBED
        try:
            self._safely(self._open, own, probed or self._is_sealed())
            if self.beside:
                self._safely(lambda: self._hold(own), own, probed)
        except Unreadable as error:
            raise RbmError(damaged(self.path, error)) from None
        if state is not None and not own:
            _PROBED.add(state)

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; states and filters can no longer be read."""
        self._file.close()

    @property
    def layers(self) -> list[Section]:
        """The sections that are machines, from the bottom of the stack to its top."""
        return [section for key, section in self.sections.items() if key != UP_DOWN]

    @property
    def state(self) -> State:
        """`Section.state` of the first section."""
        return self._first.state

    @property
    def filters(self) -> h5py.Dataset:
        """`Section.filters` of the first section."""
        return self._first.filters

    @property
    def filters_epoch(self) -> NDArray[np.float64]:
        """`Section.filters_epoch` of the first section."""
        return self._first.filters_epoch

    @property
    def metrics(self) -> NDArray[np.void]:
        """`Section.metrics` of the first section."""
        return self._first.metrics

    @property
    def wall_clock(self) -> NDArray[np.void]:
        """`Section.wall_clock` of the first section."""
        return self._first.wall_clock

    @property
    def beside(self) -> list[str]:
        """Names of the files beside it that hold filters of any section; none once gathered."""
        parts = [part for section in self.sections.values() for part in section.parts]
        return list(dict.fromkeys(part.name for part in parts))

    @property
    def in_progress(self) -> bool:
        """Whether a process is writing the run file now."""
        return is_locked(self._target)

    @property
    def _first(self) -> Section:
        return next(iter(self.sections.values()))

    def _safely(self, read: Callable[[], None], own: bool, known: bool) -> None:
        """Read a file of our `own` as it is, a `known` one within limits, others in a child first.

        Unreadable where a reading does not come to its end.
        """
        if own:
            read()
            return
        if not known:
            probe(read)
        with guarded(lambda why: damaged(self.path, why)), damage_of(self.path):
            read()

    def _is_sealed(self) -> bool:
        try:
            descriptor = descriptor_of(self._target)
        except (OSError, RbmError):
            return False
        try:
            return is_sealed(descriptor)
        finally:
            os.close(descriptor)

    def _open(self) -> None:
        """Open the file and all of its sections."""
        self._file, seal = _open_run(self.path, self._target)
        try:
            with damage_of(self.path):
                descriptor = int(self._file.id.get_vfd_handle())
                size = os.fstat(descriptor).st_size
                plan = plan_of(self._file, self.path, self._target.parent, size)
                self.version, self.program = plan.version, plan.program
                self.config: dict[str, Any] = plan.config
                self.data: dict[str, Any] = plan.data
                self.image_shape = plan.image_shape
                self.finished = plan.finished
                source = Source(self.path, self._target.parent, seal, descriptor)
                self.sections = {
                    each.key: Section(source, self._file[each.key or "/"], each)
                    for each in plan.sections
                }
        except BaseException:
            self._file.close()
            raise

    def _hold(self, own: bool) -> None:
        """Open the files beside it."""
        for again in (True, False):
            for section in self.sections.values():
                section.hold(own)
            if not (again and any(section.missing for section in self.sections.values())):
                break
            # The run may just have ended, and gathered its filters in a file of the same name.
            self._file.close()
            self._open()


def _open_run(path: Path, target: Path) -> tuple[h5py.File, Seal | None]:
    """Open `target`, given as `path`, if it is a run file of a version known here, and its seal."""
    try:
        while True:
            seal, identity = _sealed(path, target)
            file = open_hdf5(target)
            if _identity(int(file.id.get_vfd_handle())) == identity:
                break
            file.close()  # a checkpoint came in between
    except RbmError as error:
        raise RbmError(str(error).replace(str(target), str(path), 1)) from None
    except OSError as error:
        raise RbmError(f"{path}: {_why_unreadable(target, error)}") from error
    try:
        if not is_run_file(file):
            raise RbmError(
                f"{path}: not a run file: give one that `rbm train` or `rbm stack` wrote"
            )
        with damage_of(path):
            version = version_of(file)
        if version not in READABLE:
            raise RbmError(
                f"{path}: a run file of version {version}, and this program reads version "
                f"{FORMAT_VERSION} and earlier ones: use the rbm that wrote it, or a newer one"
            )
        if seal is None and version >= 2:
            raise RbmError(
                f"{path}: its end, with the checksums, is missing: it was cut short, or another"
                " program opened it for writing: restore it from a copy, or, if you trust it, set"
                " its attribute `version` to 1, which has no checksums"
            )
    except BaseException:
        file.close()
        raise
    return file, seal


def _sealed(path: Path, target: Path) -> tuple[Seal | None, tuple[int, int]]:
    """The seal of a file, if it has one, its structure compared; and which file it was."""
    descriptor = descriptor_of(target)
    try:
        with damage_of(path):
            seal = read_seal(descriptor)
            if seal is not None:
                seal.check_structure(descriptor)
        return seal, _identity(descriptor)
    finally:
        os.close(descriptor)


def _state(target: Path) -> tuple[int, ...] | None:
    """Which file this is, and in which state; None where there is none."""
    try:
        about = os.stat(target)
    except OSError:
        return None
    return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _identity(descriptor: int) -> tuple[int, int]:
    about = os.fstat(descriptor)
    return about.st_dev, about.st_ino


def _why_unreadable(target: Path, error: OSError) -> str:
    if not target.exists():
        if is_locked(target):
            return "not there yet: its run is under way, but has written no checkpoint so far"
        return "no such file"
    if error.errno is not None:
        return f"cannot be opened ({os.strerror(error.errno)})"
    if not h5py.is_hdf5(target):
        return "not an HDF5 file: give a run file that `rbm train` or `rbm stack` wrote"
    return f"a damaged HDF5 file ({error}): restore it from a copy, or train again"

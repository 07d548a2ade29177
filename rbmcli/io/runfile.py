"""Reading run files: everything known of one training run, in one HDF5 file.

docs/run-file.md describes the format, `rbmcli.io.runwriter` writes it. A run file can be read at
any time, also while it is being written. This room knows arrays and names, no model class.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.io.lock import is_locked
from rbmcli.io.section import ROOT, UP_DOWN, Section, State, damage_of, layer_key

FORMAT_NAME = "rbm run"
FORMAT_VERSION = 1


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
        if any(section.missing for section in self.sections.values()):
            # The run may just have ended, and gathered its filters in a file of the same name.
            self._file.close()
            self._open()

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

    def _open(self) -> None:
        """Open the file and all of its sections."""
        self._file = _open_run(self.path, self._target)
        attributes = self._file.attrs
        with damage_of(self.path):
            self.version = int(attributes["version"])
            self.program = str(attributes["program"])
            self.config: dict[str, Any] = json.loads(attributes["config"])
            self.data: dict[str, Any] = json.loads(attributes["data"])
            self.image_shape = tuple(int(size) for size in attributes["image_shape"])
            self.finished = bool(attributes["finished"])
            self.sections = {key: self._section(key) for key in _keys(self._file)}

    def _section(self, key: str) -> Section:
        group = self._file[key] if key else self._file
        return Section(
            self.path,
            self._target.parent,
            key,
            group,
            config=json.loads(group.attrs["config"]),
            finished=bool(group.attrs["finished"]),
        )


def _keys(file: h5py.File) -> list[str]:
    """The keys of the sections of an open run file, in the order of training."""
    if "layers" not in file:
        return [ROOT]
    layers = [layer_key(index) for index in range(len(file["layers"]) or 1)]
    return [*layers, UP_DOWN] if UP_DOWN in file else layers


def _open_run(path: Path, target: Path) -> h5py.File:
    """Open `target`, given as `path`, if it is a run file of a version known here."""
    try:
        file = h5py.File(target, "r")
    except OSError as error:
        raise RbmError(f"{path}: {_why_unreadable(target, error)}") from error
    with damage_of(path):
        name, version = str(file.attrs.get("format")), file.attrs.get("version")
    if name != FORMAT_NAME:
        raise RbmError(f"{path}: not a run file: give one that `rbm train` or `rbm stack` wrote")
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
        return "not an HDF5 file: give a run file that `rbm train` or `rbm stack` wrote"
    return f"a damaged HDF5 file ({error}): restore it from a copy, or train again"

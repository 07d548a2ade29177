"""`open_source`: from what the user named to a `Dataset`.

A name in the table of named sets always means that set (write `./mnist` for a file called so);
anything else is a folder of pictures or a file, whose format is recognised by its content.
`FILE:NAME` picks an array of a file that holds several.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from rbmcli.draws import Draws
from rbmcli.errors import RbmError
from rbmcli.io.sizes import Patches, Size
from rbmcli.io.sources import folder, hdf5, idx, named, numpy_files
from rbmcli.io.sources.dataset import Dataset
from rbmcli.io.sources.patches import cut
from rbmcli.io.sources.pictures import Pictures
from rbmcli.io.sources.prepare import Raw, select, to_images, to_labels
from rbmcli.io.sources.whitening import whitened

#: In a file of several arrays, the names looked for when the user gives none.
_IMAGE_NAMES = ("images", "features", "x_train", "data")
_LABEL_NAMES = ("labels", "y_train")


class _Container(Protocol):
    """What a format whose files hold several arrays offers; a module is one."""

    def array_names(self, path: Path) -> list[str]:
        """Return the names of the arrays in the file."""

    def read_array(self, path: Path, name: str) -> np.ndarray:
        """Return one of them."""


def open_source(
    source: str,
    *,
    labels: str | None = None,
    only: Sequence[int] = (),
    limit: int | None = None,
    whiten: bool = False,
    patches: Patches | None = None,
    crop: Size | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Dataset:
    """Load the data set that `source` names.

    source: an IDX file (plain or gzip), `.npy`, `.npz` or HDF5 file (`FILE:NAME` for one of its
        arrays), a folder of pictures, or a named set (`mnist`, `mnist:test`), fetched if need be.
    labels: a file of labels, of any of the array formats; otherwise those beside the images.
    only: keep images with these labels. limit: keep the first so many of them.
    whiten: flatten the spectrum of each image kept (see `whitening.whiten`).
    patches: cut these from the images kept, which in a folder may then be of different sizes; a
        patch has its image's label. seed: of their places.
    crop: what will be cut from the images, which in a folder may then be of different sizes.
    quiet: show no progress while fetching.

    Raises RbmError for everything in the data that the user can mend.
    """
    raw = named.read(source, quiet=quiet) if named.is_named(source) else _read_path(source)
    pictures, scale, notices = raw.images, 255.0, raw.notices
    if not isinstance(pictures, Pictures):
        pictures, scale, more = to_images(pictures, source)
        notices += more
    numbers: np.ndarray | None = None
    if labels is not None:
        numbers = to_labels(_read_labels(labels), labels, len(pictures))
    elif raw.labels is not None:
        try:
            numbers = to_labels(raw.labels, source, len(pictures))
        except RbmError as error:
            # Nobody asked for them, so labels of another form must not stop the run.
            notices += (f"the labels beside the images are not used: {error}",)
    if isinstance(pictures, np.ndarray):
        if not whiten and patches is None:  # in place
            flat, kept = select(pictures.reshape(len(pictures), -1), numbers, only, limit, source)
            return Dataset(flat, pictures.shape[1:], scale, kept, source, notices)
        pictures = Pictures.of_array(pictures, source)
    chosen, kept = select(np.arange(len(pictures)), numbers, only, limit, source)
    if whiten:
        pictures, scale = whitened(pictures), 1.0
    if patches is not None:
        images, origin = cut(pictures, chosen, patches, Draws(seed))
        kept = None if numbers is None else numbers[origin]
        return Dataset.of(images, scale, kept, source, notices)
    return Dataset.of(pictures.in_memory(chosen, crop), scale, kept, source, notices)


def _read_path(source: str) -> Raw:
    path, name = _split(source)
    if path.is_dir():
        return folder.read(path)
    container = _container(path)
    if container is None:
        return Raw(_read_single(path, name))
    names = container.array_names(path)
    name = _choose(path, names, name, _IMAGE_NAMES, passed_over=_LABEL_NAMES)
    labels = _beside(name, names)
    return Raw(
        container.read_array(path, name),
        None if labels is None else container.read_array(path, labels),
    )


def _read_labels(source: str) -> np.ndarray:
    path, name = _split(source)
    container = _container(path)
    if container is None:
        return _read_single(path, name)
    names = container.array_names(path)
    return container.read_array(path, _choose(path, names, name, _LABEL_NAMES))


def _split(source: str) -> tuple[Path, str | None]:
    """Split `FILE:NAME` into its parts; a path that exists as written has no name."""
    if Path(source).exists():
        return Path(source), None
    file, colon, name = source.rpartition(":")
    if colon and Path(file).is_file():
        return Path(file), name.strip("/")
    sets = ", ".join(named.SETS)
    raise RbmError(f"{source}: no such file or folder; named sets are {sets}")


def _container(path: Path) -> _Container | None:
    """Return the module that reads files of several arrays like this one, or None."""
    if path.is_dir():
        raise RbmError(f"{path}: is a folder; name a file")
    if _start(path).startswith(numpy_files.NPZ_MAGIC):
        return numpy_files
    return hdf5 if hdf5.is_hdf5(path) else None


def _read_single(path: Path, name: str | None) -> np.ndarray:
    if name is not None:
        raise RbmError(f"{path}: holds a single array, without names; leave out ':{name}'")
    if _start(path) == numpy_files.NPY_MAGIC:
        return numpy_files.read_npy(path)
    return idx.read(path)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(numpy_files.NPY_MAGIC))


def _choose(
    path: Path,
    names: list[str],
    wanted: str | None,
    usual: tuple[str, ...],
    passed_over: tuple[str, ...] = (),
) -> str:
    """Return the name to read: the one wanted, the usual one, or the only one there is."""
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    if not names:
        raise RbmError(f"{path}: holds no arrays; name another file")
    if wanted is not None:
        if wanted not in names:
            raise RbmError(f"{path}: holds no array {wanted!r}; choose from {listed}")
        return wanted
    candidates = [name for name in names if name.rpartition("/")[2] not in passed_over]
    if len(candidates) == 1:
        return candidates[0]
    for name in usual:
        if name in names:
            return name
    raise RbmError(f"{path}: which array is meant? Add ':NAME', one of {listed}")


def _beside(name: str, names: list[str]) -> str | None:
    """Return the array of labels that stands in the same group as `name`, if there is one."""
    group = name[: name.rfind("/") + 1]
    beside = (group + label for label in _LABEL_NAMES)
    return next((label for label in beside if label in names and label != name), None)

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

from rbmcli.arrays import Pixels
from rbmcli.draws import Draws
from rbmcli.errors import RbmError
from rbmcli.io.sizes import Patches, Size
from rbmcli.io.sources import hdf5, idx, named, naming, numpy_files
from rbmcli.io.sources.dataset import Dataset
from rbmcli.io.sources.patches import cut
from rbmcli.io.sources.pictures import Pictures
from rbmcli.io.sources.prepare import Raw, channels_before, select, to_images, to_labels
from rbmcli.io.sources.whitening import whitened
from rbmcli.opening import check_regular, opened

#: In a file of several arrays, the names looked for when the user gives none.
_IMAGE_NAMES = ("images", "features", "x_train", "data")

#: MATLAB has written this before what else is HDF5.
_MATLAB = b"MATLAB 7.3"


class _Container(Protocol):
    """What a format whose files hold several arrays offers; a module is one."""

    def array_names(self, path: Path) -> list[str]:
        """Return the names of the arrays in the file."""

    def has(self, path: Path, name: str) -> bool:
        """Tell whether there is something called so that is not among these, such as a link."""

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
    channels: str | None = None,
    follow_links: bool = False,
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
    channels: "first" or "last" of the dimensions of an image; None to tell by the shape.
    follow_links: whether an HDF5 file may bring in files from other folders.
    quiet: show no progress while fetching.

    Raises RbmError for everything in the data that the user can mend.
    """
    if named.is_named(source):
        raw = named.read(source, quiet=quiet)
    else:
        raw = _read_path(source, follow_links)
    asked = None if labels is None else _read_labels(labels, source, follow_links)
    try:
        return _dataset(
            raw, source, labels, asked, only, limit, whiten, patches, crop, channels, seed
        )
    finally:
        if isinstance(raw.images, Pictures):
            raw.images.close()


def _dataset(
    raw: Raw,
    source: str,
    labels: str | None,
    asked: np.ndarray | None,
    only: Sequence[int],
    limit: int | None,
    whiten: bool,
    patches: Patches | None,
    crop: Size | None,
    channels: str | None,
    seed: int,
) -> Dataset:
    """What `open_source` makes of what a format yields; asked: what is in `labels`."""
    pictures, scale, notices = raw.images, 255.0, raw.notices
    order = channels or "first"
    if not isinstance(pictures, Pictures):
        pictures, order, said = channels_before(pictures, channels, source)
        notices += said
        pictures, scale, said = to_images(pictures, source)
        notices += said
    numbers, labels_from, said = _labels(raw, source, labels, asked, len(pictures))
    notices += said
    if only and numbers is None and said:
        raise RbmError(f"{said[0]}; name them with --labels")

    def dataset(
        images: Pixels, kept: np.ndarray | None, shape: tuple[int, ...] | None = None
    ) -> Dataset:
        seen = pictures.noticed() if isinstance(pictures, Pictures) else ()
        result = Dataset.of(images, scale, kept, source, notices + seen, shape)
        return result.told(labels_from=labels_from, channels=order, whitened=whiten)

    if isinstance(pictures, np.ndarray):
        if not whiten and patches is None:  # in place
            flat = pictures.reshape(len(pictures), -1)
            return dataset(*select(flat, numbers, only, limit, source), pictures.shape[1:])
        pictures = Pictures.of_array(pictures, source)
    chosen, kept = select(np.arange(len(pictures)), numbers, only, limit, source)
    if whiten:
        pictures, scale = whitened(pictures), 1.0
    if patches is not None:
        images, origin = cut(pictures, chosen, patches, Draws(seed))
        return dataset(images, None if numbers is None else numbers[origin])
    return dataset(pictures.in_memory(chosen, crop), kept)


def _labels(
    raw: Raw, source: str, name: str | None, asked: np.ndarray | None, images: int
) -> tuple[np.ndarray | None, str, tuple[str, ...]]:
    """(labels, where they are from, what to tell the user): those asked for, or those beside."""
    if name is not None and asked is not None:
        return to_labels(asked, name, images), name, ()
    if raw.labels is None:
        return None, "", () if raw.unlabelled is None else (raw.unlabelled,)
    try:
        return to_labels(raw.labels, source, images), raw.labels_from, ()
    except RbmError as error:
        # Nobody asked for them, so labels of another form must not stop the run.
        said = f"the labels beside the images, {raw.labels_from}, are not used: {error}"
        return None, "", (said,)


def _read_path(source: str, follow_links: bool) -> Raw:
    path, name = _split(source)
    if path.is_dir():
        from rbmcli.io.sources import folder  # with Pillow, which other sources do without

        return folder.read(path)
    container = _container(path, follow_links)
    if container is None:
        return Raw(_read_single(path, name))
    names = _names(container, path, name)
    name = _choose_images(path, names, name)
    labels, why_none = naming.labels_of(name, names)
    notices: tuple[str, ...] = ()
    if _start(path, len(_MATLAB)) == _MATLAB:
        notices = (
            f"{path}: MATLAB writes its dimensions in the other order, so its last one counts the"
            " images, and their rows and columns are exchanged",
        )
    array = container.read_array(path, name)
    if labels is None:
        unlabelled = None if why_none is None else f"{path}: {why_none}"
        return Raw(array, notices=notices, unlabelled=unlabelled)
    try:
        return Raw(array, container.read_array(path, labels), labels, notices)
    except RbmError as error:  # nobody asked for them
        unlabelled = f"the labels beside the images, {labels}, are not used: {error}"
        return Raw(array, notices=notices, unlabelled=unlabelled)


def _names(container: _Container, path: Path, asked: str | None) -> list[str]:
    """The names of the arrays in a file; that of a link only where it is asked for."""
    names = container.array_names(path)
    if asked is not None and asked not in names and container.has(path, asked):
        names.append(asked)
    return names


def _read_labels(labels: str, source: str, follow_links: bool) -> np.ndarray:
    """Labels that the user named, of the images of a source."""
    path, name = _split(labels)
    container = _container(path, follow_links)
    if container is None:
        return _read_single(path, name)
    names = _names(container, path, name)
    if name is None:
        name = naming.labels_among(names, _own_name(source))
    return container.read_array(path, _wanted(path, names, name))


def _own_name(source: str) -> str:
    """What a source is called, without the folders that it is in: file or array, with its part."""
    if named.is_named(source):
        return source
    path, name = _split(source)
    return name if name is not None and naming.words(name).parts else path.stem


def _split(source: str) -> tuple[Path, str | None]:
    """Split `FILE:NAME` into its parts; a path that exists as written has no name."""
    file, colon, name = source.rpartition(":")
    try:
        if Path(source).exists():
            return Path(source), None
        if colon and Path(file).exists() and not Path(file).is_dir():
            return Path(file), name.strip("/")
    except ValueError:  # a zero in it
        raise RbmError(f"{source}: is no name of a file: give another") from None
    sets = ", ".join(named.SETS)
    raise RbmError(f"{source}: no such file or folder; named sets are {sets}")


def _container(path: Path, follow_links: bool) -> _Container | None:
    """Return the module that reads files of several arrays like this one, or None."""
    if path.is_dir():
        raise RbmError(f"{path}: is a folder; name a file")
    if _start(path, len(numpy_files.NPZ_MAGIC)) == numpy_files.NPZ_MAGIC:
        return numpy_files
    check_regular(path)
    return hdf5.Files(follow_links) if hdf5.is_hdf5(path) else None


def _read_single(path: Path, name: str | None) -> np.ndarray:
    if _start(path, len(numpy_files.NPY_MAGIC)) == numpy_files.NPY_MAGIC:
        array = numpy_files.read_npy(path)
    else:
        array = idx.read(path)
    if name is not None:
        raise RbmError(f"{path}: holds a single array, without names; leave out ':{name}'")
    return array


def _start(path: Path, length: int) -> bytes:
    with opened(path) as file:
        return file.read(length)


def _choose_images(path: Path, names: list[str], wanted: str | None) -> str:
    """Return the name to read: the one wanted, the only one, or the usual one."""
    candidates = [name for name in names if not naming.is_label(name)]
    if wanted is None and len(candidates) == 1:
        return candidates[0]
    if wanted is None:
        wanted = next((name for name in _IMAGE_NAMES if name in names), None)
    return _wanted(path, names, wanted)


def _wanted(path: Path, names: list[str], wanted: str | None) -> str:
    """Return the name that is wanted; RbmError if it is not among them, or not known."""
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    if not names:
        raise RbmError(f"{path}: holds no arrays; name another file")
    if wanted is None:
        raise RbmError(f"{path}: which array is meant? Add ':NAME', one of {listed}")
    if wanted not in names:
        raise RbmError(f"{path}: holds no array {wanted!r}; choose from {listed}")
    return wanted

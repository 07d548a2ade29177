"""HDF5 files: data sets under paths.

HDF5 reads them in a child process, in which it may loop, crash or swell; and what would come from
other files comes only from those that lie beside the file, unless links are followed.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from rbmcli.errors import RbmError
from rbmcli.files import real
from rbmcli.io.confined import entries, in_its_folder, open_hdf5, other_files
from rbmcli.io.probe import Unreadable, going_on, probe

T = TypeVar("T")

#: Most values for each byte in the file: beyond it no compression of images comes.
_MOST_PACKED = 1032
#: Bytes that a data set may have in any case.
_ALWAYS = 64 << 20
#: Bytes that are read at a time.
_BLOCK = 64 << 20
#: Links that are followed one after another.
_MOST_LINKS = 20


def is_hdf5(path: Path) -> bool:
    """Tell whether the file is HDF5, by its content."""
    return bool(h5py.is_hdf5(path))


class Files:
    """HDF5 files as sources. follow: whether they may bring in files from other folders."""

    def __init__(self, follow: bool = False) -> None:
        self._follow = follow

    def array_names(self, path: Path) -> list[str]:
        """Return the paths of all data sets in the file, without the leading slash.

        Links among them are not followed: they can be asked for by name.
        """

        def names() -> list[str]:
            with open_hdf5(path) as file:
                return [x.name for x in entries(file) if isinstance(x.item, h5py.h5d.DatasetID)]

        return _twice(path, names)

    def read_array(self, path: Path, name: str) -> np.ndarray:
        """Return the data set called `name`; RbmError if it cannot be read or holds nothing."""
        follow = self._follow

        def form() -> tuple[tuple[int, ...], np.dtype[Any], bool]:
            with open_hdf5(path) as file:
                found = _checked(path, _descend(path, file, name, follow), name, follow)
                layout = found.id.get_create_plist().get_layout()
                return found.shape, found.dtype, layout == h5py.h5d.CONTIGUOUS

        shape, dtype, plain = _twice(path, form)
        size = math.prod(shape) * dtype.itemsize
        # Memory that a child fills for its parent: what is packed is unpacked there, and only once.
        array = np.empty(shape, dtype)
        if size and not plain:
            array = np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)

        def read() -> None:
            with open_hdf5(path) as file:
                found = _descend(path, file, name, follow)
                assert isinstance(found, h5py.Dataset)
                step = max(1, _BLOCK // max(size // max(shape[0], 1), 1)) if shape else 1
                if found.chunks is not None:  # none of them is unpacked twice
                    step = -(-step // found.chunks[0]) * found.chunks[0]
                for start in range(0, shape[0] if shape else 1, step):
                    where = np.s_[start : start + step] if shape else ()
                    if size:
                        packed = math.prod(found.chunks or ()) * dtype.itemsize
                        going_on(array[where].nbytes, 3 * packed)
                        found.read_direct(array, where, where)

        with _told(path):
            if plain or not probe(read):
                read()
        return array

    def has(self, path: Path, name: str) -> bool:
        """Tell whether there is a link called `name`, which `array_names` does not follow."""
        try:
            with open_hdf5(path) as file:
                parent, _, leaf = name.strip("/").rpartition("/")
                group = _descend(path, file, parent, follow=False)
                return (
                    isinstance(group, h5py.Group)
                    and group.id.links.exists(leaf.encode())
                    and group.id.links.get_info(leaf.encode()).type != h5py.h5l.TYPE_HARD
                )
        except (RbmError, OSError, KeyError, RuntimeError, ValueError):
            return False


def _twice(path: Path, read: Callable[[], T]) -> T:
    """Read in a child, then here."""
    with _told(path):
        probe(read)
        return read()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what is raised where a file is damaged into an RbmError."""
    try:
        yield
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, Unreadable) as error:
        reason = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise RbmError(f"{path}: cannot be read ({reason}); get a sound copy") from None


def _checked(path: Path, found: h5py.Group | h5py.Dataset, name: str, follow: bool) -> h5py.Dataset:
    """RbmError for what is no data set of numbers, too large to be one, or in other files."""
    if not isinstance(found, h5py.Dataset):
        raise RbmError(f"{path}: {name} is a group; name a data set in it")
    stored = found.id.get_storage_size() if follow else _stored(path, found, name)
    if found.id.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        raise RbmError(f"{path}: data set {name} is empty; name another")
    size = math.prod(found.shape) * found.dtype.itemsize
    elsewhere = follow and (found.is_virtual or found.external is not None)
    if not elsewhere and size > max(_ALWAYS, _MOST_PACKED * stored):
        raise RbmError(
            f"{path}: data set {name} says that it has {found.shape} values, and the file holds"
            f" {stored} bytes of it; get a sound copy"
        )
    if found.dtype.kind not in "biuf":
        raise RbmError(
            f"{path}: data set {name} holds {found.dtype} values; store integers, floats or"
            " booleans"
        )
    return found


def _stored(path: Path, found: h5py.Dataset, name: str) -> int:
    """The bytes that hold a data set's values, of a virtual one those of all its sources.

    RbmError where some are in files that lie elsewhere, or where a source is not itself a data set
    that holds its values: what it would lead to is not looked at any further.
    """
    folder = _folder(found.file)
    for other, as_part in other_files(found.id):
        if not (as_part and in_its_folder(other, folder)):
            raise RbmError(_leads_out(path, name, other))
    if not found.is_virtual:
        return int(found.id.get_storage_size())
    plan, total = found.id.get_create_plist(), 0
    sources = {
        (plan.get_virtual_filename(number), plan.get_virtual_dsetname(number))
        for number in range(plan.get_virtual_count())
    }
    for other, inner in sources:
        file = found.file if other == "." else open_hdf5(folder / other.replace("%%", "%"))
        source: h5py.Group | h5py.Dataset = file["/"]
        for leaf in _parts(inner):
            # Asked of the group alone: h5py itself would follow a link to say whether it is there.
            if not isinstance(source, h5py.Group) or not source.id.links.exists(leaf.encode()):
                break  # it is missing, and reads as the fill value
            if not isinstance(source.get(leaf, getlink=True), h5py.HardLink):
                raise RbmError(_leads_out(path, name, f"{other}:{inner}"))
            source = source[leaf]
        if isinstance(source, h5py.Dataset):
            if source.is_virtual or source.external is not None:
                raise RbmError(_leads_out(path, name, f"{other}:{inner}"))
            total += int(source.id.get_storage_size())
    return total


def _leads_out(path: Path, name: str, other: str) -> str:
    return f"{path}: {name} has values in {other}; if you trust it, read it with --follow-links"


def _folder(file: h5py.File) -> Path:
    """The folder of an open file, links followed, as HDF5 looks for others."""
    return real(file.filename).parent


def _descend(path: Path, file: h5py.File, name: str, follow: bool) -> h5py.Group | h5py.Dataset:
    """What is called `name`, links followed; RbmError for one that leads where it may not."""
    here, links = file["/"], 0
    rest = _parts(name)
    while rest:
        leaf = rest.pop(0)
        if not isinstance(here, h5py.Group) or not here.id.links.exists(leaf.encode()):
            raise KeyError(f"it has no {name}")
        link = here.get(leaf, getlink=True)
        if isinstance(link, h5py.HardLink):
            here = here[leaf]
            continue
        links += 1
        if links > _MOST_LINKS:
            raise ValueError(f"{name} is a link that leads to itself")
        if isinstance(link, h5py.ExternalLink):
            folder = _folder(here.file)
            if not follow and not in_its_folder(link.filename.replace("%", "%%"), folder):
                raise RbmError(
                    f"{path}: {name} is a link to {link.filename}; if you trust it, read it with"
                    " --follow-links"
                )
            here = open_hdf5(folder / link.filename)["/"]
            rest = [*_parts(link.path), *rest]
        else:
            target = link.path
            here = here.file["/"] if target.startswith("/") else here
            rest = [*_parts(target), *rest]
    return here


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]

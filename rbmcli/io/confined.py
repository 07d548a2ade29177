"""HDF5 files that others made: opened, and looked over, without going where they might lead.

Links and data sets of an HDF5 file can name other files, which HDF5 opens without a word. Here
names are looked at before anything is opened, sizes before anything is read.
"""

from __future__ import annotations

import errno
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rbmcli.errors import RbmError
from rbmcli.files import NO_LOCKS
from rbmcli.opening import check_regular

#: Objects that are looked at before a file is given up; a run file has some hundreds.
_MOST_OBJECTS = 100_000
#: Groups within groups.
_DEEPEST = 32
#: Most bytes of an attribute.
_MOST_OF_ATTRIBUTE = 1 << 20


class LeadsOut(RbmError):
    """A file would bring in another one."""


@dataclass(frozen=True)
class Entry:
    """A name in a group, and what it leads to.

    name: the path from where the walk began. item: the open group or data set; None for links that
    are not hard ones, and for what is neither. leads_to: what such a link says, for messages.
    """

    name: str
    item: h5py.Group | h5py.Dataset | None
    leads_to: str = ""


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file for reading.

    RbmError where it is no regular file or where a program has it open for writing, OSError where
    it cannot be opened. File systems without locks do.
    """
    check_regular(path)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES) and "lock" in str(error):
            raise RbmError(
                f"{path}: is open for writing in another program: wait until that closes it, or"
                " copy the file"
            ) from error
        if error.errno in NO_LOCKS and "lock" in str(error):
            return h5py.File(path, "r", locking=False)
        raise


def entries(group: h5py.Group) -> Iterator[Entry]:
    """Everything below a group, as far as hard links lead; names that are no text are passed over.

    ValueError for a file of very many objects, of very deep groups, or with one in a circle.
    """
    count = 0

    def walk(parent: h5py.Group, prefix: str, above: tuple[Any, ...]) -> Iterator[Entry]:
        nonlocal count
        for raw in parent.id:
            count += 1
            if count > _MOST_OBJECTS:
                raise ValueError("it has too many objects")
            try:
                name = prefix + raw.decode()
            except UnicodeDecodeError:
                continue
            link = parent.id.links.get_info(raw)
            if link.type != h5py.h5l.TYPE_HARD:
                yield Entry(name, None, _target(parent, raw, link.type))
                continue
            about = h5py.h5o.get_info(parent.id, raw)
            if about.type == h5py.h5o.TYPE_GROUP:
                if about.addr in above or len(above) > _DEEPEST:
                    raise ValueError(f"group {name} leads to itself, or too deep")
                inner = h5py.Group(h5py.h5g.open(parent.id, raw))
                yield Entry(name, inner)
                yield from walk(inner, f"{name}/", (*above, about.addr))
            elif about.type == h5py.h5o.TYPE_DATASET:
                yield Entry(name, h5py.Dataset(h5py.h5d.open(parent.id, raw)))
            else:
                yield Entry(name, None, "a type")

    top = h5py.h5o.get_info(group.id)
    yield from walk(group, "", (top.addr,))


def _target(parent: h5py.Group, raw: bytes, kind: int) -> str:
    if kind == h5py.h5l.TYPE_SOFT:
        return f"a soft link to {parent.id.links.get_val(raw).decode(errors='replace')}"
    if kind == h5py.h5l.TYPE_EXTERNAL:
        file, name = parent.id.links.get_val(raw)
        return f"an external link to {os.fsdecode(file)}:{name.decode(errors='replace')}"
    return "a link of an unknown kind"


def other_files(dataset: h5py.Dataset) -> Iterator[tuple[str, bool]]:
    """(name, whether as a virtual data set names it) of each other file that has its values.

    Nothing but the data set's own description is read for it.
    """
    plan = dataset.id.get_create_plist()
    for number in range(plan.get_external_count()):
        yield os.fsdecode(plan.get_external(number)[0]), False
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        for number in range(plan.get_virtual_count()):
            name = plan.get_virtual_filename(number)
            if name != ".":
                yield name, True


def in_its_folder(name: str, folder: Path) -> bool:
    """Whether a file's name, as in another file, is that of a regular file in `folder` itself."""
    if re.search(r"(?<!%)(%%)*%(?!%)", name):  # HDF5 makes several names of one with a format
        return False
    name = name.replace("%%", "%")
    if not name or "\0" in name or Path(name).name != name or name in (".", ".."):
        return False
    try:
        return stat.S_ISREG(os.lstat(folder / name).st_mode)
    except OSError:
        return False


def fits(dataset: h5py.Dataset, file_bytes: int) -> bool:
    """Whether a data set that is stored in one piece lies within its file."""
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if dataset.id.get_create_plist().get_layout() == h5py.h5d.COMPACT or size == 0:
        return size <= file_bytes
    start = dataset.id.get_offset()
    return start is not None and start + size <= file_bytes


def attribute(group: h5py.Group, name: str) -> Any:
    """An attribute: a text, a number, a bool or an array of numbers.

    KeyError where it is missing, ValueError where it is anything else.
    """
    raw = name.encode()
    if not h5py.h5a.exists(group.id, raw):
        raise KeyError(f"it has no {name}")
    found = h5py.h5a.open(group.id, raw)
    if found.get_storage_size() > _MOST_OF_ATTRIBUTE:
        raise ValueError(f"{name} is too large")
    space, kind = found.get_space(), found.get_type()
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        raise ValueError(f"{name} is empty")
    if isinstance(kind, h5py.h5t.TypeStringID) and space.shape == ():
        value = group.attrs[name]
        return value.decode() if isinstance(value, bytes) else str(value)
    if isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID | h5py.h5t.TypeEnumID):
        value = group.attrs[name]
        return value.item() if np.ndim(value) == 0 else np.asarray(value)
    raise ValueError(f"{name} is of a wrong type")

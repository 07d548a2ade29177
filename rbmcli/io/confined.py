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
from pathlib import Path
from typing import Any, NamedTuple

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


class Entry(NamedTuple):
    """A name in a group, and what it leads to.

    name: the path from where the walk began. item: the open group or data set; None for links that
    are not hard ones, and for what is neither. address: where that is in the file. leads_to: what
    such a link says, for messages.
    """

    name: str
    item: h5py.h5g.GroupID | h5py.h5d.DatasetID | None
    address: int = 0
    leads_to: str = ""


class Form(NamedTuple):
    """How a data set is stored, as it says itself: nothing of it has been read.

    layout: a constant of `h5py.h5d`. start, length: its bytes in the file; None where it has none.
    empty: whether it can hold no value. others: as `other_files` has them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    layout: int
    start: int | None
    length: int
    empty: bool
    others: list[tuple[str, bool]]

    def fits(self, file_bytes: int) -> bool:
        """Whether values that are stored in one piece lie within a file of so many bytes."""
        size = math.prod(self.shape) * self.dtype.itemsize
        if self.layout == h5py.h5d.COMPACT or size == 0:
            return size <= file_bytes
        return self.start is not None and self.start + size <= file_bytes


def form_of(dataset: h5py.h5d.DatasetID) -> Form:
    """How a data set is stored. TypeError for a type that numpy has not."""
    shape, plan = dataset.shape, dataset.get_create_plist()
    return Form(
        shape or (),
        dataset.dtype,
        plan.get_layout(),
        dataset.get_offset(),
        dataset.get_storage_size(),
        shape is None,
        list(_other_files(plan)),
    )


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

    def walk(parent: h5py.h5g.GroupID, prefix: str, above: tuple[Any, ...]) -> Iterator[Entry]:
        nonlocal count
        links = parent.links
        for raw in parent:
            count += 1
            if count > _MOST_OBJECTS:
                raise ValueError("it has too many objects")
            try:
                name = prefix + raw.decode()
            except UnicodeDecodeError:
                continue
            link = links.get_info(raw)
            if link.type != h5py.h5l.TYPE_HARD:
                yield Entry(name, None, leads_to=_target(links, raw, link.type))
                continue
            about = h5py.h5o.get_info(parent, raw)
            if about.type == h5py.h5o.TYPE_GROUP:
                if about.addr in above or len(above) > _DEEPEST:
                    raise ValueError(f"group {name} leads to itself, or too deep")
                inner = h5py.h5g.open(parent, raw)
                yield Entry(name, inner, about.addr)
                yield from walk(inner, f"{name}/", (*above, about.addr))
            elif about.type == h5py.h5o.TYPE_DATASET:
                yield Entry(name, h5py.h5d.open(parent, raw), about.addr)
            else:
                yield Entry(name, None, leads_to="a type")

    top = h5py.h5o.get_info(group.id)
    yield from walk(group.id, "", (top.addr,))


def _target(links: Any, raw: bytes, kind: int) -> str:
    if kind == h5py.h5l.TYPE_SOFT:
        return f"a soft link to {links.get_val(raw).decode(errors='replace')}"
    if kind == h5py.h5l.TYPE_EXTERNAL:
        file, name = links.get_val(raw)
        return f"an external link to {os.fsdecode(file)}:{name.decode(errors='replace')}"
    return "a link of an unknown kind"


def other_files(dataset: h5py.h5d.DatasetID) -> Iterator[tuple[str, bool]]:
    """(name, whether as a virtual data set names it) of each other file that has its values.

    Nothing but the data set's own description is read for it.
    """
    return _other_files(dataset.get_create_plist())


def _other_files(plan: h5py.h5p.PropDCID) -> Iterator[tuple[str, bool]]:
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

"""HDF5 files as sources of images."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import h5py
import numpy as np

from faults.generators.arrays import read, some_images
from faults.generators.case import Case, Place, changed_bytes


def _plain(file: h5py.File) -> None:
    file["images"] = some_images()
    file["labels"] = np.arange(20)


def _packed(file: h5py.File) -> None:
    options = {"chunks": (5, 8, 8), "compression": "gzip", "shuffle": True, "fletcher32": True}
    file.create_dataset("g/images", data=some_images(), **options)
    file["g/labels"] = np.arange(20)


def _mixed(file: h5py.File) -> None:
    images = some_images() / 255
    file.create_dataset("images", data=images, chunks=(5, 8, 8), compression="lzf")
    file.create_dataset("text", data="x", dtype=h5py.string_dtype())
    file.create_dataset("ragged", (3,), h5py.vlen_dtype(np.int32))


def _scaled(file: h5py.File) -> None:
    options = {"chunks": (5, 8, 8), "scaleoffset": 0, "maxshape": (None, 8, 8)}
    file.create_dataset("images", data=some_images().astype("i4"), **options)
    file.create_dataset("table", data=np.zeros(3, [("a", "f4"), ("b", "S3")]))


FORMS: tuple[Callable[[h5py.File], None], ...] = (_plain, _packed, _mixed, _scaled)


def hdf5(form: Callable[[h5py.File], None], version: str = "earliest") -> bytes:
    """An HDF5 file."""
    content = io.BytesIO()
    with h5py.File(content, "w", libver=version) as file:
        form(file)
    return content.getvalue()


def hdf5_bytes(rng: Random, place: Place) -> Case:
    """Bytes of an HDF5 file changed."""
    version = rng.choice(("earliest", "v110", "latest"))
    content, label = changed_bytes(rng, hdf5(rng.choice(FORMS), version))
    (place.folder / "images.h5").write_bytes(content)
    return read(rng, label, "images.h5" + rng.choice(("", "", ":images", ":/g/images")))


def hdf5_structure(rng: Random, place: Place) -> Case:
    """Something else in the place of the images.

    What leads to other files is followed: whoever names a source means what it leads to.
    """
    with h5py.File(place.folder / "images.h5", "w") as file:
        how = rng.choice(tuple(_STRUCTURES))
        with suppress(OSError, TypeError, ValueError):  # not all of them can be made
            _STRUCTURES[how](rng, file, place)
        if rng.random() < 0.3:
            file["labels"] = rng.choice((np.arange(20), np.arange(3), np.zeros((20, 2)), "x", -1.5))
    return read(rng, how, "images.h5" + rng.choice(("", ":images")))


def _stored_outside(rng: Random, file: h5py.File, place: Place) -> None:
    (place.folder / "stored").write_bytes(bytes(20))
    path = str(place.folder / rng.choice(("stored", "missing", "images.h5")))
    file.create_dataset("images", (4, 8), "u1", external=[(path, 0, h5py.h5f.UNLIMITED)])


def _virtual(rng: Random, file: h5py.File, place: Place) -> None:
    path = place.bring("cd.h5")
    name = rng.choice((str(path), "cd.h5", "missing.h5", ".", "%b", ""))
    layout = h5py.VirtualLayout((3, 8), "f4")
    layout[:] = h5py.VirtualSource(name, "filters", (4, 8), "f4")[:3]
    file.create_virtual_dataset("images", layout)


def _soft_link(rng: Random, file: h5py.File, place: Place) -> None:
    file["images"] = h5py.SoftLink(rng.choice(("/images", "/nowhere", "/")))


def _huge(rng: Random, file: h5py.File, place: Place) -> None:
    file.create_dataset("images", (2**40, 8), "u1", chunks=(64, 8))


def _odd(rng: Random, file: h5py.File, place: Place) -> None:
    images = some_images()
    choices: list[Any] = [np.zeros((20, 8), kind) for kind in ("c8", "V5", "m8[s]")]
    choices += [np.full((20, 8), number) for number in (np.nan, -1e30, 1e300)]
    choices += [np.zeros((20, 0), "u1"), np.zeros((0, 8), "u1"), np.float32(1), "x"]
    choices += [images.astype("i8") - 2**62, np.zeros(20, [("a", "f4")]), images[:, :1, :1]]
    file["images"] = rng.choice(choices)


def _empty(rng: Random, file: h5py.File, place: Place) -> None:
    file["images"] = h5py.Empty("f4")


def _cycle(rng: Random, file: h5py.File, place: Place) -> None:
    file["g"] = file["/"]
    file["images"] = some_images()


def _names(rng: Random, file: h5py.File, place: Place) -> None:
    for name in ("\x1b[31m", "a\nb", "a" * 1000, "ü", b"\xff\xfe"):
        file[name] = some_images()


_STRUCTURES = {
    "stored outside": _stored_outside,
    "virtual": _virtual,
    "a soft link": _soft_link,
    "huge": _huge,
    "of another kind": _odd,
    "empty": _empty,
    "a cycle": _cycle,
    "odd names": _names,
}

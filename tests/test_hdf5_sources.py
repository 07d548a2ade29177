"""HDF5 sources that lead to other files, or are damaged: what is read, and what is said."""

from __future__ import annotations

import os
from collections.abc import Callable

import h5py
import numpy as np
import pytest

from rbmcli.errors import RbmError
from rbmcli.io.sources import open_source

SHAPE = (20, 6, 6)
IMAGES = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path / "own")
    (tmp_path / "secret.bin").write_bytes(IMAGES.tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["d"] = IMAGES
    with h5py.File("beside.h5", "w") as file:
        file["d"] = IMAGES
        file["link"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "d")
        outside = [(str(tmp_path / "secret.bin"), 0, IMAGES.size)]
        file.create_dataset("outside", SHAPE, "u1", external=outside)
    return tmp_path


def virtual(file: h5py.File, name: str, where: str, inner: str) -> None:
    layout = h5py.VirtualLayout(SHAPE, "u1")
    layout[:] = h5py.VirtualSource(where, inner, SHAPE, "u1")
    file.create_virtual_dataset(name, layout)


def outside(file: h5py.File) -> None:
    file.create_dataset("images", SHAPE, "u1", external=[("../secret.bin", 0, IMAGES.size)])


def own_outside(file: h5py.File) -> None:
    file.create_dataset("hidden", SHAPE, "u1", external=[("../secret.bin", 0, IMAGES.size)])
    virtual(file, "images", ".", "hidden")


def own_link(file: h5py.File) -> None:
    file["hidden"] = h5py.ExternalLink("../secret.h5", "d")
    virtual(file, "images", ".", "hidden")


def twice_virtual(file: h5py.File) -> None:
    virtual(file, "hidden", "../secret.h5", "d")
    virtual(file, "images", ".", "hidden")


LEADING: dict[str, Callable[[h5py.File], None]] = {
    "storage": outside,
    "link": lambda file: file.__setitem__("images", h5py.ExternalLink("../secret.h5", "d")),
    "link beside, and on": lambda file: file.__setitem__(
        "images", h5py.ExternalLink("beside.h5", "link")
    ),
    "virtual": lambda file: virtual(file, "images", "../secret.h5", "d"),
    "virtual over own storage": own_outside,
    "virtual over own link": own_link,
    "virtual over virtual": twice_virtual,
    "virtual over storage beside": lambda file: virtual(file, "images", "beside.h5", "outside"),
    "virtual over a link beside": lambda file: virtual(file, "images", "beside.h5", "link"),
}


@pytest.mark.parametrize("name", LEADING)
def test_what_leads_out_of_the_folder_is_refused_by_name(folder, name):
    with h5py.File("x.h5", "w") as file:
        LEADING[name](file)
    with pytest.raises(RbmError, match="--follow-links"):
        open_source("x.h5:images")


def test_links_are_followed_where_that_is_asked_for(folder):
    with h5py.File("x.h5", "w") as file:
        file["images"] = h5py.ExternalLink("../secret.h5", "d")
    found = open_source("x.h5:images", follow_links=True)
    assert np.array_equal(found.images, IMAGES.reshape(20, -1))


@pytest.mark.parametrize("where", ["beside.h5", "."])
def test_what_stays_in_the_folder_is_read(folder, where):
    with h5py.File("x.h5", "w") as file:
        file["d"] = IMAGES
        virtual(file, "images", where, "d")
        file["soft"] = h5py.SoftLink("/d")
        file["external"] = h5py.ExternalLink("beside.h5", "d")
    os.symlink("own/x.h5", "../linked.h5")
    for source in ("x.h5:images", "x.h5:soft", "x.h5:external", "../linked.h5:images"):
        assert np.array_equal(open_source(source).images, IMAGES.reshape(20, -1)), source


@pytest.mark.parametrize("chunks", [(3, 6, 6), SHAPE])
def test_packed_data_are_read(folder, chunks):
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("images", data=IMAGES, chunks=chunks, compression="gzip")
    assert np.array_equal(open_source("x.h5").images, IMAGES.reshape(20, -1))


def test_what_is_wrong_is_said(folder):
    with h5py.File("x.h5", "w") as file:
        file["images"] = IMAGES
        file["broken"] = h5py.SoftLink("/nowhere")
        file["g/circle"] = h5py.SoftLink("/g/circle")
        file.create_dataset("bomb", (1 << 28, 4), "u1", chunks=(1 << 20, 4), compression="gzip")
    for name, said in (("broken", "it has no broken"), ("g/circle", "leads to itself"),
                       ("bomb", "bytes of it")):  # fmt: skip
        with pytest.raises(RbmError, match=said):
            open_source(f"x.h5:{name}")
    content = (folder / "own" / "x.h5").read_bytes()
    (folder / "own" / "x.h5").write_bytes(content[:1500])
    with pytest.raises(RbmError, match="truncated"):
        open_source("x.h5")

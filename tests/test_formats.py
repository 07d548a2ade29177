"""Files that are no source are named by what they are, with what to do about it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import socket
import sqlite3
import struct
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from rbmcli.errors import RbmError
from rbmcli.io.sources import open_source

IMAGES = np.random.default_rng(1).integers(2, 256, (12, 5, 4), dtype=np.uint8)


def picture(form: str) -> bytes:
    content = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(content, form)
    return content.getvalue()


def npy() -> bytes:
    content = io.BytesIO()
    np.save(content, IMAGES)
    return content.getvalue()


def archived(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), data)
    return content.getvalue()


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return content.getvalue()


MATLAB = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\1IM"

KNOWN = [
    (b"label,p0,p1\n5,0,17\n3,2,8\n", "CSV: commas", "delimiter=',', skiprows=1)"),
    (b"0.5,0.25\n1,0\n", "CSV: commas", "numpy.loadtxt('x', delimiter=',')"),
    (b"1;2\n3;4\n", "CSV: semicolons", "numpy.loadtxt"),
    (b"a\tb\n1\t2\n", "TSV: tabs", "delimiter='\\t', skiprows=1)"),
    (b"1 2 3\n4 5 6\n", "blanks between values", "numpy.loadtxt('x')"),
    ("größe,zahl\n1,2\n".encode(), "CSV", "numpy.loadtxt"),
    (b"Dear reader,\nthis is a letter.\n", "is text", "give an IDX"),
    (b" \n\n ", "blanks only", "name another"),
    (b'{"images": [[1, 2], [3, 4]]}', "JSON", "numpy.save"),
    (b"[[1, 2],\n [3, 4]]", "JSON", "numpy.save"),
    (b"<!DOCTYPE html>\n<html><body>404</body></html>", "web page", "fetch"),
    (b"\n<html>", "web page", "fetch"),
    (b"<?xml version='1.0'?><a/>", "XML", ".npy"),
    (b">seq1 human\nACGTACGT\n>seq2\nACGA\n", "FASTA", "one-hot"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS", "git lfs pull"),
    (b"PAR1" + bytes(50), "Parquet", "read_parquet"),
    (b"ARROW1\0\0" + bytes(50), "Arrow", "read_feather"),
    (b"FEA1" + bytes(50), "Feather", "read_feather"),
    (MATLAB, "MATLAB", "loadmat"),
    (pickle.dumps(IMAGES), "pickle", "numpy.save"),
    (pickle.dumps({"a": 1}, 2), "pickle", "numpy.save"),
    (archived(m__data_pkl=b"x", m__data__0=b"y"), "PyTorch", "numpy.save"),
    (archived(a_txt=b"x"), "zip archive", "unpack"),
    (archived(a_txt=b"x")[:-8], "damaged", "sound copy"),
    (tar(), "tar archive", "tar -xf x"),
    (gzip.compress(tar(), mtime=0), "tar archive, packed by gzip", "tar -xzf x"),
    (lzma.compress(b"a" * 99), "packed by xz", "xz -dk x"),
    (bz2.compress(b"a" * 99), "packed by bzip2", "bzip2 -dk x"),
    (b"\x28\xb5\x2f\xfd" + bytes(30), "packed by zstd", "zstd -dk x"),
    (gzip.compress(npy(), mtime=0), "an array packed by gzip", "gunzip x"),
    (
        gzip.compress(b"1,2\n3,4\n", mtime=0),
        "packed by gzip; unpacked, it is a table",
        "numpy.loadtxt",
    ),
    (gzip.compress(b"", mtime=0), "gzip of nothing", "complete copy"),
    (b"%PDF-1.7\n" + bytes(9), "PDF", "give an IDX"),
    (b"\xc5\x00\x01\x02" * 9, "not known", "give an IDX"),
    (b"", "is empty", "complete copy"),
    (b"CDF\x01" + bytes(20), "NetCDF 3", "nccopy"),
    (struct.pack("<Q", 20) + b'{"a": {"dtype": 1}}   ', "safetensors", "load_file('x')"),
    *((picture(form), "single picture", "name its folder") for form in
      ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")),
]  # fmt: skip


@pytest.mark.parametrize(("content", "what", "remedy"), KNOWN)
def test_formats_by_name(content, what, remedy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x").write_bytes(content)
    with pytest.raises(RbmError) as caught:
        open_source("x")
    message = str(caught.value)
    assert message.startswith("x: ")
    assert what in message
    assert remedy in message
    assert "\n" not in message
    assert "\\x" not in message


def test_a_data_base(tmp_path):
    with sqlite3.connect(tmp_path / "x.db") as base:
        base.execute("create table a (b)")
    base.close()
    with pytest.raises(RbmError, match="SQLite"):
        open_source(str(tmp_path / "x.db"))


def test_what_is_said_to_do_about_tables_does_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("a,b\n0.5,1\n0,0.25\n")
    with pytest.raises(RbmError) as caught:
        open_source("x.csv")
    code = str(caught.value).split("in Python: ")[1].split("), and take")[0]
    exec(code, {"numpy": np})
    np.testing.assert_array_equal(open_source("images.npy").images, [[0.5, 1], [0, 0.25]])


def test_matlab_in_hdf5_is_read_with_a_word_on_its_order(tmp_path):
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["images"] = IMAGES
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    data = open_source(str(path))
    np.testing.assert_array_equal(data.images, IMAGES.reshape(12, 20))
    assert "other order" in data.notices[0]


# What is no file at all --------------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path.name)  # a short name, which sockets need


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "what"), [(fifo, "is a pipe"), (unix_socket, "is a socket"), (device, "is a device")]
)
@pytest.mark.parametrize("place", ["x", "x:images"])
def test_no_files(make, what, place, tmp_path, monkeypatch):
    """Nothing is waited for, in any place where a file is named."""
    from rbmcli.io.masks import read_mask
    from rbmcli.io.weights import read_weights

    monkeypatch.chdir(tmp_path)
    make(Path("x"))
    np.save("images.npy", IMAGES)
    with pytest.raises(RbmError, match=what):
        open_source(place)
    with pytest.raises(RbmError, match=what):
        open_source("images.npy", labels=place)
    with pytest.raises(RbmError, match=what):
        read_mask("x", (5, 4))
    with pytest.raises(RbmError, match=what):
        read_weights(Path("x"))


def test_comments_without_end_take_no_time(tmp_path):
    """A pattern that may be matched in many ways would be tried in all of them."""
    (tmp_path / "x.dat").write_bytes(b"P5\n" + b"# " * 4000)
    with pytest.raises(RbmError):
        open_source(str(tmp_path / "x.dat"))

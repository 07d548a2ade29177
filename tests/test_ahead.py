"""Gzip files unpacked ahead of time give what they give otherwise, and are refused as otherwise."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading

import numpy as np
import pytest

from rbmcli import ahead
from rbmcli.errors import RbmError
from rbmcli.io.sources import idx, open_source

IMAGES = np.random.default_rng(1).integers(0, 256, (30, 4, 5)).astype(np.uint8)
CONTENT = b"\0\0\x08\3" + np.array(IMAGES.shape, ">u4").tobytes() + IMAGES.tobytes()


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "_unpacking", {})
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(CONTENT))
    return path


def test_files_unpacked_ahead_are_those_that_are_read(images):
    ahead.unpack(["--labels", "none.gz", str(images.parent), str(images), "\0"])
    array = idx.read(images)
    assert not array.flags.writeable  # in place
    np.testing.assert_array_equal(array, IMAGES)
    again = idx.read(images)  # it was taken
    assert again.flags.writeable
    np.testing.assert_array_equal(again, IMAGES)


def test_a_file_that_was_replaced_is_read_anew(images):
    ahead.unpack([str(images)])
    images.write_bytes(gzip.compress(CONTENT[:-1] + b"\xff"))
    assert idx.read(images)[-1, -1, -1] == 255


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(CONTENT)[:-1],
        gzip.compress(CONTENT)[:-20],
        gzip.compress(CONTENT) + gzip.compress(b"more"),
        gzip.compress(CONTENT) + b"\1",
        gzip.compress(CONTENT[:-1]),
        gzip.compress(CONTENT + b"\0"),
        gzip.compress(CONTENT)[:-8] + bytes(8),
        gzip.compress(b"%PDF"),
    ],
)
def test_unsound_files_are_told_as_ever(images, content):
    images.write_bytes(content)
    with pytest.raises(RbmError) as before:
        idx.read(images)
    ahead.unpack([str(images)])
    assert len(ahead._unpacking) == 1
    with pytest.raises(RbmError) as after:
        idx.read(images)
    assert str(after.value) == str(before.value)


def test_members_and_padding_are_read_as_ever(images):
    images.write_bytes(gzip.compress(CONTENT[:50]) + gzip.compress(CONTENT[50:]) + bytes(5))
    ahead.unpack([str(images)])
    np.testing.assert_array_equal(idx.read(images), IMAGES)


def test_large_files_are_left_alone(images, monkeypatch):
    monkeypatch.setattr(ahead, "_MOST", len(CONTENT) - 1)
    ahead.unpack([str(images)])
    assert idx.read(images).flags.writeable


def test_without_threads_it_is_done_when_it_is_asked_for(images, monkeypatch):
    def none(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none)
    ahead.unpack([str(images)])
    np.testing.assert_array_equal(idx.read(images), IMAGES)
    assert ahead.Ahead(lambda: 3).result() == 3


def test_errors_are_those_of_the_work():
    with pytest.raises(ZeroDivisionError):
        ahead.Ahead(lambda: 1 // 0).result()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_training_unpacks_what_its_command_line_names(command):
    program = """
import sys
from rbmcli import ahead
from rbmcli.__main__ import main
ahead.unpack = print
sys.argv = ["rbm", *sys.argv[1:]]
main()
"""
    words = ["--quiet", command, "images.gz", "--help"]
    line = [sys.executable, "-c", program, *words]
    output = subprocess.run(line, capture_output=True, text=True, check=False).stdout
    assert (str(words) in output) == (command == "train")


def test_what_is_read_in_place_can_be_used(images):
    ahead.unpack([str(images)])
    dataset = open_source(str(images))
    np.testing.assert_array_equal(dataset.images, IMAGES.reshape(30, 20))
    assert dataset.provenance()["sha256"] == open_source(str(images)).provenance()["sha256"]


def test_streams_that_are_closed_are_not_taken(images):
    program = """
import os, sys
from pathlib import Path
os.close(0)
from rbmcli import ahead
ahead.unpack(sys.argv[1:])
assert not ahead._unpacking
os.open(os.devnull, os.O_RDWR)
ahead.unpack(sys.argv[1:])
assert len(ahead._unpacking) == 1
"""
    subprocess.run([sys.executable, "-c", program, str(images)], check=True)

"""The real command in a process of its own, small data for it, and what its run files hold."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rbmcli.cli.main import run as rbm

RBM = (sys.executable, "-m", "rbmcli")


def write_images(path: Path, count: int = 200, side: int = 8) -> Path:
    """Bars at random places, some lying and some standing, as uint8 (count, side, side)."""
    random = np.random.default_rng(1)
    images = np.zeros((count, side, side), np.uint8)
    for image in images:
        lines = image if random.integers(2) else image.T
        lines[random.integers(side, size=2)] = random.integers(100, 256, side)
    np.save(path, images)
    return path


@contextmanager
def running(*arguments: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """`rbm` with pipes for its output (or what the options of Popen say), until the block ends."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    with subprocess.Popen([*RBM, *map(str, arguments)], **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> bool:
    """Wait until the condition holds or the process is over; tell whether it was the former."""
    while not condition():
        if process.poll() is not None:
            return bool(condition())
        time.sleep(0.001)
    return True


def contents(path: Path) -> dict[str, Any]:
    """All data sets but those of the wall clock as plain h5py reads them: type, shape, bytes."""
    found = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.endswith("metrics_wall_clock"):
            found[name] = (item.dtype, item.shape, np.asarray(item[()]).tobytes())

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def standing() -> set[tuple[str, int, int]]:
    """The files in the folder, each by what changes when it is written or replaced."""
    facts = [(entry.path, entry.stat()) for entry in os.scandir()]
    return {(path, stat.st_ino, stat.st_mtime_ns) for path, stat in facts}


def refused(capfd: Any, command: str, *arguments: str, status: int = 1) -> str:
    """`rbm` says one line and leaves the folder as it was; return what it says."""
    before = standing()
    capfd.readouterr()
    assert rbm([command, *arguments]) == status
    out, err = capfd.readouterr()
    assert out == ""
    assert standing() == before
    if status == 1:
        assert err.startswith("rbm: error: ")
        assert err.count("\n") == 1
    else:
        assert err.startswith(f"Usage: rbm {command} ")
        assert "\nError: " in err
        assert err.split("\nError: ")[1].count("\n") == 1
    return " ".join(err.split())

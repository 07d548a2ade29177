"""Tiny trainings for children to do, and all that their run files hold."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from commands import contents, write_images

#: Options of a run that writes often. One thread: a forked child cannot have more.
OFTEN = (
    *("-o", "run.h5", "--threads", "1", "--quiet"),
    *("--checkpoint-every", "1steps", "--snapshot-every", "1steps"),
)
#: Two steps an epoch.
SMALL = ("--limit", "100", "--batch-size", "50", *OFTEN)

TRAIN = ("train", "images.npy", "--hidden", "12", "--epochs", "3", *SMALL)
OTHER = ("train", "images.npy", "--hidden", "5", "--epochs", "1", "--seed", "9", *SMALL)
LAYERS = ("stack", "images.npy", "--epochs", "2", "--add-layer", "12", "--add-layer", "6")
STACK = (*LAYERS, *SMALL)
UP_DOWN = (*LAYERS, "--up-down", "1", "--labels", "labels.npy", "--label-units", *SMALL)
GROW = ("stack", "images.npy", "--grow", "--add-layer", "6,epochs=2", *SMALL)


def write_data(folder: Path, count: int = 185) -> None:
    """images.npy and labels.npy."""
    write_images(folder / "images.npy", count)
    np.save(folder / "labels.npy", np.arange(count) % 4)


def held(path: Path) -> dict[str, Any]:
    """All data sets and attributes of a run file but what depends on the clock."""
    found = contents(path)

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        for key, value in item.attrs.items():
            if key == "config":  # says how long the last command was to take, too
                options = json.loads(value)
                value = json.dumps({n: x for n, x in options.items() if n != "max-time"})
            found[f"{name}@{key}"] = repr(np.asarray(value).tolist())

    with h5py.File(path) as file:
        note("", file)
        file.visititems(note)
    return found


def digest(path: Path) -> str:
    """A digest of what `held` gives: two checkpoints that are the same have the same."""
    return hashlib.sha256(repr(sorted(held(path).items())).encode()).hexdigest()


def has_lost_filters(path: Path) -> bool:
    """Whether some of its filters read as NaN, as those do that lie in a file that is gone."""
    lost = []

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and name.endswith("filters"):
            lost.append(bool(np.isnan(item[()]).any()))

    with h5py.File(path) as file:
        file.visititems(note)
    return any(lost)


def parts_of(path: Path) -> set[str]:
    """The names of the files beside a run file that it refers to."""
    found: set[str] = set()

    def note(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.is_virtual:
            found.update(source.file_name.replace("%%", "%") for source in item.virtual_sources())

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def logged(log: Path) -> list[dict[str, Any]]:
    """The lines of a metrics log, if there is one, but one that has no end yet."""
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]] if log.exists() else []

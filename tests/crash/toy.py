"""A run without a machine: arrays that follow from those before, so that every checkpoint is known.

`python -m crash.toy FOLDER` acts out a life of a run file and prints which checkpoint each
replacement of it holds, as JSON: [[seed, epoch], ...].
"""

from __future__ import annotations

import json
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rbmcli.io.runfile import RunReader
from rbmcli.io.runwriter import RunWriter

VISIBLE, HIDDEN, IMAGE = 6, 4, (2, 3)
SNAPSHOTS_AN_EPOCH = 8


def start(seed: int, scale: int = 1) -> dict[str, Any]:
    weights = np.arange(VISIBLE * HIDDEN * scale, dtype=np.float32) + seed
    return {
        "model/weights": weights.reshape(VISIBLE, HIDDEN * scale),
        "trainer/epoch": 0,
        "trainer/seed": seed,
    }


def after(state: dict[str, Any]) -> dict[str, Any]:
    """The state an epoch later."""
    epoch = state["trainer/epoch"] + 1
    return state | {
        "model/weights": state["model/weights"] * np.float32(0.9) + np.float32(epoch),
        "trainer/epoch": epoch,
    }


def snapshots(state: dict[str, Any]) -> list[tuple[float, np.ndarray]]:
    """What is recorded of the filters in the epoch that leads to `state`."""
    epoch, filters = state["trainer/epoch"], state["model/weights"].T.reshape(-1, *IMAGE)
    if epoch == 0:
        return [(0.0, filters)]
    fractions = np.arange(1, SNAPSHOTS_AN_EPOCH + 1) / SNAPSHOTS_AN_EPOCH
    return [(epoch - 1 + fraction, filters * np.float32(fraction)) for fraction in fractions]


def metrics(state: dict[str, Any]) -> dict[str, float]:
    return {"epoch": state["trainer/epoch"], "error": float(state["model/weights"].sum())}


@cache
def expected(seed: int, epoch: int, scale: int = 1) -> dict[str, np.ndarray]:
    """All data sets, but for the wall clock, of the checkpoint at `epoch`."""
    state = start(seed, scale)
    taken, rows = snapshots(state), []
    for _ in range(epoch):
        state = after(state)
        taken += snapshots(state)
        rows.append(tuple(metrics(state).values()))
    columns = [(name, "<f8") for name in (["epoch", "error"] if rows else ["epoch"])]
    return {name: np.asarray(value) for name, value in state.items()} | {
        "filters": np.stack([filters for _, filters in taken]),
        "filters_epoch": np.array([when for when, _ in taken]),
        "metrics": np.array(rows, columns),
    }


def run(
    path: Path,
    seed: int,
    epochs: int,
    end: str,
    *,
    force: bool = False,
    scale: int = 1,
    done: Path | None = None,
) -> list[tuple[int, int]]:
    """Begin or resume, train to `epochs` and end with `end` ("finish", "stop" or "close").

    Returns the checkpoint that each replacement of the run file holds. Makes the file
    `done`, and adds a byte to it for each complete checkpoint.
    """
    commits = []
    if done:
        done.touch()
    fresh = force or not path.exists()
    if fresh:
        state = start(seed, scale)
        writer = RunWriter.create(
            path,
            config={"hidden": HIDDEN * scale, "seed": seed},
            data={"source": "toy"},
            image_shape=IMAGE,
            snapshot_shape=(HIDDEN * scale, *IMAGE),
            force=force,
        )
    else:
        writer = RunWriter.resume(path)
        with RunReader(path) as reader:
            state = dict(reader.state)

    with writer:
        while fresh or state["trainer/epoch"] < epochs:
            if not fresh:
                state = after(state)
                writer.record(metrics(state), {"seconds": time.time()})
            fresh = False
            for when, filters in snapshots(state):
                writer.snapshot(when, filters)
            writer.checkpoint(state)
            commits.append((seed, state["trainer/epoch"]))
            if done:
                with done.open("ab") as file:
                    file.write(b".")
        getattr(writer, end)()
    if end != "close":
        commits.append((seed, epochs))
    return commits


def contents(path: Path) -> dict[str, np.ndarray]:
    """All data sets, but for the wall clock, as plain h5py reads them."""
    found = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and name != "metrics_wall_clock":
            text = h5py.check_string_dtype(item.dtype)
            found[name] = np.asarray(item.asstr()[()] if text else item[()])

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    """Whether both hold the same data sets, byte for byte."""
    return found.keys() == wanted.keys() and all(
        found[name].dtype == wanted[name].dtype
        and found[name].shape == wanted[name].shape
        and found[name].tobytes() == wanted[name].tobytes()
        for name in found
    )


def life(folder: Path) -> list[tuple[int, int]]:
    """Train and stop, resume and be dropped, resume and finish, begin anew over it."""
    path = folder / "run.h5"
    return (
        run(path, seed=1, epochs=1, end="stop")
        + run(path, seed=1, epochs=2, end="close")
        + run(path, seed=1, epochs=3, end="finish")
        + run(path, seed=1, epochs=4, end="close")
        + run(path, seed=2, epochs=0, end="finish", force=True)
    )


if __name__ == "__main__":
    print(json.dumps(life(Path(sys.argv[1]))))

"""Runs without a machine: arrays that follow from those before, so that every checkpoint is known.

What a run file holds is named by its sections in the order of training, each with its seed and its
epoch: `machine` and `stack` make such plans.

`python -m crash.toy FOLDER` acts out a life of a run file and prints which plan each replacement of
it holds, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rbmcli.io.runfile import RunReader
from rbmcli.io.runwriter import RunWriter

#: (key, seed, epoch) of each section.
Plan = tuple[tuple[str, int, int], ...]

VISIBLE, IMAGE = 6, (2, 3)
DATA = {"source": "toy", "shape": [10, *IMAGE], "dtype": "uint8", "sha256": 64 * "a"}
#: Hidden units of each section. A machine may become the first layer.
HIDDEN = {"": 4, "layers/0": 4, "layers/1": 5, "up-down": 3}
SNAPSHOTS_AN_EPOCH = 8


def machine(seed: int, epoch: int) -> Plan:
    """A file of a single machine."""
    return (("", seed, epoch),)


def stack(seed: int, checkpoint: int) -> Plan:
    """What a stack holds with a checkpoint, from 0: two layers of an epoch each, then up-down."""
    plan: Plan = (("layers/0", seed, 0),)
    for _ in range(checkpoint):
        key, _, epoch = plan[-1]
        above = {"layers/0": "layers/1", "layers/1": "up-down"}.get(key)
        plan = (*plan, (above, seed, 0)) if above and epoch == 1 else further(plan)
    return plan


def further(plan: Plan) -> Plan:
    """The plan with an epoch more of its last section."""
    *before, (key, seed, epoch) = plan
    return (*before, (key, seed, epoch + 1))


def in_file(key: str, name: str) -> str:
    """The name in the file of what has `name` in a section."""
    return f"{key}/{name}" if key else name


def start(key: str, seed: int, scale: int = 1) -> dict[str, Any]:
    hidden = HIDDEN[key] * scale
    weights = np.arange(VISIBLE * hidden, dtype=np.float32) + seed
    return {
        "model/weights": weights.reshape(VISIBLE, hidden),
        "model/visible_bias": np.zeros(VISIBLE, np.float32),
        "model/hidden_bias": np.ones(hidden, np.float32),
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
    epoch = state["trainer/epoch"]
    return {"epoch": epoch, "step": 10 * epoch, "error": float(state["model/weights"].sum())}


def expected(plan: Plan, scale: int = 1) -> dict[str, np.ndarray]:
    """All data sets, but for the wall clock, of a checkpoint."""
    return {
        in_file(key, name): value
        for key, seed, epoch in plan
        for name, value in expected_section(key, seed, epoch, scale).items()
    }


@cache
def expected_section(key: str, seed: int, epoch: int, scale: int = 1) -> dict[str, np.ndarray]:
    """All data sets, but for the wall clock, of a section."""
    state = start(key, seed, scale)
    taken, rows = snapshots(state), []
    for _ in range(epoch):
        state = after(state)
        taken += snapshots(state)
        rows.append(tuple(metrics(state).values()))
    columns = [(name, "<f8") for name in (["epoch", "step", "error"] if rows else ["epoch"])]
    return {name: np.asarray(value) for name, value in state.items()} | {
        "filters": np.stack([filters for _, filters in taken]),
        "filters_epoch": np.array([when for when, _ in taken]),
        "filters_crc32": np.array(
            [zlib.crc32(np.ascontiguousarray(filters).data) for _, filters in taken], np.uint32
        ),
        "metrics": np.array(rows, columns),
    }


def plan_of(found: Mapping[str, Any]) -> Plan:
    """The plan of a checkpoint, of which `found` has the values by their names in the file."""
    return tuple(
        (key, int(found[in_file(key, "trainer/seed")]), int(found[in_file(key, "trainer/epoch")]))
        for key in HIDDEN
        if in_file(key, "trainer/epoch") in found
    )


def run(
    path: Path,
    plan: Plan,
    end: str,
    *,
    force: bool = False,
    scale: int = 1,
    done: Path | None = None,
) -> list[Plan]:
    """Begin or resume, train as far as `plan` and end with `end` ("finish", "stop" or "close").

    A single machine in the file becomes the first layer of a stack. Returns the plan that each
    replacement of the run file holds. Makes the file `done`, and adds a byte to it for each
    complete checkpoint.
    """
    commits: list[Plan] = []
    if done:
        done.touch()
    fresh = force or not path.exists()
    states: dict[str, dict[str, Any]] = {}
    config = {"seed": plan[0][1]}
    if fresh:
        writer = RunWriter.create(path, config=config, data=DATA, image_shape=IMAGE, force=force)
    else:
        writer = RunWriter.resume(path)
        with RunReader(path) as reader:
            states = {key: dict(section.state) for key, section in reader.sections.items()}
        if "" in states and plan[0][0] == "layers/0":
            writer.rename("", "layers/0")
            states["layers/0"] = states.pop("")

    with writer:
        for index, (key, seed, epochs) in enumerate(plan):
            state = states.get(key)
            if state is not None:
                section = writer.section(key)
            else:
                shape = (HIDDEN[key] * scale, *IMAGE)
                section = writer.begin(key, config={"section": key}, snapshot_shape=shape)
            while state is None or state["trainer/epoch"] < epochs:
                if state is None:
                    state = start(key, seed, scale)
                else:
                    state = after(state)
                    section.record(metrics(state), {"seconds": time.time()})
                for when, filters in snapshots(state):
                    section.snapshot(when, filters)
                epoch = state["trainer/epoch"]
                section.checkpoint(state, finished=epoch == epochs)
                commits.append((*plan[:index], (key, seed, epoch)))
                if done:
                    with done.open("ab") as file:
                        file.write(b".")
        getattr(writer, end)()
    if end != "close":
        commits.append(plan)
    return commits


def contents(path: Path) -> dict[str, np.ndarray]:
    """All data sets, but for the wall clock, as plain h5py reads them."""
    found = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.endswith("metrics_wall_clock"):
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


def life(folder: Path) -> list[Plan]:
    """Train and stop, make it a stack and be dropped, resume and finish, resume, begin anew.

    The stack's layers differ in shape. Dropped, its filters are in the gathered file of the machine
    it was and in a part; then they are gathered, and it is taken up once more.
    """
    path = folder / "run.h5"
    return (
        run(path, machine(1, 1), "stop")
        + run(path, (("layers/0", 1, 1), ("layers/1", 1, 0)), "close")
        + run(path, (("layers/0", 1, 1), ("layers/1", 1, 1)), "finish")
        + run(path, (("layers/0", 1, 1), ("layers/1", 1, 2)), "close")
        + run(path, machine(2, 0), "finish", force=True)
    )


if __name__ == "__main__":
    print(json.dumps(life(Path(sys.argv[1]))))

"""What a stack costs beyond its layers trained one by one.

An epoch of every layer by the real command, `rbm stack`, against `rbm train` on each layer's own
input, bits that were drawn beforehand and lie in a file, and the forward passes alone. Commands are
timed as (time of 1 + EPOCHS epochs - time of 1) / EPOCHS. All run in turn, round after round; what
counts is the ratio within a round, of which the median is shown.

    python benchmarks/stacking.py [--rounds N] [--epochs N] [--threads N] [--mnist SOURCE]
                                  [--layers NUMBER ...]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from epoch import environment

from rbmcli import _kernels
from rbmcli.cli.models import load_stack
from rbmcli.draws import Draws, Purpose
from rbmcli.io.batches import Batches
from rbmcli.io.runfile import RunReader
from rbmcli.io.sources import open_source
from rbmcli.learning.batch import Images
from rbmcli.learning.inputs import Inputs, activations
from rbmcli.model.layer import Layer

BATCH = 100


def command_seconds(command: Sequence[object], epochs: int, threads: int) -> float:
    whole = [sys.executable, "-m", "rbmcli", *command, "--epochs", epochs, "--batch-size", BATCH]
    start = time.perf_counter()
    subprocess.run([*map(str, whole), "--quiet", "--force"], check=True, env=environment(threads))
    return time.perf_counter() - start


def epoch_seconds(command: Sequence[object], epochs: int, threads: int) -> float:
    long, short = (command_seconds(command, n, threads) for n in (1 + epochs, 1))
    return (long - short) / epochs


def what_layers_learn_from(run: Path, source: str) -> list[tuple[Inputs, Layer]]:
    """The inputs of every layer of a trained stack, and the visible layer that they are for."""
    dataset = open_source(source)
    images = Images(dataset.images, dataset.scale, np.arange(len(dataset.images)))
    with RunReader(run) as reader:
        machines = load_stack(reader).machines
    return [
        (activations(images, machines[:number], True, Draws(0, number)), machine.visible)
        for number, machine in enumerate(machines)
    ]


def write_bits(inputs: Inputs, layer: Layer, path: Path) -> None:
    draw = Draws(1).at(Purpose.ACTIVATIONS, 0)
    blocks = np.array_split(inputs.rows, max(1, len(inputs.rows) // 1000))
    np.save(path, np.concatenate([inputs.states(x, layer, draw).to_array() for x in blocks]))


def pass_seconds(inputs: Inputs, layer: Layer) -> float:
    """All batches of an epoch going up, images being drawn on the way."""
    draws = Draws(0)
    batches = Batches(inputs.rows, BATCH, draws)
    start = time.perf_counter()
    for step in range(batches.steps_per_epoch):
        inputs.states(batches.at(step)[0], layer, draws.at(Purpose.BINARIZE, step), step)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mnist", default="mnist")
    parser.add_argument("--layers", type=int, nargs="+", default=[500, 500, 2000])
    options = parser.parse_args()
    _kernels.set_threads(options.threads)

    rounds: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, alone = folder / "stack.h5", folder / "alone.h5"
        layers = [x for hidden in options.layers for x in ("--add-layer", hidden)]
        stack = ["stack", options.mnist, "-o", run, *layers]
        command_seconds(stack, 1 + options.epochs, options.threads)
        inputs = what_layers_learn_from(run, options.mnist)
        sources: list[object] = [options.mnist]
        for number, (upper, layer) in enumerate(inputs[1:], 1):
            sources.append(folder / f"{number}.npy")
            write_bits(upper, layer, folder / f"{number}.npy")
        trains = [
            ["train", source, "-o", alone, "--hidden", hidden]
            for source, hidden in zip(sources, options.layers, strict=True)
        ]
        for _ in range(options.rounds):
            together = epoch_seconds(stack, options.epochs, options.threads)
            apart = sum(epoch_seconds(x, options.epochs, options.threads) for x in trains)
            rounds.append((together, apart, sum(pass_seconds(*x) for x in inputs[1:])))

    widths = "-".join(map(str, [784, *options.layers]))
    print(f"{widths}, batch {BATCH}, {options.threads} threads: seconds of an epoch of all layers")
    for what, seconds in zip(
        ("stack", "layers one by one", "forward passes"), zip(*rounds, strict=True), strict=True
    ):
        print(f"  {what:18} {statistics.median(seconds):8.3f}")
    ratios = sorted(together / (apart + passes) for together, apart, passes in rounds)
    print(
        f"  a stack takes {statistics.median(ratios):.2f} times the sum of the others"
        f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()

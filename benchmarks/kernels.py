"""Where the time of a step goes, kernel by kernel, and where tables overtake lists.

python benchmarks/kernels.py [--threads N] [--hidden N] [--batch N] [--isa NAME]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from rbmcli import _kernels
from rbmcli.arrays import Scratch, zeros
from rbmcli.draws import Draws, Purpose
from rbmcli.io.sources import open_source
from rbmcli.model.links import Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, binarized

DENSITIES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def microseconds(function: Callable[[], object], repeats: int = 200) -> float:
    """The best of five means."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(repeats // 5):
            function()
        best = min(best, (time.perf_counter() - start) / (repeats // 5))
    return best * 1e6


def step_table(model: Rbm, images: np.ndarray, batch: int) -> None:
    """Microseconds of the parts of one CD-1 step on MNIST."""
    draws, scratch = Draws(0), Scratch()
    index = draws.generator(Purpose.SHUFFLE).permutation(len(images))[:batch]
    v0 = binarized(images, index, 255.0, None, draws.at(Purpose.BINARIZE, 0))
    above = zeros((batch, model.hidden.ld))
    below = zeros((batch, model.visible.ld))
    means = model.hidden_input(v0)
    h0 = model.hidden.sample(means, draws.at(Purpose.HIDDEN, 0), means)
    v1 = model.visible.sample(model.visible_input(h0), draws.at(Purpose.VISIBLE, 0))
    assert isinstance(v0, BitStates)
    assert isinstance(h0, BitStates)
    assert isinstance(v1, BitStates)
    rule = Rule(0.0, 0.5, 1e-4)
    parts: dict[str, Callable[[], object]] = {
        "binarize": lambda: binarized(images, index, 255.0, None, draws.at(Purpose.BINARIZE, 0)),
        "lists of v": lambda: BitStates(v0.bits, v0.units).lists,
        "lists of h": lambda: BitStates(h0.bits, h0.units).lists,
        "up": lambda: model.hidden_input(v0, above),
        "sample h": lambda: model.hidden.sample(above, draws.at(Purpose.HIDDEN, 0), above),
        "down": lambda: model.visible_input(h0, below),
        "sample v": lambda: model.visible.sample(below, draws.at(Purpose.VISIBLE, 0)),
        "mean h": lambda: model.hidden.mean(above),
        "update": lambda: model.link.update(Phase(v0, means), Phase(v1, means), rule, scratch),
        "means by unit": lambda: v0.mean_by_unit(),
    }
    print(f"on: visible {v0.density:.3f}, hidden {h0.density:.3f}")
    for name, function in parts.items():
        print(f"  {name:14} {microseconds(function):9.1f} us")


def density_table(model: Rbm, batch: int) -> None:
    """Microseconds of the way up by density: of bits, and as a dense product."""
    rng = np.random.default_rng(0)
    out = zeros((batch, model.hidden.ld))
    matrix, bias, hidden = model.link.padded_weights, model.hidden.bias, model.hidden.units
    most = _kernels.most_listed(batch, model.visible.units) / (batch * model.visible.units)
    print(f"\ndensity      bits     dense    (lists, and tables from {most:.2f})")
    for density in DENSITIES:
        values = rng.random((batch, model.visible.units)) < density
        states = BitStates.from_array(values.astype(np.float32))
        floats = states.floats()

        def bits(states: BitStates = states) -> None:
            model.hidden_input(BitStates(states.bits, states.units), out)

        def dense(states: BitStates = states, floats: np.ndarray = floats) -> None:
            _kernels.bits_to_floats(states.bits, states.units, floats)
            _kernels.multiply(floats, states.units, matrix, hidden, bias, out)

        times = [microseconds(function) for function in (bits, dense)]
        print(f"   {density:4.2f}" + "".join(f" {time:9.1f}" for time in times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--isa", default="")
    parser.add_argument("--mnist", default="mnist")
    options = parser.parse_args()
    _kernels.use_isa(options.isa)
    _kernels.set_threads(options.threads)
    dataset = open_source(options.mnist)
    model = Rbm.dense(dataset.image_shape, options.hidden)
    model.initialize(dataset.images.mean(axis=0, dtype=np.float64) / 255, None, Draws(0))
    model.hidden.bias[: options.hidden] = -1.0  # about a quarter of the units are on
    print(f"{_kernels.isa()}, {options.threads} threads, 784 x {options.hidden}, {options.batch}")
    step_table(model, dataset.images, options.batch)
    density_table(model, options.batch)


if __name__ == "__main__":
    main()

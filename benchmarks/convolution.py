"""Microseconds an image of each kernel that a convolutional machine takes in training.

python benchmarks/convolution.py [--isa NAME] [--data NAME] [--filters N] [--filter N] [--batch N]
    [--calls N]

The states are those of one CD-1 step, early (a fifth of the hidden units on) and late (one in
fifty); the numbers are for one thread and for two.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from rbmcli import _kernels
from rbmcli.arrays import padded, zeros
from rbmcli.draws import Draws, Purpose
from rbmcli.io.sources import open_source
from rbmcli.model.states import BitStates, binarized

POOL = 2


def microseconds(function: Callable[[], object], calls: int, threads: int) -> float:
    """The best call, which other programs disturbed least; of one thread, time of the processor."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    best = float("inf")
    for _ in range(calls):
        start = clock()
        function()
        best = min(best, clock() - start)
    return best * 1e6


def table(images: np.ndarray, filters: int, size: int, batch: int, bias: float, calls: int) -> None:
    """Parts of one CD-1 step, then the kernels for real-valued states."""
    height, width = images.shape[1:]
    positions = [(side - size + 1) // POOL * POOL for side in (height, width)]
    maps = (height, width, 1, size, size, filters, positions[0], positions[1])
    blocks = (positions[0], positions[1], filters, POOL)
    visible, hidden = height * width, positions[0] * positions[1] * filters
    draws, rng = Draws(0), np.random.default_rng(0)
    weights = zeros((size * size, padded(filters)))
    weights[:, :filters] = rng.normal(0, 0.02, (size * size, filters))
    above, below = zeros((padded(hidden),)), zeros((padded(visible),))
    above[:hidden] = bias
    below[:visible] = -1
    index = np.arange(batch)
    flat = images.reshape(len(images), -1)
    v0 = binarized(flat, index, 255.0, None, draws.at(Purpose.BINARIZE, 0))
    total, mean0, mean1 = (zeros((batch, padded(hidden))) for _ in range(3))
    h0, down = BitStates.empty(batch, hidden), zeros((batch, padded(visible)))
    _kernels.convolve(weights, maps, v0.bits, above, total)
    _kernels.pooled(total, blocks, mean0, h0.bits, draws.at(Purpose.HIDDEN, 0))
    # The reconstruction has the density and shape of images, as in a machine that is trained.
    v1 = binarized(flat, index, 255.0, None, draws.at(Purpose.BINARIZE, 1))
    _kernels.pooled(total, blocks, mean1, None, None)
    gradient = zeros(weights.shape)
    pooled_units = hidden // POOL**2
    pooled_bits = BitStates.empty(batch, pooled_units)
    pooled_means = zeros((batch, padded(pooled_units)))
    v_floats, h_floats, cumulants = v0.floats(), h0.floats(), np.zeros(batch)
    no_bits, no_floats, nothing = v0.bits[:0], v_floats[:0], mean0[:0]
    parts: dict[str, Callable[[], object]] = {
        "convolve, bits": lambda: _kernels.convolve(weights, maps, v0.bits, above, total),
        "pooled, drawn": lambda: _kernels.pooled(
            total, blocks, mean0, h0.bits, draws.at(Purpose.HIDDEN, 0)
        ),
        "pooled, means": lambda: _kernels.pooled(total, blocks, mean1, None, None),
        "deconvolve, bits": lambda: _kernels.deconvolve(weights, maps, h0.bits, below, down),
        "correlate, both": lambda: _kernels.correlate(
            maps, v0.bits, mean0, v1.bits, mean1, 0.01, -0.01, gradient
        ),
        "correlate, bits": lambda: _kernels.correlate(
            maps, v0.bits, mean0, no_bits, nothing, 0.01, 0.0, gradient
        ),
        "pooled_cumulant": lambda: _kernels.pooled_cumulant(total, blocks, cumulants),
        "pooled_means": lambda: _kernels.pooled_means(mean0, blocks, pooled_means),
        "pooled_bits": lambda: _kernels.pooled_bits(h0.bits, blocks, pooled_bits.bits),
        "convolve": lambda: _kernels.convolve(weights, maps, v_floats, above, total),
        "deconvolve": lambda: _kernels.deconvolve(weights, maps, h_floats, below, down),
        "correlate": lambda: _kernels.correlate(
            maps, v_floats, mean0, no_floats, nothing, 0.01, 0.0, gradient
        ),
    }
    work = 2e-3 * size * size * hidden  # billions of multiplications and additions an image, * 1e6
    print(f"\non: visible {v0.density:.3f}, hidden {h0.density:.3f}")
    for name, function in parts.items():
        times = []
        for threads in (1, 2):
            _kernels.set_threads(threads)
            times.append(microseconds(function, calls, threads) / batch)
        rate = (
            f"{work / times[0]:8.1f} GFLOP/s"
            if name in ("convolve", "deconvolve", "correlate")
            else ""
        )
        print(f"  {name:18} {times[0]:8.2f} {times[1]:8.2f} us {rate}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--isa", default="")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--filters", type=int, default=40)
    parser.add_argument("--filter", type=int, default=11)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--calls", type=int, default=100)
    options = parser.parse_args()
    _kernels.use_isa(options.isa)
    dataset = open_source(options.data)
    images = dataset.images.reshape(-1, *dataset.image_shape)
    print(f"{_kernels.isa()}, {options.filters} filters, batch {options.batch}; 1 and 2 threads")
    for bias in (0.0, -4.0):
        table(images, options.filters, options.filter, options.batch, bias, options.calls)


if __name__ == "__main__":
    main()

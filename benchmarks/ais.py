"""Time of annealed importance sampling: 100 chains, 14 500 temperatures, 784 x 500 binary units.

    python benchmarks/ais.py [--run RUN.h5] [--threads 2]

Plain numpy, in float32 with the products of its BLAS, walks along fewer temperatures of the same
machine, scaled up. Without --run the machine has random weights, made so that its units are on
about as often as those of one trained on MNIST.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHAINS, TEMPERATURES = 100, 14_500
VISIBLE, HIDDEN = 784, 500

Floats = NDArray[np.float32]


def machine(run: Path | None) -> Any:
    from rbmcli.cli.models import load_stack
    from rbmcli.io.runfile import RunReader
    from rbmcli.model.rbm import Rbm

    if run is not None:
        with RunReader(run) as reader:
            return load_stack(reader).top
    rng = np.random.default_rng(0)
    model = Rbm.dense((VISIBLE,), HIDDEN)
    model.load(
        {
            "weights": rng.normal(0, 0.1, (VISIBLE, HIDDEN)),
            "visible_bias": rng.normal(-3, 1, VISIBLE),
            "hidden_bias": rng.normal(-0.5, 0.5, HIDDEN),
        }
    )
    return model


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def plain_numpy(parameters: dict[str, Floats], reference: Floats, betas: list[float]) -> Floats:
    """The same walk, as one writes it down."""
    rng = np.random.default_rng(0)
    weights, b, c = (parameters[name] for name in ("weights", "hidden_bias", "visible_bias"))
    transposed = np.ascontiguousarray(weights.T)
    log_weight = np.zeros(CHAINS)
    shape = CHAINS, len(c)
    visible = (rng.random(shape, np.float32) < sigmoid(reference)).astype(np.float32)
    for before, after in pairwise(betas):
        total = visible @ weights + b
        log_weight += (after - before) * (visible @ (c - reference))
        log_weight += np.logaddexp(0, np.float32(after) * total).sum(axis=1)
        log_weight -= np.logaddexp(0, np.float32(before) * total).sum(axis=1)
        mean = sigmoid(np.float32(after) * total)
        hidden = (rng.random(mean.shape, np.float32) < mean).astype(np.float32)
        mean = sigmoid(
            np.float32(after) * (hidden @ transposed + c) + np.float32(1 - after) * reference
        )
        visible = (rng.random(shape, np.float32) < mean).astype(np.float32)
    return log_weight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="A run file with the machine to take.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--temperatures", type=int, default=TEMPERATURES)
    parser.add_argument("--numpy-temperatures", type=int, default=300)
    options = parser.parse_args()
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    wanted = dict.fromkeys(names, str(options.threads))
    if not wanted.items() <= os.environ.items():  # numpy has read them already: start anew
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)

    from rbmcli import _kernels
    from rbmcli.draws import Draws
    from rbmcli.inference.ais import log_partition
    from rbmcli.inference.annealing import Path as Annealing
    from rbmcli.inference.annealing import ladder

    _kernels.set_threads(options.threads)
    model = machine(options.run)
    path = Annealing(model, np.full(model.visible.units, 0.13))
    start = time.perf_counter()
    estimate = log_partition(path, ladder(options.temperatures), CHAINS, Draws(0))
    ours = time.perf_counter() - start
    print(f"{CHAINS} chains, {options.temperatures} temperatures, {options.threads} threads")
    print(f"  log Z {estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})")
    print(f"  rbm   {ours:8.1f} s", flush=True)

    betas = ladder(options.numpy_temperatures).tolist()
    parameters = {name: np.array(values) for name, values in model.parameters().items()}
    reference = path.reference[: model.visible.units]
    start = time.perf_counter()
    plain_numpy(parameters, reference, betas)
    seconds = (time.perf_counter() - start) * (options.temperatures - 1) / (len(betas) - 1)
    print(f"  numpy {seconds:8.1f} s (from {len(betas)}), {seconds / ours:.1f} times ours")


if __name__ == "__main__":
    main()

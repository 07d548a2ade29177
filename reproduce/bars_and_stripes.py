"""Exact likelihoods on bars and stripes: parallel tempering, PCD and CD-1 side by side.

python reproduce/bars_and_stripes.py [--updates N] [--seeds N] -o PICTURE.png

The 30 pictures of 4 x 4 whose rows, or whose columns, are each of one colour; 16 hidden units;
updates from 30 of 500 shuffled copies of them; learning rates that fall to 0. The best sum of
their log-likelihoods is 30 log(1 / 30) = -102.04. Prints, for each algorithm and rate, the median
over the seeds of the final sum, and draws each algorithm's best rate as training goes on.
"""

from __future__ import annotations

import argparse

import numpy as np

from rbmcli import _kernels
from rbmcli.inference.exact import log_likelihood
from rbmcli.learning.algorithm import Method
from rbmcli.learning.batch import Images
from rbmcli.learning.loop import EpochDone
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates

SIDE, HIDDEN = 4, 16
RATES = ("0.01:0", "0.02:0", "0.05:0")
METHODS = {
    "CD-1": Method("cd"),
    "PCD-1": Method("pcd"),
    "PT": Method("pt", temperatures=10),
}
#: Updates that count as an epoch, after which the likelihood is measured.
EPOCH = 500


def pictures() -> np.ndarray:
    """The distinct bars and stripes, (30, 16)."""
    lines = (np.arange(1 << SIDE)[:, np.newaxis] >> np.arange(SIDE) & 1).astype(np.uint8)
    bars = np.repeat(lines[:, np.newaxis, :], SIDE, axis=1)
    stripes = np.repeat(lines[:, :, np.newaxis], SIDE, axis=2)
    return np.unique(np.concatenate([bars, stripes]).reshape(-1, SIDE * SIDE), axis=0)


def curve(method: Method, rate: str, seed: int, updates: int) -> list[float]:
    """Summed exact log-likelihoods after each epoch."""
    data = pictures()
    states = BitStates.from_array(data)
    model = Rbm.dense((SIDE, SIDE), HIDDEN)
    hyperparameters = Hyperparameters(
        epochs=updates // EPOCH,
        batch_size=len(data),
        learning_rate=Schedule.parse(rate),
        momentum=Schedule.parse("0"),
        weight_decay=0.0,
        gibbs_steps=Schedule.parse("1"),
        method=method,
    )
    # As many copies of the pictures as there are updates in an epoch.
    images = Images(data, 1.0, np.tile(np.arange(len(data)), EPOCH))
    trainer = Trainer(model, images, None, hyperparameters, seed)
    trainer.initialize()
    return [
        log_likelihood(model, states).sum()
        for event in trainer.run()
        if isinstance(event, EpochDone)
    ]


def draw(best: dict[str, np.ndarray], path: str) -> None:
    """Medians, and the range from the first to the third quartile."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, curves in best.items():
        updates = EPOCH * np.arange(curves.shape[1])
        low, middle, high = np.quantile(curves, (0.25, 0.5, 0.75), axis=0)
        axes.plot(updates, middle, label=name)
        axes.fill_between(updates, low, high, alpha=0.2)
    axes.axhline(-102.04, color="grey", linestyle=":", label="the best there is")
    axes.set(ylim=(-160, -98), xlabel="updates", ylabel="log-likelihood of the 30 pictures")
    axes.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    """Run all, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("-o", "--output", required=True)
    options = parser.parse_args()
    _kernels.set_threads(1)  # the machines are too small for more
    best: dict[str, np.ndarray] = {}
    for name, method in METHODS.items():
        for rate in RATES:
            seeds = range(options.seeds)
            curves = np.array([curve(method, rate, seed, options.updates) for seed in seeds])
            final = np.sort(curves[:, -1])
            median = np.median(final)
            print(
                f"{name:6} {rate:7} {median:8.2f}  ({final[0]:.2f} to {final[-1]:.2f})", flush=True
            )
            if name not in best or median > np.median(best[name][:, -1]):
                best[name] = curves
    draw(best, options.output)


if __name__ == "__main__":
    main()

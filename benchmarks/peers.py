"""Seconds that an epoch of CD-1 takes elsewhere: `python peers.py NAME DATA HIDDEN BATCH`.

Each peer runs in a process of its own, is warmed up, gets float32 input and writes nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from rbmcli.io.sources import open_source


def images(source: str) -> np.ndarray:
    dataset = open_source(source)
    return dataset.images.astype(np.float32) / np.float32(dataset.scale)


def sklearn(data: np.ndarray, hidden: int, batch: int) -> float:
    """scikit-learn's BernoulliRBM (which runs persistent CD-1)."""
    from sklearn.neural_network import BernoulliRBM

    def fit(rows: np.ndarray) -> None:
        BernoulliRBM(hidden, batch_size=batch, n_iter=1, learning_rate=0.05, random_state=0).fit(
            rows
        )

    return timed(fit, data[: 10 * batch], data)


def torch(data: np.ndarray, hidden: int, batch: int) -> float:
    """CD-1 written plainly in PyTorch: sampled input, momentum, weight decay."""
    import torch

    torch.manual_seed(0)
    visible = data.shape[1]
    weights = 0.01 * torch.randn(visible, hidden)
    below, above = torch.zeros(visible), torch.zeros(hidden)
    velocity = [torch.zeros_like(x) for x in (weights, below, above)]

    def step(x: torch.Tensor) -> None:
        v0 = torch.bernoulli(x)
        p0 = torch.sigmoid(v0 @ weights + above)
        h0 = torch.bernoulli(p0)
        v1 = torch.bernoulli(torch.sigmoid(h0 @ weights.T + below))
        p1 = torch.sigmoid(v1 @ weights + above)
        gradients = (
            (v0.T @ p0 - v1.T @ p1) / len(x) - 1e-4 * weights,
            (v0 - v1).mean(0),
            (p0 - p1).mean(0),
        )
        for parameter, moving, gradient in zip(
            (weights, below, above), velocity, gradients, strict=True
        ):
            moving.mul_(0.5).add_(gradient, alpha=0.05)
            parameter.add_(moving)

    def epoch(rows: np.ndarray) -> None:
        everything = torch.from_numpy(rows)
        with torch.no_grad():
            for index in torch.randperm(len(rows)).split(batch):
                step(everything[index])

    return timed(epoch, data[: 10 * batch], data)


def products(data: np.ndarray, hidden: int, batch: int) -> float:
    """The five float32 matrix products of dense CD-1 and nothing else, in numpy."""
    visible = data.shape[1]
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((visible, hidden), np.float32)
    states = rng.random((batch, hidden), np.float32)
    rows = data[:batch]

    def epoch(steps: int) -> None:
        for _ in range(steps):
            rows @ weights
            states @ weights.T
            rows @ weights
            rows.T @ states
            rows.T @ states

    return timed(epoch, 10, len(data) // batch)


def timed(function: Callable, warm_up: object, argument: object) -> float:
    function(warm_up)
    start = time.perf_counter()
    function(argument)
    return time.perf_counter() - start


PEERS = {"scikit-learn": sklearn, "pytorch": torch, "products": products}

if __name__ == "__main__":
    name, source, hidden, batch = sys.argv[1:]
    print(PEERS[name](images(source), int(hidden), int(batch)))

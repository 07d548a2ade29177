"""Seconds that an epoch of CD-1 takes elsewhere: `python peers.py NAME DATA HIDDEN BATCH`.

Each peer runs in a process of its own, is warmed up, gets float32 input and writes nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

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


def torch(data: np.ndarray, hidden: int, batch: int, *, gaussian: bool = False) -> float:
    """CD-1 written plainly in PyTorch: sampled input, momentum, weight decay.

    gaussian: visible units of deviation 1, which take the input as it is.
    """
    import torch

    torch.manual_seed(0)
    visible, rate = data.shape[1], 0.0001 if gaussian else 0.05
    weights = 0.01 * torch.randn(visible, hidden)
    below, above = torch.zeros(visible), torch.zeros(hidden)
    velocity = [torch.zeros_like(x) for x in (weights, below, above)]

    def drawn(total: torch.Tensor) -> torch.Tensor:
        if gaussian:
            return total + torch.randn_like(total)
        return torch.bernoulli(torch.sigmoid(total))

    def step(x: torch.Tensor) -> None:
        v0 = x if gaussian else torch.bernoulli(x)
        p0 = torch.sigmoid(v0 @ weights + above)
        h0 = torch.bernoulli(p0)
        v1 = drawn(h0 @ weights.T + below)
        p1 = torch.sigmoid(v1 @ weights + above)
        gradients = (
            (v0.T @ p0 - v1.T @ p1) / len(x) - 1e-4 * weights,
            (v0 - v1).mean(0),
            (p0 - p1).mean(0),
        )
        for parameter, moving, gradient in zip(
            (weights, below, above), velocity, gradients, strict=True
        ):
            moving.mul_(0.5).add_(gradient, alpha=rate)
            parameter.add_(moving)

    def epoch(rows: np.ndarray) -> None:
        everything = torch.from_numpy(rows)
        with torch.no_grad():
            for index in torch.randperm(len(rows)).split(batch):
                step(everything[index])

    return timed(epoch, data[: 10 * batch], data)


def by_hand(data: np.ndarray, hidden: int, batch: int) -> float:
    """CD-1 written plainly in numpy: sampled input, momentum, weight decay."""
    visible = data.shape[1]
    rng = np.random.default_rng(0)
    weights = 0.01 * rng.standard_normal((visible, hidden), np.float32)
    below, above = np.zeros(visible, np.float32), np.zeros(hidden, np.float32)
    velocity = [np.zeros_like(x) for x in (weights, below, above)]

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    def draw(p: np.ndarray) -> np.ndarray:
        return (rng.random(p.shape, np.float32) < p).astype(np.float32)

    def step(x: np.ndarray) -> None:
        v0 = draw(x)
        p0 = sigmoid(v0 @ weights + above)
        v1 = draw(sigmoid(draw(p0) @ weights.T + below))
        p1 = sigmoid(v1 @ weights + above)
        gradients = (
            (v0.T @ p0 - v1.T @ p1) / np.float32(len(x)) - np.float32(1e-4) * weights,
            (v0 - v1).mean(0),
            (p0 - p1).mean(0),
        )
        for parameter, moving, gradient in zip(
            (weights, below, above), velocity, gradients, strict=True
        ):
            moving *= np.float32(0.5)
            moving += np.float32(0.05) * gradient
            parameter += moving

    def epoch(rows: np.ndarray) -> None:
        order = rng.permutation(len(rows))
        for start in range(0, len(rows), batch):
            step(rows[order[start : start + batch]])

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


PEERS = {
    "scikit-learn": sklearn,
    "pytorch": torch,
    "pytorch-gaussian": partial(torch, gaussian=True),
    "numpy": by_hand,
    "products": products,
}

if __name__ == "__main__":
    name, source, hidden, batch = sys.argv[1:]
    print(PEERS[name](images(source), int(hidden), int(batch)))

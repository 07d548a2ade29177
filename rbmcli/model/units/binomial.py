"""Binomial units: n binary replicas that share bias and weights, drawn as one count.

Teh and Hinton 2001, "Rate-coded restricted Boltzmann machines for face recognition".
"""

from __future__ import annotations

from math import comb, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, to_padded, zeros
from rbmcli.draws import Draw
from rbmcli.model.states import FloatStates, States
from rbmcli.model.units.bernoulli import Bernoulli
from rbmcli.model.units.kind import KernelKind, middles

_ONE = Bernoulli()


class Binomial(KernelKind):
    """Counts from 0 to n: Binomial(n, sigmoid(x))."""

    kernels = _kernels.Kind("binomial")
    is_drawn_from_data = True
    when_cut = "rounded"
    may_be_counts = True

    def __init__(self, n: int) -> None:
        self.n = n
        self.name = f"binomial:{n}"
        self.activation = f"{n} * sigmoid"
        self.valid_range = (0.0, float(n))
        self.group_states = np.arange(n + 1, dtype=np.float32)[:, np.newaxis]
        self._log_ways = np.array([log(comb(n, k)) for k in range(n + 1)])

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return self.n * _ONE.define_mean(total)

    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:
        """By inversion: the number of k whose cumulative probability the uniform reaches."""
        counts = np.arange(self.n)
        exponents = counts * total[..., np.newaxis] + self._log_ways[:-1]
        log_p = exponents - self.define_cumulant(total)[..., np.newaxis]
        cumulative = np.cumsum(np.exp(log_p), axis=-1)
        return (middles(uniforms)[..., np.newaxis] >= cumulative).sum(axis=-1).astype(total.dtype)

    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return self.n * _ONE.define_cumulant(total)

    def define_log_base(self, states: NDArray[Any]) -> NDArray[Any]:
        """Logarithm of the ways to choose which replicas are on; between counts, interpolated."""
        return np.interp(states, np.arange(self.n + 1), self._log_ways)

    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return _ONE.bias_from_mean(mean / self.n)

    def log_base(self, states: States) -> Doubles:  # noqa: D102
        out = np.empty(states.rows)
        _kernels.sum_tabulated(states.floats(), states.units, self._log_ways, out)
        return out

    @property
    def takes(self) -> str:
        """Fractions or counts."""
        return f"0 to 1, or counts from 0 to {self.n}"

    def reading(
        self, largest: float, scale: float, binarize: str, counts: bool | None = None
    ) -> tuple[str, float]:
        """Counts where the largest stored value is above 1 and no more than n; else fractions."""
        if counts or (counts is None and 1 < largest <= self.n):
            return "none", 1.0
        return binarize, scale / self.n

    def from_data(  # noqa: D102
        self,
        images: NDArray[Any],
        index: NDArray[np.int64],
        scale: float,
        binarize: str,
        draw: Draw,
    ) -> States:
        # In float64, whose quotient rounds to n itself where a fraction is 1.
        states = FloatStates(to_padded(images[index].astype(np.float64) / scale), images.shape[1])
        counts = states.values[:, : states.units]
        if binarize == "threshold":
            np.rint(counts, out=counts)
        if binarize != "sample":
            return states
        fraction = counts / np.float32(self.n)
        with np.errstate(divide="ignore"):
            total = np.log(fraction) - np.log1p(-fraction)
        padded = zeros(states.values.shape)
        padded[:, : states.units] = np.clip(total, -100, 100)  # beyond, the draw is certain
        return self.sample(padded, states.units, draw)

"""Rectified units: infinitely many binary replicas with biases -0.5, -1.5, -2.5, ... lower.

Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines". The number n
of replicas that are on has probability proportional to
    exp(n x - n^2 / 2) / product over k = 1 .. n of (1 - exp(-k)),
by the q-binomial theorem with q = 1 / e, so its sampler, cumulant and free energy can be exact. The
paper draws max(0, x + N(0, sigmoid(x))) instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats
from rbmcli.model.states import FloatStates, States
from rbmcli.model.units.gaussian import define_normals, half_squares
from rbmcli.model.units.kind import KernelKind, UnitKind, middles

#: Replicas whose biases lie further than this below the total input are as good as always off.
_REACH = 40
#: The sum over k = 1 .. n of log(1 - exp(-k)), for n = 0 .. _REACH, beyond which it stays.
_LOG_PRODUCT = np.cumsum([0.0, *np.log(-np.expm1(-np.arange(1.0, _REACH + 1)))])


class Nrelu(KernelKind):
    """Rectified units, drawn as the paper does (the default) or exactly."""

    valid_range = (0.0, np.inf)
    activation = "relu"
    quadratic = True

    def __init__(self, *, exact: bool = False) -> None:
        self.name = "nrelu:exact" if exact else "nrelu"
        self.kernels = _kernels.Kind(self.name)
        self.exact = exact

    @property
    def of_model(self) -> UnitKind:
        """The exact kind, which the paper's sampler approximates."""
        return self if self.exact else Nrelu(exact=True)

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:
        """The sum over the replicas of sigmoid(x - i + 0.5), i = 1, 2, ...."""
        return np.exp(-np.logaddexp(0, -self._replicas(total))).sum(axis=-1)

    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:
        """By inversion of the number of replicas that are on; or as the paper says."""
        if not self.exact:
            noise = np.exp(-0.5 * np.logaddexp(0, -total)) * define_normals(uniforms)
            return np.maximum(0, total + noise).astype(total.dtype)
        counts = np.arange(max(0, int(np.ceil(total.max()))) + _REACH)
        log_p = counts * total[..., np.newaxis] + self.define_log_base(counts)
        log_p -= self.define_cumulant(total)[..., np.newaxis]
        cumulative = np.cumsum(np.exp(log_p), axis=-1)
        return (middles(uniforms)[..., np.newaxis] >= cumulative).sum(axis=-1).astype(total.dtype)

    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.logaddexp(0, self._replicas(total)).sum(axis=-1)

    def define_log_base(self, states: NDArray[Any]) -> NDArray[Any]:
        """In between whole numbers, which only the paper's sampler reaches, interpolated."""
        return -states * states / 2 - np.interp(states, np.arange(_REACH + 1), _LOG_PRODUCT)

    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        """The inverse of softplus, which the mean is close to."""
        kept = np.maximum(mean, 0.001)
        return kept + np.log(-np.expm1(-kept))

    def log_base(self, states: States) -> Doubles:  # noqa: D102
        out = np.empty(states.rows)
        _kernels.sum_tabulated(states.floats(), states.units, _LOG_PRODUCT, out)
        return -half_squares(states) - out

    def fed(self, total: Floats, units: int, out: Floats) -> FloatStates:
        """max(0, x): without biases, scaling the input scales what the layer above is fed."""
        np.maximum(total, 0, out=out)
        return FloatStates(out, units)

    def _replicas(self, total: NDArray[Any]) -> NDArray[Any]:
        count = max(0, int(np.ceil(np.max(total, initial=0)))) + _REACH
        return total[..., np.newaxis] - np.arange(count) - 0.5

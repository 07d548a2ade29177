"""Gaussian units, of unit variance within their layer.

Where units have standard deviations, learned (`gaussian:learned`) or given (`gaussian:0.5`), states
inside the machine are v / sigma, which have unit variance again; `rbmcli.model.layer` goes between
the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles
from rbmcli.model.states import States
from rbmcli.model.units.kind import KernelKind, UnitKind, middles

#: Standard deviations stay within these, so that none that is learned collapses onto a datum.
SIGMA_RANGE = (0.05, 20.0)
HALF_LOG_TAU = 0.5 * float(np.log(2 * np.pi))


def define_normals(uniforms: NDArray[Any]) -> NDArray[np.float64]:
    """Standard normal draws by inversion."""
    from statistics import NormalDist

    quantile = np.vectorize(NormalDist().inv_cdf, otypes=[np.float64])
    return quantile(middles(uniforms))


def half_squares(states: States) -> Doubles:
    """The sum over the units of s^2 / 2, float64 (rows,)."""
    values = states.floats()[:, : states.units].astype(np.float64)
    return 0.5 * np.einsum("ru,ru->r", values, values)


class Gaussian(KernelKind):
    """Real values: normal with mean x and variance 1; the base measure is exp(-s^2 / 2)."""

    kernels = _kernels.Kind("gaussian")
    valid_range = (-np.inf, np.inf)
    activation = "identity"
    quadratic = True
    squared_energy = True

    def __init__(self, sigma: float | None = None, *, learned: bool = False) -> None:
        self.name = "gaussian:learned" if learned else "gaussian"
        self.has_sigma = learned
        if sigma is not None and sigma != 1:
            self.name, self.has_sigma, self.given_sigma = f"gaussian:{sigma:g}", True, sigma

    @property
    def without_sigma(self) -> UnitKind:
        """Unit variance."""
        return Gaussian() if self.has_sigma else self

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return total.copy()

    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return (total + define_normals(uniforms)).astype(total.dtype)

    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return total * total / 2 + HALF_LOG_TAU

    def define_log_base(self, states: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return -states * states / 2

    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.array(mean, copy=True)

    def log_base(self, states: States) -> Doubles:  # noqa: D102
        return -half_squares(states)

"""Unit kinds: one entry each, and the table of them.

An entry says all that the rest of the house asks of a kind. The methods named `define_*` are its
definition, in plain numpy on arrays of any shape; the tests hold the kernels to them. The others
do the same by kernel on padded matrices (rows, ld).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats
from rbmcli.draws import Draw
from rbmcli.model.states import BitStates, FloatStates, States


class UnitKind(ABC):
    """A kind of stochastic unit, given its total input x from bias and connected units."""

    #: How the command line and run files call it.
    name: ClassVar[str]
    #: Least and greatest value that a datum of this kind may have.
    valid_range: ClassVar[tuple[float, float]]

    @abstractmethod
    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:
        """Expected state given the total input."""

    @abstractmethod
    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:
        """State drawn with uniforms in [0, 1) of the same shape."""

    @abstractmethod
    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:
        """Log-partition function; its derivative is the mean."""

    @abstractmethod
    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        """The bias at which an unconnected unit has (about) this mean."""

    @abstractmethod
    def mean(self, total: Floats, units: int, out: Floats) -> FloatStates:
        """Means into `out` (may be `total`)."""

    @abstractmethod
    def sample(
        self, total: Floats, units: int, draw: Draw, mean_out: Floats | None = None
    ) -> States:
        """Drawn states; the means as well where `mean_out` (may be `total`) is given."""

    @abstractmethod
    def add_cumulant(self, total: Floats, units: int, out: Doubles) -> None:
        """out (rows,) += each row's cumulants summed over its units."""


class Bernoulli(UnitKind):
    """Binary units: on with probability sigmoid(x)."""

    name = "bernoulli"
    valid_range = (0.0, 1.0)

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.exp(-np.logaddexp(0, -total))

    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return (uniforms < self.define_mean(total)).astype(total.dtype)

    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.logaddexp(0, total)

    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        """The logit, of means kept away from 0 and 1 so that it stays finite."""
        kept = np.clip(mean, 0.001, 0.999)
        return np.log(kept / (1 - kept))

    def mean(self, total: Floats, units: int, out: Floats) -> FloatStates:  # noqa: D102
        _kernels.bernoulli(total, units, out, None, None)
        return FloatStates(out, units)

    def sample(  # noqa: D102
        self, total: Floats, units: int, draw: Draw, mean_out: Floats | None = None
    ) -> BitStates:
        states = BitStates.empty(total.shape[0], units)
        _kernels.bernoulli(total, units, mean_out, states.bits, draw)
        return states

    def add_cumulant(self, total: Floats, units: int, out: Doubles) -> None:  # noqa: D102
        _kernels.bernoulli_cumulant(total, units, out)


#: Every kind, by name.
KINDS: dict[str, UnitKind] = {kind.name: kind for kind in (Bernoulli(),)}

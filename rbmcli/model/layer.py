"""A layer: units of one kind, with their biases."""

from __future__ import annotations

import math

import numpy as np

from rbmcli.arrays import Doubles, Floats, padded, zeros
from rbmcli.draws import Draw
from rbmcli.model.states import FloatStates, States
from rbmcli.model.units import UnitKind


class Layer:
    """Units of one kind and their biases.

    `shape` is how a state is shown, such as (28, 28); `units` its number of units. `bias` and
    `velocity` are float32 (padded units,).
    """

    def __init__(self, kind: UnitKind, shape: tuple[int, ...]) -> None:
        self.kind = kind
        self.shape = shape
        self.units = math.prod(shape)
        self.ld = padded(self.units)
        self.bias: Floats = zeros((self.ld,))
        self.velocity: Floats = zeros((self.ld,))

    def mean(self, total: Floats) -> FloatStates:
        """Expected states given total inputs (rows, ld), which are overwritten."""
        return self.kind.mean(total, self.units, total)

    def sample(self, total: Floats, draw: Draw, mean_out: Floats | None = None) -> States:
        """States drawn given total inputs (rows, ld); means as well where `mean_out` is given."""
        return self.kind.sample(total, self.units, draw, mean_out)

    def cumulant(self, total: Floats) -> Doubles:
        """Sum over the units of the log-partition function, float64 (rows,)."""
        out = np.zeros(total.shape[0])
        self.kind.add_cumulant(total, self.units, out)
        return out

    def step_bias(self, gradient: Floats, rate: float, momentum: float) -> bool:
        """One step of the update rule, without decay; True if the biases are finite."""
        velocity, bias = self.velocity[: self.units], self.bias[: self.units]
        velocity *= np.float32(momentum)
        velocity += np.float32(rate) * gradient
        bias += velocity
        return bool(np.isfinite(bias).all())

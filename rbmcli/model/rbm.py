"""The machine: a visible layer, a hidden layer and the link between them.

Energy of binary units (Smolensky 1986; Hinton 2002), c visible and b hidden biases:
    E(v, h) = -c'v - b'h - v'Wh
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats, zeros
from rbmcli.draws import Draws, Purpose
from rbmcli.model.layer import Layer
from rbmcli.model.link import DenseLink
from rbmcli.model.states import States
from rbmcli.model.units import KINDS

#: Standard deviation of the initial weights (Hinton 2012, "A practical guide to training RBMs",
#: section 8).
INITIAL_WEIGHT = 0.01


class Rbm:
    """A Restricted Boltzmann Machine with all that training changes in it."""

    def __init__(self, visible: Layer, hidden: Layer, link: DenseLink) -> None:
        self.visible = visible
        self.hidden = hidden
        self.link = link

    @staticmethod
    def dense(
        visible_shape: tuple[int, ...],
        hidden: int,
        visible_kind: str = "bernoulli",
        hidden_kind: str = "bernoulli",
    ) -> Rbm:
        """A machine with all parameters zero."""
        below = Layer(KINDS[visible_kind], visible_shape)
        above = Layer(KINDS[hidden_kind], (hidden,))
        return Rbm(below, above, DenseLink(below.units, above.units))

    def initialize(self, data_mean: NDArray[Any], draws: Draws) -> None:
        """Small random weights, and visible biases at which the units have the data's means."""
        normal = draws.generator(Purpose.WEIGHTS).standard_normal(
            (self.visible.units, self.hidden.units), np.float32
        )
        self.link.set_weights(np.float32(INITIAL_WEIGHT) * normal)
        self.visible.bias[: self.visible.units] = self.visible.kind.bias_from_mean(data_mean)

    def hidden_input(self, visible: States, out: Floats | None = None) -> Floats:
        """Total inputs of the hidden units, float32 (rows, ld of hidden)."""
        if out is None:
            out = zeros((visible.rows, self.hidden.ld))
        return self.link.up(visible, self.hidden.bias, out)

    def visible_input(self, hidden: States, out: Floats | None = None) -> Floats:
        """Total inputs of the visible units, float32 (rows, ld of visible)."""
        if out is None:
            out = zeros((hidden.rows, self.visible.ld))
        return self.link.down(hidden, self.visible.bias, out)

    def filters(self) -> Floats:
        """Each hidden unit's weights, shown like an image: float32 (hidden, *visible shape)."""
        return self.link.filters(self.visible.shape)

    def parameters(self) -> dict[str, NDArray[Any]]:
        """The parameters by their names in files; views, not copies."""
        return {
            "weights": self.link.weights,
            "visible_bias": self.visible.bias[: self.visible.units],
            "hidden_bias": self.hidden.bias[: self.hidden.units],
        }

    def velocities(self) -> dict[str, NDArray[Any]]:
        """The velocities of the same names; views, not copies."""
        return {
            "weights": self.link.velocity[:, : self.hidden.units],
            "visible_bias": self.visible.velocity[: self.visible.units],
            "hidden_bias": self.hidden.velocity[: self.hidden.units],
        }

    def load(
        self,
        parameters: Mapping[str, NDArray[Any]],
        velocities: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Take over parameters, and velocities where given, by their names in files."""
        self.link.set_weights(parameters["weights"])
        for name in ("visible_bias", "hidden_bias"):
            self.parameters()[name][:] = parameters[name]
        for name, values in (velocities or {}).items():
            self.velocities()[name][:] = values

"""The way down from one level of a stack to the next, where it was trained apart from the way up.

Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets", section 5: after
up-down, a machine's weights recognise, and these generate.
"""

from __future__ import annotations

import copy
from typing import Any

from numpy.typing import NDArray

from rbmcli.arrays import Floats, zeros
from rbmcli.model.layer import Layer
from rbmcli.model.links import DenseLink
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States


class WayDown:
    """Directed connections from hidden to visible units.

    `visible` holds the visible units with their generative biases. `link` leads from the hidden
    units, on its visible side, to them.
    """

    def __init__(self, visible: Layer, hidden: int) -> None:
        self.visible = visible
        self.link = DenseLink(hidden, visible.units)

    @staticmethod
    def of(model: Rbm) -> WayDown:
        """A machine's own way down, copied."""
        way = WayDown(Layer(model.visible.kind, model.visible.shape), model.hidden.units)
        for name, values in model.visible.parameters.items():
            way.visible.parameters[name][:] = values
        way.visible.refresh()
        way.link.set_weights(model.link.weights.T)
        return way

    @property
    def of_model(self) -> WayDown:
        """The same, its units drawn as the model says (`UnitKind.of_model`)."""
        exact = copy.copy(self)
        exact.visible = self.visible.of_model
        return exact

    def copied(self) -> WayDown:
        """The same parameters without velocities, sharing nothing."""
        way = WayDown(Layer(self.visible.kind, self.visible.shape), self.link.visible)
        way.visible.bias[:] = self.visible.bias
        way.link.set_weights(self.link.weights)
        return way

    def visible_input(self, hidden: States) -> Floats:
        """Total inputs of the visible units, float32 (rows, ld of visible)."""
        out = zeros((hidden.rows, self.visible.ld))
        return self.link.up(hidden, self.visible.bias, out)

    def parameters(self) -> dict[str, NDArray[Any]]:
        """ "weights" (visible, hidden) and "visible_bias", as a machine's are named; views."""
        bias = self.visible.parameters["bias"][: self.visible.units]
        return {"weights": self.link.weights.T, "visible_bias": bias}

    def velocities(self) -> dict[str, NDArray[Any]]:
        """The velocities of the same names; views, not copies."""
        bias = self.visible.velocities["bias"][: self.visible.units]
        return {"weights": self.link.velocity[:, : self.visible.units].T, "visible_bias": bias}

    def filters(self) -> Floats:
        """What each hidden unit adds to the visible ones, float32 (hidden, *visible shape)."""
        return self.patterns().reshape(-1, *self.visible.shape)

    def patterns(self) -> Floats:
        """The same flat, (hidden, visible units)."""
        return self.link.weights

    def projected(self, hidden: States) -> Floats:
        """What the link adds to the visible units' total inputs, float32 (rows, units)."""
        out = zeros((hidden.rows, self.visible.ld))
        self.link.up(hidden, zeros((self.visible.ld,)), out)
        return out[:, : self.visible.units]

"""Machines at inverse temperatures, from independent units at 0 to the machine itself at 1.

On the way, weights and hidden biases are scaled by beta and natural visible biases are
(1 - beta) c0 + beta c, the base measures staying as they are (Salakhutdinov and Murray 2008, "On
the quantitative analysis of deep belief networks", section 4.1, whose base-rate machine has the
data's means at beta = 0). Then
    log p*_beta(v, h) = base(v) + base(h) + c0'v + beta u(v, h),
    u(v, h) = (c - c0)'v + b'h + v'Wh.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles, Floats
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States


class Tempered:
    """A machine at an inverse temperature for each row; total inputs are asked for as of an Rbm.

    reference: c0, natural visible biases, float32 (padded visible units,).
    beta: float (rows,), or one number for all rows.
    """

    def __init__(self, model: Rbm, reference: Floats, beta: NDArray[np.float64] | float) -> None:
        self.model = model
        self.reference = reference
        self.at(beta)

    @property
    def visible(self) -> Layer:
        """The visible layer: how its units are drawn, not their bias."""
        return self.model.visible

    @property
    def hidden(self) -> Layer:
        """The hidden layer: how its units are drawn, not their bias."""
        return self.model.hidden

    def at(self, beta: NDArray[np.float64] | float) -> None:
        """Go to other inverse temperatures."""
        self._beta = np.asarray(beta, np.float32)
        if self._beta.ndim:
            self._beta = self._beta[:, np.newaxis]

    def scale(self, total: Floats, out: Floats) -> Floats:
        """The hidden units' total inputs at beta = 1, scaled by each row's beta, into `out`."""
        return np.multiply(total, self._beta, out=out)

    def hidden_input(self, visible: States, out: Floats | None = None) -> Floats:
        """Total inputs of the hidden units, float32 (rows, ld of hidden)."""
        total = self.model.hidden_input(visible, out)
        return self.scale(total, total)

    def visible_input(self, hidden: States, out: Floats | None = None) -> Floats:
        """Total inputs of the visible units, float32 (rows, ld of visible)."""
        total = self.model.visible_input(hidden, out)
        total *= self._beta
        total += (1 - self._beta) * self.reference
        return total

    def exponent(self, visible: States, hidden: States, total: Floats) -> Doubles:
        """u(v, h), float64 (rows,); total: the hidden units' total inputs at beta = 1."""
        own = visible.dot(self.model.visible.bias - self.reference)
        return own + np.einsum("ru,ru->r", hidden.floats(), total, dtype=np.float64)

"""Machines at inverse temperatures, from independent units at 0 to the machine itself at 1.

On the way, weights and hidden biases are scaled by beta and natural visible biases are
(1 - beta) c0 + beta c, the base measures staying as they are (Salakhutdinov and Murray 2008, "On
the quantitative analysis of deep belief networks", section 4.1, whose base-rate machine has the
data's means at beta = 0). Then
    log p*_beta(v, h) = base(v) + base(h) + c0'v + beta u(v, h),
    u(v, h) = (c - c0)'v + b'h + v'Wh.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States

#: An inverse temperature for each row, or one for all.
Betas = NDArray[np.floating[Any]] | float


class Tempered:
    """A machine at an inverse temperature for each row; total inputs are asked for as of an Rbm.

    reference: c0, natural visible biases, float32 (padded visible units,).
    beta: float (rows,), or one number for all rows.
    """

    def __init__(
        self, model: Rbm, reference: Floats, beta: NDArray[np.floating[Any]] | float
    ) -> None:
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

    def at(self, beta: Betas) -> None:
        """Go to other inverse temperatures; a float32 array is read anew each time."""
        self._beta = np.atleast_1d(np.asarray(beta, np.float32))

    def scale(self, total: Floats, out: Floats) -> Floats:
        """The hidden units' total inputs at beta = 1, scaled by each row's beta, into `out`."""
        if out is not total:
            np.copyto(out, total)
        _kernels.temper(out, self._beta)
        return out

    def hidden_input(self, visible: States, out: Floats | None = None) -> Floats:
        """Total inputs of the hidden units, float32 (rows, ld of hidden)."""
        total = self.model.hidden_input(visible, out)
        return self.scale(total, total)

    def visible_input(self, hidden: States, out: Floats | None = None) -> Floats:
        """Total inputs of the visible units, float32 (rows, ld of visible)."""
        total = self.model.visible_input(hidden, out)
        _kernels.temper(total, self._beta, self.reference)
        return total

    def exponent(self, visible: States, hidden: States, total: Floats) -> Doubles:
        """u(v, h), float64 (rows,); total: the hidden units' total inputs at beta = 1."""
        own = visible.dot(self.model.visible.bias - self.reference)
        return own + np.einsum("ru,ru->r", hidden.floats(), total, dtype=np.float64)

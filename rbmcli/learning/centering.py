"""Centred gradients: the gradient of a machine whose states are counted from offsets.

Montavon and Mueller 2012, "Deep Boltzmann machines and the centering trick"; Melchior, Fischer and
Wiskott 2016, "How to center deep Boltzmann machines", equations 8 to 10. With offsets m of the
visible and l of the hidden units,
    dW = <(v - m)(h - l)'>_data - <(v - m)(h - l)'>_model
    dc = <v>_data - <v>_model - dW l,    db = <h>_data - <h>_model - dW' m
are steps for the ordinary parameters: only the direction of learning changes, not the energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats, zeros
from rbmcli.model.link import Correction, Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import FloatStates

#: How fast offsets follow the means of the batches.
SLIDE = np.float32(0.01)
#: Updates for which the products of penalties and offsets are kept: they take a pass over all
#: weights and hardly change.
REFRESH = 16


class Centering:
    """Offsets that follow the data's means, float32 (padded units,); state of the trainer."""

    def __init__(self, model: Rbm, data_mean: NDArray[Any]) -> None:
        self._model = model
        self.visible: Floats = zeros((model.visible.ld,))
        self.hidden: Floats = zeros((model.hidden.ld,))
        #: P l and P' m of the rule's penalties, and updates since the beginning.
        self.penalties: tuple[Floats, Floats] = (
            np.zeros(model.visible.units, np.float32),
            np.zeros(model.hidden.units, np.float32),
        )
        self.age = 0
        self._left: Floats = zeros((2, model.visible.ld))
        self._right: Floats = zeros((2, model.hidden.ld))
        self.start(data_mean)

    def start(self, data_mean: NDArray[Any]) -> None:
        """Begin at the data's mean (visible units,), and at the hidden biases' own.

        Offsets are of states, which are data / sigma where the model learns deviations.
        """
        visible, hidden = self._model.visible, self._model.hidden
        self.visible[: visible.units] = data_mean / visible.sigma
        hidden.kind.mean(hidden.bias[np.newaxis], hidden.units, self.hidden[np.newaxis])

    def follow(self, visible_mean: Floats, hidden_mean: Floats) -> None:
        """Move towards the means (units,) of the data in a batch."""
        for offset, mean in ((self.visible, visible_mean), (self.hidden, hidden_mean)):
            known = offset[: len(mean)]
            known += SLIDE * (mean - known)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs, by name; arrays are views."""
        return {
            "visible": self.visible,
            "hidden": self.hidden,
            "penalty/visible": self.penalties[0],
            "penalty/hidden": self.penalties[1],
            "age": self.age,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from an earlier state."""
        self.age = int(state["age"])
        for name, values in self.state().items():
            if name != "age":
                values[:] = state[name]

    def weight_terms(self, visible: Floats, hidden: Floats) -> Correction:
        """(left, right) so that left' right turns the plain into the centred gradient of weights.

        visible, hidden: data minus model means, (units,). left: (2, ld visible).
        """
        self._left[0], self._left[1, : len(visible)] = self.visible, visible
        np.negative(hidden, out=self._right[0, : len(hidden)])
        np.negative(self.hidden, out=self._right[1])
        return Correction(self._left, self._right)

    def bias_terms(
        self, positive: Phase, negative: Phase, visible: Floats, hidden: Floats, rule: Rule
    ) -> tuple[Floats, Floats]:
        """(-dW l, -dW' m), (visible units,) and (hidden units,).

        dW is the centred gradient with the rule's penalties: without these, learning would come to
        rest where the means of data and machine differ. `weight_terms` must have been asked for.
        """
        if self.age % REFRESH == 0:
            products = self._model.link.penalty_products(rule, self.visible, self.hidden)
            self.penalties[0][:], self.penalties[1][:] = products
        self.age += 1
        up, down = (penalty.copy() for penalty in self.penalties)
        for phase, sign in ((positive, np.float32(1)), (negative, np.float32(-1))):
            means = FloatStates(phase.hidden, len(hidden))
            up -= sign * phase.visible.weighted_mean_by_unit(_single(means.dot(self.hidden)))
            down -= sign * means.weighted_mean_by_unit(_single(phase.visible.dot(self.visible)))
        # `weight_terms` has left the rows m and visible, -hidden and -l there.
        mm, vm = _products(self._left, self.visible)
        hl, ll = _products(self._right, self.hidden)
        up -= self.visible[: len(visible)] * hl + visible * ll
        down += self.hidden[: len(hidden)] * vm + hidden * mm
        return up, down

    def make_up_for(self, weights: Floats, velocity: Floats) -> None:
        """Let biases and their velocities follow where others than the gradient changed weights.

        weights, velocity: what was added to them, (visible, hidden units). The biases of centred
        states then stay as they are: as dW above, a change D adds -D l and -D' m to plain ones.
        """
        (below, above), (moved_below, moved_above) = map(self.terms_of, (weights, velocity))
        self._model.visible.shift(below, moved_below)
        self._model.hidden.shift(above, moved_above)

    def terms_of(self, change: Floats) -> tuple[Floats, Floats]:
        """What a change D of the weights (visible, hidden units) adds to biases: -D l, -D' m."""
        visible, hidden = self._model.visible.units, self._model.hidden.units
        return (
            -np.einsum("vh,h->v", change, self.hidden[:hidden]),
            -np.einsum("vh,v->h", change, self.visible[:visible]),
        )

    def terms_of_outer(self, left: Floats, right: Floats) -> tuple[Floats, Floats]:
        """The same for D = left right', (visible units,) and (hidden units,)."""
        below = np.multiply(left, self.visible[: len(left)], dtype=np.float64).sum()
        above = np.multiply(right, self.hidden[: len(right)], dtype=np.float64).sum()
        return -left * np.float32(above), -right * np.float32(below)


def _single(values: Doubles) -> Floats:
    return values.astype(np.float32)


def _products(rows: Floats, vector: Floats) -> Floats:
    out = np.empty(len(rows))
    _kernels.dot_rows(rows, vector, out)
    return _single(out)

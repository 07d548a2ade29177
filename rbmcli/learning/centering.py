"""Centred gradients: the gradient of a machine whose states are counted from offsets.

Montavon and Mueller 2012, "Deep Boltzmann machines and the centering trick"; Melchior, Fischer and
Wiskott 2016, "How to center deep Boltzmann machines", equations 8 to 10. With offsets m of the
visible and l of the hidden units,
    dW = <(v - m)(h - l)'>_data - <(v - m)(h - l)'>_model
    dc = <v>_data - <v>_model - dW l,    db = <h>_data - <h>_model - dW' m
are steps for the ordinary parameters: only the direction of learning changes, not the energy.

Where filters move over an image and a bias is shared by a whole map, visible offsets are shared by
a channel, and hidden ones are 0: W l differs from pixel to pixel at the border, which no shared
bias can make up for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats, put, zeros
from rbmcli.model.links import CenteringTerms, Correction, Rule
from rbmcli.model.rbm import Rbm

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

        Offsets are of states, which are data / sigma where units have deviations.
        """
        visible, hidden = self._model.visible, self._model.hidden
        self.visible[: visible.units] = visible.shared(data_mean / visible.sigma)
        if self._model.link.centers_hidden:
            hidden.kind.mean(hidden.bias[np.newaxis], hidden.units, self.hidden[np.newaxis])

    def follow(self, visible_mean: Floats, hidden_mean: Floats) -> None:
        """Move towards the means (units,) of the data in a batch."""
        moving = [(self.visible, self._model.visible.shared(visible_mean))]
        if self._model.link.centers_hidden:
            moving.append((self.hidden, hidden_mean))
        for offset, mean in moving:
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
                put(values, state[name], f"offset/{name}")

    def weight_terms(self, visible: Floats, hidden: Floats) -> Correction:
        """(left, right) so that left' right turns the plain into the centred gradient of weights.

        visible, hidden: data minus model means, (units,). left: (2, ld visible).
        """
        self._left[0], self._left[1, : len(visible)] = self.visible, visible
        np.negative(hidden, out=self._right[0, : len(hidden)])
        np.negative(self.hidden, out=self._right[1])
        return Correction(self._left, self._right)

    def terms(self, rule: Rule) -> CenteringTerms:
        """What a kernel needs for a whole step, after which `age` is one more."""
        link = self._model.link
        return CenteringTerms(
            self.visible,
            self.hidden,
            *self.penalties,
            float(SLIDE),
            link.centers_hidden,
            bool(self.refreshes(rule, 1)[0]),
        )

    def refreshes(self, rule: Rule, steps: int) -> NDArray[np.uint8]:
        """Which of the next steps have to make the products of penalties anew; none are zero."""
        due = (self.age + np.arange(steps)) % REFRESH == 0
        if not rule.decay and due.any():
            for penalty in self.penalties:
                penalty[:] = 0
        return (due & (rule.decay != 0)).astype(np.uint8)

    def bias_terms(self, gradient: Any, rule: Rule) -> tuple[Floats, Floats]:
        """(-dW l, -dW' m), (visible units,) and (hidden units,).

        gradient: of the link, centred; dW is it with the rule's penalties: without these, learning
        would come to rest where the means of data and machine differ.
        """
        if self.age % REFRESH == 0:
            products = self._model.link.penalty_products(rule, self.visible, self.hidden)
            self.penalties[0][:], self.penalties[1][:] = products
        self.age += 1
        up, down = (penalty.copy() for penalty in self.penalties)
        for above, below in self._model.link.products(gradient, self.visible, self.hidden):
            up -= above
            down -= below
        return up, down

    def make_up_for(self, weights: Floats, velocity: Floats) -> None:
        """Let biases and their velocities follow where others than the gradient changed weights.

        weights, velocity: what was added to them, in the link's form. The biases of centred
        states then stay as they are: as dW above, a change D adds -D l and -D' m to plain ones.
        """
        (below, above), (moved_below, moved_above) = map(self.terms_of, (weights, velocity))
        self._model.visible.shift(below, moved_below)
        self._model.hidden.shift(above, moved_above)

    def terms_of(self, change: Floats) -> tuple[Floats, Floats]:
        """What a change D of the weights adds to biases: -D l, -D' m."""
        below, above = self._model.link.change_products(change, self.visible, self.hidden)
        return -below, -above

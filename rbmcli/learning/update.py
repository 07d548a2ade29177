"""The update rule: how a step's statistics change the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats, Scratch, put, to_padded
from rbmcli.learning.centering import Centering
from rbmcli.learning.sparsity import Sparsity, SparsityTarget
from rbmcli.learning.statistics import Statistics
from rbmcli.model.layer import Layer
from rbmcli.model.links import Correction, Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import FloatStates

#: Steps of the power iteration for the bound on the spectral norm, after each update.
_POWER_STEPS = 8


@dataclass(frozen=True)
class Regularization:
    """What shapes the update besides the likelihood and the rule's decay.

    max_norm: most that the norm of a hidden unit's weights may be, or None.
    max_spectral_norm: above which singular values of the weights are shrunk, a few directions each
        update, or None. While the largest is below 1, pairs of layers whose energies grow like
        s^2 / 2 have a density.
    """

    max_norm: float | None = None
    max_spectral_norm: float | None = None
    sparsity: SparsityTarget | None = None

    @property
    def any(self) -> bool:
        """Whether weights are limited."""
        return self.max_norm is not None or self.max_spectral_norm is not None


class Update:
    """Steps up the gradient of the log-likelihood.

    The gradient is the batch mean of positive minus negative statistics: v h' for the weights, v
    and h for the biases (Hinton 2002, equation 5), centred where offsets are given. Decay and L1
    are on weights only.
    """

    def __init__(
        self,
        model: Rbm,
        centering: Centering | None = None,
        regularization: Regularization | None = None,
    ) -> None:
        self._model = model
        self._centering = centering
        self._limits = regularization or Regularization()
        wanted = self._limits.sparsity
        self._sparsity = Sparsity(wanted, model.hidden.units) if wanted else None
        self._scratch = Scratch()

    def step(self, positive: Phase, negative: Phase, rule: Rule) -> bool:
        """Change the parameters in place; True if all of them are finite."""
        finite = self._whole_step(positive, negative, rule)
        return self._step_by_step(positive, negative, rule) if finite is None else finite

    def _whole_step(self, positive: Phase, negative: Phase, rule: Rule) -> bool | None:
        """The step in one kernel; None where none does all that is asked for."""
        model = self._model
        below, above = model.visible.terms(), model.hidden.terms()
        sparsity = None if self._sparsity is None else self._sparsity.terms()
        special = self._limits.any or rule.l1 or (self._sparsity and not sparsity)
        if special or below is None or above is None:
            return None
        centering = None if self._centering is None else self._centering.terms(rule)
        finite = model.link.learn(
            positive, negative, rule, below, above, centering, sparsity, self._scratch
        )
        if finite is not None:
            self.count_steps(1)
        return finite

    def refreshes(self, rule: Rule, steps: int) -> NDArray[np.uint8]:
        """Which of the next steps make the products of penalties and offsets anew, (steps,)."""
        if self._centering is None:
            return np.zeros(steps, np.uint8)
        return self._centering.refreshes(rule, steps)

    def count_steps(self, steps: int) -> None:
        """Kernels have taken so many steps."""
        if self._centering is not None:
            self._centering.age += steps

    def _step_by_step(self, positive: Phase, negative: Phase, rule: Rule) -> bool:
        return self.apply(self.statistics(positive, negative), rule)

    def statistics(self, positive: Phase, negative: Phase) -> Statistics:
        """What `apply` learns from, of a whole batch."""
        gradient = self._model.link.gradient(positive, negative, self._scratch)
        return self._statistics(positive, negative, gradient, (1.0, 1.0))

    def share(self, positive: Phase, negative: Phase, whole: tuple[int, int]) -> Statistics:
        """The same of a part of a batch that has so many rows of data and of the model.

        Parts may be worked on apart, on several machines; their sum is that of the batch. Each has
        a row of the data and one of the model at least.
        """
        gradient = self._model.link.share(positive, negative, whole)
        shares = positive.visible.rows / whole[0], negative.visible.rows / whole[1]
        return self._statistics(positive, negative, gradient, shares)

    def _statistics(
        self, positive: Phase, negative: Phase, gradient: Any, shares: tuple[float, float]
    ) -> Statistics:
        model, units = self._model, self._model.hidden.units
        weights = np.float32(shares[0]), np.float32(shares[1])
        phases = positive, negative
        visible = [w * p.visible.mean_by_unit() for w, p in zip(weights, phases, strict=True)]
        hidden = [
            w * FloatStates(p.hidden, units).mean_by_unit()
            for w, p in zip(weights, phases, strict=True)
        ]
        return Statistics(
            gradient,
            (visible[0], visible[1]),
            (hidden[0], hidden[1]),
            self._own_gradients(model.visible, positive, negative, weights),
            self._own_gradients(model.hidden, positive, negative, weights),
        )

    def apply(self, statistics: Statistics, rule: Rule) -> bool:
        """Change the parameters in place; True if all of them are finite."""
        model = self._model
        (visible0, visible1), (hidden0, hidden1) = statistics.visible, statistics.hidden
        below = {**statistics.below, "bias": visible0 - visible1}
        above = {**statistics.above, "bias": hidden0 - hidden1}
        correction = None
        if self._centering is not None:
            self._centering.follow(visible0, hidden0)
            correction = self._centering.weight_terms(below["bias"], above["bias"])
        if self._sparsity is not None:
            pull = self._sparsity.pull(model.hidden.shared(hidden0))
            above["bias"] = above["bias"] + pull
            if self._sparsity.wanted.on == "both":
                correction = self._with_pull(correction, visible0, pull)
        gradient = statistics.gradient
        if correction is not None:
            gradient = model.link.corrected(gradient, correction)
        if self._centering is not None:
            self._add_bias_terms(below, above, self._centering.bias_terms(gradient, rule))
        finite = [
            model.link.step(gradient, rule, self._scratch),
            model.visible.step(below, rule.rate, rule.momentum, nesterov=rule.nesterov),
            model.hidden.step(above, rule.rate, rule.momentum, nesterov=rule.nesterov),
        ]
        if self._limits.any:
            self._limit(hidden0 - hidden1)
        return all(finite)

    def start(self, data_mean: NDArray[Any]) -> None:
        """Begin with the parameters that the model has got since, and this mean of the data."""
        if self._centering is not None:
            self._centering.start(data_mean)

    def _with_pull(
        self, correction: Correction | None, visible: Floats, pull: Floats
    ) -> Correction:
        """Let the weights share a pull on total inputs: the gradient grows by visible' pull.

        visible: the batch's mean (units,); where states are centred, that is counted from their
        offsets as well, and plain biases make up for it as for all of the gradient.
        """
        if self._centering is not None:
            visible = visible - self._centering.visible[: len(visible)]
        outer = Correction(to_padded(visible[np.newaxis]), to_padded(pull[np.newaxis]))
        return outer if correction is None else correction.plus(outer)

    def _add_bias_terms(
        self, below: dict[str, Floats], above: dict[str, Floats], terms: tuple[Floats, Floats]
    ) -> None:
        """Add steps of natural biases, (visible units,) and (hidden units,), to the gradients."""
        below["bias"] = below["bias"] + self._model.visible.gradient_for(terms[0])
        above["bias"] = above["bias"] + self._model.hidden.gradient_for(terms[1])

    def _limit(self, start: Floats) -> None:
        """Hold the weights within their limits; what is centred stays where it is."""
        link, limits = self._model.link, self._limits
        weights, velocity = link.weights.copy(), link.velocities.copy()
        if limits.max_norm is not None:
            link.limit_norms(limits.max_norm)
        if limits.max_spectral_norm is not None:
            self._limit_spectral_norm(limits.max_spectral_norm, start)
        if self._centering is not None:
            moved = link.velocities - velocity
            self._centering.make_up_for(link.weights - weights, moved)

    def _limit_spectral_norm(self, most: float, start: Floats) -> None:
        """Shrink the weights in the directions that a power iteration from `start` comes to.

        `start` (hidden units,) had better be another one each time: what was just shrunk would hold
        the iteration, while other directions grow.
        """
        length = np.sqrt(np.square(start, dtype=np.float64).sum())
        if length > 0:
            direction = to_padded(start / length)
            for _ in range(_POWER_STEPS):
                _, direction = self._model.link.power_step(direction, most)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs besides parameters and velocities."""
        state: dict[str, Any] = {}
        if self._centering is not None:
            state |= {f"offset/{name}": x for name, x in self._centering.state().items()}
        if self._sparsity is not None:
            state["activity"] = self._sparsity.activity
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from an earlier state."""
        if self._centering is not None:
            prefix = "offset/"
            self._centering.restore(
                {
                    name.removeprefix(prefix): value
                    for name, value in state.items()
                    if name.startswith(prefix)
                }
            )
        if self._sparsity is not None:
            put(self._sparsity.activity, state["activity"], "activity")

    def _own_gradients(
        self,
        layer: Layer,
        positive: Phase,
        negative: Phase,
        weights: tuple[np.float32, np.float32],
    ) -> dict[str, Floats]:
        """Gradients of the layer's parameters other than its bias, by name, (units,)."""
        if not layer.learns_sigma:
            return {}
        statistics = [self._log_sigma(layer, phase) for phase in (positive, negative)]
        return {"log_sigma": weights[0] * statistics[0] - weights[1] * statistics[1]}

    def _log_sigma(self, layer: Layer, phase: Phase) -> Floats:
        """Mean over a phase of -dE / d log sigma: (s - m)^2 - s x, x being the link's input.

        s = v / sigma is a state, m = c / sigma its natural bias (Melchior, Wang and Wiskott 2017,
        "Gaussian-binary restricted Boltzmann machines for modeling natural image statistics",
        section 2, in these terms). Hidden units are averaged given their total inputs m + x:
        1 - m x.
        """
        bias = layer.bias[: layer.units]
        if layer is self._model.hidden:
            mean = FloatStates(phase.hidden, layer.units).mean_by_unit()
            return np.float32(1) - bias * (mean - bias)
        hidden = FloatStates(phase.hidden, self._model.hidden.units)
        states = phase.visible.floats()[:, : layer.units]
        link_input = self._model.visible_input(hidden)[:, : layer.units] - bias
        squares = np.square(states - bias) - states * link_input
        return squares.mean(axis=0, dtype=np.float64).astype(np.float32)

"""What is measured of a whole stack while it trains: on fixed images, with fixed draws."""

from __future__ import annotations

import numpy as np

from rbmcli.draws import Draws, Purpose
from rbmcli.inference.free_energy import free_energy
from rbmcli.inference.labels import class_energies, classify
from rbmcli.learning.inputs import Examples
from rbmcli.learning.monitor import Subset
from rbmcli.model.stack import Stack
from rbmcli.model.states import States, one_hot


class StackMonitor:
    """Reconstruction error through the stack, free energies of the top machine, label errors."""

    def __init__(
        self, stack: Stack, training: Examples, validation: Examples | None, draws: Draws
    ) -> None:
        self._stack = stack
        self._up, self._down = draws.at(Purpose.MONITOR, 1), draws.at(Purpose.MONITOR, 2)
        chosen = draws.generator(Purpose.MONITOR)
        self._training = _Shown(stack, training, chosen, draws)
        self._validation = None if validation is None else _Shown(stack, validation, chosen, draws)

    def measure(self) -> dict[str, float]:
        """The measurements now; means over the images, in nats, NaN where not defined.

        reconstruction_error: squared error of the images' means, given states drawn up to what the
        top machine stands on and down from there. free_energy_*: of such states, with their labels,
        in the top machine. label_error_*, with label units: how often another label than the
        image's has the least free energy beside the means of the features.
        """
        shown, held_out = self._training, self._validation
        images, top = self._states(shown)
        _, means = self._stack.lowered(top, self._down)
        difference = means - images.floats()
        error = np.einsum("ru,ru->r", difference, difference, dtype=np.float64).mean()
        energy = free_energy(self._stack.top, top).mean()
        label_error = self._label_error(shown, images)
        held_out_energy = held_out_error = np.nan
        if held_out is not None:
            images, top = self._states(held_out)
            held_out_energy = free_energy(self._stack.top, top).mean()
            held_out_error = self._label_error(held_out, images)
        labelled = {"label_error_train": label_error, "label_error_validation": held_out_error}
        return {
            "reconstruction_error": float(error),
            "free_energy_train": float(energy),
            "free_energy_validation": float(held_out_energy),
            "free_energy_gap": float(held_out_energy - energy),
            **(labelled if self._stack.top.classes else {}),
        }

    def _states(self, shown: _Shown) -> tuple[States, States]:
        """(images, visible states of the top machine), drawn."""
        stack, below = self._stack, len(self._stack.machines) - 1
        images = shown.subset.states(stack.machines[0].visible)
        levels = stack.raised(images, self._up, sampled=True, machines=below)
        return images, stack.standing_on(levels[-1], below, shown.label_states)

    def _label_error(self, shown: _Shown, images: States) -> float:
        if shown.labels is None:
            return np.nan
        stack, machines = self._stack, self._stack.machines
        means = stack.raised(images, self._up, sampled=False, machines=len(machines) - 1)[-1]
        features = stack.as_features(means, len(machines) - 1)
        wrong = classify(class_energies(stack.top, features)) != shown.labels
        return float(wrong.mean())


class _Shown:
    """The images that are measured on, and their labels where the top machine has label units."""

    def __init__(
        self, stack: Stack, examples: Examples, chosen: np.random.Generator, draws: Draws
    ) -> None:
        self.subset = Subset(examples.images, chosen, draws)
        self.labels, self.label_states = None, None
        if examples.labels is not None and stack.top.classes:
            self.labels = examples.labels[self.subset.rows]
            self.label_states = one_hot(self.labels, stack.top.classes)

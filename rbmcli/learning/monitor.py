"""What is measured while training: on fixed images, with fixed draws, once an epoch.

The numbers of two epochs then differ by the model alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draws, Purpose
from rbmcli.inference.free_energy import (
    free_energy,
    has_pseudo_likelihood,
    pseudo_log_likelihood,
)
from rbmcli.inference.reconstruction import reconstruct
from rbmcli.learning.inputs import Inputs
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States

#: Images of the training set, and as many of the validation set, that are measured: few enough
#: that it takes a few per cent of the time of an epoch on MNIST.
SUBSET = 1000


class Monitor:
    """Reconstruction error, pseudo-likelihood and free energies on fixed subsets."""

    def __init__(
        self, model: Rbm, training: Inputs, validation: Inputs | None, draws: Draws
    ) -> None:
        self._model = model
        self._hidden_draw = draws.at(Purpose.MONITOR, 1)
        chosen = draws.generator(Purpose.MONITOR)
        self._training = Subset(training, chosen, draws)
        self._validation = None if validation is None else Subset(validation, chosen, draws)
        groups = model.visible.units // model.visible.kind.group
        self._groups = chosen.integers(groups, size=len(self._training.rows))

    def measure(self) -> dict[str, float]:
        """The measurements now; means over the images, in nats, NaN where not defined."""
        model = self._model
        visible = self._training.states(model.visible)
        energy = free_energy(model, visible).mean()
        held_out = np.nan
        if self._validation is not None:
            held_out = free_energy(model, self._validation.states(model.visible)).mean()
        pseudo = np.nan
        if has_pseudo_likelihood(model, visible):
            pseudo = pseudo_log_likelihood(model, visible, self._groups).mean()
        reconstruction = reconstruct(model, visible, self._hidden_draw)
        watched = {}
        if model.visible.kind.quadratic and model.hidden.kind.quadratic:
            watched["spectral_norm"] = model.link.spectral_norm()
        return {
            "reconstruction_error": float(reconstruction.error.mean()),
            "pseudo_log_likelihood": float(pseudo),
            "free_energy_train": float(energy),
            "free_energy_validation": float(held_out),
            "free_energy_gap": float(held_out - energy),
            "hidden_activation": reconstruction.activation,
            **watched,
        }


class Subset:
    """Some of the images, always drawn to the same states by the same machine."""

    def __init__(self, inputs: Inputs, chosen: np.random.Generator, draws: Draws) -> None:
        self.rows: NDArray[Any] = inputs.rows
        if len(self.rows) > SUBSET:
            self.rows = np.sort(chosen.choice(self.rows, SUBSET, replace=False))
        self._inputs = inputs
        self._draw = draws.at(Purpose.MONITOR, 0)

    def states(self, layer: Layer) -> States:
        """Visible states for a layer."""
        return self._inputs.states(self.rows, layer, self._draw)

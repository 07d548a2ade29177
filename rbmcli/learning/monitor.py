"""What is measured while training: on fixed images, with fixed draws, once an epoch.

The numbers of two epochs then differ by the model alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draws, Purpose
from rbmcli.inference.free_energy import free_energy, pseudo_log_likelihood
from rbmcli.learning.batch import Images
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates

#: Images of the training set, and as many of the validation set, that are measured: few enough
#: that it takes a few per cent of the time of an epoch on MNIST.
SUBSET = 1000


class Monitor:
    """Reconstruction error, pseudo-likelihood and free energies on fixed subsets."""

    def __init__(self, model: Rbm, training: Images, validation: Images | None, seed: int) -> None:
        self._model = model
        self._draws = Draws(seed)
        self._hidden_draw = self._draws.at(Purpose.MONITOR, 1)
        chosen = self._draws.generator(Purpose.MONITOR)
        self._training = _subset(training, chosen, self._draws)
        self._pixels = self._training.floats()
        self._validation = None if validation is None else _subset(validation, chosen, self._draws)
        self._flips = chosen.integers(model.visible.units, size=self._training.rows)

    def measure(self) -> dict[str, float]:
        """The measurements now; means over the images, in nats, NaN where not defined."""
        energy = free_energy(self._model, self._training).mean()
        held_out = np.nan
        if self._validation is not None:
            held_out = free_energy(self._model, self._validation).mean()
        pseudo = np.nan
        if isinstance(self._training, BitStates):
            pseudo = pseudo_log_likelihood(self._model, self._training, self._flips).mean()
        error, activation = self._reconstruction()
        return {
            "reconstruction_error": error,
            "pseudo_log_likelihood": float(pseudo),
            "free_energy_train": float(energy),
            "free_energy_validation": float(held_out),
            "free_energy_gap": float(held_out - energy),
            "hidden_activation": activation,
        }

    def _reconstruction(self) -> tuple[float, float]:
        """(sum over units of (v0 - E[v1])^2, mean hidden activation), means over the images."""
        model, visible = self._model, self._training
        total = model.hidden_input(visible)
        hidden = model.hidden.sample(total, self._hidden_draw, mean_out=total)
        activation = total[:, : model.hidden.units].mean(dtype=np.float64)
        difference = model.visible.mean(model.visible_input(hidden)).values - self._pixels
        error = np.square(difference, out=difference).sum(dtype=np.float64) / visible.rows
        return float(error), float(activation)


def _subset(images: Images, chosen: np.random.Generator, draws: Draws) -> BitStates | FloatStates:
    rows: NDArray[Any] = images.rows
    if len(rows) > SUBSET:
        rows = np.sort(chosen.choice(rows, SUBSET, replace=False))
    return images.states(rows, draws.at(Purpose.MONITOR, 0))

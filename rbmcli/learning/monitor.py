"""What is measured while training: on fixed images, with fixed draws, once an epoch.

The numbers of two epochs then differ by the model alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draws, Purpose, later_rows
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
#: Numbers that the hidden units of images measured together hold at most.
_NUMBERS = 1 << 22


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
        measured = []
        for rows in self._blocks(self._training):
            visible = self._training.states(model.visible, rows)
            total = model.hidden_input(visible)
            energies = free_energy(model, visible, total)
            pseudo = np.full(visible.rows, np.nan)
            if has_pseudo_likelihood(model, visible):
                pseudo = pseudo_log_likelihood(model, visible, self._groups[rows], total)
            draw = later_rows(self._hidden_draw, rows.start)
            reconstruction = reconstruct(model, visible, draw, total)
            measured.append(
                (
                    energies,
                    pseudo,
                    reconstruction.error,
                    np.full(visible.rows, reconstruction.activation),
                )
            )
        energy, pseudo, error, activation = (
            np.concatenate(each).mean() for each in zip(*measured, strict=True)
        )
        held_out = np.nan
        if self._validation is not None:
            subset = self._validation
            held_out = np.concatenate(
                [
                    free_energy(model, subset.states(model.visible, rows))
                    for rows in self._blocks(subset)
                ]
            ).mean()
        watched = {}
        if model.visible.kind.quadratic and model.hidden.kind.quadratic:
            watched["spectral_norm"] = model.link.spectral_norm()
        return {
            "reconstruction_error": float(error),
            "pseudo_log_likelihood": float(pseudo),
            "free_energy_train": float(energy),
            "free_energy_validation": float(held_out),
            "free_energy_gap": float(held_out - energy),
            "hidden_activation": float(activation),
            **watched,
        }

    def _blocks(self, subset: Subset) -> Iterator[slice]:
        """The images of a subset, so many at a time that their hidden units fit in memory."""
        together = max(1, _NUMBERS // self._model.hidden.units)
        for start in range(0, len(subset.rows), together):
            yield slice(start, start + together)


class Subset:
    """Some of the images, always drawn to the same states by the same machine."""

    def __init__(self, inputs: Inputs, chosen: np.random.Generator, draws: Draws) -> None:
        self.rows: NDArray[Any] = inputs.rows
        if len(self.rows) > SUBSET:
            self.rows = np.sort(chosen.choice(self.rows, SUBSET, replace=False))
        self._inputs = inputs
        self._draw = draws.at(Purpose.MONITOR, 0)

    def states(self, layer: Layer, chosen: slice = slice(None)) -> States:
        """Visible states for a layer, of the chosen images."""
        draw = later_rows(self._draw, chosen.start or 0)
        return self._inputs.states(self.rows[chosen], layer, draw)

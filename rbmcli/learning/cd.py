"""Contrastive divergence: the negative states are those k Gibbs steps from the data.

Hinton 2002, "Training products of experts by minimizing contrastive divergence".

With `normalize_hidden`, every image's hidden probabilities are divided by their sum before they are
drawn from and learned with, as some early programs do. The result is no longer the gradient of
anything: for reproducing such programs only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats, words_for
from rbmcli.draws import Draw, Purpose
from rbmcli.inference.chains import Chain
from rbmcli.learning.algorithm import Algorithm
from rbmcli.model.links import Phase
from rbmcli.model.states import BitStates, States, binarized


class ContrastiveDivergence(Algorithm):
    """CD-k: chains start afresh from the data."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._chain = Chain(
            self._model, self._draws, self._scratch, mean_field=self._method.mean_field
        )

    @property
    def memory(self) -> tuple[NDArray[Any], ...] | None:
        """Nothing: every step begins at the data."""
        return ()

    def positive(self, visible: States, step: int) -> Phase:
        """Statistics of the data; hidden states drawn for them are what the chains start from."""
        means, self._hidden = self._drawn_hidden(
            "positive", visible, self._draws.at(Purpose.HIDDEN, step)
        )
        return Phase(visible, means)

    def negative(self, step: int, gibbs_steps: int) -> Phase:
        """Statistics after `gibbs_steps` Gibbs steps."""
        hidden = self._hidden
        for substep in range(1, gibbs_steps + 1):
            visible = self._chain.sample_visible(hidden, step, substep)
            if substep < gibbs_steps:
                draw = self._draws.at(Purpose.HIDDEN, step, substep)
                _, hidden = self._drawn_hidden("negative", visible, draw)
        return Phase(visible, self._hidden_means("negative", visible))

    def _hidden_means(self, name: str, visible: States) -> Floats:
        total = self._scratch.rows(name, visible.rows, self._model.hidden.ld)
        means = self._model.hidden.mean(self._model.hidden_input(visible, total)).values
        if self._method.normalize_hidden:
            means /= means.sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        return means

    def _drawn_hidden(self, name: str, visible: States, draw: Draw) -> tuple[Floats, States]:
        if self._method.normalize_hidden:
            means = self._hidden_means(name, visible)
            return means, _drawn(means, self._model.hidden.units, draw)
        total = self._scratch.rows(name, visible.rows, self._model.hidden.ld)
        self._model.hidden_input(visible, total)
        states = self._model.hidden.sample(total, draw, mean_out=total)
        return total, states


def _drawn(means: Floats, units: int, draw: Draw) -> BitStates:
    """Binary states on with the probabilities `means` (rows, ld)."""
    drawn = binarized(means, np.arange(len(means)), 1.0, None, draw)
    return BitStates(np.ascontiguousarray(drawn.bits[:, : words_for(units)]), units)

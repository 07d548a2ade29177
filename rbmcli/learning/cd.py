"""Contrastive divergence: the negative states are those k Gibbs steps from the data.

Hinton 2002, "Training products of experts by minimizing contrastive divergence".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats, Scratch, words_for
from rbmcli.draws import Draw, Draws, Purpose
from rbmcli.inference.chains import Chain
from rbmcli.model.link import Phase
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, States, binarized


@dataclass(frozen=True)
class Positive:
    """The data side of a step: its statistics, and hidden states drawn for them."""

    phase: Phase
    hidden_states: States


class ContrastiveDivergence:
    """CD-k, optionally with two departures that other programs are known for.

    mean_field: the visible reconstructions are their means instead of drawn states.
    normalize_hidden: every image's hidden probabilities are divided by their sum before they are
        drawn from and learned with, as some early programs do. The result is no longer the
        gradient of anything: for reproducing such programs only.
    """

    def __init__(
        self,
        model: Rbm,
        draws: Draws,
        *,
        mean_field: bool = False,
        normalize_hidden: bool = False,
    ) -> None:
        self._model = model
        self._draws = draws
        self._mean_field = mean_field
        self._normalize = normalize_hidden
        self._scratch = Scratch()
        self._chain = Chain(model, draws, self._scratch)

    def positive(self, visible: States, step: int) -> Positive:
        """Statistics of the data, and the hidden states that the chains start from."""
        means, states = self._hidden("positive", visible, self._draws.at(Purpose.HIDDEN, step))
        return Positive(Phase(visible, means), states)

    def negative(self, positive: Positive, step: int, gibbs_steps: int) -> Phase:
        """Statistics after `gibbs_steps` Gibbs steps."""
        hidden = positive.hidden_states
        for substep in range(1, gibbs_steps + 1):
            visible: States
            if self._mean_field:
                visible = self._chain.visible_mean(hidden)
            else:
                visible = self._chain.sample_visible(hidden, step, substep)
            if substep < gibbs_steps:
                draw = self._draws.at(Purpose.HIDDEN, step, substep)
                _, hidden = self._hidden("negative", visible, draw)
        return Phase(visible, self._hidden_means("negative", visible))

    def state(self) -> dict[str, NDArray[Any]]:
        """What a resumed run needs: nothing, since the chains start afresh from the data."""
        return {}

    def _hidden_means(self, name: str, visible: States) -> Floats:
        total = self._scratch.rows(name, visible.rows, self._model.hidden.ld)
        means = self._model.hidden.mean(self._model.hidden_input(visible, total)).values
        if self._normalize:
            means /= means.sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        return means

    def _hidden(self, name: str, visible: States, draw: Draw) -> tuple[Floats, States]:
        if self._normalize:
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

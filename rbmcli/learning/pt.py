"""Parallel tempering: every chain is a ladder of replicas at inverse temperatures that swap.

Desjardins, Courville, Bengio, Vincent and Delalleau 2010, "Parallel tempering for training of
restricted Boltzmann machines"; Cho, Raiko and Ilin 2010. The statistics are those of the replicas
at inverse temperature 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import put, to_padded
from rbmcli.draws import Purpose
from rbmcli.inference.chains import Chain
from rbmcli.inference.ladder import Ladder
from rbmcli.inference.tempering import Tempered
from rbmcli.learning.algorithm import Algorithm
from rbmcli.model.links import Phase
from rbmcli.model.states import States

#: Updates between changes of an adaptive ladder.
_ADAPT_EVERY = 100


class ParallelTempering(Algorithm):
    """Replicas in rows: all chains at the first inverse temperature (1), then at the next, ...."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._hidden: States | None = None
        self._ladder = Ladder.even(self._method.temperatures)

    def negative(self, step: int, gibbs_steps: int) -> Phase:
        """Statistics of the chains at 1 after Gibbs steps of all replicas and a round of swaps."""
        model, chains = self._model, self._rows
        if self._hidden is None:
            self._hidden = self._random_hidden(chains * self._method.temperatures)
            self._begin(model.visible.bias.copy())
        if self._method.adaptive_ladder and step and step % _ADAPT_EVERY == 0:
            self._ladder.adapt()
        self._tempered.at(np.repeat(self._ladder.beta, chains))
        total = self._scratch.rows("replicas", self._hidden.rows, model.hidden.ld)
        scaled = self._scratch.rows("tempered", self._hidden.rows, model.hidden.ld)
        for substep in range(1, gibbs_steps + 1):
            visible = self._chain.sample_visible(self._hidden, step, substep)
            model.hidden_input(visible, total)
            draw = self._draws.at(Purpose.HIDDEN, step, substep)
            self._hidden = model.hidden.sample(self._tempered.scale(total, scaled), draw)
        exponent = self._tempered.exponent(visible, self._hidden, total)
        order = self._ladder.swap(exponent, self._draws.at(Purpose.SWAP, step), step)
        self._hidden = self._hidden.take(order)
        means = self._scratch.rows("negative", chains, model.hidden.ld)
        np.take(total, order[:chains], axis=0, out=means)
        return Phase(visible.take(order[:chains]), model.hidden.mean(means).values)

    def state(self) -> dict[str, NDArray[Any]]:
        """Hidden states of all replicas, the ladder, its rejections and the reference biases."""
        if self._hidden is None:
            return {}
        return {
            "chains/hidden": self._hidden.to_array(),
            "chains/beta": self._ladder.beta,
            "chains/rejection": self._ladder.rejection,
            "chains/reference": self._tempered.reference[: self._model.visible.units],
        }

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        if "chains/hidden" in state:
            self._hidden = self._model.hidden.states_of(state["chains/hidden"])
            put(self._ladder.beta, state["chains/beta"], "chains/beta")
            put(self._ladder.rejection, state["chains/rejection"], "chains/rejection")
            self._ladder.check()
            if self._hidden.rows != self._rows * len(self._ladder.beta):
                raise ValueError(f"chains/hidden has {self._hidden.rows} rows")
            reference = np.zeros(self._model.visible.units, np.float32)
            put(reference, state["chains/reference"], "chains/reference")
            self._begin(to_padded(reference))

    def _begin(self, reference: NDArray[np.float32]) -> None:
        self._tempered = Tempered(self._model, reference, 1.0)
        self._chain = Chain(self._tempered, self._draws, self._scratch)

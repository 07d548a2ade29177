"""Parallel tempering: every chain is a ladder of replicas at inverse temperatures that swap.

Desjardins, Courville, Bengio, Vincent and Delalleau 2010, "Parallel tempering for training of
restricted Boltzmann machines"; Cho, Raiko and Ilin 2010. The statistics are those of the replicas
at inverse temperature 1. Pairs of neighbours take turns, even and odd, and an adaptive ladder
makes all pairs reject equally often (Syed, Bouchard-Cote, Deligiannidis and Doucet 2022,
"Non-reversible parallel tempering", section 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, to_padded
from rbmcli.draws import Purpose
from rbmcli.inference.chains import Chain
from rbmcli.inference.tempering import Tempered
from rbmcli.learning.algorithm import Algorithm
from rbmcli.model.link import Phase
from rbmcli.model.states import States

#: Updates between changes of an adaptive ladder, and the weight of a new measurement of rejection.
_ADAPT_EVERY = 100
_SLIDE = 0.02


class ParallelTempering(Algorithm):
    """Replicas in rows: all chains at the first inverse temperature (1), then at the next, ...."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._hidden: States | None = None
        self._beta: Doubles = np.linspace(1.0, 0.0, self._method.temperatures)
        self._rejection: Doubles = np.full(len(self._beta) - 1, 0.5)

    def negative(self, step: int, gibbs_steps: int) -> Phase:
        """Statistics of the chains at 1 after Gibbs steps of all replicas and a round of swaps."""
        model, chains = self._model, self._rows
        if self._hidden is None:
            self._hidden = self._random_hidden(chains * len(self._beta))
            self._begin(model.visible.bias.copy())
        if self._method.adaptive_ladder and step and step % _ADAPT_EVERY == 0:
            self._beta = adapted(self._beta, self._rejection)
        beta = np.repeat(self._beta, chains)
        self._tempered.at(beta)
        total = self._scratch.rows("replicas", len(beta), model.hidden.ld)
        scaled = self._scratch.rows("tempered", len(beta), model.hidden.ld)
        for substep in range(1, gibbs_steps + 1):
            visible = self._chain.sample_visible(self._hidden, step, substep)
            model.hidden_input(visible, total)
            np.multiply(total, beta.astype(np.float32)[:, np.newaxis], out=scaled)
            draw = self._draws.at(Purpose.HIDDEN, step, substep)
            self._hidden = model.hidden.sample(scaled, draw)
        order = self._swap(self._tempered.exponent(visible, self._hidden, total), step)
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
            "chains/beta": self._beta,
            "chains/rejection": self._rejection,
            "chains/reference": self._tempered.reference[: self._model.visible.units],
        }

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        if "chains/hidden" in state:
            self._hidden = self._model.hidden.states_of(state["chains/hidden"])
            self._beta = np.array(state["chains/beta"])
            self._rejection = np.array(state["chains/rejection"])
            self._rows = self._hidden.rows // len(self._beta)
            self._begin(to_padded(state["chains/reference"]))

    def _begin(self, reference: NDArray[np.float32]) -> None:
        self._tempered = Tempered(self._model, reference, 1.0)
        self._chain = Chain(self._tempered, self._draws, self._scratch)

    def _swap(self, exponent: Doubles, step: int) -> NDArray[np.int64]:
        """The rows' new order, after half of the neighbouring temperatures tried to swap.

        exponent: u(v, h) of every replica. A swap of a and b is accepted with probability
        min(1, exp((beta_a - beta_b) (u_b - u_a))).
        """
        u = exponent.reshape(len(self._beta), self._rows)
        order = np.arange(u.size).reshape(u.shape)
        words = np.empty(u.shape, np.uint32)
        _kernels.random_words(self._draws.at(Purpose.SWAP, step), words)
        for upper in range(step % 2, len(u) - 1, 2):
            gap = self._beta[upper] - self._beta[upper + 1]
            chance = np.exp(np.minimum(0.0, gap * (u[upper + 1] - u[upper])))
            swap = (words[upper] >> 8) * 2.0**-24 < chance
            pair = order[upper : upper + 2]
            pair[:, swap] = pair[::-1, swap]
            self._rejection[upper] += _SLIDE * (1 - chance.mean() - self._rejection[upper])
        return order.ravel()


def adapted(beta: Doubles, rejection: Doubles) -> Doubles:
    """A ladder between the same ends at whose rungs the summed rejections are evenly spaced.

    beta: descending, (rungs,); rejection: of each pair of neighbours, (rungs - 1,).
    """
    barrier = np.concatenate([[0.0], np.cumsum(np.maximum(rejection, 1e-3))])
    even = np.linspace(0.0, barrier[-1], len(beta))
    result: Doubles = np.interp(even, barrier, beta)
    return result

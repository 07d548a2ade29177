"""Persistent contrastive divergence: chains live on from update to update.

Tieleman 2008, "Training restricted Boltzmann machines using approximations to the likelihood
gradient" (Younes 1989 for the principle).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from rbmcli.draws import Purpose
from rbmcli.inference.chains import Chain
from rbmcli.learning.algorithm import Algorithm
from rbmcli.model.links import Phase
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States, array_of


class PersistentChains(Algorithm):
    """PCD-k. The chains are kept as hidden states, drawn before the last update."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._hidden: States | None = None
        self._chain = self._chain_of(self._model)

    def negative(self, step: int, gibbs_steps: int) -> Phase:
        """Statistics of the chains after `gibbs_steps` Gibbs steps more."""
        model = self._sampled
        if self._hidden is None:
            self._hidden = self._random_hidden(self._rows)
        total = self._scratch.rows("negative", self._rows, model.hidden.ld)
        for substep in range(1, gibbs_steps + 1):
            visible = self._chain.sample_visible(self._hidden, step, substep)
            model.hidden_input(visible, total)
            draw = self._draws.at(Purpose.HIDDEN, step, substep)
            self._hidden = model.hidden.resampled(self._hidden, total, draw, mean_out=total)
        return Phase(visible, total)

    @property
    def memory(self) -> tuple[NDArray[Any], ...] | None:
        """The chains, once they have begun."""
        return None if self._hidden is None else (array_of(self._hidden),)

    @property
    def _sampled(self) -> Rbm:
        """The machine that the chains belong to."""
        return self._model

    def _chain_of(self, model: Rbm) -> Chain:
        return Chain(model, self._draws, self._scratch, mean_field=self._method.mean_field)

    def state(self) -> dict[str, NDArray[Any]]:
        """The chains' hidden states, (chains, hidden units), if they have begun."""
        return {} if self._hidden is None else {"chains/hidden": self._hidden.to_array()}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        if "chains/hidden" in state:
            self._hidden = self._model.hidden.states_of(state["chains/hidden"])
            if self._hidden.rows != self._rows:
                raise ValueError(f"chains/hidden has {self._hidden.rows} rows, not {self._rows}")

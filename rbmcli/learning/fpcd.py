"""Fast persistent contrastive divergence: chains are driven by weights that learn and decay fast.

Tieleman and Hinton 2009, "Using fast weights to improve persistent contrastive divergence".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.learning.pcd import PersistentChains
from rbmcli.learning.update import Update
from rbmcli.model.links import Phase, Rule
from rbmcli.model.rbm import Rbm

#: What is left of the fast parameters after an update.
DECAY = 0.95


class FastPersistentChains(PersistentChains):
    """PCD-k whose chains belong to the machine plus fast weights and biases."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._fast = self._model.in_natural_terms()
        self._overlay = self._model.in_natural_terms()
        self._update = Update(self._fast)
        self._chain = self._chain_of(self._overlay)

    @property
    def memory(self) -> tuple[NDArray[Any], ...] | None:
        """The fast parameters are more than kernels know of."""
        return None

    @property
    def _sampled(self) -> Rbm:
        return self._overlay

    def negative(self, step: int, gibbs_steps: int) -> Phase:
        """Statistics of the chains of the machine with its fast weights."""
        self._lay_over()
        return super().negative(step, gibbs_steps)

    def follow(self, positive: Phase, negative: Phase, rule: Rule) -> bool:
        """One step of the fast parameters along the same statistics, and their decay."""
        rate = self._method.fast_learning_rate
        for layer in (self._fast.visible, self._fast.hidden):
            layer.parameters["bias"] *= np.float32(DECAY)
            layer.refresh()
        return self._update.step(positive, negative, Rule(rate, decay=(1 - DECAY) / rate))

    def state(self) -> dict[str, NDArray[Any]]:
        """The chains and the fast parameters."""
        fast = {f"fast/{name}": values for name, values in self._fast.parameters().items()}
        return super().state() | fast

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: D102
        super().restore(state)
        self._fast.load({name: state[f"fast/{name}"] for name in self._fast.parameters()})

    def _lay_over(self) -> None:
        """Make the chains' machine the sum of the trained and the fast one."""
        trained, fast, overlay = self._model, self._fast, self._overlay
        overlay.link.set_weights(trained.link.weights + fast.link.weights)
        np.add(trained.visible.bias, fast.visible.bias, out=overlay.visible.bias)
        np.add(trained.hidden.bias, fast.hidden.bias, out=overlay.hidden.bias)

"""The update rule: how a step's statistics change the parameters."""

from __future__ import annotations

import numpy as np

from rbmcli import _kernels
from rbmcli.arrays import Floats, Scratch
from rbmcli.model.link import Phase, Rule
from rbmcli.model.rbm import Rbm


class Update:
    """Steps up the gradient of the log-likelihood, with momentum and weight decay.

    The gradient is the batch mean of positive minus negative statistics: v h' for the weights, v
    and h for the biases (Hinton 2002, equation 5). Decay is on weights only.
    """

    def __init__(self, model: Rbm) -> None:
        self._model = model
        self._scratch = Scratch()

    def step(self, positive: Phase, negative: Phase, rule: Rule) -> bool:
        """Change the parameters in place; True if all of them are finite."""
        model = self._model
        visible = positive.visible.mean_by_unit() - negative.visible.mean_by_unit()
        hidden = self._hidden_mean(positive.hidden) - self._hidden_mean(negative.hidden)
        finite = [
            model.link.update(positive, negative, rule, self._scratch),
            model.visible.step_bias(visible, rule.rate, rule.momentum),
            model.hidden.step_bias(hidden, rule.rate, rule.momentum),
        ]
        return all(finite)

    def _hidden_mean(self, means: Floats) -> Floats:
        sums = np.empty(means.shape[1], np.float32)
        _kernels.column_sums(means, self._model.hidden.units, sums)
        mean = sums[: self._model.hidden.units]
        mean /= np.float32(len(means))
        return mean

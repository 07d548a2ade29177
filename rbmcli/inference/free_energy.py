"""Free energies, and what follows from them without the partition function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, States


def free_energy(model: Rbm, visible: States) -> Doubles:
    """F(v), with p(v) = exp(-F(v)) / Z; in nats, float64 (rows,).

    F(v) = -c'v - the sum of the hidden units' cumulants at their total inputs (Hinton 2012, "A
    practical guide to training RBMs", section 16.1).
    """
    bias = model.visible.bias[: model.visible.units]
    return -visible.dot(bias) - model.hidden.cumulant(model.hidden_input(visible))


def pseudo_log_likelihood(model: Rbm, visible: BitStates, units: NDArray[np.int64]) -> Doubles:
    """A stochastic estimate of log PL(v) = sum over i of log p(v_i | the other units); (rows,).

    Row r's estimate is visible units times the term of unit units[r] (Besag 1975; the estimate by
    one unit, Marlin et al. 2010). Binary visible units only.
    """
    rows = np.arange(visible.rows)
    total = model.hidden_input(visible)
    flip = 1.0 - 2.0 * visible.to_array()[rows, units].astype(np.float32)
    # The change of log p(v) as the unit is flipped: of c'v and of the cumulants.
    change = flip * model.visible.bias[units] - model.hidden.cumulant(total)
    total += flip[:, np.newaxis] * model.link.padded_weights[units]
    change += model.hidden.cumulant(total)
    return -model.visible.units * np.logaddexp(0, change)

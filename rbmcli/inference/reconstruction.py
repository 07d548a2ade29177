"""What one step up and down makes of visible states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rbmcli.arrays import Doubles
from rbmcli.draws import Draw
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States


class Reconstruction(NamedTuple):
    """error: the sum over units of (v0 - E[v1])^2, in the data's terms, float64 (rows,).

    activation: the mean of the hidden units' means.
    """

    error: Doubles
    activation: float


def reconstruct(model: Rbm, visible: States, draw: Draw) -> Reconstruction:
    """Draw hidden states by `draw`, and compare what they expect with what was there."""
    total = model.hidden_input(visible)
    hidden = model.hidden.sample(total, draw, mean_out=total)
    activation = total[:, : model.hidden.units].mean(dtype=np.float64)
    difference = model.visible.mean(model.visible_input(hidden)).values - visible.floats()
    difference = model.visible.to_data(difference[:, : model.visible.units])
    error = np.einsum("ru,ru->r", difference, difference, dtype=np.float64)
    return Reconstruction(error, float(activation))

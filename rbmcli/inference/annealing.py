"""Walks along the inverse temperatures, weighted: what AIS and RAISE share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles, Floats, Scratch, to_padded
from rbmcli.draws import Draw, Draws, Purpose
from rbmcli.inference.tempering import Tempered
from rbmcli.model.layer import natural_log_partition
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States

#: Inverse temperatures of the ladder by default.
TEMPERATURES = 14_500


def ladder(temperatures: int = TEMPERATURES) -> Doubles:
    """Inverse temperatures from 0 to 1, float64 (temperatures,).

    Of 14 500, 500 lie in 0 .. 0.5, 4000 in 0.5 .. 0.9 and 10 000 in 0.9 .. 1, each part evenly
    spaced (Salakhutdinov and Murray 2008, section 6); of fewer or more, as many in proportion. All
    are float32 numbers, which is what the kernels scale by.
    """
    place = np.linspace(0, 14_500, temperatures)
    betas = np.interp(place, [0, 500, 4500, 14_500], [0, 0.5, 0.9, 1])
    return betas.astype(np.float32).astype(np.float64)


class Path:
    """The machines from independent units to the model, and the way to draw exactly from them.

    mean: the mean visible states, (visible units,), which the machine at beta = 0 has.
    """

    def __init__(self, model: Rbm, mean: NDArray[Any]) -> None:
        exact = model.of_model
        self.model = Rbm(exact.visible, exact.hidden, model.link)
        self.reference: Floats = to_padded(model.visible.kind.bias_from_mean(mean))

    def log_partition_at_0(self) -> float:
        """log Z of the machine of independent units, of natural terms."""
        visible, hidden = self.model.visible, self.model.hidden
        return natural_log_partition(
            visible, self.reference[: visible.units]
        ) + natural_log_partition(hidden, np.zeros(hidden.units))

    def sample_at_0(self, rows: int, draw: Draw) -> States:
        """Visible states drawn from the machine of independent units."""
        return self.model.visible.sample(np.tile(self.reference, (rows, 1)), draw)


class WalkDraws(NamedTuple):
    """Names of a walk's draws: step 0 is for its start, step k for what beta number k draws."""

    draws: Draws
    visible: Purpose
    hidden: Purpose
    first_row: int = 0

    def at(self, purpose: Purpose, step: int) -> Draw:
        """The draws of a step."""
        return self.draws.at(purpose, step, 0, self.first_row)


def anneal(
    path: Path,
    betas: Doubles,
    visible: States,
    names: WalkDraws,
    progress: Callable[[float], None],
) -> Doubles:
    """Walk from betas[0] to betas[-1]; the logarithms of the walks' weights, float64 (rows,).

    At each beta_k but the first, of visible states v: log w += log p*_k(v) - log p*_(k-1)(v), the
    hidden units summed out, and then v takes a Gibbs step that leaves p_k alone.
    """
    model, units = path.model, path.model.hidden.units
    tempered, scratch = Tempered(model, path.reference, 0.0), Scratch()
    total = scratch.rows("hidden input", visible.rows, model.hidden.ld)
    below = scratch.rows("visible input", visible.rows, model.visible.ld)
    slope = model.visible.bias - path.reference
    log_weight = np.zeros(visible.rows)
    for step, (before, after) in enumerate(pairwise(betas.tolist()), 1):
        model.hidden_input(visible, total)
        log_weight += (after - before) * visible.dot(slope)
        model.hidden.kind.add_cumulant_change(total, units, log_weight, before, after)
        if step < len(betas) - 1:
            tempered.at(after)
            total *= np.float32(after)
            hidden = model.hidden.sample(total, names.at(names.hidden, step))
            tempered.visible_input(hidden, below)
            visible = model.visible.sample(below, names.at(names.visible, step))
        progress(step / (len(betas) - 1))
    return log_weight


def log_mean_exp(log_values: Doubles) -> Doubles:
    """Logarithm of the mean over the last axis of exp."""
    return np.asarray(np.logaddexp.reduce(log_values, axis=-1) - np.log(log_values.shape[-1]))

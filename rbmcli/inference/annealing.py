"""Walks along the inverse temperatures, weighted: what AIS and RAISE share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats, Scratch, to_padded
from rbmcli.draws import Draw, Draws, Purpose
from rbmcli.inference.tempering import Tempered
from rbmcli.model.layer import natural_log_partition
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States, array_of

#: Seconds that a call of kernels takes at least, before it is given twice as many temperatures.
_CALL = 0.02
_NO_IMAGES = np.zeros(0, np.int64)

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


class _Temperature(NamedTuple):
    """What changes from one temperature to the next, in place, so that plans read it.

    beta: float32 (2,), the one before and its own; change: float64 (1,), the difference.
    """

    beta: Floats
    change: Doubles

    def become(self, before: float, after: float) -> None:
        self.beta[:] = before, after
        self.change[0] = after - before


class _Walk:
    """Walks side by side, a row each, with the logarithms of their weights."""

    def __init__(self, path: Path, visible: States, names: WalkDraws) -> None:
        self.log_weight = np.zeros(visible.rows)
        self._model, self._names = path.model, names
        self._visible = visible
        self._hidden: States | None = None
        self._slope = path.model.visible.bias - path.reference
        self._temperature = _Temperature(np.zeros(2, np.float32), np.zeros(1))
        self._tempered = Tempered(path.model, path.reference, self._temperature.beta[1:])
        self._scratch = Scratch()

    def weigh(self, before: float, after: float) -> Floats:
        """Go on to another temperature; the hidden units' total inputs at beta = 1."""
        temperature, hidden = self._temperature, self._model.hidden
        temperature.become(before, after)
        total = self._scratch.rows("hidden input", self._visible.rows, hidden.ld)
        self._model.hidden_input(self._visible, total)
        self._visible.add_dot(self._slope, self.log_weight, temperature.change)
        hidden.kind.add_cumulant_change(total, hidden.units, self.log_weight, temperature.beta)
        return total

    def take(self, step: int, before: float, after: float) -> None:
        """Go on to temperature number `step`, and take a Gibbs step there."""
        total = self.weigh(before, after)
        self._tempered.scale(total, total)
        names, layers = self._names, self._model
        draw = names.at(names.hidden, step)
        if self._hidden is None:
            self._hidden = layers.hidden.sample(total, draw)
        else:
            self._hidden = layers.hidden.resampled(self._hidden, total, draw)
        below = self._scratch.rows("visible input", total.shape[0], layers.visible.ld)
        self._tempered.visible_input(self._hidden, below)
        draw = names.at(names.visible, step)
        self._visible = layers.visible.resampled(self._visible, below, draw)

    def recorded(self, step: int, before: float, after: float) -> _kernels.Plan | None:
        """Take a step; the plan of it, if others can be taken by it."""
        _kernels.record(step, _NO_IMAGES, (array_of(self._visible),))
        try:
            self.take(step, before, after)
        finally:
            plan = _kernels.recorded(False)
        return plan

    def replay(self, plan: _kernels.Plan, betas: Doubles, first: int, count: int) -> None:
        """Take steps of numbers from `first` on."""
        plan.anneal(betas, first, count, *self._temperature)


def anneal(
    path: Path,
    betas: Doubles,
    visible: States,
    names: WalkDraws,
    progress: Callable[[float], None],
) -> Doubles:
    """Walk from betas[0] to betas[-1]; the logarithms of the walks' weights, float64 (rows,).

    At each beta_k but the first, of visible states v: log w += log p*_k(v) - log p*_(k-1)(v), the
    hidden units summed out, and then v takes a Gibbs step that leaves p_k alone. `visible` is
    overwritten. The steps of all temperatures but the last are one plan, where kinds and link allow
    it: a call takes as many as pass in some hundredths of a second.
    """
    walk, last = _Walk(path, visible, names), len(betas) - 1
    plan, step, together = None, 1, 1
    while step < last:
        start = time.perf_counter()
        if plan is not None:
            together = min(together, last - step)
            walk.replay(plan, betas, step, together)
        elif step == 1:
            plan = walk.recorded(step, *betas[:2].tolist())
        else:
            walk.take(step, *betas[step - 1 : step + 1].tolist())
        step += together
        progress((step - 1) / last)
        if plan is not None and time.perf_counter() - start < _CALL:
            together *= 2
    if last > 0:
        walk.weigh(*betas[-2:].tolist())
    progress(1.0)
    return walk.log_weight


def log_mean_exp(log_values: Doubles) -> Doubles:
    """Logarithm of the mean over the last axis of exp."""
    return np.asarray(np.logaddexp.reduce(log_values, axis=-1) - np.log(log_values.shape[-1]))

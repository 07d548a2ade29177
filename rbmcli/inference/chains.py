"""Gibbs chains: alternate sampling of the two layers."""

from __future__ import annotations

from collections.abc import Iterator

from rbmcli.arrays import Floats, Scratch, zeros
from rbmcli.draws import Draws, Purpose
from rbmcli.inference.clamping import Clamp, unclamped
from rbmcli.inference.tempering import Tempered
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import FloatStates, States


class Chain:
    """A set of Gibbs chains, one a row, that draws what it needs by name.

    A Gibbs step is visible given hidden, then hidden given visible. The draws of substep s of step
    t are the same wherever they are made. With `mean_field`, visible states are their means.
    """

    def __init__(
        self,
        model: Rbm | Tempered,
        draws: Draws,
        scratch: Scratch | None = None,
        *,
        mean_field: bool = False,
    ) -> None:
        self._model = model
        self._draws = draws
        self._scratch = scratch or Scratch()
        self._mean_field = mean_field

    def visible_mean(self, hidden: States) -> FloatStates:
        """Expected visible states given hidden ones; they last until the next call."""
        return self._model.visible.mean(self._visible_input(hidden))

    def sample_visible(self, hidden: States, step: int, substep: int) -> States:
        """Visible states drawn given hidden ones."""
        if self._mean_field:
            return self.visible_mean(hidden)
        draw = self._draws.at(Purpose.VISIBLE, step, substep)
        return self._model.visible.sample(self._visible_input(hidden), draw)

    def sample_hidden(self, visible: States, step: int, substep: int) -> States:
        """Hidden states drawn given visible ones."""
        total = self._scratch.rows("hidden input", visible.rows, self._model.hidden.ld)
        self._model.hidden_input(visible, total)
        draw = self._draws.at(Purpose.HIDDEN, step, substep)
        return self._model.hidden.sample(total, draw)

    def gibbs_step(self, hidden: States, step: int, substep: int) -> tuple[States, States]:
        """(visible, hidden) after one Gibbs step from `hidden`."""
        visible = self.sample_visible(hidden, step, substep)
        return visible, self.sample_hidden(visible, step, substep)

    def _visible_input(self, hidden: States) -> Floats:
        total = self._scratch.rows("visible input", hidden.rows, self._model.visible.ld)
        return self._model.visible_input(hidden, total)


def random_start(layer: Layer, rows: int, seed: int) -> States:
    """States of a layer's kind, each unit drawn by itself at total input zero.

    Binary units are on with probability one half; Gaussian ones have mean 0 and variance 1.
    """
    total = zeros((rows, layer.ld))
    return layer.sample(total, Draws(seed).at(Purpose.SAMPLE, 0))


def start_from_hidden(model: Rbm, hidden: States, seed: int, first_step: int) -> States:
    """Visible states drawn given hidden ones, for `fantasies` to go on from at `first_step`."""
    return Chain(model, Draws(seed)).sample_visible(hidden, first_step, 0)


def fantasies(
    model: Rbm,
    start: States,
    gibbs_steps: int,
    seed: int,
    *,
    clamp: Clamp | None = None,
    first_step: int = 0,
) -> Iterator[tuple[States, Floats]]:
    """Fantasy particles: the start, then the chains after each Gibbs step.

    Yields (visible states, their means given the hidden states they were drawn from), the means
    float32 (rows, visible units), which are for looking at; those of the start are the start. The
    means are overwritten at the next step: copy what is to be kept.

    clamp: visible units that are held, in states and means, from the start on.
    first_step: by which the first step's draws are named. A walk that takes up chains of training
    counts on where that stopped, so that no draw is used twice.
    """
    keep = clamp or unclamped
    chain = Chain(model, Draws(seed))
    units = model.visible.units
    visible = keep(start)
    yield visible, visible.floats()[:, :units]
    for step in range(first_step, first_step + gibbs_steps):
        hidden = chain.sample_hidden(visible, step, 0)
        visible = keep(chain.sample_visible(hidden, step, 1))
        yield visible, keep(chain.visible_mean(hidden)).floats()[:, :units]

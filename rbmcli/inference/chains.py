"""Gibbs chains: alternate sampling of the two layers."""

from __future__ import annotations

from rbmcli.arrays import Floats, Scratch
from rbmcli.draws import Draws, Purpose
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import FloatStates, States


class Chain:
    """A set of Gibbs chains, one a row, that draws what it needs by name.

    A Gibbs step is visible given hidden, then hidden given visible. The draws of substep s of step
    t are the same wherever they are made.
    """

    def __init__(self, model: Rbm, draws: Draws, scratch: Scratch | None = None) -> None:
        self._model = model
        self._draws = draws
        self._scratch = scratch or Scratch()

    def visible_mean(self, hidden: States) -> FloatStates:
        """Expected visible states given hidden ones."""
        return self._model.visible.mean(self._visible_input(hidden))

    def sample_visible(
        self, hidden: States, step: int, substep: int, mean_out: Floats | None = None
    ) -> States:
        """Visible states drawn given hidden ones; the means too where `mean_out` is given."""
        draw = self._draws.at(Purpose.VISIBLE, step, substep)
        return self._model.visible.sample(self._visible_input(hidden), draw, mean_out)

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

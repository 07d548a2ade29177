"""From chains in the top machine of a stack down to images."""

from __future__ import annotations

from rbmcli.arrays import Floats
from rbmcli.draws import Draws, Purpose
from rbmcli.model.stack import Stack
from rbmcli.model.states import States, columns

#: `rbmcli.inference.chains` draws visible states by the substeps before this one.
_SUBSTEP = 2


def descend(
    stack: Stack, visible: States, means: Floats, draws: Draws, step: int
) -> tuple[States, Floats]:
    """Images drawn given visible states of the top machine, and their means, (rows, units).

    means: those of the visible states themselves, which are what is shown of a stack of one
    machine. draws, step: of the chains, whose draws these are independent of.
    """
    if len(stack.machines) == 1:
        features = stack.top.features
        return columns(visible, 0, features), means[:, :features]
    images, means = stack.lowered(visible, draws.at(Purpose.VISIBLE, step, _SUBSTEP))
    return images, means[:, : images.units]

"""Clamped units: those that keep given values while the others are drawn given them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import zeros
from rbmcli.errors import RbmError
from rbmcli.model.states import BitStates, FloatStates, States
from rbmcli.model.units import UnitKind


@dataclass(frozen=True)
class Clamp:
    """Some units of a layer, held at the values that they have in `kept`.

    Units of a layer are independent given the other layer, so to draw all of them and put the
    held ones back is to draw the free ones given the held ones.

    kept: a state for each chain. mask: bool (units,), True where a unit is held.
    """

    kept: States
    mask: NDArray[np.bool_]

    def __call__(self, states: States) -> States:
        """The states with the held units put back."""
        if isinstance(states, BitStates) and isinstance(self.kept, BitStates):
            held = BitStates.from_array(self.mask[np.newaxis]).bits
            return BitStates(states.bits & ~held | self.kept.bits & held, states.units)
        found, kept = states.floats(), self.kept.floats()
        values = zeros(found.shape)
        np.copyto(values, found)
        np.copyto(values[:, : states.units], kept[:, : states.units], where=self.mask)
        return FloatStates(values, states.units)

    def take(self, rows: NDArray[np.int64]) -> Clamp:
        """The clamp of some of the chains, in the order given."""
        return Clamp(self.kept.take(rows), self.mask)


def unclamped(states: States) -> States:
    """The states as they are."""
    return states


def check_mask(mask: NDArray[np.bool_], kind: UnitKind, where: str) -> None:
    """RbmError for a mask that holds all units or none, or some units of a group without others.

    where: what the user called it.
    """
    if mask.all():
        raise RbmError(f"{where}: keeps every unit, so nothing is left to draw: keep a part")
    if not mask.any():
        raise RbmError(f"{where}: keeps no unit: keep a part, or draw without a mask")
    start = 0
    for part, units in kind.blocks(mask.size):
        groups = mask[start : start + units].reshape(-1, part.group)
        if (groups.any(axis=1) != groups.all(axis=1)).any():
            raise RbmError(
                f"{where}: keeps some units of a group and not the others, but {part.name} units"
                f" are drawn together: keep whole groups of {part.group}"
            )
        start += units

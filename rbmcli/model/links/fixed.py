"""A dense link whose weights stay as they are, for long walks with the same machine.

Where a state has many units on, the sums of the weights of every four units are looked up: a table
holds all 16 sums of each four rows, so that a total input takes a quarter as many additions as
there are units, however many are on ("method of the four Russians", Arlazarov et al. 1970).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from rbmcli import _kernels
from rbmcli.arrays import Floats, zeros
from rbmcli.model.links.dense import DenseLink
from rbmcli.model.links.link import Link
from rbmcli.model.states import BitStates, States

#: Units whose weights are summed beforehand: half a byte.
_TOGETHER = 4
#: Bits denser than this are looked up: a little above 1 / _TOGETHER, where as many rows are added.
_LOOK_UP_ABOVE = 0.27


def fixed(link: Link[Any]) -> Link[Any]:
    """A link as it is now, for long walks with the same machine: not to be changed."""
    return FixedLink(link) if isinstance(link, DenseLink) else link


class FixedLink(DenseLink):
    """The weights of a dense link as they are now; not to be changed or learned with."""

    def __init__(self, link: DenseLink) -> None:
        super().__init__(link.visible, link.hidden)
        self.set_weights(link.weights)

    def up(self, visible: States, bias: Floats, out: Floats) -> Floats:
        """Total inputs of the hidden units, into `out` (rows, ld)."""
        if not _looked_up(visible):
            return super().up(visible, bias, out)
        return _sum_looked_up(visible, self._table_up, self.hidden, bias, out)

    def down(self, hidden: States, bias: Floats, out: Floats) -> Floats:
        """Total inputs of the visible units, into `out` (rows, ld)."""
        if not _looked_up(hidden):
            return super().down(hidden, bias, out)
        return _sum_looked_up(hidden, self._table_down, self.visible, bias, out)

    @cached_property
    def _table_up(self) -> Floats:
        return _sums_together(self.padded_weights)

    @cached_property
    def _table_down(self) -> Floats:
        return _sums_together(self._transposed)


def _looked_up(states: States) -> bool:
    return isinstance(states, BitStates) and states.density > _LOOK_UP_ABOVE


def _sums_together(matrix: Floats) -> Floats:
    """Row 16 g + n: the sum of those rows 4 g + i of the matrix for which bit i of n is on."""
    units, ld = matrix.shape
    groups = -(-units // _TOGETHER)
    table = zeros((groups << _TOGETHER, ld)).reshape(groups, 1 << _TOGETHER, ld)
    for bit in range(_TOGETHER):
        rows = matrix[bit::_TOGETHER]
        # A unit's row joins the sums of those before it.
        table[: len(rows), 1 << bit : 2 << bit] = (
            table[: len(rows), : 1 << bit] + rows[:, np.newaxis]
        )
    return table.reshape(groups << _TOGETHER, ld)


def _sum_looked_up(states: States, table: Floats, width: int, bias: Floats, out: Floats) -> Floats:
    assert isinstance(states, BitStates)
    groups = len(table) >> _TOGETHER
    in_bytes = states.bits.view(np.uint8)
    halves = np.empty((*in_bytes.shape, 2), np.uint32)
    np.bitwise_and(in_bytes, 15, out=halves[..., 0])
    np.right_shift(in_bytes, _TOGETHER, out=halves[..., 1])
    places = np.arange(groups, dtype=np.uint32) << _TOGETHER
    index = halves.reshape(states.rows, -1)[:, :groups] + places
    start = np.arange(states.rows + 1, dtype=np.uint32) * np.uint32(groups)
    _kernels.sum_listed(table, width, start, index.ravel(), bias, out)
    return out

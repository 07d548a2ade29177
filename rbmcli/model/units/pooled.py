"""Probabilistic max pooling: binary units of which at most one in each block is on.

Lee, Grosse, Ranganath and Ng 2009, "Convolutional deep belief networks for scalable unsupervised
learning of hierarchical representations", section 3.3. A pooled unit, which is what a layer above
sees of a block, is on where one of the block is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats, padded, to_padded, zeros
from rbmcli.draws import Draw
from rbmcli.errors import RbmError
from rbmcli.model.states import BitStates, FloatStates, States
from rbmcli.model.units.bernoulli import Bernoulli
from rbmcli.model.units.kind import Scale, UnitKind, middles

#: Most rows and columns of a block.
MOST = 16

#: Total inputs at which a unit is on, or off, for sure.
_CERTAIN = 60.0


class Pooled(UnitKind):
    """Unit i of a block is the one that is on with probability exp(x_i) / (1 + sum of exp(x_j)).

    Unlike other kinds, it is that of layers of one shape only: (height, width, maps), of which each
    map is cut into blocks of `pool` x `pool` positions, which must come out even. RbmError where
    blocks are too large.
    """

    activation = "probabilistic max pooling"
    valid_range = (0.0, 1.0)
    as_bits = True

    def __init__(self, shape: tuple[int, int, int], pool: int) -> None:
        if pool > MOST:
            raise RbmError(
                f"units cannot be pooled in blocks of {pool}x{pool}: at most in {MOST}x{MOST}"
            )
        self.shape = shape
        self.pool = pool
        self.group = pool * pool
        self.name = f"bernoulli pooled {pool}x{pool}"
        states = np.eye(self.group + 1, self.group, dtype=np.float32)
        self.group_states = np.roll(states, 1, axis=0)
        self._maps = (*shape, pool)

    def group_places(self, units: int) -> NDArray[np.int64]:  # noqa: D102
        return self._groups(np.arange(units)).reshape(-1, self.group)

    # Definition ---------------------------------------------------------------------------------

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        groups = self._groups(total)
        return self._ungrouped(np.exp(groups - self.define_cumulant(total)[..., np.newaxis]))

    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:
        """By inversion, with the uniform of the unit whose number is the block's."""
        cumulative = np.cumsum(self._groups(self.define_mean(total)), axis=-1)
        blocks = cumulative.shape[-2]
        chosen = (middles(uniforms)[..., :blocks, np.newaxis] >= cumulative).sum(axis=-1)
        return self._ungrouped(np.eye(self.group + 1, self.group, dtype=total.dtype)[chosen])

    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.logaddexp(0, np.logaddexp.reduce(self._groups(total), axis=-1))

    def define_log_base(self, states: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.zeros(states.shape)

    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        """Of blocks whose units all have this mean, kept away from 0 and 1 / group."""
        kept = np.clip(mean, 0.001 / self.group, 0.999 / self.group)
        return np.log(kept / (1 - self.group * kept))

    # Kernels ------------------------------------------------------------------------------------

    def run(  # noqa: D102
        self,
        total: Floats,
        units: int,
        mean: Floats | None,
        states: NDArray[Any] | None,
        draw: Draw | None,
    ) -> None:
        _kernels.pooled(total, self._maps, mean, states, draw)

    def add_cumulant(  # noqa: D102
        self, total: Floats, units: int, out: Doubles, scale: Scale = 1.0, weight: float = 1.0
    ) -> None:
        _kernels.pooled_cumulant(total, self._maps, out, scale, weight)

    # What a layer above sees --------------------------------------------------------------------

    @property
    def fed_kind(self) -> UnitKind:
        """Pooled units are binary."""
        return Bernoulli()

    def fed_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(height / pool, width / pool, maps)."""
        height, width, maps = self.shape
        return height // self.pool, width // self.pool, maps

    def fed(self, total: Floats, units: int, out: Floats) -> FloatStates:
        """How probable it is that one of each block is on; `out` is written over."""
        self.run(total, units, out, None, None)
        blocks = units // self.group
        pooled = zeros((len(out), padded(blocks)))
        _kernels.pooled_means(out, self._maps, pooled)
        return FloatStates(pooled, blocks)

    def fed_by(self, states: States) -> States:
        """Whether one of each block is on."""
        assert isinstance(states, BitStates)
        pooled = BitStates.empty(states.rows, states.units // self.group)
        _kernels.pooled_bits(states.bits, self._maps, pooled.bits)
        return pooled

    def drawn_from_fed(self, fed: States, draw: Draw) -> States:
        """Of each block whose pooled unit is on one, all of them alike."""
        units = fed.units * self.group
        on = np.where(fed.to_array() > 0.5, np.float32(_CERTAIN), np.float32(-_CERTAIN))
        return self.sample(to_padded(self.at_each(on)), units, draw)

    def at_each(self, fed: Floats) -> Floats:  # noqa: D102
        height, width, maps = self.fed_shape(self.shape)
        blocks = fed.reshape(-1, height, 1, width, 1, maps)
        shape = (len(fed), height, self.pool, width, self.pool, maps)
        return np.broadcast_to(blocks, shape).reshape(len(fed), -1)

    def log_drawn_from_fed(self, states: States) -> Doubles:
        """log(1 / group) for each unit that is on."""
        ones = np.ones(padded(states.units), np.float32)
        return -np.log(self.group) * states.dot(ones)

    def _groups(self, values: NDArray[Any]) -> NDArray[Any]:
        """(..., units) as (..., blocks, group): blocks as pooled units are numbered."""
        height, width, maps = self.fed_shape(self.shape)
        apart = values.reshape(*values.shape[:-1], height, self.pool, width, self.pool, maps)
        order = np.moveaxis(apart, (-4, -2), (-2, -1))
        return order.reshape(*values.shape[:-1], -1, self.group)

    def _ungrouped(self, groups: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `_groups`."""
        height, width, maps = self.fed_shape(self.shape)
        leading = groups.shape[:-2]
        apart = groups.reshape(*leading, height, width, maps, self.pool, self.pool)
        return np.moveaxis(apart, (-2, -1), (-4, -2)).reshape(*leading, -1)

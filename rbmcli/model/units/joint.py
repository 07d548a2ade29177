"""Blocks of several kinds side by side in one layer, such as label units beside features.

Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets", sections 5 and 6,
whose top machine sees the features of an image and a softmax group of label units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rbmcli import draws
from rbmcli.arrays import Doubles, Floats, to_padded
from rbmcli.draws import Draw
from rbmcli.errors import RbmError
from rbmcli.model.states import BitStates, FloatStates, States, beside, columns, put_bits
from rbmcli.model.units.kind import Scale, UnitKind


class _Block(NamedTuple):
    """A kind, its number in the layer, and its units: those from `start` on, before `stop`."""

    number: int
    kind: UnitKind
    start: int
    stop: int

    @property
    def units(self) -> int:
        return self.stop - self.start


class Joint(UnitKind):
    """Units of several kinds, independent of each other given their total inputs.

    blocks: (kind, number of units), from the first unit on; RbmError for Gaussian ones. Unlike
    other kinds, a joint is that of layers of so many units only. Everything is done block by
    block: the kernels run over the first in place and over copies of the others, which had better
    be small. States are bits where those of all blocks are. The first block draws what it would
    draw alone.
    """

    def __init__(self, blocks: Sequence[tuple[UnitKind, int]]) -> None:
        kinds = [kind for kind, _ in blocks]
        if any(kind.squared_energy or kind.has_sigma for kind in kinds):
            raise RbmError(
                "label units stand beside bernoulli, binomial:N, softmax:N or nrelu units, not"
                " gaussian ones"
            )
        ends = list(accumulate((units for _, units in blocks), initial=0))
        self._blocks = [
            _Block(number, kind, *place)
            for number, (kind, place) in enumerate(zip(kinds, pairwise(ends), strict=True))
        ]
        self.units = ends[-1]
        self.name = " + ".join(f"{units} {kind.name}" for kind, units in blocks)
        self.activation = "; ".join(f"{units} {kind.activation}" for kind, units in blocks)
        self.as_bits = all(kind.as_bits for kind in kinds)
        self.quadratic = any(kind.quadratic for kind in kinds)
        self.valid_range = (
            min(kind.valid_range[0] for kind in kinds),
            max(kind.valid_range[1] for kind in kinds),
        )

    def blocks(self, units: int) -> list[tuple[UnitKind, int]]:  # noqa: D102
        assert units == self.units
        return [(block.kind, block.units) for block in self._blocks]

    @property
    def of_model(self) -> UnitKind:
        """The joint of what the blocks approximate."""
        exact = [(block.kind.of_model, block.units) for block in self._blocks]
        same = all(kind is block.kind for (kind, _), block in zip(exact, self._blocks, strict=True))
        return self if same else Joint(exact)

    # Definition ---------------------------------------------------------------------------------

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return self._joined(b.kind.define_mean(x) for b, x in self._split(total))

    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        both = zip(self._split(total), self._split(uniforms), strict=True)
        return self._joined(b.kind.define_sample(x, u) for (b, x), (_, u) in both)

    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return self._joined(b.kind.define_cumulant(x) for b, x in self._split(total))

    def define_log_base(self, states: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return self._joined(b.kind.define_log_base(s) for b, s in self._split(states))

    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return self._joined(b.kind.bias_from_mean(m) for b, m in self._split(mean))

    def _split(self, values: NDArray[Any]) -> Iterator[tuple[_Block, NDArray[Any]]]:
        """Each block with its columns of values (..., units)."""
        return ((block, values[..., block.start : block.stop]) for block in self._blocks)

    @staticmethod
    def _joined(parts: Iterator[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(list(parts), axis=-1)

    # Kernels ------------------------------------------------------------------------------------

    def run(  # noqa: D102
        self,
        total: Floats,
        units: int,
        mean: Floats | None,
        states: NDArray[Any] | None,
        draw: Draw | None,
    ) -> None:
        if states is not None:
            states.fill(0)
        for block, part in self._parts(total):
            own = None if mean is None else part if block.number else mean
            if states is None:
                block.kind.run(part, block.units, own, None, None)
            else:
                assert draw is not None
                named = draws.apart(draw, block.number)
                self._put(states, block, block.kind.sample(part, block.units, named, own))
            if mean is not None and block.number:
                mean[:, block.start : block.stop] = part[:, : block.units]

    def add_cumulant(  # noqa: D102
        self, total: Floats, units: int, out: Doubles, scale: Scale = 1.0, weight: float = 1.0
    ) -> None:
        for block, part in self._parts(total):
            block.kind.add_cumulant(part, block.units, out, scale, weight)

    def log_base(self, states: States) -> Doubles:  # noqa: D102
        result = np.zeros(states.rows)
        for block in self._blocks:
            result += block.kind.log_base(columns(states, block.start, block.stop))
        return result

    def fed(self, total: Floats, units: int, out: Floats) -> FloatStates:
        """What each block feeds."""
        for block, part in self._parts(total):
            block.kind.fed(part, block.units, part if block.number else out)
            if block.number:
                out[:, block.start : block.stop] = part[:, : block.units]
        out[:, units:] = 0
        return FloatStates(out, units)

    def _parts(self, total: Floats) -> list[tuple[_Block, Floats]]:
        """Each block with total inputs that begin with its own, all copied before any kernel runs.

        The first block's are `total` itself: the kernels that `run` and `add_cumulant` call do not
        mind what lies beyond a block's units, but write zeros there.
        """
        split = self._split(total)
        return [(block, to_padded(part) if block.number else total) for block, part in split]

    def _put(self, states: NDArray[Any], block: _Block, drawn: States) -> None:
        if self.as_bits and isinstance(drawn, BitStates):
            put_bits(states, drawn.bits, block.start)
        else:
            states[:, block.start : block.stop] = drawn.to_array()

    # Data ---------------------------------------------------------------------------------------

    def reading(
        self, largest: float, scale: float, binarize: str, counts: bool | None = None
    ) -> tuple[str, float]:
        """As the first block reads them."""
        return self._blocks[0].kind.reading(largest, scale, binarize, counts)

    def from_data(
        self,
        images: NDArray[Any],
        index: NDArray[np.int64],
        scale: float,
        binarize: str,
        draw: Draw,
    ) -> States:
        """As each block makes states of its columns, which all have the same scale."""
        rows = np.arange(len(index))
        parts = (
            block.kind.from_data(
                np.ascontiguousarray(part),
                rows,
                scale,
                binarize,
                draws.apart(draw, block.number),
            )
            for block, part in self._split(images[index])
        )
        return reduce(beside, parts)

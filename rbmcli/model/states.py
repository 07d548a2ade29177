"""States of a layer, each in the form that its kernels want.

A state is a value: made once, never changed. Two forms exist so far: bits (with the lists of the
units that are on, made when first asked for) and floats. What the link does with a state depends
on its form and density, by fixed rules, so that results never depend on timing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Floats, Words, padded, to_padded, words_for, zeros
from rbmcli.draws import Draw


@dataclass(frozen=True)
class FloatStates:
    """Real-valued states: values, float32 (rows, padded units), zero beyond `units`."""

    values: Floats
    units: int

    @property
    def rows(self) -> int:
        """Number of states."""
        return self.values.shape[0]

    def floats(self) -> Floats:
        """The values, float32 (rows, padded units)."""
        return self.values

    def to_array(self) -> Floats:
        """The values, float32 (rows, units)."""
        return self.values[:, : self.units]

    def mean_by_unit(self) -> Floats:
        """Mean over the rows, float32 (units,)."""
        return self._column_means(None)

    def weighted_mean_by_unit(self, weight: Floats) -> Floats:
        """Mean over the rows of `weight` (rows,) times the values, float32 (units,)."""
        return self._column_means(weight)

    def _column_means(self, weight: Floats | None) -> Floats:
        sums = np.empty(self.values.shape[1], np.float32)
        _kernels.column_sums(self.values, self.units, sums, weight)
        return np.divide(sums[: self.units], self.rows, dtype=np.float32)

    def dot(self, vector: Floats) -> NDArray[np.float64]:
        """Per row the sum of values times `vector` (padded units,), float64 (rows,)."""
        out = np.empty(self.rows)
        _kernels.dot_rows(self.values, vector, out)
        return out

    def take(self, rows: NDArray[np.int64]) -> FloatStates:
        """Some of the rows, in the order given; a copy."""
        values = zeros((len(rows), self.values.shape[1]))
        np.take(self.values, rows, axis=0, out=values)
        return FloatStates(values, self.units)


@dataclass(frozen=True)
class BitStates:
    """Binary states: bits, uint64 (rows, words); unit u is bit u % 64 of word u // 64."""

    bits: Words
    units: int

    @staticmethod
    def empty(rows: int, units: int) -> BitStates:
        """States to be filled by a kernel, all off until then."""
        return BitStates(np.zeros((rows, words_for(units)), np.uint64), units)

    @staticmethod
    def from_array(values: NDArray[Any]) -> BitStates:
        """States from an array (rows, units), on where a value is above one half."""
        floats = np.ascontiguousarray(values, np.float32)
        states = BitStates.empty(*floats.shape)
        _kernels.floats_to_bits(floats, states.units, states.bits)
        return states

    @property
    def rows(self) -> int:
        """Number of states."""
        return self.bits.shape[0]

    @cached_property
    def count(self) -> int:
        """Number of bits that are on."""
        return _kernels.count_on(self.bits)

    @property
    def density(self) -> float:
        """Fraction of the units that are on."""
        return self.count / (self.rows * self.units)

    @cached_property
    def lists(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """(start, index): the units on in row r are index[start[r]:start[r + 1]]."""
        start = np.empty(self.rows + 1, np.uint32)
        index = np.empty(max(self.count, 1), np.uint32)
        _kernels.list_on(self.bits, start, index)
        return start, index

    def floats(self) -> Floats:
        """The states as 0 and 1, float32 (rows, padded units)."""
        values = zeros((self.rows, padded(self.units)))
        _kernels.bits_to_floats(self.bits, self.units, values)
        return values

    def to_array(self) -> NDArray[np.uint8]:
        """The states as 0 and 1, uint8 (rows, units)."""
        as_bytes = self.bits.view(np.uint8)
        return np.unpackbits(as_bytes, axis=1, bitorder="little", count=self.units)

    def mean_by_unit(self) -> Floats:
        """Mean over the rows, float32 (units,)."""
        count = np.empty(self.units, np.uint32)
        _kernels.count_by_unit(self.bits, count)
        return np.divide(count, self.rows, dtype=np.float32)

    def weighted_mean_by_unit(self, weight: Floats) -> Floats:
        """Mean over the rows of `weight` (rows,) times the states, float32 (units,)."""
        out = np.empty(self.units, np.float32)
        _kernels.weigh_listed(*self.lists, weight, out)
        return np.divide(out, self.rows, dtype=np.float32)

    def dot(self, vector: Floats) -> NDArray[np.float64]:
        """Per row the sum of `vector` (padded units,) over the units that are on, float64."""
        out = np.empty(self.rows)
        _kernels.dot_listed(*self.lists, vector, out)
        return out

    def take(self, rows: NDArray[np.int64]) -> BitStates:
        """Some of the rows, in the order given; a copy."""
        return BitStates(np.ascontiguousarray(self.bits[rows]), self.units)


States = BitStates | FloatStates


def one_hot(labels: NDArray[np.int64], classes: int) -> BitStates:
    """One unit on for each label (rows,), of as many as there are classes."""
    return BitStates.from_array(labels[:, np.newaxis] == np.arange(classes))


def beside(left: States, right: States) -> States:
    """The columns of both, those of `left` first; bits if both are."""
    values = np.concatenate([left.to_array(), right.to_array()], axis=1)
    if isinstance(left, BitStates) and isinstance(right, BitStates):
        return BitStates.from_array(values)
    return FloatStates(to_padded(values), values.shape[1])


def columns(states: States, start: int, stop: int) -> States:
    """The units from `start` to before `stop`, in the same form."""
    if (start, stop) == (0, states.units):
        return states
    values = states.to_array()[:, start:stop]
    if isinstance(states, BitStates):
        return BitStates.from_array(values)
    return FloatStates(to_padded(values), stop - start)


def binarized(
    images: NDArray[Any],
    index: NDArray[np.int64],
    scale: float,
    threshold: float | None,
    draw: Draw,
) -> BitStates:
    """Images as binary states: on with probability value / scale, or where it is above `threshold`.

    images: (n, units) uint8 or float32, values within [0, scale]; index: the rows wanted.
    """
    states = BitStates.empty(len(index), images.shape[1])
    _kernels.binarize(images, index, scale, threshold, draw, states.bits)
    return states


def as_floats(images: NDArray[Any], index: NDArray[np.int64], scale: float) -> FloatStates:
    """Images as real-valued states, value / scale."""
    units = images.shape[1]
    values = zeros((len(index), padded(units)))
    np.divide(images[index], np.float32(scale), out=values[:, :units])
    return FloatStates(values, units)

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
from rbmcli.arrays import Doubles, Floats, Words, padded, words_for, zeros
from rbmcli.draws import Draw
from rbmcli.errors import RbmError


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

    def dot(self, vector: Floats) -> Doubles:
        """Per row the sum of values times `vector` (padded units,), float64 (rows,)."""
        out = np.empty(self.rows)
        _kernels.dot_rows(self.values, vector, out)
        return out

    def add_dot(self, vector: Floats, out: Doubles, weight: Doubles) -> None:
        """out (rows,) += weight (1,) times `dot`."""
        _kernels.dot_rows(self.values, vector, out, weight)

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

    def dot(self, vector: Floats) -> Doubles:
        """Per row the sum of `vector` (padded units,) over the units that are on, float64."""
        out = np.empty(self.rows)
        _kernels.dot_bits(self.bits, self.units, vector, out)
        return out

    def add_dot(self, vector: Floats, out: Doubles, weight: Doubles) -> None:
        """out (rows,) += weight (1,) times `dot`."""
        _kernels.dot_bits(self.bits, self.units, vector, out, weight)

    def take(self, rows: NDArray[np.int64]) -> BitStates:
        """Some of the rows, in the order given; a copy."""
        return BitStates(np.ascontiguousarray(self.bits[rows]), self.units)


States = BitStates | FloatStates


def array_of(states: States) -> NDArray[Any]:
    """The array that holds states, as kernels take it."""
    return states.bits if isinstance(states, BitStates) else states.values


def beside(left: States, right: States) -> States:
    """The units of `right` after those of `left`, row by row: bits where both are, else floats."""
    units = left.units + right.units
    if isinstance(left, BitStates) and isinstance(right, BitStates):
        bits = BitStates.empty(left.rows, units)
        put_bits(bits.bits, left.bits, 0)
        put_bits(bits.bits, right.bits, left.units)
        return bits
    values = zeros((left.rows, padded(units)))
    values[:, : left.units] = left.to_array()
    values[:, left.units : units] = right.to_array()
    return FloatStates(values, units)


def stacked(upper: States, lower: States) -> States:
    """The rows of `lower` below those of `upper`: bits where both are, else floats."""
    if isinstance(upper, BitStates) and isinstance(lower, BitStates):
        return BitStates(np.concatenate([upper.bits, lower.bits]), upper.units)
    values = zeros((upper.rows + lower.rows, padded(upper.units)))
    np.concatenate([upper.floats(), lower.floats()], out=values)
    return FloatStates(values, upper.units)


def put_bits(bits: Words, part: Words, start: int) -> None:
    """Turn on in `bits` (rows, words), counted from unit `start`, what is on in `part`.

    part: uint64 (rows, words of the units in it), which must fit.
    """
    word, shift = divmod(start, 64)
    width = part.shape[1]
    bits[:, word : word + width] |= part << np.uint64(shift)
    if shift:
        next_words = bits[:, word + 1 : word + 1 + width]
        next_words |= part[:, : next_words.shape[1]] >> np.uint64(64 - shift)


def columns(states: States, start: int, stop: int) -> States:
    """The units from `start` on, before `stop`, of which there is one or more."""
    units = stop - start
    if units == states.units:
        return states
    if isinstance(states, FloatStates):
        values = zeros((states.rows, padded(units)))
        values[:, :units] = states.values[:, start:stop]
        return FloatStates(values, units)
    word, shift = divmod(start, 64)
    width = words_for(units)
    bits = states.bits[:, word : word + width] >> np.uint64(shift)
    if shift:
        next_words = states.bits[:, word + 1 : word + 1 + width]
        bits[:, : next_words.shape[1]] |= next_words << np.uint64(64 - shift)
    bits[:, -1] &= np.uint64(2**64 - 1 >> -units % 64)
    return BitStates(bits, units)


def one_hot(labels: NDArray[np.int64], classes: int) -> BitStates:
    """One unit for each class, on where it is the label of the row; labels: (rows,).

    RbmError for a label that is no class.
    """
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise RbmError(
            f"label {wrong[0]}: there are {classes} classes; labels must be 0 to {classes - 1}"
        )
    states = BitStates.empty(len(labels), classes)
    place = np.asarray(labels, np.uint64)
    states.bits[np.arange(len(labels)), place // 64] = np.uint64(1) << place % 64
    return states


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


def as_floats(
    images: NDArray[Any],
    index: NDArray[np.int64],
    scale: float,
    sigma: Floats | None = None,
) -> FloatStates:
    """Images as real-valued states, value / scale, and divided by `sigma` (units,) where given."""
    states = FloatStates(zeros((len(index), padded(images.shape[1]))), images.shape[1])
    _kernels.take(images, index, scale, sigma, states.values)
    return states

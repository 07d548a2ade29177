"""Plain numpy definitions that the kernels and the training loop are held to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Words, words_for
from rbmcli.draws import Draw
from rbmcli.model.links import ConvolutionalLink
from rbmcli.model.rbm import Rbm
from rbmcli.model.units import KINDS, Joint, Pooled, UnitKind, unit_kind

#: The unit roundoff of float32: the result of one operation is off by at most this fraction.
ROUNDOFF = 2.0**-24


def philox(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Philox 4x32-10 of counters (..., 4), as the paper's round function says it."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    k0, k1 = key
    for _ in range(10):
        product0, product1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (product1 >> high) ^ c1 ^ np.uint64(k0),
            product1 & low,
            (product0 >> high) ^ c3 ^ np.uint64(k1),
            product0 & low,
        )
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def words(draw: Draw, rows: int, units: int) -> NDArray[np.uint32]:
    """The random words that a draw names, (rows, units)."""
    key, step, substep, first_row = draw
    blocks = -(-units // 4)
    counter = np.zeros((rows, blocks, 4), np.uint32)
    counter[..., 0] = np.arange(blocks)
    counter[..., 1] = (first_row + np.arange(rows)[:, np.newaxis]) % 2**32
    counter[..., 2] = substep
    counter[..., 3] = step
    return philox(counter, (key % 2**32, key >> 32)).reshape(rows, 4 * blocks)[:, :units]


def uniforms(draw: Draw, rows: int, units: int) -> NDArray[np.float32]:
    """The uniforms in [0, 1) made of those words: multiples of 2^-24."""
    return (words(draw, rows, units) >> 8).astype(np.float32) * np.float32(2.0**-24)


def fused(a: float, b: float, c: float) -> np.float32:
    """a b + c for float32 numbers, rounded once, ties to even."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = np.float32(float(exact))
    around = (np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf)))

    def distance(x: np.float32) -> tuple[Fraction, int]:
        return abs(Fraction(float(x)) - exact), int(x.view(np.uint32)) & 1

    return min(around, key=distance)


def bit_uniforms(draw: Draw, rows: int, units: int) -> NDArray[np.float64]:
    """The uniforms in [0, 1) of bits, multiples of 2^-40: 16 binary digits, and 24 more."""
    groups = -(-units // 64)
    halves = words(draw, rows, groups * 32).reshape(rows, groups, 32)
    first = np.concatenate([halves & 0xFFFF, halves >> 16], axis=-1).reshape(rows, -1)
    key, step, substep, first_row = draw
    counter = np.zeros((rows, units, 4), np.uint32)
    counter[..., 0] = 2**29 + np.arange(units)
    counter[..., 1] = (first_row + np.arange(rows)[:, np.newaxis]) % 2**32
    counter[..., 2], counter[..., 3] = substep, step
    further = philox(counter, (key % 2**32, key >> 32))[..., 0] >> 8
    return (first[:, :units] + further * 2.0**-24) * 2.0**-16


def uniforms_of(kind: UnitKind, draw: Draw, rows: int, units: int) -> NDArray[np.float64]:
    """The uniforms that units of a kind are drawn with."""
    if kind.name == "bernoulli" and kind.pool == 1:
        return bit_uniforms(draw, rows, units)
    return uniforms(draw, rows, units).astype(np.float64)


def sigmoid(x: NDArray[Any]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) in float64."""
    return np.exp(-np.logaddexp(0, -x.astype(np.float64)))


def to_bits(states: NDArray[Any]) -> Words:
    """Bit rows of states (rows, units)."""
    rows, units = states.shape
    packed = np.zeros((rows, 8 * words_for(units)), np.uint8)
    packed[:, : -(-units // 8)] = np.packbits(states != 0, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64)


def from_bits(bits: Words, units: int) -> NDArray[np.bool_]:
    """States (rows, units) of bit rows."""
    number = np.arange(units)
    return (bits[:, number // 64] >> (number % 64).astype(np.uint64) & np.uint64(1)).astype(bool)


#: The numbers with which the families of kinds, "NAME:N" or "NAME:SIGMA", are tested.
NUMBERS = {"binomial": (1, 5, 70, 255), "softmax": (2, 3, 10, 40), "gaussian": (0.5, 3)}


def every_kind() -> list[UnitKind]:
    """Every kind of the table; of families, several."""
    names = []
    for name, entry in KINDS.items():
        family = name.partition(":")[0]
        alone = isinstance(entry, UnitKind)
        names += [name] if alone else [f"{family}:{n}" for n in NUMBERS[family]]
    return [unit_kind(name) for name in names]


def joint_of(*blocks: tuple[str, int]) -> Joint:
    """The joint of kinds by name, each with its number of units."""
    return Joint([(unit_kind(name), units) for name, units in blocks])


def every_joint() -> list[UnitKind]:
    """Every kind that may be part of a joint beside label units; and more than two blocks."""
    return [
        joint_of(("bernoulli", 3), ("softmax:3", 3)),
        joint_of(("softmax:2", 4), ("softmax:3", 3)),
        joint_of(("binomial:5", 2), ("softmax:3", 3)),
        joint_of(("nrelu", 2), ("softmax:3", 3)),
        joint_of(("nrelu:exact", 2), ("bernoulli", 1), ("softmax:3", 3)),
    ]


def every_pooled() -> list[UnitKind]:
    """Pooled units of several sizes, of blocks beside and below each other."""
    return [Pooled((2, 2, 1), 2), Pooled((4, 6, 2), 2), Pooled((3, 6, 2), 3)]


def fitting(kind: UnitKind, groups: int) -> UnitKind:
    """Of pooled units those of a layer of so many blocks; other kinds know no size."""
    if not isinstance(kind, Pooled):
        return kind
    filters = next(n for n in (5, 4, 3, 1) if groups % n == 0)
    return Pooled((kind.pool, groups // filters * kind.pool, filters), kind.pool)


def sized(kind: UnitKind) -> int | None:
    """The number of units of layers of a kind, where the kind says it."""
    if isinstance(kind, Pooled):
        return math.prod(kind.shape)
    return kind.units if isinstance(kind, Joint) else None


def least_units(kind: UnitKind) -> int:
    """Units of the least layer of a kind: a group, or all where the kind says how many."""
    return sized(kind) or kind.group


def connections(model: Rbm) -> NDArray[np.float64]:
    """The weight between each visible and each hidden unit, (visible, hidden).

    Of filters that move over an image the same at every place, written out place by place.
    """
    weights = model.link.weights.astype(np.float64)
    if not isinstance(model.link, ConvolutionalLink):
        return weights
    return tie(model.link, weights)


def tie(link: ConvolutionalLink, weights: NDArray[Any]) -> NDArray[np.float64]:
    """Weights (filters, channels, height, width) as those between all units."""
    matrix = np.zeros((link.visible, link.hidden))
    for visible, hidden, tap in places(link):
        matrix[visible, hidden] = weights[tap]
    return matrix


def untie(link: ConvolutionalLink, matrix: NDArray[Any]) -> NDArray[np.float64]:
    """The sum over all places of each weight, of a matrix (visible, hidden): `tie` transposed."""
    sums = np.zeros(link.weights.shape)
    for visible, hidden, tap in places(link):
        sums[tap] += matrix[visible, hidden]
    return sums


def places(link: ConvolutionalLink) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """(visible unit, hidden unit, (filter, channel, row, column)) of every connection."""
    maps = link.maps
    for y, x, k in np.ndindex(maps.hidden_height, maps.hidden_width, maps.filters):
        hidden = (y * maps.hidden_width + x) * maps.filters + k
        for c, fy, fx in np.ndindex(maps.channels, maps.filter_height, maps.filter_width):
            if maps.planar:
                visible = (c * maps.height + y + fy) * maps.width + x + fx
            else:
                visible = ((y + fy) * maps.width + x + fx) * maps.channels + c
            yield visible, hidden, (k, c, fy, fx)

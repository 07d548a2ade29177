"""Every kernel against its definition in numpy, on every instruction set, within its own memory.

Sums are compared within the bound that rounding can reach, n times the unit roundoff times the sum
of the magnitudes; all terms are of a size that the loss or doubling of one would exceed it.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from guarded import Memory
from numpy.typing import NDArray
from reference import ROUNDOFF, bit_uniforms, from_bits, fused, philox, sigmoid, to_bits, words

from rbmcli import _kernels
from rbmcli.arrays import Words, padded, to_padded, words_for, zeros

SIZES = (1, 15, 16, 17, 63, 64, 65, 127, 784)
ROWS = (1, 2, 3, 5, 7, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 130)
DENSITIES = (0.0, 0.01, 0.13, 0.5, 1.0)
# Every pair of sizes, and between them every pair of rows and density.
LINKS = [
    (visible, hidden, ROWS[i % len(ROWS)], DENSITIES[i % len(DENSITIES)])
    for i, (visible, hidden) in enumerate(itertools.product(SIZES, SIZES))
]
# Every batch size with a layer of two vectors and a bit.
LINKS += [(65, 17, rows, DENSITIES[rows % len(DENSITIES)]) for rows in range(1, 131)]
# Where counters of 8 bits are full, and where a tile of the matrix has to be narrow.
LINKS += [(17, 65, rows, density) for rows in (255, 256, 600) for density in (0.5, 1.0)]
LINKS += [(2500, 200, 65, 0.13), (65, 200, 2500, 0.13), (9000, 40, 5, 0.13)]
LAYERS = [
    (units, rows, DENSITIES[i % len(DENSITIES)])
    for i, (units, rows) in enumerate(itertools.product(SIZES, (*ROWS, 255, 256, 600)))
]
DRAW = (0x0123456789ABCDEF, 41, 7, 1000)
BERNOULLI, BINOMIAL, GAUSSIAN, NRELU, NRELU_EXACT, SOFTMAX = (
    _kernels.Kind(name)
    for name in ("bernoulli", "binomial", "gaussian", "nrelu", "nrelu:exact", "softmax")
)

Arrays = tuple[NDArray[Any], ...]

pytestmark = pytest.mark.usefixtures("isa", "shared_out")


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.check()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def magnitudes(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Values of both signs between a half and one."""
    values = rng.random(shape, np.float32) - np.float32(0.5)
    return values + np.copysign(np.float32(0.5), values)


def some_states(
    rng: np.random.Generator, rows: int, units: int, density: float
) -> NDArray[np.bool_]:
    return rng.random((rows, units)) < density


def lists(states: NDArray[np.bool_]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """(start, index) of the units that are on."""
    start = np.concatenate([[0], np.cumsum(states.sum(axis=1))])
    return start.astype(np.uint32), np.nonzero(states)[1].astype(np.uint32)


def on_any_threads(run: Callable[..., Arrays], *arguments: Any) -> Arrays:
    """What `run` returns, after checking that it is the same bytes with 1, 2 and 3 threads."""
    results = []
    for threads in (1, 2, 3):
        _kernels.set_threads(threads)
        results.append(run(*arguments))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.tobytes() == b.tobytes(), "the result depends on the number of threads"
    return results[0]


def assert_within(actual: NDArray[Any], exact: NDArray[Any], bound: NDArray[Any] | float) -> None:
    difference = np.abs(actual.astype(np.float64) - exact)
    assert (difference <= bound).all(), f"off by up to {np.max(difference - bound)} over the bound"


def assert_padding_zero(matrix: NDArray[Any], width: int) -> None:
    assert not matrix[..., width:].any(), "the padding is no longer zero"


# Random words ------------------------------------------------------------------------------------

# The known answers published with Random123, for philox4x32 with 10 rounds: counter, key, words.
PUBLISHED = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def hexadecimal(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), PUBLISHED)
def test_reference_gives_published_words(counter: str, key: str, answer: str) -> None:
    k0, k1 = hexadecimal(key)
    result = philox(np.array(hexadecimal(counter), np.uint32), (k0, k1))
    assert result.tolist() == hexadecimal(answer)


def test_random_words_published() -> None:
    out = np.empty((1, 4), np.uint32)
    _kernels.random_words((0, 0, 0, 0), out)
    assert out[0].tolist() == hexadecimal(PUBLISHED[0][2])


@pytest.mark.parametrize(
    "draw",
    [
        (0, 0, 0, 0),
        (2**64 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1),  # rows beyond the first wrap around to 0
        (0x299F31D0A4093822, 0x03707344, 0x13198A2E, 0x85A308D3),
        (1, 0, 0, 0),
        (2**32, 0, 0, 0),
        (0, 1, 0, 0),
        (0, 0, 1, 0),
        (0, 0, 0, 1),
    ],
)
def test_random_words(draw: tuple[int, int, int, int], memory: Memory) -> None:
    for units in (*SIZES, 280_001):
        out = memory.output((3, units), np.uint32, 0)
        _kernels.random_words(draw, out)
        np.testing.assert_array_equal(out, words(draw, 3, units))


# Binary states -----------------------------------------------------------------------------------


def binarized(
    memory: Memory,
    images: NDArray[Any],
    index: NDArray[np.int64],
    scale: float,
    threshold: float | None,
) -> Arrays:
    spare = len(index) % 2  # a row of bits may be longer than it has to be
    row_words = words_for(images.shape[1]) + spare
    bits = memory.output((len(index), row_words), np.uint64, 2**64 - 1)
    _kernels.binarize(images, index, scale, threshold, DRAW, bits)
    if spare:
        assert not bits[:, -1].any()
    return (bits[:, : words_for(images.shape[1])],)


@pytest.mark.parametrize("scale", [255.0, 1.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_binarize(
    dtype: type, scale: float, threshold: float | None, memory: Memory, rng: np.random.Generator
) -> None:
    for units, rows, density in LAYERS:
        values = rng.choice([0, 0.2, 0.5, 0.7, 1], (40, units)) * (rng.random(units) < density)
        values[::3] = 0
        values[1::3] = 1
        images = memory.input(values * scale, dtype)  # with scale 1, uint8 holds 0 and 1 only
        index = memory.input(rng.integers(40, size=rows), np.int64)
        (bits,) = on_any_threads(binarized, memory, images, index, scale, threshold)
        probability = images[index].astype(np.float32) / np.float32(scale)
        cut = bit_uniforms(DRAW, rows, units) if threshold is None else threshold
        np.testing.assert_array_equal(bits, to_bits(probability > cut))
        memory.check()


@pytest.mark.parametrize("part", range(0, 128, 9))
def test_ties_are_broken(part: int, isa: str) -> None:
    """Probabilities whose first 16 digits are those of every unit's uniform: the next decide."""
    rows, units, draw = 3, 300, (11, 4, 2, 5)
    chance = bit_uniforms(draw, rows, units)
    probability = (np.floor(chance * 2**16) + part / 128) / 2**16
    images = probability.astype(np.float32)
    assert (images == probability).all()
    bits = np.empty((rows, words_for(units)), np.uint64)
    _kernels.binarize(images, np.arange(rows), 1.0, None, draw, bits)
    expected = chance < probability
    np.testing.assert_array_equal(bits, to_bits(expected))
    assert abs(expected.mean() - part / 128) < 0.1


def test_surely_on_and_off(isa: str) -> None:
    """On with probability 1 always, with 0 never, whatever the uniform."""
    bits = np.empty((40, words_for(6400)), np.uint64)
    for value, dtype, scale in ((1, np.float32, 1.0), (255, np.uint8, 255.0), (3, np.uint8, 3.0)):
        images = np.zeros((1, 6400), dtype)
        images[0, ::2] = value
        _kernels.binarize(images, np.zeros(40, np.int64), scale, None, DRAW, bits)
        expected = np.broadcast_to(images / np.float32(scale), (40, 6400))
        np.testing.assert_array_equal(bits, to_bits(expected))


def test_bytes_are_fractions_of_255(isa: str) -> None:
    """The first digits of each byte's probability, for which no division is made."""
    values = np.repeat(np.arange(256, dtype=np.uint8), 40)[np.newaxis]
    bits = np.empty((99, words_for(values.size)), np.uint64)
    _kernels.binarize(values, np.zeros(99, np.int64), 255.0, None, DRAW, bits)
    chance = bit_uniforms(DRAW, 99, values.size)
    np.testing.assert_array_equal(bits, to_bits(chance < values / np.float32(255)))


def reshaped(memory: Memory, bits: Words, floats: NDArray[Any], units: int, on: int) -> Arrays:
    """(list start, list index, bits as floats, floats as bits, count by unit)."""
    start = memory.output(len(bits) + 1, np.uint32, 77)
    index = memory.output(max(1, on), np.uint32, 0)
    _kernels.list_on(bits, start, index)
    as_floats = memory.output((len(bits), padded(units)), np.float32, np.nan)
    _kernels.bits_to_floats(bits, units, as_floats)
    as_bits = memory.output(bits.shape, np.uint64, 2**64 - 1)
    _kernels.floats_to_bits(floats, units, as_bits)
    count = memory.output(units, np.uint32, 77)
    _kernels.count_by_unit(bits, count)
    return start, index[:on], as_floats, as_bits, count


def test_bit_kernels(memory: Memory, rng: np.random.Generator) -> None:
    for units, rows, density in LAYERS:
        states = some_states(rng, rows, units, density)
        bits = memory.input(to_bits(states))
        floats = memory.padded_input(np.where(states, 0.75, 0.5))
        on = int(states.sum())
        assert _kernels.count_on(bits) == on
        start, index, as_floats, as_bits, count = on_any_threads(
            reshaped, memory, bits, floats, units, on
        )
        for actual, expected in zip((start, index), lists(states), strict=True):
            np.testing.assert_array_equal(actual, expected)
        np.testing.assert_array_equal(as_floats[:, :units], states)
        assert_padding_zero(as_floats, units)
        np.testing.assert_array_equal(as_bits, bits)
        np.testing.assert_array_equal(count, states.sum(axis=0))
        memory.check()


# Total inputs ------------------------------------------------------------------------------------


def summed(
    memory: Memory,
    bits: Words,
    units: int,
    matrix: NDArray[Any],
    width: int,
    bias: NDArray[Any],
    turned: bool,
) -> Arrays:
    out = memory.padded_output(len(bits), width, np.nan)
    length = _kernels.lists_length(len(bits), units, out.shape[1], turned)
    lists = memory.output(length, np.uint32, 77)
    _kernels.bit_inputs(bits, units, matrix, width, bias, out, lists, turned)
    return (out,)


def test_bit_inputs(memory: Memory, rng: np.random.Generator) -> None:
    for units, width, rows, density in LINKS:
        states = some_states(rng, rows, units, density)
        matrix = memory.padded_input(magnitudes(rng, units, width))
        bias = memory.padded_input(magnitudes(rng, width))
        turned = memory.padded_input(np.ascontiguousarray(matrix[:, :width].T))
        bits = memory.input(to_bits(states))
        exact = bias.astype(np.float64) + states.astype(np.float64) @ matrix
        size = np.abs(bias, dtype=np.float64) + states.astype(np.float64) @ np.abs(matrix)
        for form in (matrix, turned):
            (out,) = on_any_threads(summed, memory, bits, units, form, width, bias, form is turned)
            assert_within(out, exact, (units + 1) * ROUNDOFF * size)
            assert_padding_zero(out, width)
        memory.check()


def product(
    memory: Memory,
    a: NDArray[Any],
    inner: int,
    b: NDArray[Any],
    width: int,
    bias: NDArray[Any],
    turned: bool = False,
) -> Arrays:
    out = memory.padded_output(len(a), width, np.nan)
    _kernels.multiply(a, inner, b, width, bias, out, turned)
    return (out,)


def test_multiply(memory: Memory, rng: np.random.Generator) -> None:
    for inner, width, rows, _ in LINKS:
        a = memory.padded_input(magnitudes(rng, rows, inner))
        b = memory.padded_input(magnitudes(rng, inner, width))
        bias = memory.padded_input(magnitudes(rng, width))
        (out,) = on_any_threads(product, memory, a, inner, b, width, bias)
        beside = memory.padded_input(np.ascontiguousarray(b[:, :width].T))
        (again,) = on_any_threads(product, memory, a, inner, beside, width, bias, True)
        assert again.tobytes() == out.tobytes()
        left, right = a[:, :inner].astype(np.float64), b.astype(np.float64)
        size = np.abs(bias) + np.abs(left) @ np.abs(right)
        assert_within(out, bias + left @ right, (inner + 2) * ROUNDOFF * size)
        assert_padding_zero(out, width)
        memory.check()


def edges(rng: np.random.Generator, exponent: int, count: int) -> tuple[Any, Any, Any]:
    """Numbers a, b, c, as many each, of which a b + c lies by a hair beside the middle of two."""
    c = np.ldexp(rng.integers(2**23, 2**24, count), exponent).astype(np.float32)
    half = np.ldexp(0.5, exponent)
    a = np.float32(half) * (1 + rng.integers(-2, 3, count).astype(np.float32) * np.float32(2**-23))
    b = 1 + rng.integers(-2, 3, count).astype(np.float32) * np.float32(2**-23)
    sign = rng.choice(np.float32([-1, 1]), (3, count))
    return sign[0] * a, sign[1] * b, sign[2] * c


@pytest.mark.parametrize("exponent", [-30, 0, 40, -149, -126])
def test_terms_are_rounded_once(exponent: int, isa: str, rng: np.random.Generator) -> None:
    """Products are chains of fused multiply-adds, with and without such instructions."""
    count = 32
    near = np.ldexp(1.0, max(exponent, -100)) if exponent > -126 else 1.0
    for a, b, c in (
        edges(rng, exponent, count),
        (rng.normal(0, 1, (3, count)) * [[near], [1], [near]]).astype(np.float32),
        np.where(rng.random((3, count)) < 0.3, 0, rng.normal(0, 1, (3, count))).astype(np.float32),
    ):
        left = to_padded(np.stack([np.ones(count, np.float32), a], axis=1))
        right, out = to_padded(np.stack([c, b])), zeros((count, padded(count)))
        _kernels.multiply(left, 2, right, count, zeros((padded(count),)), out)
        wanted = [[fused(x, y, z) for y, z in zip(b, c, strict=True)] for x in a]
        np.testing.assert_array_equal(out[:, :count], np.array(wanted, np.float32))
        both = left[:, 1:2] * right[1, :count] + right[0, :count]
        differ = (both != np.array(wanted)).any()
        assert differ or exponent < -100 or (a == 0).any()  # rounding twice is not the same


def test_zeros_are_passed_over(isa: str, threads: int, rng: np.random.Generator) -> None:
    """Sums have the same bits as beside a row of ones, for which no term is left out."""
    for rows, inner, width in ((1, 1, 1), (7, 130, 33), (100, 65, 70), (49, 784, 17)):
        a = magnitudes(rng, rows, inner) * (rng.random((rows, inner)) < 0.1)
        a[:, rng.random(inner) < 0.5] = 0
        b, bias = to_padded(magnitudes(rng, inner, width)), to_padded(magnitudes(rng, width))
        out, pair = zeros((rows, padded(width))), zeros((2, padded(width)))
        _kernels.multiply(to_padded(a), inner, b, width, bias, out)
        for r in range(rows):
            beside = np.stack([a[r], np.ones(inner, np.float32)])
            _kernels.multiply(to_padded(beside), inner, b, width, bias, pair)
            assert out[r].tobytes() == pair[0].tobytes()


def taken(
    memory: Memory, images: NDArray[Any], index: NDArray[Any], scale: float, sigma: Any
) -> Arrays:
    out = memory.output((len(index), padded(images.shape[1])), np.float32, np.nan)
    _kernels.take(images, index, scale, sigma, out)
    return (out,)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_take(dtype: Any, memory: Memory, rng: np.random.Generator) -> None:
    for units in SIZES:
        images = memory.input(rng.integers(0, 256, (9, units)), dtype)
        index = memory.input(rng.integers(0, 9, 20), np.int64)
        deviations = memory.input(rng.uniform(0.1, 2, units), np.float32)
        for sigma, scale in ((None, 255.0), (deviations, 1.0), (None, 0.3)):
            (out,) = on_any_threads(taken, memory, images, index, scale, sigma)
            wanted = images[index].astype(np.float32) / np.float32(scale)
            if sigma is not None:
                wanted /= sigma
            np.testing.assert_array_equal(out[:, :units], wanted)
            assert_padding_zero(out, units)
        memory.check()


def test_exponentials(memory: Memory) -> None:
    values = memory.input(np.linspace(-87, 88, 1600), np.float32)
    out = memory.output(1600, np.float32, np.nan)
    _kernels.exponentials(values, out)
    np.testing.assert_allclose(out, np.exp(values.astype(np.float64)), rtol=3e-7)
    memory.check()


# Bernoulli units ---------------------------------------------------------------------------------


def bernoulli(memory: Memory, total: NDArray[Any], units: int) -> Arrays:
    mean = memory.output(total.shape, np.float32, np.nan)
    bits = memory.output((len(total), words_for(units)), np.uint64, 2**64 - 1)
    _kernels.units(BERNOULLI, total, units, 1, mean, bits, DRAW)
    return mean, bits


def test_bernoulli_mean_is_the_sigmoid(memory: Memory) -> None:
    grid = np.linspace(-100, 100, 400_001, dtype=np.float32)
    total = memory.padded_input(grid[np.newaxis])
    mean = bernoulli(memory, total, grid.size)[0][0, : grid.size]
    exact = sigmoid(grid)
    # Below -87 the mean stays where it is there, at 2^-126: no draw can tell.
    assert_within(mean, exact, np.maximum(4 * np.spacing(exact.astype(np.float32)), 1.7e-38))
    backward = np.diff(mean)
    assert (backward >= -4 * np.spacing(mean[1:])).all()
    assert mean.min() > 0
    assert mean.max() == 1


def test_bernoulli_extremes(memory: Memory) -> None:
    total = memory.padded_input(np.array([[np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38, -3e38]]))
    mean, bits = bernoulli(memory, total, 7)
    np.testing.assert_array_equal(mean[0, [0, 3, 4, 5]], [1, 0.5, 0.5, 1])
    assert 0 <= mean[0, [1, 6]].max() < 1e-37
    assert np.isnan(mean[0, 2])
    on = from_bits(bits, 7)[0]
    assert on[[0, 5]].all()
    assert not on[[1, 2, 6]].any()


def test_bernoulli(memory: Memory, rng: np.random.Generator) -> None:
    for units, rows, density in LAYERS:
        bias = np.log((density + 0.001) / (1.001 - density))
        total = memory.padded_input(bias + rng.normal(0, 2, (rows, units)))
        mean, bits = on_any_threads(bernoulli, memory, total, units)
        exact = sigmoid(total[:, :units])
        assert_within(mean[:, :units], exact, 4 * np.spacing(exact.astype(np.float32)))
        assert_padding_zero(mean, units)
        expected = bit_uniforms(DRAW, rows, units) < mean[:, :units]
        np.testing.assert_array_equal(bits, to_bits(expected))
        memory.check()


def test_bernoulli_either_output_alone_and_in_place(
    memory: Memory, rng: np.random.Generator
) -> None:
    for units in SIZES:
        total = memory.padded_input(rng.normal(0, 2, (5, units)))
        mean, bits = bernoulli(memory, total, units)
        only_mean = memory.output(total.shape, np.float32, np.nan)
        _kernels.units(BERNOULLI, total, units, 1, only_mean, None, None)
        only_bits = memory.output(bits.shape, np.uint64, 2**64 - 1)
        _kernels.units(BERNOULLI, total, units, 1, None, only_bits, DRAW)
        in_place = memory.padded_output(5, units, total[:, :units])
        _kernels.units(BERNOULLI, in_place, units, 1, in_place, None, None)
        np.testing.assert_array_equal(only_mean, mean)
        np.testing.assert_array_equal(only_bits, bits)
        np.testing.assert_array_equal(in_place, mean)


def cumulant(memory: Memory, total: NDArray[Any], units: int) -> Arrays:
    out = memory.output(len(total), np.float64, 1.5)
    _kernels.cumulant(BERNOULLI, total, units, 1, out)
    return (out,)


def test_bernoulli_cumulant_is_softplus(memory: Memory) -> None:
    grid = np.concatenate(
        [np.linspace(-87, 100, 50_001), [1e30, 3e38, np.inf, -1e30, -3e38, -np.inf, np.nan]]
    ).astype(np.float32)
    total = np.zeros((grid.size, padded(1)), np.float32)
    total[:, 0] = grid
    out = memory.output(grid.size, np.float64, 0.0)
    _kernels.cumulant(BERNOULLI, memory.input(total), 1, 1, out)
    finite = np.isfinite(grid)
    exact = np.logaddexp(0, grid[finite].astype(np.float64))
    assert_within(out[finite], exact, np.maximum(4 * np.spacing(exact.astype(np.float32)), 1.7e-38))
    assert out[-5] == np.inf
    assert out[-2] < 1e-37
    assert np.isnan(out[-1])


def test_bernoulli_cumulant(memory: Memory, rng: np.random.Generator) -> None:
    for units, rows, _ in LAYERS:
        total = memory.padded_input(rng.normal(0, 5, (rows, units)))
        (out,) = on_any_threads(cumulant, memory, total, units)
        terms = np.logaddexp(0, total[:, :units].astype(np.float64))
        bound = 4 * 2 * ROUNDOFF * terms.sum(axis=1)  # the terms are float32, their sum is not
        assert_within(out, 1.5 + terms.sum(axis=1), bound)
        memory.check()


# Gradients and the update ------------------------------------------------------------------------

# (rate, momentum, decay, L1, Nesterov), exact in float32.
RULES = [
    (0.125, 0.75, 0.03125, 0.0, False),
    (0.125, 0.75, 0.0, 0.0625, False),
    (0.25, 0.5, 0.03125, 0.0, True),
    (0.25, 0.5, 0.03125, 0.125, True),
]
Rule = tuple[float, float, float, float, bool]


def column_sums(memory: Memory, matrix: NDArray[Any], width: int) -> Arrays:
    out = memory.padded_output(1, width, np.nan)[0]
    _kernels.column_sums(matrix, width, out)
    return (out,)


def test_column_sums(memory: Memory, rng: np.random.Generator) -> None:
    for width, rows, _ in LAYERS:
        matrix = memory.padded_input(magnitudes(rng, rows, width))
        (out,) = on_any_threads(column_sums, memory, matrix, width)
        exact = matrix.sum(axis=0, dtype=np.float64)
        size = np.abs(matrix).sum(axis=0, dtype=np.float64)
        assert_within(out, exact, rows * ROUNDOFF * size)
        assert_padding_zero(out, width)
        memory.check()


def dotted(
    memory: Memory,
    matrix: NDArray[Any],
    vector: NDArray[Any],
    bits: Words,
    units: int,
    listed: Arrays,
) -> Arrays:
    """(dot_rows, dot_bits, weigh_listed with the first column as weights, dot_columns)."""
    rows, weight = len(matrix), memory.input(matrix[:, 0])
    by_row, by_bits = (memory.output(rows, np.float64, np.nan) for _ in range(2))
    _kernels.dot_rows(matrix, vector, by_row)
    _kernels.dot_bits(bits, units, vector, by_bits)
    by_unit = memory.output(vector.shape, np.float32, np.nan)
    _kernels.weigh_listed(*listed, weight, by_unit)
    by_column = memory.output(units, np.float64, np.nan)
    _kernels.dot_columns(matrix, units, weight, by_column)
    return by_row, by_bits, by_unit, by_column


def test_dot_and_weigh(memory: Memory, rng: np.random.Generator) -> None:
    for units, rows, density in LAYERS:
        matrix = memory.padded_input(magnitudes(rng, rows, units))
        vector = memory.padded_input(magnitudes(rng, units))
        states = some_states(rng, rows, units, density)
        start, index = lists(states)
        listed = memory.input(start), memory.input(index if index.size else [0], np.uint32)
        bits = memory.input(to_bits(states))
        by_row, by_bits, by_unit, by_column = on_any_threads(
            dotted, memory, matrix, vector, bits, units, listed
        )
        exact = vector.astype(np.float64)
        # float64 sums of products that float64 holds exactly
        np.testing.assert_allclose(by_row, matrix @ exact, rtol=0, atol=units * 2.0**-52)
        on = states @ exact[:units]
        np.testing.assert_allclose(by_bits, on, rtol=0, atol=units * 2.0**-52)
        weight = matrix[:, 0].astype(np.float64)
        bound = rows * ROUNDOFF * (np.abs(weight) @ states)
        assert_within(by_unit[:units], weight @ states, bound)
        assert_padding_zero(by_unit, units)
        columns = matrix[:, :units].astype(np.float64)
        bound = rows * 2.0**-52 * (np.abs(weight) @ np.abs(columns))
        assert_within(by_column, weight @ columns, bound)
        memory.check()


def accumulated_dense(
    memory: Memory, visible: NDArray[Any], hidden: NDArray[Any], before: NDArray[Any]
) -> Arrays:
    gradient = memory.padded_output(*before.shape, before)
    _kernels.accumulate_dense(visible, hidden, before.shape[1], -1 / len(visible), gradient)
    return (gradient,)


def test_accumulate_dense(memory: Memory, rng: np.random.Generator) -> None:
    for units, width, rows, _ in LINKS:
        visible = memory.padded_input(magnitudes(rng, rows, units))
        hidden = memory.padded_input(magnitudes(rng, rows, width))
        before = magnitudes(rng, units, width)
        (gradient,) = on_any_threads(accumulated_dense, memory, visible, hidden, before)
        left = visible[:, :units].T.astype(np.float64)
        right = hidden[:, :width].astype(np.float64)
        size = np.abs(before) + np.abs(left) @ np.abs(right) / rows
        exact = before - left @ right / rows
        assert_within(gradient[:, :width], exact, (rows + 3) * ROUNDOFF * size)
        assert_padding_zero(gradient, width)
        memory.check()


class Phase:
    """States of one side of the gradient: visible ones as bits, hidden ones as means.

    Or visible ones that are real where those are on.
    """

    def __init__(
        self,
        memory: Memory,
        rng: np.random.Generator,
        rows: int,
        link: tuple[int, int, float],
        real: bool = False,
    ) -> None:
        visible, hidden, density = link
        self.rows = rows
        self.states: NDArray[Any] = some_states(rng, rows, visible, density)
        self.bits = memory.input(to_bits(self.states))
        self.visible: NDArray[Any] = self.bits
        if real:
            self.states = self.states * magnitudes(rng, rows, visible)
            self.visible = memory.padded_input(self.states)
        self.means = rng.uniform(0.25, 1, (rows, hidden)).astype(np.float32)
        self.hidden = memory.padded_input(self.means)
        self.count = int(self.states.sum())

    def statistics(self) -> NDArray[np.float64]:
        """The mean of visible' hidden."""
        return self.states.T.astype(np.float64) @ self.means / self.rows

    def size(self) -> NDArray[np.float64]:
        """The same of their magnitudes."""
        return np.abs(self.states.T).astype(np.float64) @ self.means / self.rows

    def accumulate(self, memory: Memory, scale: float, before: NDArray[Any]) -> Arrays:
        gradient = memory.padded_output(*before.shape, before)
        units, ld = gradient.shape
        start = memory.output(units, np.uint32, 77)
        index = memory.output(units * self.rows, np.uint32, 77)
        scaled = memory.output((self.rows, ld), np.float32, np.nan)
        width = self.means.shape[1]
        _kernels.accumulate(self.bits, self.hidden, width, scale, gradient, start, index, scaled)
        return (gradient,)


def test_accumulate(memory: Memory, rng: np.random.Generator) -> None:
    for units, width, rows, density in LINKS:
        phase = Phase(memory, rng, rows, (units, width, density))
        before = magnitudes(rng, units, width)
        (gradient,) = on_any_threads(phase.accumulate, memory, -1 / rows, before)
        statistics = phase.statistics()
        bound = (rows + 2) * ROUNDOFF * (np.abs(before) + statistics)
        assert_within(gradient[:, :width], before - statistics, bound)
        assert_padding_zero(gradient, width)
        memory.check()


class Weights:
    """Weights and velocity, as an update changes them."""

    def __init__(
        self, memory: Memory, weights: NDArray[np.float32], velocity: NDArray[np.float32]
    ) -> None:
        visible, self.hidden = weights.shape
        self.weights = memory.padded_output(visible, self.hidden, weights)
        self.velocity = memory.padded_output(visible, self.hidden, velocity)

    @property
    def arrays(self) -> Arrays:
        return self.weights, self.velocity

    def apply(self, gradient: NDArray[Any], rule: Rule) -> bool:
        return _kernels.apply(*self.arrays, self.hidden, gradient, rule)

    def update(
        self,
        memory: Memory,
        positive: Phase,
        negative: Phase,
        rule: Rule,
        correction: Arrays | None = None,
    ) -> bool:
        visible, ld = self.weights.shape
        rows = positive.rows, negative.rows
        lists = memory.output(_kernels.lists_of(visible, *rows), np.uint32, 77)
        scaled = memory.output((sum(rows) + min(rows)) * ld, np.float32, np.nan)
        none = (np.zeros((0, size), np.float32) for size in (padded(visible), ld))
        left, right = correction or none
        return _kernels.update(
            *self.arrays,
            self.hidden,
            (positive.visible, positive.hidden),
            (negative.visible, negative.hidden),
            left,
            right,
            rule,
            lists,
            scaled,
        )


def check_step(
    result: Arrays,
    weights: NDArray[np.float32],
    velocity: NDArray[np.float32],
    rule: Rule,
    gradient: NDArray[np.float64],
    gradient_bound: NDArray[np.float64] | np.float64,
) -> None:
    """The rule, of a gradient that is known within a bound; padding as well."""
    rate, momentum, decay, l1, nesterov = rule
    stepped, stepped_velocity = result
    hidden = weights.shape[1]
    w, v = weights.astype(np.float64), velocity.astype(np.float64)
    step = rate * (gradient - decay * w - l1 * np.sign(w))
    step_size = rate * (np.abs(gradient) + decay * np.abs(w) + l1)
    exact, size = momentum * v + step, momentum * np.abs(v) + step_size
    bound = 6 * ROUNDOFF * size + rate * gradient_bound
    assert_within(stepped_velocity[:, :hidden], exact, bound)
    if nesterov:
        exact, bound = momentum * exact + step, (1 + momentum) * bound + 3 * ROUNDOFF * size
        size = momentum * size + step_size
    assert_within(stepped[:, :hidden], w + exact, bound + ROUNDOFF * (np.abs(w) + size))
    for matrix in result:
        assert_padding_zero(matrix, hidden)


def some_weights(rng: np.random.Generator, visible: int, hidden: int) -> NDArray[np.float32]:
    """Weights of both signs, and a few that are zero."""
    return magnitudes(rng, visible, hidden) * (rng.random((visible, hidden)) < 0.9)


def applied(
    memory: Memory, weights: Any, velocity: Any, gradient: NDArray[Any], rule: Rule
) -> Arrays:
    link = Weights(memory, weights, velocity)
    assert link.apply(gradient, rule) is True
    return link.arrays


def updated(
    memory: Memory,
    weights: Any,
    velocity: Any,
    positive: Phase,
    negative: Phase,
    rule: Rule,
    correction: Arrays | None,
) -> Arrays:
    link = Weights(memory, weights, velocity)
    assert link.update(memory, positive, negative, rule, correction) is True
    return link.arrays


def test_apply(memory: Memory, rng: np.random.Generator) -> None:
    for i, (visible, hidden) in enumerate(itertools.product(SIZES, SIZES)):
        weights = some_weights(rng, visible, hidden)
        velocity, slope = (magnitudes(rng, visible, hidden) for _ in range(2))
        gradient, rule = memory.padded_input(slope), RULES[i % len(RULES)]
        result = on_any_threads(applied, memory, weights, velocity, gradient, rule)
        check_step(result, weights, velocity, rule, slope.astype(np.float64), np.float64(0))
        memory.check()


@pytest.mark.parametrize("real", [False, True])
def test_update(real: bool, memory: Memory, rng: np.random.Generator) -> None:
    for i, (visible, hidden, rows, density) in enumerate(LINKS):
        # The phases have as many rows, or the second has fewer, or more.
        other = (rows, 1 + rows // 2, min(130, 2 * rows))[i % 3]
        positive = Phase(memory, rng, rows, (visible, hidden, density), real)
        negative = Phase(memory, rng, other, (visible, hidden, DENSITIES[i // 5 % 5]), real)
        weights, velocity = some_weights(rng, visible, hidden), magnitudes(rng, visible, hidden)
        rule, rank = RULES[i // 3 % len(RULES)], (0, 1, 3)[i // 2 % 3]
        left, right = magnitudes(rng, rank, visible), magnitudes(rng, rank, hidden)
        correction = memory.padded_input(left), memory.padded_input(right)
        result = on_any_threads(
            updated, memory, weights, velocity, positive, negative, rule, correction
        )
        first, second = positive.statistics(), negative.statistics()
        gradient = first - second + left.T.astype(np.float64) @ right
        size = positive.size() + negative.size() + np.abs(left.T).astype(np.float64) @ np.abs(right)
        bound = (rows + other + rank + 3) * ROUNDOFF * size
        check_step(result, weights, velocity, rule, gradient, bound)
        memory.check()


@pytest.mark.parametrize(("rows", "other"), [(1, 1), (100, 100), (100, 37), (37, 100)])
def test_update_is_accumulate_and_apply(
    rows: int, other: int, memory: Memory, rng: np.random.Generator
) -> None:
    for i, (visible, hidden) in enumerate(((784, 127), (65, 17), (16, 784))):
        rule = RULES[i]
        positive = Phase(memory, rng, rows, (visible, hidden, 0.13))
        negative = Phase(memory, rng, other, (visible, hidden, 0.2))
        start = magnitudes(rng, visible, hidden), magnitudes(rng, visible, hidden)
        left, right = (memory.padded_input(magnitudes(rng, 2, n)) for n in (visible, hidden))
        fused = updated(memory, *start, positive, negative, rule, (left, right))
        zero = np.zeros((visible, hidden), np.float32)
        (gradient,) = positive.accumulate(memory, 1 / rows, zero)
        (gradient,) = negative.accumulate(memory, -1 / other, gradient[:, :hidden])
        _kernels.accumulate_dense(left, right, hidden, 1.0, gradient)
        parts = applied(memory, *start, gradient, rule)
        size = np.abs(start[0]) + np.abs(start[1]) + 4
        for a, b in zip(fused[:2], parts[:2], strict=True):
            assert_within(a[:, :hidden], b[:, :hidden], (rows + other) * ROUNDOFF * size)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_weight_that_is_not_finite_is_noticed(
    value: float, memory: Memory, rng: np.random.Generator
) -> None:
    for visible, hidden in ((1, 1), (17, 65), (65, 17), (130, 784)):
        weights, velocity = (magnitudes(rng, visible, hidden) for _ in range(2))
        for i, j in {(0, 0), (visible - 1, hidden - 1), (visible // 2, hidden // 2)}:
            for threads in (1, 3):
                _kernels.set_threads(threads)
                slope = np.zeros((visible, hidden), np.float32)
                slope[i, j] = value
                link = Weights(memory, weights, velocity)
                # The rate makes 3e38 a finite velocity; times 30 it would not be.
                assert link.apply(memory.padded_input(slope), RULES[0]) is (value == 3e38)
                broken = weights.copy()
                broken[i, j] = value
                phase = Phase(memory, rng, 3, (visible, hidden, 0.5))
                link = Weights(memory, broken, velocity)
                assert link.update(memory, phase, phase, RULES[0]) is (value == 3e38)


def test_overflow_of_a_weight_is_noticed(memory: Memory) -> None:
    for hidden in (1, 16, 17, 65):
        link = Weights(
            memory, np.full((3, hidden), 3e38, np.float32), np.full((3, hidden), 3e38, np.float32)
        )
        assert link.apply(memory.padded_input(np.zeros((3, hidden))), RULES[0]) is False


# The module --------------------------------------------------------------------------------------


def test_wrong_shapes_are_refused() -> None:
    matrix, short = np.zeros((3, 48), np.float32), np.zeros((2, 48), np.float32)
    bits, bias = np.zeros((3, 1), np.uint64), np.zeros(48, np.float32)
    start, index = np.zeros(49, np.uint32), np.zeros(9, np.uint32)
    odd = np.zeros((3, 40), np.float32)  # not whole vectors
    other, wide = matrix.copy(), np.zeros((1, 2048), np.float32)
    room = np.zeros(_kernels.lists_length(3, 49, 48), np.uint32)
    calls: list[Callable[[], object]] = [
        lambda: _kernels.binarize(np.zeros((5, 65), np.uint8), np.arange(3), 1.0, None, DRAW, bits),
        lambda: _kernels.binarize(np.zeros((5, 9), np.int16), np.arange(3), 1.0, None, DRAW, bits),
        lambda: _kernels.binarize(np.zeros((5, 9), np.uint8), np.arange(2), 1.0, None, DRAW, bits),
        lambda: _kernels.list_on(bits, start[:3], index),
        lambda: _kernels.bits_to_floats(bits, 49, matrix),
        lambda: _kernels.bits_to_floats(bits, 48, short),
        lambda: _kernels.floats_to_bits(matrix, 49, bits),
        lambda: _kernels.count_by_unit(bits, np.zeros(65, np.uint32)),
        lambda: _kernels.bit_inputs(bits, 3, odd, 40, bias[:40], odd, room),
        lambda: _kernels.multiply(matrix, 3, matrix, 48, bias, short),
        lambda: _kernels.multiply(matrix[:, :2].copy(), 3, matrix, 48, bias, matrix),
        lambda: _kernels.multiply(matrix, 4, matrix, 48, bias, matrix),
        lambda: _kernels.multiply(matrix, 49, matrix, 3, bias, other, True),
        lambda: _kernels.multiply(matrix, 48, matrix, 4, bias, other, True),
        lambda: _kernels.bit_inputs(bits, 4, matrix, 48, bias, matrix, room),
        lambda: _kernels.bit_inputs(bits, 3, matrix, 49, bias, matrix, room),
        lambda: _kernels.bit_inputs(bits, 3, matrix, 48, bias, short, room),
        lambda: _kernels.bit_inputs(bits, 3, matrix, 48, bias, matrix, room[:9]),
        lambda: _kernels.bit_inputs(bits, 49, matrix, 3, bias, matrix, room, True),
        lambda: _kernels.bit_inputs(bits, 48, matrix, 4, bias, matrix, room, True),
        lambda: _kernels.accumulate_dense(short, matrix, 48, 1.0, matrix),
        lambda: _kernels.accumulate(bits, matrix, 48, 1.0, matrix, start[:2], index, matrix),
        lambda: _kernels.accumulate(bits, matrix, 48, 1.0, matrix, start, index[:8], matrix),
        lambda: _kernels.accumulate(bits, matrix, 48, 1.0, matrix, start, index, short),
        lambda: _kernels.apply(matrix, short, 2, matrix, RULES[0]),
        lambda: _kernels.apply(matrix, matrix, 49, matrix, RULES[0]),
        lambda: _kernels.apply(matrix, matrix, 2, short, RULES[0]),
        lambda: _kernels.units(BERNOULLI, odd, 40, 1, odd, None, None),
        lambda: _kernels.units(BERNOULLI, matrix, 48, 1, short, None, None),
        lambda: _kernels.units(BERNOULLI, matrix, 48, 1, None, bits[:2], DRAW),
        lambda: _kernels.cumulant(BERNOULLI, matrix, 48, 1, np.zeros(2)),
        lambda: _kernels.units(GAUSSIAN, odd, 40, 1, odd, None, None),
        lambda: _kernels.units(GAUSSIAN, matrix, 49, 1, None, matrix.copy(), DRAW),
        lambda: _kernels.units(GAUSSIAN, matrix, 48, 1, None, short, DRAW),
        lambda: _kernels.units(NRELU, matrix, 48, 1, None, matrix, DRAW),
        lambda: _kernels.units(NRELU_EXACT, matrix, 48, 1, other, other, DRAW),
        lambda: _kernels.units(BINOMIAL, matrix, 48, 0, other, None, None),
        lambda: _kernels.units(BINOMIAL, matrix, 48, 256, other, None, None),
        lambda: _kernels.units(SOFTMAX, matrix, 48, 7, other, None, None),
        lambda: _kernels.units(SOFTMAX, matrix, 48, 0, other, None, None),
        lambda: _kernels.units(SOFTMAX, wide, 2048, 2048, wide, None, None),
        lambda: _kernels.units(SOFTMAX, matrix, 48, 3, None, bits[:2], DRAW),
        lambda: _kernels.cumulant(SOFTMAX, matrix, 48, 7, np.zeros(3)),
        lambda: _kernels.cumulant(NRELU, matrix, 48, 1, np.zeros(2)),
        lambda: _kernels.units(BERNOULLI, matrix, 48, 2, other, None, None),
        lambda: _kernels.units(GAUSSIAN, matrix, 48, 1, None, bits, DRAW),
        lambda: _kernels.units(BERNOULLI, matrix, 48, 1, None, other, DRAW),
        lambda: _kernels.cumulant(GAUSSIAN, matrix, 48, 2, np.zeros(3)),
        lambda: _kernels.cumulant_change(BERNOULLI, matrix, 48, 1, np.zeros(2), bias[:2]),
        lambda: _kernels.cumulant_change(BERNOULLI, matrix, 48, 1, np.zeros(3), bias[:3]),
        lambda: _kernels.cumulant_change(BINOMIAL, matrix, 48, 0, np.zeros(3), bias[:2]),
        lambda: _kernels.cumulant_change(GAUSSIAN, matrix, 48, 1, np.zeros(3), bias[:2]),
        lambda: _kernels.Kind("bernoulli:2"),
        lambda: _kernels.sum_tabulated(matrix, 49, np.zeros(9), np.zeros(3)),
        lambda: _kernels.sum_tabulated(matrix, 48, np.zeros(1), np.zeros(3)),
        lambda: _kernels.sum_tabulated(matrix, 48, np.zeros(9), np.zeros(2)),
        lambda: _kernels.column_sums(matrix, 49, bias),
        lambda: _kernels.dot_rows(matrix, bias[:40], np.zeros(3)),
        lambda: _kernels.dot_rows(matrix, bias, np.zeros(2)),
        lambda: _kernels.dot_bits(bits, 65, np.zeros(80, np.float32), np.zeros(3)),
        lambda: _kernels.dot_bits(bits, 49, bias, np.zeros(3)),
        lambda: _kernels.dot_bits(bits, 48, bias, np.zeros(2)),
        lambda: _kernels.weigh_listed(start[:3], index, bias[:3], bias),
        lambda: _kernels.dot_columns(matrix, 49, bias, np.zeros(49)),
        lambda: _kernels.dot_columns(matrix, 48, bias[:2], np.zeros(48)),
        lambda: _kernels.dot_columns(matrix, 48, bias, np.zeros(47)),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(ValueError):
            raise AssertionError(f"call {number} was accepted: {call()}")


def test_foreign_lists_are_refused() -> None:
    """What would lead a kernel out of its memory, each with a plain word."""
    matrix, vector = np.ones((3, 48), np.float32), np.zeros(48, np.float32)
    bits, out = np.array([[5], [1]], np.uint64), np.zeros((2, 48), np.float32)
    start, index = np.array([0, 2, 3], np.uint32), np.array([0, 2, 1], np.uint32)
    weight, by_unit = np.ones(2, np.float32), np.zeros(3, np.float32)
    images, huge = np.zeros((5, 9), np.uint8), 2**64 - 1
    room = np.zeros(_kernels.lists_length(2, 48, 48), np.uint32)

    def changed(array: NDArray[Any], place: int, value: int) -> NDArray[Any]:
        array = array.copy()
        array[place] = value
        return array

    def listed(start: NDArray[Any] = start, index: NDArray[Any] = index) -> None:
        _kernels.weigh_listed(start, index, weight, by_unit)

    def binarize(rows: list[int]) -> None:
        target = np.zeros((len(rows), 1), np.uint64)
        _kernels.binarize(images, np.array(rows), 1.0, None, DRAW, target)

    listed()
    _kernels.list_on(bits, np.zeros(3, np.uint32), np.zeros(3, np.uint32))
    calls: list[tuple[str, Callable[[], object]]] = [
        ("index is too short", lambda: _kernels.list_on(bits, start, index[:1])),
        ("index is too short", lambda: _kernels.list_on(bits, start, index[:0])),
        ("there are no such images", lambda: binarize([0, 5])),
        ("there are no such images", lambda: binarize([-1, 0])),
        ("beyond the last", lambda: _kernels.bit_inputs(bits, 2, matrix, 48, vector, out, room)),
        ("do not fit", lambda: _kernels.bits_to_floats(bits, huge, out)),
        ("do not fit", lambda: _kernels.floats_to_bits(out, huge, bits)),
        ("do not fit", lambda: _kernels.units(BERNOULLI, out, huge, 1, out, None, None)),
        (
            "do not fit",
            lambda: _kernels.cumulant_change(BERNOULLI, out, huge, 1, np.zeros(2), vector[:2]),
        ),
        ("do not fit", lambda: _kernels.column_sums(out, huge, vector)),
        (
            "do not fit",
            lambda: _kernels.accumulate(bits, out, 0, 1.0, matrix, room, room, out),
        ),
        ("do not fit", lambda: _kernels.apply(matrix, matrix, 0, matrix, RULES[0])),
    ]
    calls += [
        ("index is too short", lambda: listed(index=index[:2])),
        ("index is too short", lambda: listed(index=index[:0])),
        ("start is too short", lambda: listed(start=start[:2])),
        ("name no units", lambda: listed(index=changed(index, 1, 3))),
        ("name no units", lambda: listed(index=changed(index, 2, 2**32 - 1))),
        ("do not ascend", lambda: listed(index=changed(index, 1, 0))),
        ("do not ascend", lambda: listed(start=changed(start, 0, 3))),
        ("do not ascend", lambda: listed(start=changed(start, 1, 4))),
        ("do not ascend", lambda: listed(start=changed(start, 1, 2**32 - 1))),
    ]
    for number, (said, call) in enumerate(calls):
        with pytest.raises(ValueError, match=said):
            raise AssertionError(f"call {number} was accepted: {call()}")


def test_rows_of_a_replayed_step_are_looked_at() -> None:
    """They change between steps: the plan was recorded with others."""
    visible, hidden, rows = 20, 16, 4
    images, index = np.full((6, visible), 200, np.uint8), np.arange(rows)
    weights, velocity = (np.zeros((visible, 16), np.float32) for _ in range(2))
    bits = np.zeros((rows, 1), np.uint64)
    mean = np.zeros((rows, 16), np.float32)
    room = np.zeros(2000, np.uint32)
    parameters = [np.zeros(32, np.float32) for _ in range(4)]
    vectors = np.zeros(_kernels.learn_floats(32, 16, 2 * rows, False), np.float32)
    rule = (0.1, 0.0, 0.0, 0.0, False)
    below, above = ((*parameters[i : i + 2], None, None, None, None, 0.0) for i in (0, 2))
    values, no = np.zeros((rows, 32), np.float32), np.zeros(1, np.uint8)

    def binarize() -> None:
        _kernels.binarize(images, index, 255.0, None, (3, 1, 0, 0), bits)

    def take() -> None:
        _kernels.take(images, index, 255.0, None, values)

    for read, states in ((binarize, bits), (take, values)):
        index[2] = 2
        _kernels.record(1, index, (mean,))
        read()
        _kernels.learn(
            *(weights, velocity, hidden, (states, mean), (states, mean), rule),
            *(below, above, None, room, np.zeros(3 * rows * 16, np.float32), vectors),
        )
        plan = _kernels.recorded()
        assert plan is not None
        assert plan.run(2, index[np.newaxis], rule, no) == (1, True)
        for wrong in (6, -1):
            others = np.stack([index, index, index])
            others[2, 1] = wrong
            with pytest.raises(ValueError, match="there are no such images"):
                plan.run(3, others, rule, np.zeros(3, np.uint8))
        for wrong_rows, steps in ((others, 2), (others[:1, :3].copy(), 1), (others[:0], 0)):
            with pytest.raises(ValueError, match="images do not fit"):
                plan.run(3, wrong_rows, rule, np.zeros(steps, np.uint8))


def test_lists_of_more_than_their_offsets_reach_are_refused() -> None:
    """Virtual memory: what is refused is not touched, but for the bits, which are read."""
    rows = 2**20
    bits = np.full((rows, 64), 2**64 - 1, np.uint64)
    matrix, bias = np.zeros((4096, 16), np.float32), np.zeros(16, np.float32)
    out, lists = np.empty((rows, 16), np.float32), np.zeros(1, np.uint32)
    with pytest.raises(ValueError, match="more units are on than lists can have"):
        _kernels.bit_inputs(bits, 4096, matrix, 16, bias, out, lists)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="instruction set 'mmx'"):
        _kernels.use_isa("mmx")
    with pytest.raises(ValueError, match="at least 1"):
        _kernels.set_threads(0)


def test_environment_forces_an_instruction_set(isa: str) -> None:
    program = "from rbmcli import _kernels; print(_kernels.isa())"
    environment = {**os.environ, "RBM_ISA": isa}
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    lowest = ("baseline", "neon")  # two names of one table
    assert printed.stdout.strip() in (lowest if isa in lowest else (isa,))

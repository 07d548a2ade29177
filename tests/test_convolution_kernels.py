"""Convolution and pooling by kernel against plain numpy, on every instruction set.

Sums are compared within the bound that rounding can reach; all terms are of a size that the loss or
doubling of one would exceed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from guarded import Memory
from numpy.typing import NDArray
from reference import ROUNDOFF, from_bits, to_bits, words

from rbmcli import _kernels
from rbmcli.arrays import padded, words_for

DRAW = (0x0123456789ABCDEF, 41, 7, 1000)
DENSITIES = (0.13, 0.0, 1.0, 0.4, 0.02)

Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Maps:
    """Sizes of maps, filters and pool, with plain numpy for what kernels compute."""

    height: int
    width: int
    channels: int
    filter_height: int
    filter_width: int
    filters: int
    pool: int = 1

    @property
    def hidden_height(self) -> int:
        return (self.height - self.filter_height + 1) // self.pool * self.pool

    @property
    def hidden_width(self) -> int:
        return (self.width - self.filter_width + 1) // self.pool * self.pool

    @property
    def link(self) -> tuple[int, int, int, int, int, int, int, int]:
        return (
            self.height,
            self.width,
            self.channels,
            self.filter_height,
            self.filter_width,
            self.filters,
            self.hidden_height,
            self.hidden_width,
        )

    @property
    def blocks(self) -> tuple[int, int, int, int]:
        return (self.hidden_height, self.hidden_width, self.filters, self.pool)

    @property
    def visible(self) -> int:
        return self.height * self.width * self.channels

    @property
    def hidden(self) -> int:
        return self.hidden_height * self.hidden_width * self.filters

    @property
    def pooled(self) -> int:
        return self.hidden // self.pool**2

    @property
    def taps(self) -> int:
        return self.filter_height * self.filter_width * self.channels

    def windows(self, visible: NDArray[Any]) -> NDArray[np.float64]:
        """What each hidden position sees of (rows, visible): (rows, positions, taps)."""
        maps = visible.astype(np.float64).reshape(-1, self.height, self.width, self.channels)
        columns = [
            maps[:, fy : fy + self.hidden_height, fx : fx + self.hidden_width]
            for fy in range(self.filter_height)
            for fx in range(self.filter_width)
        ]
        positions = self.hidden_height * self.hidden_width
        return np.concatenate(columns, axis=-1).reshape(len(maps), positions, self.taps)

    def up(self, visible: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
        """Sums for the hidden units, (rows, hidden)."""
        return (self.windows(visible) @ weights.astype(np.float64)).reshape(len(visible), -1)

    def down(self, hidden: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
        """Sums for the visible units, (rows, visible)."""
        maps = hidden.astype(np.float64).reshape(
            -1, self.hidden_height, self.hidden_width, self.filters
        )
        out = np.zeros((len(maps), self.height, self.width, self.channels))
        taps = weights.astype(np.float64).reshape(
            self.filter_height, self.filter_width, self.channels, self.filters
        )
        for fy in range(self.filter_height):
            for fx in range(self.filter_width):
                part = out[:, fy : fy + self.hidden_height, fx : fx + self.hidden_width]
                part += maps @ taps[fy, fx].T
        return out.reshape(len(maps), -1)

    def statistics(self, visible: NDArray[Any], hidden: NDArray[Any]) -> NDArray[np.float64]:
        """The sum over rows and positions of visible times hidden, (taps, filters)."""
        shape = (len(hidden), self.hidden // self.filters, self.filters)
        maps = hidden.astype(np.float64).reshape(shape)
        return np.einsum("rpt,rpk->tk", self.windows(visible), maps)

    def by_block(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of hidden units (rows, hidden) as (rows, pooled, members of the block)."""
        shape = (len(values), self.hidden_height // self.pool, self.pool)
        maps = values.reshape(*shape, self.hidden_width // self.pool, self.pool, self.filters)
        members = maps.transpose(0, 1, 3, 5, 2, 4)
        return members.reshape(len(values), self.pooled, self.pool**2)


# Every number of filters, filter and number of channels; hidden maps as large as can be and cut.
MAPS = [
    Maps(28, 28, 1, 11, 11, 40, 2),
    Maps(1, 1, 1, 1, 1, 1),
    Maps(5, 4, 1, 3, 2, 1),
    Maps(9, 7, 3, 3, 2, 3, 2),
    Maps(9, 8, 1, 3, 2, 5, 3),
    Maps(6, 13, 40, 3, 2, 8, 2),
    Maps(4, 5, 3, 1, 1, 40, 2),
    Maps(14, 16, 3, 11, 11, 50, 2),
    Maps(7, 6, 40, 3, 2, 50, 3),
    Maps(12, 12, 1, 11, 11, 3, 2),
    Maps(4, 90, 1, 3, 2, 16, 2),
    Maps(5, 70, 3, 4, 4, 1, 2),
    Maps(4, 40, 1, 3, 33, 7, 2),
    Maps(4, 5, 1, 2, 2, 200, 2),
    Maps(8, 9, 2, 8, 9, 33),
]
ROWS = (2, 1, 3, 21)

pytestmark = pytest.mark.usefixtures("isa", "shared_out")


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.check()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def cases() -> Iterator[tuple[Maps, int, float]]:
    for i, maps in enumerate(MAPS):
        rows = ROWS[i % len(ROWS)] if i else 21
        yield maps, rows, DENSITIES[i % len(DENSITIES)]
        yield maps, 3, DENSITIES[(i + 1) % len(DENSITIES)]


def magnitudes(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Values of both signs between a half and one."""
    values = rng.random(shape, np.float32) - np.float32(0.5)
    return values + np.copysign(np.float32(0.5), values)


def some_states(
    rng: np.random.Generator, rows: int, units: int, density: float
) -> NDArray[np.bool_]:
    """Of each row; the first is empty, where there are others."""
    states = rng.random((rows, units)) < density
    if rows > 1:
        states[0] = False
    return states


def bits(memory: Memory, states: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """States as bits; of none, rows of a word."""
    return memory.input(to_bits(states), np.uint64)


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


# Total inputs ------------------------------------------------------------------------------------


Inputs = Callable[..., None]


def inputs(
    memory: Memory, kernel: Inputs, units: int, maps: Maps, *arguments: NDArray[Any]
) -> Arrays:
    """(out,) of a kernel of total inputs; arguments: weights, states, bias."""
    weights, states, bias = arguments
    out = memory.output((len(states), padded(units)), np.float32, np.nan)
    kernel(weights, maps.link, states, bias, out)
    return (out,)


def check_inputs(
    memory: Memory,
    rng: np.random.Generator,
    kernel: Inputs,
    units: Callable[[Maps], tuple[int, int]],
    define: Callable[[Maps, NDArray[Any], NDArray[Any]], NDArray[np.float64]],
) -> None:
    for maps, rows, density in cases():
        near, far = units(maps)
        states = some_states(rng, rows, near, density)
        weights = magnitudes(rng, maps.taps, maps.filters)
        bias = magnitudes(rng, far)
        given = memory.padded_input(weights), memory.padded_input(bias)

        def sums(
            states: NDArray[Any],
            maps: Maps = maps,
            far: int = far,
            given: tuple[NDArray[Any], NDArray[Any]] = given,
        ) -> NDArray[Any]:
            return on_any_threads(inputs, memory, kernel, far, maps, given[0], states, given[1])[0]

        of_bits = sums(bits(memory, states))
        exact = bias + define(maps, states, weights)
        size = np.abs(bias) + define(maps, states, np.abs(weights))
        assert_within(of_bits[:, :far], exact, near * ROUNDOFF * size)
        assert not of_bits[:, far:].any()

        of_floats = sums(memory.padded_input(states.astype(np.float32)))
        assert of_floats.tobytes() == of_bits.tobytes(), "bits and floats give different results"

        values = magnitudes(rng, rows, near)
        out = sums(memory.padded_input(values))
        exact = bias + define(maps, values, weights)
        size = np.abs(bias) + define(maps, np.abs(values), np.abs(weights))
        assert_within(out[:, :far], exact, (near + 1) * ROUNDOFF * size)
        assert not out[:, far:].any()
        memory.check()


def test_convolve(memory: Memory, rng: np.random.Generator) -> None:
    units = lambda maps: (maps.visible, maps.hidden)  # noqa: E731
    check_inputs(memory, rng, _kernels.convolve, units, Maps.up)


def test_deconvolve(memory: Memory, rng: np.random.Generator) -> None:
    units = lambda maps: (maps.hidden, maps.visible)  # noqa: E731
    check_inputs(memory, rng, _kernels.deconvolve, units, Maps.down)


# Gradients ---------------------------------------------------------------------------------------


def correlated(memory: Memory, maps: Maps, before: NDArray[Any] | None, *arguments: Any) -> Arrays:
    """(gradient,): added to `before`, or of nothing but the states."""
    start = np.full((maps.taps, maps.filters), np.nan) if before is None else before
    gradient = memory.padded_output(maps.taps, maps.filters, start)
    _kernels.correlate(maps.link, *arguments, gradient, before is not None)
    return (gradient,)


def forms(memory: Memory, states: NDArray[np.bool_]) -> Arrays:
    """The same states as bits and as floats."""
    return bits(memory, states), memory.padded_input(states.astype(np.float32))


def test_correlate(memory: Memory, rng: np.random.Generator) -> None:
    for maps, rows, density in cases():
        states = some_states(rng, rows, maps.visible, density)
        hidden = magnitudes(rng, rows, maps.hidden)
        before = magnitudes(rng, maps.taps, maps.filters)
        given = memory.padded_input(hidden)
        scale = np.float32(0.37)

        def gradient(
            visible: NDArray[Any],
            before: NDArray[Any] | None,
            maps: Maps = maps,
            given: NDArray[Any] = given,
            scale: np.float32 = scale,
        ) -> NDArray[Any]:
            none = visible[:0], given[:0]
            arguments = visible, given, *none, scale, 0.0
            return on_any_threads(correlated, memory, maps, before, *arguments)[0]

        terms = rows * maps.hidden_height * maps.hidden_width
        as_bits, as_floats = forms(memory, states)
        of_bits = gradient(as_bits, before)
        exact = before + float(scale) * maps.statistics(states, hidden)
        size = np.abs(before) + maps.statistics(states, np.abs(hidden))
        assert_within(of_bits[:, : maps.filters], exact, (terms + 3) * ROUNDOFF * size)
        assert not of_bits[:, maps.filters :].any()
        assert gradient(as_floats, before).tobytes() == of_bits.tobytes()
        alone = gradient(as_bits, None)
        assert_within(alone[:, : maps.filters], exact - before, (terms + 3) * ROUNDOFF * size)
        assert not alone[:, maps.filters :].any()

        values = magnitudes(rng, rows, maps.visible)
        of_values = gradient(memory.padded_input(values), before)
        exact = before + float(scale) * maps.statistics(values, hidden)
        size = np.abs(before) + maps.statistics(np.abs(values), np.abs(hidden))
        assert_within(of_values[:, : maps.filters], exact, (terms + 3) * ROUNDOFF * size)
        assert not of_values[:, maps.filters :].any()
        memory.check()


@pytest.mark.parametrize("form", [0, 1], ids=["bits", "floats"])
@pytest.mark.parametrize(("rows", "other"), [(3, 3), (12, 2), (2, 11), (0, 3), (3, 0), (0, 0)])
def test_correlate_both(
    rows: int, other: int, form: int, memory: Memory, rng: np.random.Generator
) -> None:
    for maps in MAPS[:8]:  # the first is worked on a few rows at a time
        before = magnitudes(rng, maps.taps, maps.filters)
        exact, size = before.astype(np.float64), np.abs(before).astype(np.float64)
        phases: list[Any] = []
        for count, scale, density in ((rows, 0.5, 0.3), (other, -0.3, 0.7)):
            states = some_states(rng, count, maps.visible, density)
            hidden = magnitudes(rng, count, maps.hidden)
            phases += [forms(memory, states)[form], memory.padded_input(hidden)]
            exact = exact + scale * maps.statistics(states, hidden)
            size = size + abs(scale) * maps.statistics(states, np.abs(hidden))
        arguments = memory, maps, before, *phases, 0.5, -0.3
        (gradient,) = on_any_threads(correlated, *arguments)
        terms = (rows + other) * maps.hidden_height * maps.hidden_width
        assert_within(gradient[:, : maps.filters], exact, (terms + 5) * ROUNDOFF * size)
        assert not gradient[:, maps.filters :].any()
        memory.check()


def summed(memory: Memory, maps: Maps, states: NDArray[Any]) -> Arrays:
    out = memory.output((len(states), padded(maps.filters)), np.float32, np.nan)
    _kernels.map_sums(states, maps.hidden_height * maps.hidden_width, maps.filters, out)
    return (out,)


def test_map_sums(memory: Memory, rng: np.random.Generator) -> None:
    for maps, rows, density in cases():
        positions = maps.hidden_height * maps.hidden_width
        states = some_states(rng, rows, maps.hidden, density)
        exact = states.reshape(rows, positions, maps.filters).sum(axis=1)
        for given in forms(memory, states):
            (out,) = on_any_threads(summed, memory, maps, given)
            np.testing.assert_array_equal(out[:, : maps.filters], exact)
            assert not out[:, maps.filters :].any()
        values = magnitudes(rng, rows, maps.hidden)
        (out,) = on_any_threads(summed, memory, maps, memory.padded_input(values))
        terms = values.reshape(rows, positions, maps.filters).astype(np.float64)
        size = np.abs(terms).sum(axis=1)
        assert_within(out[:, : maps.filters], terms.sum(axis=1), positions * ROUNDOFF * size)
        memory.check()


# Pooling -----------------------------------------------------------------------------------------


def drawn(memory: Memory, maps: Maps, total: NDArray[Any]) -> Arrays:
    mean = memory.output(total.shape, np.float32, np.nan)
    on = memory.output((len(total), words_for(maps.hidden) + 1), np.uint64, 2**64 - 1)
    _kernels.pooled(total, maps.blocks, mean, on, DRAW)
    return mean, on


def weigh(maps: Maps, total: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each block: the members' probabilities, (rows, pooled, members), and the cumulant."""
    members = maps.by_block(total[:, : maps.hidden].astype(np.float64))
    cumulant = np.logaddexp(np.logaddexp.reduce(members, axis=-1), 0)
    return np.exp(members - cumulant[..., np.newaxis]), cumulant


def test_pooled(memory: Memory, rng: np.random.Generator) -> None:
    for i, maps in enumerate(MAPS):
        rows, spread = (3, 1, 20)[i % 3], (1, 4, 40)[i % 3]
        total = memory.padded_input(rng.normal(-1, spread, (rows, maps.hidden)))
        mean, bits = on_any_threads(drawn, memory, maps, total)
        probability, cumulant = weigh(maps, total)
        assert_within(
            maps.by_block(mean[:, : maps.hidden]), probability, 2e-6 * probability + 2e-38
        )
        assert not mean[:, maps.hidden :].any()

        assert not bits[:, words_for(maps.hidden) :].any()
        assert not from_bits(bits, 64 * words_for(maps.hidden))[:, maps.hidden :].any()
        states = maps.by_block(from_bits(bits, maps.hidden))
        assert states.sum(axis=-1).max() <= 1
        middle = ((words(DRAW, rows, maps.pooled) >> 8) + 0.5) * 2.0**-24
        reached = np.cumsum(probability, axis=-1) - middle[..., np.newaxis]
        first = np.where((reached > 0).any(axis=-1), (reached > 0).argmax(axis=-1), -1)
        chosen = np.where(states.any(axis=-1), states.argmax(axis=-1), -1)
        sure = np.abs(reached).min(axis=-1) > 4e-7
        assert sure.mean() > 0.99
        np.testing.assert_array_equal(chosen[sure], first[sure])

        out = memory.output(rows, np.float64, 1.5)
        _kernels.pooled_cumulant(total, maps.blocks, out, 0.5, 2.0)
        cumulant = weigh(maps, total * np.float32(0.5))[1]
        assert_within(out, 1.5 + 2 * cumulant.sum(axis=-1), 2e-6 * (1 + cumulant.sum(axis=-1)))
        memory.check()


def test_pooled_draws_have_the_means_as_their_distribution(rng: np.random.Generator) -> None:
    """Of blocks alike, as many draw each outcome as should, within 5 standard deviations."""
    maps = Maps(40, 40, 1, 1, 1, 24, 2)
    members = np.array([[-1.0, 0.5], [0.0, 1.0]])
    total = np.tile(members, (20, 20)).repeat(24).reshape(1, -1).astype(np.float32)
    bits = np.zeros((1, words_for(maps.hidden)), np.uint64)
    _kernels.pooled(total, maps.blocks, None, bits, DRAW)
    count = maps.by_block(from_bits(bits, maps.hidden)).sum(axis=(0, 1))
    share = np.exp(members.ravel()) / (1 + np.exp(members).sum())
    deviation = np.sqrt(maps.pooled * share * (1 - share))
    assert (np.abs(count - maps.pooled * share) < 5 * deviation).all()


def test_pooled_extremes(memory: Memory) -> None:
    """Totals that would overflow, infinite ones, and a NaN, which stays within its block."""
    maps = Maps(2, 12, 1, 1, 1, 1, 2)
    blocks = np.array(
        [
            [300, 299, -np.inf, 0],
            [-np.inf, -np.inf, -np.inf, -3e38],
            [np.inf, 0, 0, 3e38],
            [3e38, 100, 0, 0],
            [np.nan, 0, 0, 0],
            [-100, 80, 20, 79],
        ]
    )
    total = memory.padded_input(blocks.reshape(6, 2, 2).transpose(1, 0, 2).reshape(1, 24))
    mean, bits = drawn(memory, maps, total)
    means, states = maps.by_block(mean[:, :24])[0], maps.by_block(from_bits(bits, 24))[0]
    odds = np.exp(1)
    assert_within(means[0, :2], np.array([odds, 1]) / (1 + odds), 1e-6)
    assert states[0, :2].sum() == 1
    assert means[1].max() < 1e-37
    assert not states[1].any()
    np.testing.assert_array_equal(means[3], [1, 0, 0, 0] + means[3] * [0, 1, 1, 1])
    assert states[3, 0]
    assert np.isnan(means[4]).any()
    assert np.isfinite(means[[0, 1, 2, 3, 5]]).all()
    odds = np.exp(-1)
    assert_within(means[5, [1, 3]], np.array([1, odds]) / (1 + odds), 1e-6)


def test_pooled_either_output_alone_and_in_place(memory: Memory, rng: np.random.Generator) -> None:
    for maps in MAPS[:9]:
        total = memory.padded_input(rng.normal(0, 2, (3, maps.hidden)))
        mean, bits = drawn(memory, maps, total)
        only_mean = memory.output(total.shape, np.float32, np.nan)
        _kernels.pooled(total, maps.blocks, only_mean, None, None)
        only_bits = memory.output(bits.shape, np.uint64, 2**64 - 1)
        _kernels.pooled(total, maps.blocks, None, only_bits, DRAW)
        in_place = memory.padded_output(3, maps.hidden, total[:, : maps.hidden])
        _kernels.pooled(in_place, maps.blocks, in_place, None, None)
        np.testing.assert_array_equal(only_mean, mean)
        np.testing.assert_array_equal(only_bits, bits)
        np.testing.assert_array_equal(in_place, mean)


def blocks_of(memory: Memory, maps: Maps, means: NDArray[Any], bits: NDArray[Any]) -> Arrays:
    sums = memory.output((len(means), padded(maps.pooled)), np.float32, np.nan)
    _kernels.pooled_means(means, maps.blocks, sums)
    any_on = memory.output((len(bits), words_for(maps.pooled)), np.uint64, 2**64 - 1)
    _kernels.pooled_bits(bits, maps.blocks, any_on)
    return sums, any_on


def test_pooled_means_and_bits(memory: Memory, rng: np.random.Generator) -> None:
    for i, maps in enumerate(MAPS):
        rows = (2, 1, 20)[i % 3]
        means = memory.padded_input(rng.random((rows, maps.hidden)))
        states = some_states(rng, rows, maps.hidden, DENSITIES[i % len(DENSITIES)])
        sums, any_on = on_any_threads(blocks_of, memory, maps, means, memory.input(to_bits(states)))
        exact = maps.by_block(means[:, : maps.hidden].astype(np.float64)).sum(axis=-1)
        assert_within(sums[:, : maps.pooled], exact, maps.pool**2 * ROUNDOFF * exact)
        assert not sums[:, maps.pooled :].any()
        np.testing.assert_array_equal(any_on, to_bits(maps.by_block(states).any(axis=-1)))
        memory.check()


# The module --------------------------------------------------------------------------------------


def test_more_memory_than_offsets_reach_is_refused() -> None:
    """Gradients of so many parts take 16 GiB; nothing of what is given is touched before."""
    filters, rows = padded(28_000), 800
    maps = (28, 28, 1, 28, 28, filters, 1, 1)
    gradient, hidden = np.zeros((784, filters), np.float32), np.zeros((rows, filters), np.float32)
    visible = np.zeros((rows, 13), np.uint64)
    with pytest.raises(MemoryError, match="the maps are too large"):
        _kernels.correlate(maps, visible, hidden, visible[:0], hidden[:0], 1.0, 0.0, gradient)


def test_maps_that_no_memory_holds_are_refused() -> None:
    """Products of their sides, computed in 64 bits, might come to little."""
    weights, out = np.zeros((1, 16), np.float32), np.zeros((1, 16), np.float32)
    link, blocks = (2**32, 2**32, 1, 1, 1, 1, 1, 1), (2**32, 2**31, 2, 2)
    with pytest.raises(ValueError, match="the maps are too large"):
        _kernels.convolve(weights, link, out, out[0], out)
    with pytest.raises(ValueError, match="the maps are too large"):
        _kernels.pooled(out, blocks, out, None, None)


def test_wrong_shapes_are_refused() -> None:
    maps = Maps(6, 7, 3, 3, 2, 5, 2)
    weights = np.zeros((18, 16), np.float32)
    visible = np.zeros((2, padded(maps.visible)), np.float32)
    hidden = np.zeros((2, padded(maps.hidden)), np.float32)
    below, above = visible[0].copy(), hidden[0].copy()
    short, odd = hidden[:1].copy(), np.zeros((2, 130), np.float32)
    bits = np.zeros((2, words_for(maps.hidden)), np.uint64)
    seen = np.zeros((2, words_for(maps.visible)), np.uint64)
    beyond = np.full_like(seen, 2**64 - 1)
    few = seen[:, :-1].copy()
    link, blocks = maps.link, maps.blocks
    too_wide = (6, 7, 3, 3, 2, 5, 4, 7)
    none, no_hidden, scales = seen[:0], hidden[:0], (1.0, 1.0)
    k = _kernels
    k.convolve(weights, link, seen, above, hidden)
    k.correlate(link, seen, hidden, none, no_hidden, *scales, weights)
    calls: list[Callable[[], object]] = [
        lambda: k.convolve(weights, too_wide, seen, above, hidden),
        lambda: k.convolve(weights, (*link[:7], 0), seen, above, hidden),
        lambda: k.convolve(weights[1:], link, seen, above, hidden),
        lambda: k.convolve(weights, link, few, above, hidden),
        lambda: k.convolve(weights, link, beyond, above, hidden),
        lambda: k.convolve(weights, link, seen[:1], above, hidden),
        lambda: k.convolve(weights, link, seen, above[1:], hidden),
        lambda: k.convolve(weights, link, seen, odd[0], odd),
        lambda: k.convolve(weights, link, visible[:1], above, hidden),
        lambda: k.convolve(weights, link, odd[:, :125].copy(), above, hidden),
        lambda: k.convolve(weights, link, seen.astype(np.int64), above, hidden),
        lambda: k.deconvolve(weights, link, bits, odd[0], odd),
        lambda: k.deconvolve(weights, link, bits[:1], below, visible),
        lambda: k.deconvolve(weights, link, odd[:, :99].copy(), below, visible),
        lambda: k.deconvolve(weights, link, short, below, visible),
        lambda: k.correlate(link, few, hidden, few[:0], no_hidden, *scales, weights),
        lambda: k.correlate(link, beyond, hidden, none, no_hidden, *scales, weights),
        lambda: k.correlate(link, seen, hidden, beyond, hidden, *scales, weights),
        lambda: k.correlate(
            link, seen, odd[:, :99].copy(), none, odd[:0, :99].copy(), *scales, weights
        ),
        lambda: k.correlate(link, seen, hidden, none, no_hidden, *scales, weights[1:]),
        lambda: k.correlate(link, seen, hidden, none, no_hidden, *scales, weights[:, :4].copy()),
        lambda: k.correlate(link, seen, hidden, seen[1:], hidden, *scales, weights),
        lambda: k.correlate(link, seen, hidden, visible, hidden, *scales, weights),
        lambda: k.correlate(link, seen, hidden, seen, odd, *scales, weights),
        lambda: k.correlate(
            link, odd[:, :125].copy(), hidden, odd[:0, :125].copy(), no_hidden, *scales, weights
        ),
        lambda: k.map_sums(bits, 20, 5, np.zeros((1, 16), np.float32)),
        lambda: k.map_sums(bits, 20, 5, np.zeros((2, 15), np.float32)),
        lambda: k.map_sums(bits, 20, 17, np.zeros((2, 16), np.float32)),
        lambda: k.map_sums(bits[:, :1].copy(), 20, 5, np.zeros((2, 16), np.float32)),
        lambda: k.map_sums(odd[:, :99].copy(), 20, 5, np.zeros((2, 16), np.float32)),
        lambda: k.pooled(odd, blocks, odd, None, None),
        lambda: k.pooled(hidden, (4, 6, 50, 2), hidden, None, None),
        lambda: k.pooled(hidden, (4, 5, 5, 2), hidden, None, None),
        lambda: k.pooled(hidden, (34, 17, 1, 17), hidden, None, None),
        lambda: k.pooled(hidden, (4, 6, 5, 0), hidden, None, None),
        lambda: k.pooled(hidden, blocks, short, None, None),
        lambda: k.pooled(hidden, blocks, None, bits[:1], DRAW),
        lambda: k.pooled(hidden, blocks, None, bits[:, :1].copy(), DRAW),
        lambda: k.pooled_cumulant(hidden, blocks, np.zeros(1)),
        lambda: k.pooled_means(hidden, blocks, odd[:, :29].copy()),
        lambda: k.pooled_means(hidden, blocks, short),
        lambda: k.pooled_bits(bits[:, :1].copy(), blocks, bits),
        lambda: k.pooled_bits(bits, blocks, bits[:1]),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(ValueError):
            raise AssertionError(f"call {number} was accepted: {call()}")


def test_every_instruction_set_gives_the_same_bits(isa: str, rng: np.random.Generator) -> None:
    """As the one that every machine has; the reference above leaves room for rounding."""
    memory = Memory()
    maps = MAPS[0]
    weights = memory.padded_input(magnitudes(rng, maps.taps, maps.filters))
    above = memory.padded_input(magnitudes(rng, maps.hidden))
    below = memory.padded_input(magnitudes(rng, maps.visible))
    states = some_states(rng, 4, maps.visible, 0.2)
    floats = memory.padded_input(magnitudes(rng, 4, maps.visible))

    def results() -> list[NDArray[Any]]:
        seen = bits(memory, states)
        total = inputs(memory, _kernels.convolve, maps.hidden, maps, weights, seen, above)[0]
        mean, on = drawn(memory, maps, total)
        cumulant = memory.output(4, np.float64, 0)
        _kernels.pooled_cumulant(total, maps.blocks, cumulant)
        other = bits(memory, states[::-1].copy())
        return [
            total,
            mean,
            on,
            cumulant,
            *inputs(memory, _kernels.deconvolve, maps.visible, maps, weights, on, below),
            *inputs(memory, _kernels.deconvolve, maps.visible, maps, weights, mean, below),
            *inputs(memory, _kernels.convolve, maps.hidden, maps, weights, floats, above),
            *correlated(memory, maps, None, floats, mean, floats[:0], mean[:0], 0.7, 0.0),
            *correlated(memory, maps, None, seen, mean, other, mean, 0.5, -0.3),
            *summed(memory, maps, mean),
        ]

    here = results()
    _kernels.use_isa("baseline")
    for ours, theirs in zip(here, results(), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    memory.check()

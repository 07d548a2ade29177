"""The kernels of every unit kind against its definition, on every instruction set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from guarded import Memory
from numpy.typing import NDArray
from reference import (
    ROUNDOFF,
    every_kind,
    every_pooled,
    fitting,
    from_bits,
    uniforms,
    uniforms_of,
)

from rbmcli import _kernels
from rbmcli.arrays import padded, to_padded, words_for
from rbmcli.model.units import UnitKind, unit_kind
from rbmcli.model.units.gaussian import define_normals

DRAW = (0xFEDCBA9876543210, 3, 1, 0)
#: Units, or groups of units.
SIZES = (1, 17, 64, 127)
ROWS = 33

pytestmark = pytest.mark.usefixtures("shared_out")


@pytest.fixture(params=[*every_kind(), *every_pooled()[1:]], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> UnitKind:
    return request.param


@pytest.fixture
def memory() -> Iterator[Memory]:
    memory = Memory()
    yield memory
    memory.check()


def some_totals(kind: UnitKind, size: int, rows: int = ROWS) -> NDArray[np.float32]:
    rng = np.random.default_rng(size)
    return rng.normal(0, 3, (rows, size * kind.group)).astype(np.float32)


def blank_states(memory: Memory, kind: UnitKind, rows: int, units: int) -> NDArray[Any]:
    """Memory for states, full of what must not remain."""
    if kind.as_bits:
        return memory.output((rows, words_for(units)), np.uint64, 2**64 - 1)
    return memory.output((rows, padded(units)), np.float32, np.nan)


def run(
    memory: Memory, kind: UnitKind, totals: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float64]]:
    """(means, states, cumulants) as the kernels leave them."""
    rows, units = totals.shape
    total = memory.padded_input(totals)
    mean = memory.output(total.shape, np.float32, np.nan)
    states = blank_states(memory, kind, rows, units)
    kind.run(total, units, mean, states, DRAW)
    cumulant = memory.output(rows, np.float64, 2.5)
    kind.add_cumulant(total, units, cumulant, 0.5, -2.0)
    return mean, states, cumulant


def as_values(kind: UnitKind, states: NDArray[Any], units: int) -> NDArray[Any]:
    """States (rows, units), after checking that nothing lies beyond them."""
    if kind.as_bits:
        width = states.shape[1] * 64
        assert not from_bits(states, width)[:, units:].any()
        return from_bits(states, units)
    assert not states[:, units:].any()
    return states[:, :units]


@pytest.mark.parametrize("size", SIZES)
def test_means_are_as_defined(kind: UnitKind, size: int, isa: str, memory: Memory) -> None:
    kind = fitting(kind, size)
    totals = some_totals(kind, size)
    units = totals.shape[1]
    mean, _, _ = run(memory, kind, totals)
    # Of a group, differences of total inputs are rounded before they are exponentiated.
    rounding = ROUNDOFF * (8 + (np.ptp(totals) if kind.group > 1 else 0))
    np.testing.assert_allclose(
        mean[:, :units], kind.define_mean(totals.astype(np.float64)), rtol=rounding
    )
    assert not mean[:, units:].any()


@pytest.mark.parametrize("size", SIZES)
def test_states_are_as_defined(kind: UnitKind, size: int, isa: str, memory: Memory) -> None:
    kind = fitting(kind, size)
    totals = some_totals(kind, size)
    units = totals.shape[1]
    states = as_values(kind, run(memory, kind, totals)[1], units)
    exact = totals.astype(np.float64)
    drawn = uniforms_of(kind, DRAW, ROWS, units)
    expected = kind.define_sample(exact, drawn)
    if kind.group_states is None and kind.name != "nrelu:exact":
        bound = 1e-5 * np.abs(define_normals(drawn)) + 2 * ROUNDOFF * np.abs(exact)
        assert (np.abs(states - expected) <= bound).all()
        return
    # Rounding may decide otherwise where nudged uniforms do.
    nudged = (kind.define_sample(exact, drawn + nudge) for nudge in (-3e-6, 3e-6))
    sure = np.equal(*nudged)
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(states[sure], expected[sure])


@pytest.mark.parametrize("size", SIZES)
def test_cumulants_are_as_defined(kind: UnitKind, size: int, isa: str, memory: Memory) -> None:
    kind = fitting(kind, size)
    totals = some_totals(kind, size)
    _, _, cumulant = run(memory, kind, totals)
    terms = kind.define_cumulant(0.5 * totals.astype(np.float64))
    # The terms are float32, and of groups the sum of a greatest input and a logarithm.
    sizes = np.abs(terms) + (np.abs(totals).max() if kind.group > 1 else 0)
    bound = 2 * 4 * ROUNDOFF * sizes.sum(axis=1)
    assert (np.abs(cumulant - (2.5 - 2 * terms.sum(axis=1))) <= bound).all()


@pytest.mark.parametrize("size", [1, 33])
def test_either_output_alone_and_in_place(
    kind: UnitKind, size: int, isa: str, memory: Memory
) -> None:
    kind = fitting(kind, size)
    totals = some_totals(kind, size)
    rows, units = totals.shape
    mean, states, _ = run(memory, kind, totals)
    total = memory.padded_input(totals)
    only_mean = memory.output(total.shape, np.float32, np.nan)
    kind.run(total, units, only_mean, None, None)
    only_states = blank_states(memory, kind, rows, units)
    kind.run(total, units, None, only_states, DRAW)
    both, in_place = blank_states(memory, kind, rows, units), to_padded(totals)
    kind.run(in_place, units, in_place, both, DRAW)
    for array in (only_mean, in_place):
        np.testing.assert_array_equal(array, mean)
    for array in (only_states, both):
        np.testing.assert_array_equal(array, states)


def test_no_rows_are_no_error(kind: UnitKind) -> None:
    kind = fitting(kind, 1)
    empty = np.zeros((0, padded(kind.group)), np.float32)
    assert kind.mean(empty, kind.group, empty).rows == 0
    assert kind.sample(empty, kind.group, DRAW).rows == 0
    kind.add_cumulant(empty, kind.group, np.zeros(0))


def test_threads_and_instruction_sets_do_not_show(kind: UnitKind, memory: Memory) -> None:
    kind = fitting(kind, 201)
    totals = some_totals(kind, 201, rows=130)
    results = []
    for isa in ("baseline", "avx2", "avx512"):
        try:
            _kernels.use_isa(isa)
        except ValueError:
            continue
        for threads in (1, 2, 3):
            _kernels.set_threads(threads)
            results.append([array.tobytes() for array in run(memory, kind, totals)])
    assert len(results) >= 3
    assert all(result == results[0] for result in results)


# The whole range ---------------------------------------------------------------------------------


def column(values: NDArray[Any]) -> NDArray[np.float32]:
    """A padded column of total inputs, so that cumulants come one by one."""
    return to_padded(np.asarray(values, np.float32)[:, np.newaxis])


def test_normal_draws_up_to_the_tails(isa: str) -> None:
    total = np.zeros((1, padded(1 << 20)), np.float32)
    z = unit_kind("gaussian").sample(total, 1 << 20, DRAW).floats()[0, : 1 << 20]
    exact = define_normals(uniforms(DRAW, 1, 1 << 20))[0]
    assert np.abs(exact).max() > 4.8
    np.testing.assert_allclose(z, exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("step", "row", "unit", "uniform"), [(0, 51, 31_646, 0.0), (7, 5, 33_955, 1 - 2.0**-24)]
)
def test_least_and_greatest_uniform(
    kind: UnitKind, step: int, row: int, unit: int, uniform: float, isa: str
) -> None:
    """Draws then lie where the middles of those steps do, five standard deviations out."""
    draw, group = (0, step, 0, row), unit // kind.group
    if kind.pool > 1:  # whose uniform is that of the block's number
        kind, group = fitting(kind, unit + 1), unit
    elif unit % kind.group:
        pytest.skip("the unit is not the first of a group")
    elif kind.name == "bernoulli":
        pytest.skip("bits have longer uniforms (test_ties_are_broken)")
    units = (group + 1) * kind.group
    assert uniforms(draw, 1, unit + 1)[0, unit] == uniform
    total = np.full((1, units), 5.5, np.float32)
    drawn = kind.sample(to_padded(total), units, draw).floats()
    values = drawn[0, kind.group_places(units)[group]]
    expected = fitting(kind, 1).define_sample(
        np.full((1, kind.group), 5.5), np.full((1, kind.group), uniform)
    )[0]
    if kind.name == "nrelu:exact" and uniform:
        expected -= values == expected - 1  # the greatest is rounded down by half a step
    np.testing.assert_allclose(values, expected, rtol=0, atol=4e-6)


def test_means_and_cumulants_of_rectified_units(isa: str) -> None:
    kind = unit_kind("nrelu")
    grid = np.concatenate([np.linspace(-87, 60, 20_001), [0.0, -0.0, 1e-7, -1e-7]])
    total = column(grid)
    exact = total[:, 0].astype(np.float64)
    mean = kind.mean(total, 1, np.empty_like(total)).to_array()[:, 0]
    np.testing.assert_allclose(mean, kind.define_mean(exact), rtol=6 * ROUNDOFF)
    cumulant = np.zeros(grid.size)
    kind.add_cumulant(total, 1, cumulant)
    np.testing.assert_allclose(cumulant, kind.define_cumulant(exact), rtol=6 * ROUNDOFF)


EXTREMES = np.array([np.inf, 3e38, 1e10, 1e4, -90, -1e10, -3e38, -np.inf, np.nan], np.float32)


@pytest.mark.parametrize("name", ["nrelu", "nrelu:exact", "gaussian"])
def test_extremes_of_real_valued_units(name: str, isa: str) -> None:
    kind, total = unit_kind(name), column(EXTREMES)
    mean = np.empty_like(total)
    states = kind.sample(total, 1, DRAW, mean).to_array()[:, 0]
    exact = EXTREMES if name == "gaussian" else np.maximum(EXTREMES, 0)
    np.testing.assert_allclose(mean[:, 0], exact, rtol=1e-6, atol=1e-37)
    assert states[0] == np.inf
    assert np.isnan(states[-1])
    np.testing.assert_allclose(states[1:-2], exact[1:-2], rtol=1e-6, atol=6)
    if name != "gaussian":
        assert (states[4:8] == 0).all()
    cumulant = np.zeros(EXTREMES.size)
    kind.add_cumulant(total, 1, cumulant)
    assert cumulant[3] == pytest.approx(5e7, rel=1e-6)
    assert np.isnan(cumulant[-1])


@pytest.mark.parametrize("n", [1, 7, 255])
def test_extremes_of_binomial_units(n: int, isa: str) -> None:
    kind, total = unit_kind(f"binomial:{n}"), column(EXTREMES)
    mean = np.empty_like(total)
    states = kind.sample(total, 1, DRAW, mean).to_array()[:, 0]
    np.testing.assert_array_equal(states[:8], [n] * 4 + [0] * 4)
    np.testing.assert_allclose(mean[:8, 0], states[:8], atol=1e-35)
    assert np.isnan(mean[-1, 0])


@pytest.mark.parametrize("group", [2, 40, 1024])
def test_extremes_of_softmax_units(group: int, isa: str) -> None:
    kind = unit_kind(f"softmax:{group}")
    totals = np.full((4, group), -3e38, np.float32)
    totals[0, -1], totals[1, 0], totals[2], totals[3, 1] = 3e38, 1e4, -1e4, np.nan
    mean = np.empty_like(to_padded(totals))
    states = kind.sample(to_padded(totals), group, DRAW, mean).to_array()
    assert (states.sum(axis=1) == 1).all()
    assert states[0, -1] == 1
    assert states[1, 0] == 1
    np.testing.assert_allclose(mean[2, :group], 1 / group, rtol=1e-6)
    assert np.isnan(mean[3, 1])
    cumulant = np.zeros(4)
    kind.add_cumulant(to_padded(totals), group, cumulant)
    np.testing.assert_allclose(cumulant[:3], [3e38, 1e4, -1e4 + np.log(group)], rtol=1e-6)
    assert np.isnan(cumulant[3])

"""The contract of a unit kind, kept by every entry of the table, by joints of them and by pooled
units: definitions and their statistics.

That the kernels do what is defined is in `tests/test_unit_kernels.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import every_joint, every_kind, every_pooled, least_units, sigmoid, sized

from rbmcli.arrays import to_padded
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.learning.batch import Images
from rbmcli.model.layer import Layer
from rbmcli.model.states import BitStates, FloatStates
from rbmcli.model.units import KINDS, Joint, UnitKind, unit_kind
from rbmcli.model.units.nrelu import Nrelu

DRAW = (0xFEDCBA9876543210, 3, 1, 0)
DRAWN = 40_000


@pytest.fixture(params=[*every_kind(), *every_joint(), *every_pooled()], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> UnitKind:
    return request.param


def totals_for(kind: UnitKind, count: int) -> NDArray[np.float64]:
    """Total inputs of one unit or group, or of a layer of a given size, (count, units)."""
    if least_units(kind) == 1:
        return np.linspace(-6, 6, count)[:, np.newaxis]
    return np.random.default_rng(3).normal(0, 2, (count, least_units(kind)))


def some_units(kind: UnitKind, groups: int) -> int:
    """Units of a layer: of so many groups, where the kind does not say how many it has."""
    return sized(kind) or groups * kind.group


def blocks(kind: UnitKind, values: NDArray[Any]) -> list[tuple[UnitKind, NDArray[Any]]]:
    """Each kind side by side, with its columns of values (rows, units)."""
    parts = kind.blocks(values.shape[1])
    ends = np.cumsum([units for _, units in parts])
    columns = np.split(values, ends[:-1], axis=1)
    return [(part, own) for (part, _), own in zip(parts, columns, strict=True)]


def slope(kind: UnitKind, totals: NDArray[np.float64], what: str, step: float) -> NDArray[Any]:
    """The derivative of the cumulants, or of the means, by each unit's own total input."""
    result = np.empty_like(totals)
    for i in range(totals.shape[1]):
        shift = np.zeros(totals.shape[1])
        shift[i] = step
        ahead, behind = (getattr(kind, what)(totals + sign * shift) for sign in (1, -1))
        change = ahead - behind
        own = change.sum(axis=1) if what == "define_cumulant" else change[:, i]
        result[:, i] = own / (2 * step)
    return result


def paper_moments(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of max(0, x + N(0, sigmoid(x)))."""
    s = np.sqrt(sigmoid(x))
    above = np.vectorize(NormalDist().cdf)(x / s)
    density = np.exp(-0.5 * (x / s) ** 2) / np.sqrt(2 * np.pi)
    mean = x * above + s * density
    return mean, np.maximum((x**2 + s**2) * above + x * s * density - mean**2, 0)


def moments(
    kind: UnitKind, totals: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of what a kind draws; its mean need not be that of an approximation."""
    if isinstance(kind, Joint):
        parts = [moments(part, own) for part, own in blocks(kind, totals)]
        mean, variance = (np.concatenate(found, axis=1) for found in zip(*parts, strict=True))
        return mean, variance
    if kind.of_model is not kind and isinstance(kind, Nrelu):
        return paper_moments(totals)
    return kind.define_mean(totals), slope(kind, totals, "define_mean", 1e-5)


def check_moments(sample: NDArray[Any], mean: NDArray[Any], variance: NDArray[Any]) -> None:
    """Within five standard errors, those of the variance taken from the sample itself.

    Of rare events, ten more or fewer prove nothing.
    """
    rare = 10 / len(sample)
    error = np.sqrt(variance / len(sample))
    assert (np.abs(sample.mean(axis=0, dtype=np.float64) - mean) < 5 * error + rare).all()
    squares = (sample.astype(np.float64) - mean) ** 2
    error = squares.std(axis=0) / np.sqrt(len(sample))
    assert (np.abs(squares.mean(axis=0) - variance) < 5 * error + rare).all()


# Names -------------------------------------------------------------------------------------------


def test_kinds_have_their_names() -> None:
    for name, kind in KINDS.items():
        if isinstance(kind, UnitKind):
            assert kind.name == name
    for kind in every_kind():
        assert unit_kind(kind.name).name == kind.name


@pytest.mark.parametrize(
    "name", ["", "gauss", "gaussian:x", "gaussian:0.01", "gaussian:21", "gaussian:-1",
             "gaussian:nan", "gaussian:0.5:N", "softmax", "softmax:1", "softmax:1025", "binomial:0",
             "binomial:256", "binomial:-1", "binomial:x", "binomial:", "bernoulli:2"]
)  # fmt: skip
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(RbmError, match=f"^'{name}'"):
        unit_kind(name)


# Definitions -------------------------------------------------------------------------------------


def test_mean_is_the_derivative_of_the_cumulant(kind: UnitKind) -> None:
    totals = totals_for(kind, 49)
    mean = kind.define_mean(totals)
    scale = max(1.0, np.abs(mean).max())
    numeric = slope(kind, totals, "define_cumulant", 1e-5)
    np.testing.assert_allclose(mean, numeric, rtol=0, atol=1e-9 * scale)


def test_cumulant_is_the_logarithm_of_the_sum_over_states(kind: UnitKind) -> None:
    """The sum over the states of base(s) exp(s x), or the integral."""
    totals = totals_for(kind, 13)
    exact = np.zeros(len(totals))
    for part, total in blocks(kind, totals):
        weight, states = 1.0, part.group_states
        if isinstance(part.of_model, Nrelu):
            states = np.arange(60.0)[:, np.newaxis]
        elif states is None:  # the trapezoidal rule, which converges exponentially here
            states, weight = np.linspace(-20, 20, 801)[:, np.newaxis], 0.05
        base = part.define_log_base(states.astype(np.float64)).sum(axis=1)
        groups = total[:, part.group_places(total.shape[1])]
        of_group = np.logaddexp.reduce(base + groups @ states.T, axis=2) + np.log(weight)
        exact += of_group.sum(axis=1)
    found = kind.define_cumulant(totals).sum(axis=1)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9)


def test_states_are_summed_to_the_logarithm_of_the_base(kind: UnitKind, isa: str) -> None:
    units = some_units(kind, 7)
    totals = to_padded(np.random.default_rng(4).normal(0, 2, (5, units)))
    states = [kind.sample(totals, units, DRAW)]
    if not kind.as_bits:  # also between whole numbers, and far out
        low, high = np.clip(kind.valid_range, -100, 100)
        values = np.random.default_rng(5).uniform(low, high, (5, units))
        values[0] = high
        states.append(FloatStates(to_padded(values), units))
    for given in states:
        exact = kind.define_log_base(given.floats()[:, :units].astype(np.float64)).sum(axis=1)
        np.testing.assert_allclose(kind.log_base(given), exact, rtol=1e-12)


def test_definition_draws_with_the_mean_and_the_variance(kind: UnitKind) -> None:
    totals = totals_for(kind, 5)
    uniforms = (
        np.random.default_rng(5).integers(2**24, size=(DRAWN // 2, totals.shape[1])) * 2.0**-24
    )
    for total, mean, variance in zip(totals, *moments(kind, totals), strict=True):
        sample = kind.define_sample(np.broadcast_to(total, uniforms.shape), uniforms)
        check_moments(sample, mean, variance)


def test_counts_and_values_grow_with_the_uniform(kind: UnitKind) -> None:
    if kind.as_bits or isinstance(kind, Joint):
        pytest.skip("of several units, none is the greater one")
    uniforms = np.arange(0, 2**24, 2**14 - 1)[:, np.newaxis] * 2.0**-24
    for total in (-2.0, 0.0, 0.7, 4.0):
        assert (
            np.diff(kind.define_sample(np.full_like(uniforms, total), uniforms)[:, 0]) >= 0
        ).all()


def by_block(
    kind: UnitKind, of_group: Callable[[UnitKind], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Rows made for a unit or group of each block, side by side, for the least layer of a kind."""
    columns = []
    for part, units in kind.blocks(least_units(kind)):
        rows = of_group(part)
        own = np.empty((len(rows), units))
        own[:, part.group_places(units)] = rows[:, np.newaxis]
        columns.append(own)
    return np.concatenate(columns, axis=1)


def some_means(kind: UnitKind) -> NDArray[np.float64]:
    """Means of a unit or group within the valid range, (20, group)."""
    if kind.pool > 1:  # none may be on, but within a block all units have the same bias
        return np.repeat(np.linspace(0.02, 0.98, 20)[:, np.newaxis], kind.group, 1) / kind.group
    if kind.group > 1:
        return np.random.default_rng(2).dirichlet(np.full(kind.group, 5.0), 20)
    low, high = np.clip(kind.valid_range, -10, 10)
    return np.linspace(low, high, 22)[1:-1, np.newaxis]


def extreme_means(kind: UnitKind) -> NDArray[np.float64]:
    """The most extreme means of a unit or group, each several times, (240, group)."""
    ends = np.clip(kind.valid_range, -1e5, 1e5)
    if kind.pool > 1:
        return np.repeat(np.resize(ends, (240, 1)), kind.group, axis=1) / kind.group
    return np.resize(np.eye(kind.group) if kind.group > 1 else ends, (240, kind.group))


def test_bias_gives_back_the_mean(kind: UnitKind) -> None:
    mean = by_block(kind, some_means)
    again = kind.define_mean(kind.bias_from_mean(mean))
    for (part, found), (_, wanted) in zip(blocks(kind, again), blocks(kind, mean), strict=True):
        # That of rectified units is about the mean.
        tolerance = {"atol": 0.02} if isinstance(part, Nrelu) else {"rtol": 1e-12}
        np.testing.assert_allclose(found, wanted, **tolerance)


def test_bias_of_the_most_extreme_mean_is_finite(kind: UnitKind) -> None:
    means = by_block(kind, extreme_means)
    bias = kind.bias_from_mean(means)
    assert np.isfinite(bias).all()
    assert (np.abs(kind.define_mean(bias) - means) < 0.05 * np.ptp(means, axis=0)).all()


# Draws -------------------------------------------------------------------------------------------


def test_drawn_states_have_the_mean_and_the_variance(kind: UnitKind, isa: str) -> None:
    totals = totals_for(kind, 1 if sized(kind) else 9).reshape(-1)
    rows = DRAWN if kind.group == 1 else DRAWN // 4
    total = to_padded(np.broadcast_to(totals, (rows, totals.size)))
    states = kind.sample(total, totals.size, DRAW).floats()[:, : totals.size]
    mean, variance = moments(kind, totals.reshape(-1, least_units(kind)))
    check_moments(states, mean.ravel(), variance.ravel())


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_exact_rectified_draws_far_from_zero(shift: float, isa: str) -> None:
    """There, counts are spread around the total input with variance 1."""
    totals = np.array([15, 40, 1000, 1e4]) + shift
    total = to_padded(np.broadcast_to(totals, (DRAWN, 4)))
    kind = unit_kind("nrelu:exact")
    sample = kind.sample(total, 4, DRAW).floats()[:, :4]
    exact = np.float32(totals).astype(np.float64)
    check_moments(sample, exact, np.ones(4))
    assert (sample % 1 == 0).all()


#: (total input, mean of the paper's sampler, exact mean)
PAPER_BIAS = [
    (-2, 0.00, 0.12), (-1, 0.01, 0.31), (0, 0.28, 0.68), (1, 1.05, 1.31), (2, 2.01, 2.12),
    (4, 4.00, 4.02),
]  # fmt: skip


@pytest.mark.parametrize(("total", "paper", "exact"), PAPER_BIAS)
def test_what_the_papers_sampler_of_rectified_units_costs(
    total: float, paper: float, exact: float
) -> None:
    x = np.array([float(total)])
    assert paper_moments(x)[0][0] == pytest.approx(paper, abs=0.005)
    assert unit_kind("nrelu").define_mean(x)[0] == pytest.approx(exact, abs=0.005)
    padded = to_padded(np.full((DRAWN, 1), total))
    for name, mean in (("nrelu", paper), ("nrelu:exact", exact)):
        sample = unit_kind(name).sample(padded, 1, DRAW).floats()[:, 0]
        error = 5 * sample.std() / np.sqrt(DRAWN) + 0.005
        assert abs(sample.mean(dtype=np.float64) - mean) < error


# What goes to other layers, and what comes from data ---------------------------------------------


def test_layers_above_are_fed_means(kind: UnitKind) -> None:
    units = some_units(kind, 5)
    totals = np.random.default_rng(4).normal(0, 2, (6, units)).astype(np.float32)
    out = to_padded(np.full((6, units), 9))
    fed = kind.fed(to_padded(totals), units, out)
    assert fed.values is out or kind.pool > 1
    means = kind.mean(to_padded(totals), units, to_padded(totals)).to_array()
    rectified = [
        np.full(own.shape[1], isinstance(part, Nrelu)) for part, own in blocks(kind, means)
    ]
    expected = np.where(np.concatenate(rectified), np.maximum(totals, 0), means)
    if kind.pool > 1:  # how probable it is that one of a block is on
        expected = means[:, kind.group_places(units)].sum(axis=2)
    np.testing.assert_allclose(fed.to_array(), expected, rtol=1e-6 if kind.pool > 1 else 0)
    assert fed.units == np.prod(kind.fed_shape((units,)))
    assert not fed.values[:, fed.units :].any()


@pytest.mark.parametrize("kind", every_pooled(), ids=lambda kind: kind.name)
def test_pooled_units_are_on_where_one_of_their_block_is(kind: UnitKind, isa: str) -> None:
    units = least_units(kind)
    places = kind.group_places(units)
    totals = to_padded(np.random.default_rng(4).normal(0, 2, (50, units)))
    drawn = kind.sample(totals, units, DRAW)
    fed = kind.fed_by(drawn)
    np.testing.assert_array_equal(fed.to_array(), drawn.to_array()[:, places].any(axis=2))
    assert kind.fed_kind.name == "bernoulli"
    expected = -np.log(kind.group) * drawn.to_array().sum(axis=1)
    np.testing.assert_allclose(kind.log_drawn_from_fed(drawn), expected)


@pytest.mark.parametrize("kind", every_pooled(), ids=lambda kind: kind.name)
def test_given_its_pooled_unit_all_units_of_a_block_are_alike(kind: UnitKind, isa: str) -> None:
    units, pooled = least_units(kind), least_units(kind) // kind.group
    fed = np.random.default_rng(4).integers(0, 2, pooled)
    fed[0] = 1
    given = BitStates.from_array(np.tile(fed, (DRAWN, 1)))
    drawn = kind.drawn_from_fed(given, DRAW)
    np.testing.assert_array_equal(kind.fed_by(drawn).to_array(), given.to_array())
    frequency = drawn.to_array()[:, kind.group_places(units)].mean(axis=0)
    p = 1 / kind.group
    bound = 5 * np.sqrt(p * (1 - p) / DRAWN)
    np.testing.assert_allclose(frequency[fed == 1], p, rtol=0, atol=bound)
    at_each = kind.at_each(np.arange(pooled, dtype=np.float32)[np.newaxis])
    expected = np.repeat(np.arange(pooled)[:, np.newaxis], kind.group, axis=1)
    np.testing.assert_array_equal(at_each[0, kind.group_places(units)], expected)


@pytest.mark.parametrize("name", ["nrelu", "nrelu:exact"])
def test_scaled_input_is_fed_scaled(name: str) -> None:
    """Without biases, rectified units are equivariant to intensity."""
    kind, totals = unit_kind(name), np.random.default_rng(4).normal(0, 2, (6, 7))
    once, twice = (kind.fed(to_padded(s * totals), 7, to_padded(totals)) for s in (1, 4))
    np.testing.assert_array_equal(twice.to_array(), 4 * once.to_array())


@pytest.mark.parametrize("binarize", ["sample", "threshold", "none"])
@pytest.mark.parametrize(
    ("largest", "dtype"), [(1.0, np.float32), (255.0, np.uint8), (4.0, np.uint8)]
)
def test_data_of_binomial_units(binarize: str, largest: float, dtype: type) -> None:
    """Counts are taken as they are; fractions are drawn, rounded, or multiplied by n."""
    kind = unit_kind("binomial:5")
    fractions = np.array([0, 0.25, 0.5, 1])
    images = np.broadcast_to(fractions * largest, (DRAWN, 4)).astype(dtype)
    how, scale = kind.reading(images.max(), largest, binarize)
    draw = Draws(1).at(Purpose.BINARIZE, 0)
    values = kind.from_data(images, np.arange(DRAWN), scale, how, draw).floats()[:, :4]
    if largest == 4:
        np.testing.assert_array_equal(values, images)
        return
    exact = 5.0 * images[0] / largest
    if how == "none":
        np.testing.assert_allclose(values[0], exact, rtol=1e-6)
    elif how == "threshold":
        assert (values[0] % 1 == 0).all()
        assert (np.abs(values[0] - exact) <= 0.5 + 1e-6).all()
    else:
        assert set(np.unique(values)) <= set(range(6))
        p = exact / 5
        check_moments(values, exact, 5 * p * (1 - p))


@pytest.mark.parametrize(("largest", "dtype"), [(1.0, np.float32), (255.0, np.uint8)])
@pytest.mark.parametrize("binarize", ["sample", "threshold", "none"])
def test_white_is_all_replicas_of_a_binomial_unit(
    binarize: str, largest: float, dtype: type
) -> None:
    """Whatever N is: N / 255 and its inverse are not exact, and a fraction above 1 has no odds."""
    white = np.full((1, 3), largest, dtype)
    draw = Draws(1).at(Purpose.BINARIZE, 0)
    for n in range(1, 256):
        kind = unit_kind(f"binomial:{n}")
        images = Images(white, largest, np.arange(1), binarize).for_kind(kind, "white", False)
        states = images.states(images.rows, Layer(kind, (3,)), draw)
        np.testing.assert_array_equal(states.to_array(), n)


def test_fractions_of_one_replica_are_not_counts() -> None:
    """They are divided by 1, as counts are, but drawn."""
    kind, grey = unit_kind("binomial:1"), np.full((1, 3), 0.5, np.float32)
    drawn = Images(grey, 1.0, np.arange(1)).for_kind(kind, "grey")
    assert drawn.binarize == "sample"
    assert not drawn.are_counts
    whole = Images(np.full((1, 3), 2, np.uint8), 255.0, np.arange(1))
    assert whole.for_kind(unit_kind("binomial:2"), "whole").are_counts


@pytest.mark.parametrize("name", ["gaussian", "nrelu", "nrelu:exact"])
def test_data_of_real_valued_units_are_scaled(name: str) -> None:
    kind = unit_kind(name)
    images = np.array([[0, 51, 255]], np.uint8)
    how, scale = kind.reading(255, 255.0, "sample")
    assert how == "none"
    states = kind.from_data(images, np.zeros(2, np.int64), scale, how, DRAW)
    np.testing.assert_allclose(states.to_array(), [[0, 0.2, 1]] * 2, rtol=1e-6)

"""The contract of a unit kind, kept by every entry of the table: definitions and their statistics.

That the kernels do what is defined is in `tests/test_unit_kernels.py`.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import every_kind, sigmoid

from rbmcli.arrays import to_padded
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.learning.batch import Images
from rbmcli.model.layer import Layer
from rbmcli.model.states import FloatStates
from rbmcli.model.units import KINDS, UnitKind, unit_kind
from rbmcli.model.units.nrelu import Nrelu

DRAW = (0xFEDCBA9876543210, 3, 1, 0)
DRAWN = 40_000


@pytest.fixture(params=every_kind(), ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> UnitKind:
    return request.param


def totals_for(kind: UnitKind, count: int) -> NDArray[np.float64]:
    """Total inputs of one unit, or of one group, (count, group)."""
    if kind.group == 1:
        return np.linspace(-6, 6, count)[:, np.newaxis]
    return np.random.default_rng(3).normal(0, 2, (count, kind.group))


def slope(kind: UnitKind, totals: NDArray[np.float64], what: str, step: float) -> NDArray[Any]:
    """The derivative of the cumulants, or of the means, by each unit's own total input."""
    result = np.empty_like(totals)
    for i in range(kind.group):
        shift = np.zeros(kind.group)
        shift[i] = step
        ahead, behind = (getattr(kind, what)(totals + sign * shift) for sign in (1, -1))
        own = 0 if what == "define_cumulant" else i  # a group has one cumulant
        result[:, i] = (ahead - behind)[:, own] / (2 * step)
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
    "name", ["", "gauss", "gaussian:4", "softmax", "softmax:1", "softmax:1025", "binomial:0",
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
    weight = 1.0
    states = kind.group_states
    if isinstance(kind.of_model, Nrelu):
        states = np.arange(60.0)[:, np.newaxis]
    elif states is None:  # the trapezoidal rule, which converges exponentially here
        states, weight = np.linspace(-20, 20, 801)[:, np.newaxis], 0.05
    exponents = kind.define_log_base(states.astype(np.float64)).sum(axis=1) + totals @ states.T
    exact = np.logaddexp.reduce(exponents, axis=1) + np.log(weight)
    np.testing.assert_allclose(kind.define_cumulant(totals)[:, 0], exact, rtol=0, atol=1e-9)


def test_states_are_summed_to_the_logarithm_of_the_base(kind: UnitKind, isa: str) -> None:
    units = 7 * kind.group
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
    uniforms = np.random.default_rng(5).integers(2**24, size=(DRAWN // 2, kind.group)) * 2.0**-24
    for total, mean, variance in zip(totals, *moments(kind, totals), strict=True):
        sample = kind.define_sample(np.broadcast_to(total, uniforms.shape), uniforms)
        check_moments(sample, mean, variance)


def test_counts_and_values_grow_with_the_uniform(kind: UnitKind) -> None:
    if kind.as_bits:
        pytest.skip("of several units, none is the greater one")
    uniforms = np.arange(0, 2**24, 2**14 - 1)[:, np.newaxis] * 2.0**-24
    for total in (-2.0, 0.0, 0.7, 4.0):
        assert (
            np.diff(kind.define_sample(np.full_like(uniforms, total), uniforms)[:, 0]) >= 0
        ).all()


def test_bias_gives_back_the_mean(kind: UnitKind) -> None:
    low, high = np.clip(kind.valid_range, -10, 10)
    mean = np.linspace(low, high, 21)[1:-1, np.newaxis]
    if kind.group > 1:
        mean = np.random.default_rng(2).dirichlet(np.full(kind.group, 5.0), 20)
    again = kind.define_mean(kind.bias_from_mean(mean))
    # That of rectified units is about the mean.
    tolerance = {"atol": 0.02} if isinstance(kind, Nrelu) else {"rtol": 1e-12}
    np.testing.assert_allclose(again, mean, **tolerance)


def test_bias_of_the_most_extreme_mean_is_finite(kind: UnitKind) -> None:
    ends = np.clip(kind.valid_range, -1e5, 1e5)
    means = np.eye(kind.group) if kind.group > 1 else ends[:, np.newaxis]
    bias = kind.bias_from_mean(means)
    assert np.isfinite(bias).all()
    assert (np.abs(kind.define_mean(bias) - means) < 0.05 * (ends[1] - ends[0])).all()


# Draws -------------------------------------------------------------------------------------------


def test_drawn_states_have_the_mean_and_the_variance(kind: UnitKind, isa: str) -> None:
    totals = totals_for(kind, 9).reshape(-1)
    rows = DRAWN if kind.group == 1 else DRAWN // 4
    total = to_padded(np.broadcast_to(totals, (rows, totals.size)))
    states = kind.sample(total, totals.size, DRAW).floats()[:, : totals.size]
    mean, variance = moments(kind, totals.reshape(-1, kind.group))
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
    units = 5 * kind.group
    totals = np.random.default_rng(4).normal(0, 2, (6, units)).astype(np.float32)
    out = to_padded(np.full((6, units), 9))
    fed = kind.fed(to_padded(totals), units, out)
    assert fed.values is out
    expected = np.maximum(totals, 0)
    if not isinstance(kind, Nrelu):
        expected = kind.mean(to_padded(totals), units, to_padded(totals)).to_array()
    np.testing.assert_array_equal(fed.to_array(), expected)
    assert not out[:, units:].any()


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

"""The contract of a unit kind, kept by every entry of the table."""

from __future__ import annotations

import numpy as np
import pytest
from reference import ROUNDOFF, uniforms

from rbmcli.arrays import to_padded
from rbmcli.model.units import KINDS, UnitKind

TOTALS = np.linspace(-6, 6, 49)
DRAW = (0xFEDCBA9876543210, 3, 1, 0)
DRAWN = 40_000


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request: pytest.FixtureRequest) -> UnitKind:
    return request.param


def test_names_are_those_of_the_table() -> None:
    assert {name: kind.name for name, kind in KINDS.items()} == {name: name for name in KINDS}


def test_mean_is_the_derivative_of_the_cumulant(kind: UnitKind) -> None:
    step = 1e-5
    slope = kind.define_cumulant(TOTALS + step) - kind.define_cumulant(TOTALS - step)
    np.testing.assert_allclose(kind.define_mean(TOTALS), slope / (2 * step), rtol=0, atol=1e-9)


def test_sample_has_the_mean_and_the_variance_of_the_cumulant(kind: UnitKind) -> None:
    step = 1e-3
    ahead, here, behind = (kind.define_cumulant(TOTALS + i * step) for i in (1, 0, -1))
    variance = (ahead - 2 * here + behind) / step**2
    drawn = np.random.default_rng(5).random((DRAWN, TOTALS.size))
    sample = kind.define_sample(np.broadcast_to(TOTALS, drawn.shape), drawn)
    check_moments(sample, kind.define_mean(TOTALS), variance)


def test_drawn_states_have_the_mean_and_the_variance_of_the_cumulant(
    kind: UnitKind, isa: str
) -> None:
    total = to_padded(np.broadcast_to(TOTALS, (DRAWN, TOTALS.size)))
    states = kind.sample(total, TOTALS.size, DRAW, None).floats()[:, : TOTALS.size]
    mean = kind.define_mean(TOTALS)
    step = 1e-5
    variance = (kind.define_mean(TOTALS + step) - kind.define_mean(TOTALS - step)) / (2 * step)
    check_moments(states, mean, variance)


def check_moments(sample: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
    """Within five standard errors, those of the variance taken from the sample itself."""
    error = np.sqrt(variance / DRAWN)
    assert (np.abs(sample.mean(axis=0, dtype=np.float64) - mean) < 5 * error).all()
    squares = (sample.astype(np.float64) - mean) ** 2
    error = squares.std(axis=0) / np.sqrt(DRAWN)
    assert (np.abs(squares.mean(axis=0) - variance) < 5 * error + 1e-6).all()


def test_bias_gives_back_the_mean(kind: UnitKind) -> None:
    low, high = np.clip(kind.valid_range, -10, 10)
    mean = np.linspace(low, high, 21)[1:-1]
    np.testing.assert_allclose(kind.define_mean(kind.bias_from_mean(mean)), mean, rtol=1e-12)


def test_bias_of_the_most_extreme_mean_is_finite(kind: UnitKind) -> None:
    ends = np.clip(kind.valid_range, -1e6, 1e6)
    bias = kind.bias_from_mean(ends)
    assert np.isfinite(bias).all()
    assert (np.abs(kind.define_mean(bias) - ends) < 0.01 * (ends[1] - ends[0])).all()


@pytest.mark.parametrize("units", [1, 17, 64, 127])
def test_kernels_do_what_is_defined(kind: UnitKind, units: int, isa: str) -> None:
    totals = np.random.default_rng(units).normal(0, 3, (33, units)).astype(np.float32)
    exact = totals.astype(np.float64)
    mean = kind.define_mean(exact)

    padded = to_padded(totals)
    states = kind.mean(padded, units, padded)
    assert states.values is padded
    np.testing.assert_allclose(padded[:, :units], mean, rtol=8 * ROUNDOFF)
    assert not padded[:, units:].any()

    padded = to_padded(totals)
    sample = kind.sample(padded, units, DRAW, padded)
    np.testing.assert_allclose(padded[:, :units], mean, rtol=8 * ROUNDOFF)
    drawn = uniforms(DRAW, 33, units).astype(np.float64)
    expected = kind.define_sample(exact, drawn)
    # Rounding may decide otherwise where nudged uniforms do.
    sure = kind.define_sample(exact, drawn - 1e-6) == kind.define_sample(exact, drawn + 1e-6)
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(sample.floats()[:, :units][sure], expected[sure])

    out = np.full(33, 2.5)
    kind.add_cumulant(to_padded(totals), units, out)
    np.testing.assert_allclose(
        out, 2.5 + kind.define_cumulant(exact).sum(axis=1), rtol=8 * ROUNDOFF
    )

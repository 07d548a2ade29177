"""AIS and RAISE against machines whose states can all be counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rbmcli import _kernels
from rbmcli.arrays import to_padded
from rbmcli.draws import Draws, Purpose
from rbmcli.inference import annealing, exact, reverse_ais
from rbmcli.inference.ais import log_mean_with_error, log_partition
from rbmcli.inference.annealing import TEMPERATURES, Path, WalkDraws, anneal, ladder
from rbmcli.inference.exact import count_states, layer_states
from rbmcli.inference.free_energy import free_energy
from rbmcli.inference.likelihood import (
    LogPartition,
    exactly,
    mean_log_likelihood,
    spread_rows,
    with_conservative,
)
from rbmcli.model.density import has_density
from rbmcli.model.links import DenseLink
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States
from rbmcli.model.units import KINDS, unit_kind

#: Pairs of kinds of which one layer can be enumerated, every kind on either side.
PAIRS = [
    ("bernoulli", "bernoulli"),
    ("binomial:3", "bernoulli"),
    ("gaussian", "bernoulli"),
    ("gaussian:learned", "softmax:3"),
    ("nrelu", "binomial:2"),
    ("nrelu:exact", "bernoulli"),
    ("softmax:3", "nrelu:exact"),
    ("bernoulli", "gaussian"),
    ("bernoulli", "gaussian:learned"),
    ("binomial:2", "nrelu"),
]
CHAINS = 100


def random_machine(visible: str, hidden: str, weight: float = 0.5, seed: int = 0) -> Rbm:
    """A machine of six visible and four hidden units (or so: whole groups)."""
    rng = np.random.default_rng(seed)
    model = Rbm.dense((6,), 4, visible, hidden)
    model.load({name: rng.normal(0, weight, x.shape) for name, x in model.parameters().items()})
    return model


def path_of(model: Rbm) -> Path:
    kind = model.visible.kind
    return Path(model, np.full(model.visible.units, 1 / kind.group if kind.group > 1 else 0.4))


def all_states(model: Rbm) -> States:
    count = count_states(model.visible)
    assert count is not None
    return model.visible.states_of(layer_states(model.visible, 0, count))


def two_modes() -> Rbm:
    """A machine that Gibbs steps hardly move: all units on together, or all off."""
    model = Rbm.dense((8,), 2)
    model.load(
        {
            "weights": np.full((8, 2), 3.0),
            "visible_bias": np.full(8, -3.0),
            "hidden_bias": np.full(2, -11.5),
        }
    )
    return model


# AIS --------------------------------------------------------------------------------------------


def test_the_pairs_have_every_kind() -> None:
    for side in (0, 1):
        families = {pair[side].replace(":2", ":N").replace(":3", ":N") for pair in PAIRS}
        others = {"softmax:N", "binomial:N", "gaussian:SIGMA", "nrelu", "nrelu:exact"}
        assert families | others == set(KINDS)


@pytest.mark.parametrize(("visible", "hidden"), PAIRS)
def test_log_partition_is_that_of_enumeration(visible: str, hidden: str) -> None:
    model = random_machine(visible, hidden)
    truth = exact.log_partition(model)
    estimate = log_partition(path_of(model), ladder(300), CHAINS, Draws(3))
    assert abs(estimate.value - truth) < 0.2
    assert estimate.low < truth < estimate.high
    assert estimate.high - estimate.low < 0.6


def test_mean_weight_has_no_bias_even_with_few_temperatures() -> None:
    """Over many chains, E[w] = Z / Z_0 for any ladder: within four standard errors."""
    model = random_machine("bernoulli", "bernoulli", 0.8)
    estimate = log_partition(path_of(model), ladder(4), 40_000, Draws(7))
    error = (estimate.high - estimate.low) / 6
    assert error < 0.02
    assert abs(estimate.value - exact.log_partition(model)) < 4 * error


def test_intervals_cover_the_truth() -> None:
    """Three standard errors: of 40 intervals, 38 or more all but surely (99.9 % if normal)."""
    model = random_machine("bernoulli", "bernoulli", 0.8)
    truth = exact.log_partition(model)
    estimates = [log_partition(path_of(model), ladder(30), 100, Draws(seed)) for seed in range(40)]
    assert sum(low < truth < high for _, low, high in estimates) >= 38
    # and they are no wider than they claim: some of one standard error miss
    narrow = [abs(value - truth) < (high - low) / 6 for value, low, high in estimates]
    assert 18 <= sum(narrow) <= 36  # 27 expected, standard deviation 3


def test_any_reference_will_do() -> None:
    model = random_machine("bernoulli", "bernoulli")
    truth = exact.log_partition(model)
    for mean in (0.01, 0.9):
        path = Path(model, np.full(6, mean))
        assert abs(log_partition(path, ladder(500), CHAINS, Draws(0)).value - truth) < 0.2


def test_interval_of_known_weights() -> None:
    weights = np.array([1.0, 2.0, 3.0, 6.0])
    error = 3 * weights.std(ddof=1) / 2
    estimate = log_mean_with_error(np.log(weights) + 500)
    assert estimate.value == pytest.approx(500 + np.log(3))
    assert estimate.high == pytest.approx(500 + np.log(3 + error))
    assert estimate.low == -np.inf  # the error is 3.2
    estimate = log_mean_with_error(np.log(weights + 10))
    assert estimate.low == pytest.approx(np.log(13 - error))


def test_ladder() -> None:
    betas = ladder()
    assert len(betas) == TEMPERATURES == 14_500
    assert betas[0] == 0
    assert betas[-1] == 1
    assert (np.diff(betas) > 0).all()
    counts = np.histogram(betas, [0, 0.5, 0.9, 1])[0]
    assert np.abs(counts - [500, 4000, 10_000]).max() <= 1
    counts = np.histogram(ladder(1450), [0, 0.5, 0.9, 1])[0]
    assert np.abs(counts - [50, 400, 1000]).max() <= 1
    np.testing.assert_array_equal(ladder(2), [0, 1])


def test_seed_decides_and_threads_do_not() -> None:
    """Large enough for the kernels to share out their loops."""
    rng = np.random.default_rng(1)
    model = Rbm.dense((200,), 150)
    model.load({name: rng.normal(0, 0.1, x.shape) for name, x in model.parameters().items()})
    path = Path(model, np.full(200, 0.3))
    found = {}
    for threads in (1, 2, 3):
        _kernels.set_threads(threads)
        estimate = log_partition(path, ladder(12), 100, Draws(5))
        visible = path.sample_at_0(70, Draws(0).at(Purpose.SAMPLE, 0))
        likelihoods = reverse_ais.log_likelihood(path, ladder(12), visible, 2, Draws(5))
        found[threads] = (np.array(estimate).tobytes(), likelihoods.tobytes())
    assert found[1] == found[2] == found[3]
    assert log_partition(path, ladder(12), 100, Draws(6)).value != estimate.value


def test_progress_comes_to_the_end() -> None:
    path = path_of(random_machine("bernoulli", "bernoulli"))
    told: list[float] = []
    log_partition(path, ladder(5), 2, Draws(0), told.append)
    assert told == sorted(told)
    assert told[0] == 0.25  # of the first temperature, which is recorded
    assert told[-1] == 1
    told.clear()
    visible = path.sample_at_0(300, Draws(0).at(Purpose.SAMPLE, 0))
    reverse_ais.log_likelihood(path, ladder(3), visible, 3, Draws(0), told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert 0.5 < told[len(told) // 2] < 1  # in the second of two blocks of walks


@pytest.mark.parametrize("kinds", [("bernoulli", "bernoulli"), ("gaussian", "nrelu:exact")])
@pytest.mark.parametrize("threads", [1, 3])
def test_temperatures_in_one_call_are_those_one_by_one(
    kinds: tuple[str, str], threads: int, shared_out: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    _kernels.set_threads(threads)
    path = path_of(random_machine(*kinds))
    calls: list[int] = []
    replay = annealing._Walk.replay

    def counted(self: Any, plan: Any, betas: Any, first: int, count: int) -> None:
        calls.append(count)
        replay(self, plan, betas, first, count)

    monkeypatch.setattr(annealing._Walk, "replay", counted)
    together = log_partition(path, ladder(50), 9, Draws(0))
    assert sum(calls) == 50 - 3  # but the first, which is recorded, and the last; 50 are 49 steps
    assert max(calls) > 1
    monkeypatch.setattr(_kernels, "recorded", lambda learns: None)
    calls.clear()
    assert log_partition(path, ladder(50), 9, Draws(0)) == together
    assert not calls


def test_the_weight_is_summed_over_hidden_states() -> None:
    """One increment, without a Gibbs step, is the difference of tempered free energies."""
    model = random_machine("binomial:3", "bernoulli")
    path = path_of(model)
    visible = all_states(model)
    names = WalkDraws(Draws(0), Purpose.AIS_VISIBLE, Purpose.AIS_HIDDEN)
    found = anneal(path, np.array([0.0, 1.0]), visible, names, lambda _: None)
    values = visible.to_array().astype(np.float64)
    reference = path.reference[:6].astype(np.float64)
    base = model.visible.kind.define_log_base(values).sum(axis=1)
    at_0 = base + values @ reference + 4 * np.log(2)
    np.testing.assert_allclose(found, -free_energy(model, visible) - at_0, rtol=0, atol=1e-5)


# RAISE ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [("bernoulli", "bernoulli"), ("softmax:3", "binomial:2"), ("bernoulli", "gaussian")],
)
@pytest.mark.parametrize("temperatures", [2, 6])
def test_raise_is_a_distribution(visible: str, hidden: str, temperatures: int) -> None:
    """sum over v of E[w] = 1, by many chains: within four standard errors."""
    model = random_machine(visible, hidden, 0.4)
    states = all_states(model)
    sums = [
        np.exp(
            reverse_ais.log_likelihood(
                path_of(model), ladder(temperatures), states, 40, Draws(seed)
            )
        ).sum()
        for seed in range(30)
    ]
    error = np.std(sums, ddof=1) / np.sqrt(len(sums))
    assert error < 0.05
    assert abs(np.mean(sums) - 1) < 4 * error


def mean_gap(model: Rbm, temperatures: int, chains: int = 1) -> tuple[float, float]:
    """(mean over p(v) of the estimate minus log p(v), its standard error)."""
    states = all_states(model)
    truth = exact.log_likelihood(model, states)
    rng = np.random.default_rng(2)
    p = np.exp(truth)
    rows = rng.choice(len(p), 2000, p=p / p.sum())
    estimates = reverse_ais.log_likelihood(
        path_of(model), ladder(temperatures), states.take(rows), chains, Draws(1)
    )
    gap = estimates - truth[rows]
    return float(gap.mean()), float(gap.std() / np.sqrt(len(rows)))


def test_raise_lies_below_where_chains_mix_badly() -> None:
    gap, error = mean_gap(two_modes(), 4)
    assert gap < -4 * error
    assert gap < -0.2


def test_raise_comes_to_the_truth_with_many_temperatures() -> None:
    model = random_machine("bernoulli", "bernoulli")
    few, _ = mean_gap(model, 3)
    many, error = mean_gap(model, 300)
    assert few < -0.05
    assert error < 0.01
    assert -0.05 < many < 4 * error


def test_more_chains_lift_the_estimate() -> None:
    model = random_machine("bernoulli", "bernoulli", 0.8)
    one, error1 = mean_gap(model, 4)
    ten, error10 = mean_gap(model, 4, chains=10)
    assert ten - one > 4 * np.hypot(error1, error10)


def test_each_image_has_its_own_estimate() -> None:
    """In the order of the images, whatever the chains, and each is about its own likelihood."""
    model = random_machine("bernoulli", "bernoulli", 0.8)
    states = all_states(model)
    found = reverse_ais.log_likelihood(path_of(model), ladder(300), states, 20, Draws(0))
    assert np.abs(found - exact.log_likelihood(model, states)).max() < 0.3


def test_blocks_of_walks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walks are named by their number; sums in another order are all that may differ."""
    model = random_machine("bernoulli", "bernoulli", 0.8)
    states = all_states(model)
    whole = reverse_ais.log_likelihood(path_of(model), ladder(10), states, 3, Draws(0))
    monkeypatch.setattr(reverse_ais, "_BLOCK", 50)
    parts = reverse_ais.log_likelihood(path_of(model), ladder(10), states, 3, Draws(0))
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5)


# What is made of them ---------------------------------------------------------------------------


def test_log_likelihood_turns_the_interval_round() -> None:
    energies = np.array([1.0, 3.0])
    result = mean_log_likelihood(energies, LogPartition("ais", 10.0, 8.0, 13.0, 2, 5))
    assert result[:3] == (-12.0, -15.0, -10.0)
    assert np.isnan(result.conservative)
    assert mean_log_likelihood(energies, exactly(10.0)).conservative == -12


def test_conservative_of_some_images_stands_for_all() -> None:
    """Only their distance from the free energies is carried over to the others."""
    energies = np.array([10.0, 20.0, 30.0, 70.0])
    result = mean_log_likelihood(energies, LogPartition("ais", 5.0, 5.0, 5.0))
    result = with_conservative(result, energies, np.array([0, 2]), np.array([-16.0, -38.0]))
    assert result.conservative == pytest.approx(-32.5 - 7)  # 6 and 8 below
    assert result.conservative_error == pytest.approx(1)
    assert result.conservative_images == 2


def test_spread_rows() -> None:
    np.testing.assert_array_equal(spread_rows(10, 4), [0, 2, 5, 7])
    np.testing.assert_array_equal(spread_rows(3, 500), [0, 1, 2])
    assert len(spread_rows(3, 0)) == 0


# What they rest on ------------------------------------------------------------------------------


def test_change_of_the_cumulant(isa: str) -> None:
    rng = np.random.default_rng(0)
    total = rng.normal(0, 20, (7, 37)).astype(np.float32)
    for kind in (unit_kind("bernoulli"), unit_kind("binomial:3"), unit_kind("gaussian")):
        found = np.full(7, 2.0)
        kind.add_cumulant_change(to_padded(total), 37, found, np.float32([0.25, 0.75]), -2.0)
        wide = total.astype(np.float64)
        change = kind.define_cumulant(0.75 * wide) - kind.define_cumulant(0.25 * wide)
        np.testing.assert_allclose(found, 2 - 2 * change.sum(axis=1), rtol=1e-6)


def test_change_of_the_cumulant_is_precise_for_small_steps(isa: str) -> None:
    """To a part in 10^5 of the change itself, where differences of float32 cumulants are noise."""
    total = np.linspace(-30, 30, 64, dtype=np.float32)[:, np.newaxis]
    for pair in ((0.9, 0.90001), (0.90001, 0.9), (0.5, 0.508), (0.0, 0.1)):
        before, after = (float(np.float32(beta)) for beta in pair)
        check_change(total, before, after)


def check_change(total: Any, before: float, after: float) -> None:
    found = np.zeros(64)
    betas = np.float32([before, after])
    unit_kind("bernoulli").add_cumulant_change(to_padded(total), 1, found, betas)
    wide = total.astype(np.float64)[:, 0]
    change = np.logaddexp(0, after * wide) - np.logaddexp(0, before * wide)
    scale = np.abs(wide) * abs(after - before)
    assert (np.abs(found - change) <= 4e-7 * scale + 1e-14).all()


def test_change_of_the_cumulant_is_the_same_on_every_instruction_set() -> None:
    total = to_padded(np.random.default_rng(0).normal(0, 5, (3, 101)))
    found = set()
    for name in ("baseline", "avx2", "avx512"):
        try:
            _kernels.use_isa(name)
        except ValueError:
            continue
        out = np.zeros(3)
        _kernels.cumulant_change(
            _kernels.Kind("bernoulli"), total, 101, 1, out, np.float32([0.2, 0.3])
        )
        found.add(out.tobytes())
    assert len(found) == 1


def test_spectral_norm() -> None:
    left, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 4)))
    weights = left * np.array([0.3, 0.99, 0.5, 0.1])
    link = DenseLink(*weights.shape)
    link.set_weights(weights)
    assert link.precise_spectral_norm() == pytest.approx(0.99)
    for visible, hidden in (("gaussian", "nrelu"), ("nrelu", "nrelu"), ("gaussian", "gaussian")):
        model = Rbm.dense((6,), 4, visible, hidden)
        model.link.set_weights(weights)
        assert has_density(model)
        model.link.set_weights(weights * 1.02)
        assert not has_density(model)
    model = Rbm.dense((6,), 4, "gaussian", "bernoulli")
    model.link.set_weights(weights * 100)
    assert has_density(model)


def test_gaussian_pair_has_the_log_partition_of_its_determinant() -> None:
    """Neither layer can be enumerated; Z is a Gaussian integral (sigma 1, biases 0)."""
    model = Rbm.dense((6,), 4, "gaussian", "gaussian")
    weights = np.random.default_rng(0).normal(0, 0.15, (6, 4))
    model.link.set_weights(weights)
    precision = np.block([[np.eye(6), -weights], [-weights.T, np.eye(4)]])
    truth = 5 * np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(precision)[1]
    estimate = log_partition(Path(model, np.full(6, 0.2)), ladder(300), CHAINS, Draws(0))
    assert estimate.low < truth < estimate.high
    assert abs(estimate.value - truth) < 0.2

"""Chains, likelihoods and gradients of machines small enough that all states can be counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Scratch, to_padded
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.inference import exact as exact_inference
from rbmcli.inference.chains import Chain, fantasies, random_start
from rbmcli.inference.exact import MOST_STATES, log_likelihood, log_partition
from rbmcli.inference.free_energy import free_energy, pseudo_log_likelihood
from rbmcli.learning.batch import Images
from rbmcli.learning.loop import EpochDone
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.learning.update import Update
from rbmcli.model.layer import Layer
from rbmcli.model.links import Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates, States
from rbmcli.model.units import unit_kind

Parameters = dict[str, NDArray[np.float64]]

#: Visible units, hidden units, and the mean of the visible biases.
MACHINES = [(4, 3, 0.0), (5, 2, 2.5), (2, 6, -2.0), (1, 1, 0.5)]


def all_states(units: int) -> NDArray[np.uint8]:
    """Every binary state, (2^units, units); number i has the binary digits of i, lowest first."""
    return (np.arange(1 << units)[:, np.newaxis] >> np.arange(units) & 1).astype(np.uint8)


def random_machine(visible: int, hidden: int, bias: float = 0.0, weight: float = 0.8) -> Rbm:
    rng = np.random.default_rng([visible, hidden])
    model = Rbm.dense((visible,), hidden)
    model.load(
        {
            "weights": rng.normal(0, weight, (visible, hidden)),
            "visible_bias": rng.normal(bias, 0.5, visible),
            "hidden_bias": rng.normal(bias / 2, 0.5, hidden),
        }
    )
    return model


def parameters_of(model: Rbm) -> Parameters:
    return {name: values.astype(np.float64) for name, values in model.parameters().items()}


# The oracle: every state of both layers, in float64 ----------------------------------------------


def negative_energies(parameters: Parameters) -> NDArray[np.float64]:
    """-E(v, h) = c'v + b'h + v'Wh of every state, (visible states, hidden states)."""
    visible, hidden = (all_states(size) for size in parameters["weights"].shape)
    return (
        (visible @ parameters["visible_bias"])[:, np.newaxis]
        + hidden @ parameters["hidden_bias"]
        + visible @ parameters["weights"] @ hidden.T
    )


def joint(model: Rbm) -> NDArray[np.float64]:
    """p(v, h) of every state, (visible states, hidden states)."""
    exponents = negative_energies(parameters_of(model))
    return np.exp(exponents - np.logaddexp.reduce(exponents, axis=None))


def mean_log_likelihood(parameters: Parameters, numbers: NDArray[np.int64]) -> float:
    """Mean over data given as state numbers."""
    exponents = negative_energies(parameters)
    of_visible = np.logaddexp.reduce(exponents, axis=1)
    return float(of_visible[numbers].mean() - np.logaddexp.reduce(of_visible))


def numbers_of(states: States) -> NDArray[np.int64]:
    """The numbers that `all_states` gives them."""
    values = states.floats()[:, : states.units].astype(np.int64)
    return values @ (1 << np.arange(states.units))


# Gibbs chains ------------------------------------------------------------------------------------

CHAINS = 100_000


def draw_from(distribution: NDArray[np.float64], units: int, seed: int) -> BitStates:
    """States drawn from probabilities of all states."""
    rng = np.random.default_rng(seed)
    numbers = rng.choice(distribution.size, CHAINS, p=distribution.ravel())
    return BitStates.from_array(all_states(units)[numbers])


def total_variation(counts: NDArray[np.int64], exact: NDArray[np.float64]) -> Any:
    """Distances of counts (..., states) from the exact distribution."""
    return 0.5 * np.abs(counts / CHAINS - exact).sum(axis=-1)


def monte_carlo_floor(exact: NDArray[np.float64]) -> float:
    """The distance that exact samples, as many as there are chains, stay below.

    Mean and five standard deviations over sets of samples from the exact distribution.
    """
    counts = np.random.default_rng(0).multinomial(CHAINS, exact, size=300)
    distances = total_variation(counts, exact)
    return float(distances.mean() + 5 * distances.std())


def distance_after(chain: Chain, visible: States, model: Rbm, steps: int) -> tuple[float, float]:
    """(distance of the joint states from p(v, h), its floor) after `steps` Gibbs steps."""
    hidden = chain.sample_hidden(visible, 0, 0)
    for substep in range(1, steps + 1):
        visible, hidden = chain.gibbs_step(hidden, 0, substep)
    exact = joint(model)
    cells = numbers_of(visible) * exact.shape[1] + numbers_of(hidden)
    counts = np.bincount(cells, minlength=exact.size)
    return total_variation(counts, exact.ravel()), monte_carlo_floor(exact.ravel())


@pytest.mark.parametrize("size", MACHINES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_gibbs_steps_leave_the_distribution_as_it_is(
    size: tuple[int, int, float], steps: int, isa: str
) -> None:
    model = random_machine(*size)
    start = draw_from(joint(model).sum(axis=1), model.visible.units, seed=1)
    distance, floor = distance_after(Chain(model, Draws(7)), start, model, steps)
    assert distance < floor


@pytest.mark.parametrize("on", [0, 1])
@pytest.mark.parametrize("size", MACHINES)
def test_chains_that_start_elsewhere_get_there(size: tuple[int, int, float], on: int) -> None:
    model = random_machine(*size)
    start = BitStates.from_array(np.full((CHAINS, model.visible.units), on))
    chain = Chain(model, Draws(8))
    distance, floor = distance_after(chain, start, model, 0)
    assert distance > 10 * floor
    distance, floor = distance_after(chain, start, model, 40)
    assert distance < floor


class OneKey(Draws):
    """Draws that forget what they are for, so that both layers are drawn with the same words."""

    def key(self, purpose: Purpose) -> int:
        return super().key(Purpose.SAMPLE)


def test_biased_draws_are_seen() -> None:
    """The test of stationarity can fail: weights 2% too large, and draws used twice."""
    model = random_machine(4, 3)
    start = draw_from(joint(model).sum(axis=1), 4, seed=1)
    wrong = random_machine(4, 3)
    wrong.link.set_weights(1.02 * wrong.link.weights)
    for chain in (Chain(wrong, Draws(7)), Chain(model, OneKey(7))):
        distance, floor = distance_after(chain, start, model, 3)
        assert distance > floor


@pytest.mark.parametrize("size", MACHINES)
def test_fantasies_stay_with_the_distribution(size: tuple[int, int, float]) -> None:
    model = random_machine(*size)
    probability = joint(model).sum(axis=1)
    start = draw_from(probability, size[0], seed=4)
    floor = monte_carlo_floor(probability)
    seen = 0
    for visible, means in fantasies(model, start, gibbs_steps=3, seed=9):
        counts = np.bincount(numbers_of(visible), minlength=probability.size)
        assert total_variation(counts, probability) < floor
        # Means given the hidden states vary less than the states do.
        error = 5 * 0.5 / np.sqrt(CHAINS)
        exact = probability @ all_states(size[0])
        np.testing.assert_allclose(means.mean(axis=0, dtype=np.float64), exact, atol=error)
        seen += 1
    assert seen == 4


def test_random_starts_are_on_half_the_time() -> None:
    layer = Layer(unit_kind("bernoulli"), (7,))
    layer.parameters["bias"][:] = 3.0  # noise knows nothing of the machine
    states = random_start(layer, CHAINS, seed=1).to_array()
    assert states.shape == (CHAINS, 7)
    np.testing.assert_allclose(states.mean(axis=0), 0.5, atol=5 * 0.5 / np.sqrt(CHAINS))
    few, again, other = (random_start(layer, 50, seed).to_array() for seed in (1, 1, 2))
    assert (few == again).all()
    assert (few != other).any()


@pytest.mark.parametrize(
    ("kind", "mean", "variance", "fourth"),
    [
        # mean, variance and fourth central moment of one unit
        ("binomial:4", 2.0, 1.0, 2.5),
        ("gaussian", 0.0, 1.0, 3.0),
        ("softmax:2", 0.5, 0.25, 0.0625),
    ],
)
def test_random_starts_of_other_kinds(
    kind: str, mean: float, variance: float, fourth: float
) -> None:
    rows = 4000
    states = random_start(Layer(unit_kind(kind), (6,)), rows, seed=3).to_array().astype(float)
    bound = 5 * np.sqrt(variance / rows)
    np.testing.assert_allclose(states.mean(axis=0), mean, atol=bound)
    bound = 5 * np.sqrt((fourth - variance**2) / rows) + bound**2
    np.testing.assert_allclose(states.var(axis=0), variance, atol=bound)


def test_machines_take_the_sparse_and_the_dense_way() -> None:
    """Both ways of the link are among those tested."""
    densities = []
    for size in MACHINES:
        model = random_machine(*size)
        visible = joint(model).sum(axis=1) @ all_states(model.visible.units)
        densities.append(visible.mean())
    most = _kernels.most_listed(10_000, 1000) / 10_000_000
    assert min(densities) < most < max(densities)


# Likelihoods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*MACHINES, (15, 4, 0.0), (3, 17, 0.0)])
def test_log_partition_sums_over_both_layers(size: tuple[int, int, float]) -> None:
    model = random_machine(*size)
    exact = np.logaddexp.reduce(negative_energies(parameters_of(model)), axis=None)
    assert log_partition(model) == pytest.approx(exact, rel=1e-6)


def test_log_partition_misses_no_state_between_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_machine(5, 2)
    whole = log_partition(model)
    monkeypatch.setattr(exact_inference, "_BLOCK", 3)
    assert log_partition(model) == pytest.approx(whole, rel=1e-6)


def test_log_partition_of_a_machine_without_weights() -> None:
    model = Rbm.dense((5,), 70)
    assert log_partition(model) == pytest.approx(75 * np.log(2), rel=1e-6)


def test_log_partition_refuses_more_states_than_can_be_counted() -> None:
    with pytest.raises(RbmError, match=f"more than {MOST_STATES}"):
        log_partition(Rbm.dense((26,), 26))


@pytest.mark.parametrize("form", ["bits", "floats"])
@pytest.mark.parametrize("size", [*MACHINES, (3, 17, 0.0)])
def test_free_energy_sums_over_the_hidden_layer(size: tuple[int, int, float], form: str) -> None:
    model = random_machine(*size)
    values = all_states(size[0])
    states: States = BitStates.from_array(values)
    if form == "floats":
        states = FloatStates(to_padded(values), size[0])
    exact = -np.logaddexp.reduce(negative_energies(parameters_of(model)), axis=1)
    np.testing.assert_allclose(free_energy(model, states), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", MACHINES)
def test_log_likelihood_is_that_of_the_joint_distribution(size: tuple[int, int, float]) -> None:
    model = random_machine(*size)
    states = BitStates.from_array(all_states(size[0]))
    exact = np.log(joint(model).sum(axis=1))
    np.testing.assert_allclose(log_likelihood(model, states), exact, atol=1e-5)


@pytest.mark.parametrize("size", MACHINES)
def test_pseudo_likelihood_averages_to_the_exact_one(size: tuple[int, int, float]) -> None:
    model = random_machine(*size)
    units = model.visible.units
    states = BitStates.from_array(all_states(units))
    estimates = [
        pseudo_log_likelihood(model, states, np.full(states.rows, unit)) for unit in range(units)
    ]
    probability = joint(model).sum(axis=1)
    numbers = np.arange(states.rows)
    exact = np.zeros(states.rows)
    for unit in range(units):
        flipped = probability[numbers ^ (1 << unit)]
        exact += np.log(probability / (probability + flipped))
    np.testing.assert_allclose(np.mean(estimates, axis=0), exact, atol=1e-4)


# Gradients ---------------------------------------------------------------------------------------


def finite_differences(model: Rbm, data: NDArray[np.int64]) -> Parameters:
    """The gradient of the mean log-likelihood of data given as state numbers."""
    parameters, step = parameters_of(model), 1e-5
    gradient = {name: np.empty_like(values) for name, values in parameters.items()}
    for name, values in parameters.items():
        for place in np.ndindex(values.shape):
            before = values[place]
            values[place] = before + step
            ahead = mean_log_likelihood(parameters, data)
            values[place] = before - step
            behind = mean_log_likelihood(parameters, data)
            values[place] = before
            gradient[name][place] = (ahead - behind) / (2 * step)
    return gradient


def some_data(model: Rbm) -> NDArray[np.int64]:
    return np.random.default_rng(3).integers(2**model.visible.units, size=7)


def phase_of(model: Rbm, states: States) -> Phase:
    return Phase(states, model.hidden.mean(model.hidden_input(states)).values)


@pytest.mark.parametrize("form", ["bits", "floats"])
@pytest.mark.parametrize("size", MACHINES)
def test_statistics_of_data_and_model_make_the_gradient(
    size: tuple[int, int, float], form: str, isa: str
) -> None:
    model = random_machine(*size)
    units, hidden = model.visible.units, model.hidden.units
    data, every = some_data(model), all_states(units)
    positive = phase_of(model, BitStates.from_array(every[data]))
    # Statistics are linear in the hidden means, which can so carry p(v).
    probability = joint(model).sum(axis=1)
    negative = phase_of(model, BitStates.from_array(every))
    negative.hidden[:] *= probability[:, np.newaxis].astype(np.float32)
    if form == "floats":
        positive, negative = (
            Phase(FloatStates(phase.visible.floats(), units), phase.hidden)
            for phase in (positive, negative)
        )
    gradient = np.zeros_like(model.link.padded_weights)
    model.link.accumulate(positive, 1 / len(data), gradient, Scratch())
    model.link.accumulate(negative, -1.0, gradient, Scratch())
    exact = finite_differences(model, data)
    np.testing.assert_allclose(gradient[:, :hidden], exact["weights"], atol=1e-6)


@pytest.mark.parametrize("size", MACHINES)
def test_an_update_with_exact_samples_follows_the_gradient(size: tuple[int, int, float]) -> None:
    model = random_machine(*size)
    data = some_data(model)
    exact = finite_differences(model, data)
    before = parameters_of(model)
    samples = draw_from(joint(model).sum(axis=1), model.visible.units, seed=2)
    positive = phase_of(model, BitStates.from_array(all_states(model.visible.units)[data]))
    finite = Update(model).step(positive, phase_of(model, samples), Rule(1.0, 0.0, 0.0))
    assert finite
    # Each entry is a mean of values in [0, 1] over the samples: five standard errors at most.
    for name, values in parameters_of(model).items():
        error = 5 * 0.5 / np.sqrt(CHAINS)
        np.testing.assert_allclose(values - before[name], exact[name], atol=error)


def bars_and_stripes(size: int) -> NDArray[np.uint8]:
    """Every picture of size x size whose columns, or whose rows, are each of one colour."""
    lines = all_states(size)
    bars = np.repeat(lines[:, np.newaxis, :], size, axis=1)
    stripes = np.repeat(lines[:, :, np.newaxis], size, axis=2)
    return np.unique(np.concatenate([bars, stripes]).reshape(-1, size**2), axis=0)


@pytest.mark.parametrize("gibbs_steps", [1, 5])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_training_raises_the_exact_likelihood(gibbs_steps: int, seed: int) -> None:
    pictures = bars_and_stripes(3)
    assert len(pictures) == 14
    model = Rbm.dense((3, 3), 8)
    model.initialize(pictures.mean(axis=0), pictures.std(axis=0), Draws(seed))
    states = BitStates.from_array(pictures)
    hyperparameters = Hyperparameters(
        epochs=1000,
        batch_size=7,
        learning_rate=Schedule.parse("0.1"),
        momentum=Schedule.parse("0.5"),
        weight_decay=0.0,
        gibbs_steps=Schedule.parse(str(gibbs_steps)),
    )
    images = Images(pictures, 1.0, np.arange(14))
    likelihoods = [
        log_likelihood(model, states).mean()
        for event in Trainer(model, images, None, hyperparameters, seed).run()
        if isinstance(event, EpochDone) and event.epoch in (0, 250, 1000)
    ]
    # All states are alike likely at first, -9 log 2 = -6.24; the best there is, the 14 pictures
    # alike and nothing else, is -log 14 = -2.64.
    assert likelihoods[0] == pytest.approx(-9 * np.log(2), abs=0.05)
    assert likelihoods[0] + 0.1 < likelihoods[1] < likelihoods[2]
    assert likelihoods[2] > -4

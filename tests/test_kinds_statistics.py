"""Every kind of visible with every kind of hidden unit, on machines that can be summed over; with
label units beside the visible ones as well.

The oracle writes energies down as the documents do, in stored parameters. Rectified units are
summed up to 40; Gaussian units are integrated by the trapezoidal rule, whose error at these steps
lies below that of float64.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import comb, log

import numpy as np
import pytest
from numpy.typing import NDArray

from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.inference.chains import Chain
from rbmcli.inference.exact import is_exact, log_likelihood, log_partition
from rbmcli.inference.free_energy import free_energy, pseudo_log_likelihood
from rbmcli.learning import centering
from rbmcli.learning.batch import Images
from rbmcli.learning.centering import Centering
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.learning.update import Update
from rbmcli.model.links import Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, States

Parameters = dict[str, NDArray[np.float64]]

#: Kinds, with the number of units of a visible and of a hidden layer.
SIZES = {
    "bernoulli": (3, 2),
    "binomial:3": (2, 2),
    "gaussian": (2, 1),
    "gaussian:learned": (2, 1),
    "nrelu:exact": (2, 1),
    "softmax:3": (3, 3),
}
#: Label units beside features: kinds and numbers of units.
JOINTS = {
    "2 bernoulli + 3 softmax:3": [("bernoulli", 2), ("softmax:3", 3)],
    "1 binomial:3 + 3 softmax:3": [("binomial:3", 1), ("softmax:3", 3)],
    "2 nrelu:exact + 3 softmax:3": [("nrelu:exact", 2), ("softmax:3", 3)],
}
PAIRS = list(itertools.product([*SIZES, *JOINTS], SIZES))
GAUSSIAN = ("gaussian", "gaussian:learned")
each_pair = pytest.mark.parametrize(("visible", "hidden"), PAIRS)


def machine(visible: str, hidden: str) -> Rbm:
    seed = [*SIZES, *JOINTS].index(visible), list(SIZES).index(hidden)
    rng = np.random.default_rng(seed)
    groups = SIZES[hidden][1] // (3 if hidden == "softmax:3" else 1)
    if visible in JOINTS:
        (kind, units), (_, labels) = JOINTS[visible]
        model = Rbm.dense((units,), groups, kind, hidden, labels=labels)
    else:
        model = Rbm.dense((SIZES[visible][0],), groups, visible, hidden)
    shapes = {name: values.shape for name, values in model.parameters().items()}
    model.load({name: rng.uniform(-0.45, 0.45, shape) for name, shape in shapes.items()})
    return model


def parameters_of(model: Rbm) -> Parameters:
    return {name: values.astype(np.float64) for name, values in model.parameters().items()}


# The oracle --------------------------------------------------------------------------------------


def unit_states(kind: str) -> tuple[NDArray[np.float64], float]:
    """States of a unit or of a group, (states, group), and the volume of one; v / sigma."""
    if kind in GAUSSIAN:
        return np.linspace(-10, 10, 41)[:, np.newaxis], 0.5
    if kind == "nrelu:exact":
        return np.arange(41.0)[:, np.newaxis], 1.0
    if kind == "softmax:3":
        return np.eye(3), 1.0
    return np.arange(4.0 if kind == "binomial:3" else 2.0)[:, np.newaxis], 1.0


def groups_of(kind: str, units: int) -> list[NDArray[np.float64]]:
    """The states of each unit or group of a layer in turn, (states, group)."""
    groups = []
    for part, own in JOINTS.get(kind, [(kind, units)]):
        of_unit, _ = unit_states(part)
        groups += [of_unit] * (own // of_unit.shape[1])
    return groups


def layer_states(kind: str, units: int) -> NDArray[np.float64]:
    """All states of a layer, (states, units); v / sigma of Gaussian units."""
    every = itertools.product(*groups_of(kind, units))
    return np.array([np.concatenate(states) for states in every])


def own_energy(kind: str, states: NDArray[np.float64], p: Parameters, layer: str) -> NDArray:
    """The energy of states by themselves, (states,)."""
    bias = p[f"{layer}_bias"]
    if kind in GAUSSIAN:
        sigma = np.exp(p.get(f"{layer}_log_sigma", 0 * bias))
        return ((states * sigma - bias) ** 2 / (2 * sigma**2)).sum(axis=1)
    energy, start = -states @ bias, 0
    for part, units in JOINTS.get(kind, [(kind, bias.size)]):
        number = states[:, start : start + units].astype(int)
        start += units
        if part == "binomial:3":
            energy -= np.log([comb(3, n) for n in range(4)])[number].sum(axis=1)
        if part == "nrelu:exact":
            base = [
                n * n / 2 + sum(log(1 - np.exp(-k)) for k in range(1, n + 1)) for n in range(41)
            ]
            energy += np.array(base)[number].sum(axis=1)
    return energy


@dataclass
class Oracle:
    """What summing over everything says of a machine with these parameters."""

    visible: str
    hidden: str
    p: Parameters

    def exponents(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        """-E(v, h) plus the logarithm of h's volume, (v, all h)."""
        h = layer_states(self.hidden, self.p["hidden_bias"].size)
        of_v = own_energy(self.visible, v, self.p, "visible")
        of_h = own_energy(self.hidden, h, self.p, "hidden")
        joint = v @ self.p["weights"] @ h.T - of_v[:, np.newaxis] - of_h
        return joint + self.log_volume(self.hidden, "hidden")

    def log_volume(self, kind: str, layer: str) -> float:
        """Of a state: where they are learned, dv = sigma ds."""
        if kind not in GAUSSIAN:
            return 0.0
        units = self.p[f"{layer}_bias"].size
        sigma = self.p.get(f"{layer}_log_sigma", np.zeros(1))
        return units * np.log(unit_states(kind)[1]) + sigma.sum()

    @property
    def states(self) -> NDArray[np.float64]:
        return layer_states(self.visible, self.p["visible_bias"].size)

    def log_partition(self) -> float:
        every = np.logaddexp.reduce(self.exponents(self.states), axis=None)
        return float(every + self.log_volume(self.visible, "visible"))

    def joint(self) -> NDArray[np.float64]:
        """p(v, h), (visible states, hidden states)."""
        exponents = self.exponents(self.states)
        return np.exp(exponents - np.logaddexp.reduce(exponents, axis=None))

    def log_likelihood(self, data: NDArray[np.float64]) -> float:
        """Mean over data in their own terms, (rows, units)."""
        sigma = np.exp(self.p.get("visible_log_sigma", np.zeros(1)))
        of_data = np.logaddexp.reduce(self.exponents(data / sigma), axis=1)
        return float(of_data.mean() - self.log_partition())


def oracle(model: Rbm) -> Oracle:
    return Oracle(model.visible.kind.name, model.hidden.kind.name, parameters_of(model))


# Free energies and likelihoods -------------------------------------------------------------------


@each_pair
def test_free_energy_is_that_of_the_sum_over_hidden_states(visible: str, hidden: str) -> None:
    model = machine(visible, hidden)
    states = oracle(model).states
    states = states[np.abs(states).max(axis=1) <= 6]  # what they call for lies within the sums
    exact = -np.logaddexp.reduce(oracle(model).exponents(states), axis=1)
    found = free_energy(model, model.visible.states_of(states))
    np.testing.assert_allclose(found, exact, rtol=2e-6, atol=2e-6)


@each_pair
def test_log_partition_is_that_of_all_states(visible: str, hidden: str) -> None:
    model = machine(visible, hidden)
    infinite = (*GAUSSIAN, "nrelu:exact", "2 nrelu:exact + 3 softmax:3")
    if visible in infinite and hidden in infinite:
        assert not is_exact(model)
        with pytest.raises(RbmError, match="log Z"):
            log_partition(model)
        return
    assert log_partition(model) == pytest.approx(oracle(model).log_partition(), rel=1e-6)
    data = oracle(model).states[::50]
    exact = oracle(model).log_likelihood(model.visible.to_data(data))
    found = log_likelihood(model, model.visible.states_of(data)).mean()
    assert found == pytest.approx(exact, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("visible", ["bernoulli", "binomial:3", "softmax:3"])
def test_pseudo_likelihood_averages_to_the_exact_one(visible: str, hidden: str) -> None:
    model = machine(visible, hidden)
    states = oracle(model).states
    p = oracle(model).joint().sum(axis=1)
    group = model.visible.kind.group
    groups = states.shape[1] // group
    exact = np.zeros(len(states))
    for i in range(groups):
        others = np.delete(states, np.s_[i * group : (i + 1) * group], axis=1)
        alike = (others[:, np.newaxis] == others).all(axis=2)
        exact += np.log(p / (alike @ p))
    given = model.visible.states_of(states)
    estimates = [
        pseudo_log_likelihood(model, given, np.full(len(states), i)) for i in range(groups)
    ]
    np.testing.assert_allclose(np.mean(estimates, axis=0), exact, atol=1e-5)


# Gibbs chains ------------------------------------------------------------------------------------

CHAINS = 50_000


def exact_start(model: Rbm) -> States:
    """Visible states drawn from p(v)."""
    rng, joint, o = np.random.default_rng(1), oracle(model).joint(), oracle(model)
    if o.visible not in GAUSSIAN:
        number = rng.choice(len(joint), CHAINS, p=joint.sum(axis=1))
        return model.visible.states_of(o.states[number])
    hidden_states = layer_states(o.hidden, model.hidden.units)
    p = joint.sum(axis=0)
    if o.hidden in GAUSSIAN:  # then p(h) is normal
        mean = p @ hidden_states[:, 0]
        h = rng.normal(mean, np.sqrt(p @ (hidden_states[:, 0] - mean) ** 2), (CHAINS, 1))
    else:
        h = hidden_states[rng.choice(p.size, CHAINS, p=p)]
    center = o.p["visible_bias"] / np.exp(o.p.get("visible_log_sigma", np.zeros(1)))
    v = center + h @ o.p["weights"].T + rng.standard_normal((CHAINS, model.visible.units))
    return model.visible.states_of(v)


def features(v: NDArray[np.float64], h: NDArray[np.float64]) -> NDArray[np.float64]:
    """First, second and third moments of pairs of states, (rows, features)."""
    both = np.concatenate([v, h], axis=1)
    i, j = np.triu_indices(both.shape[1])
    return np.concatenate([both, both[:, i] * both[:, j], both**3], axis=1)


def deviations(model: Rbm, chain: Chain, start: States, steps: int) -> NDArray[np.float64]:
    """How many standard errors the moments of v and h are off after some Gibbs steps."""
    hidden, visible = chain.sample_hidden(start, 0, 0), start
    for substep in range(1, steps + 1):
        visible, hidden = chain.gibbs_step(hidden, 0, substep)
    found = features(*(s.floats()[:, : s.units].astype(np.float64) for s in (visible, hidden)))
    o = oracle(model)
    h = layer_states(o.hidden, model.hidden.units)
    joint = o.joint()
    v_number, h_number = np.indices(joint.shape).reshape(2, -1)
    every, p = features(o.states[v_number], h[h_number]), joint.ravel()
    exact = p @ every
    error = np.sqrt(np.maximum(p @ (every - exact) ** 2, 1e-12) / CHAINS)
    return np.abs(found.mean(axis=0) - exact) / error


@each_pair
def test_gibbs_steps_leave_the_distribution_as_it_is(visible: str, hidden: str) -> None:
    model = machine(visible, hidden)
    start = exact_start(model)
    for steps in (0, 3):
        assert deviations(model, Chain(model, Draws(7)), start, steps).max() < 5


@each_pair
def test_a_slightly_different_machine_is_noticed(visible: str, hidden: str) -> None:
    model, wrong = machine(visible, hidden), machine(visible, hidden)
    wrong.link.set_weights(1.2 * wrong.link.weights)
    assert deviations(model, Chain(wrong, Draws(7)), exact_start(model), 3).max() > 5


def test_the_papers_sampler_of_rectified_units_is_noticed() -> None:
    model = machine("bernoulli", "nrelu:exact")
    paper = Rbm.dense((3,), 1, "bernoulli", "nrelu")
    paper.load(model.parameters())
    assert deviations(model, Chain(paper, Draws(7)), exact_start(model), 3).max() > 50


# Gradients ---------------------------------------------------------------------------------------

RATE = 1 / 16  # small enough that no standard deviation is held within SIGMA_RANGE
RULE = Rule(RATE, decay=0.25, l1=0.125)
#: Rows that stand for the model's distribution; how far statistics of them may be off.
MODEL_ROWS, TOLERANCE = 40_000, 2e-3


def some_data(model: Rbm) -> NDArray[np.float64]:
    """Data in their own terms, as a machine of other parameters might have drawn them."""
    rng, kind = np.random.default_rng(3), model.visible.kind.name
    if kind in GAUSSIAN:
        return rng.normal(0.3, 1.2, (9, model.visible.units))
    groups = groups_of(kind, model.visible.units)
    return np.concatenate([g[rng.integers(min(len(g), 5), size=9)] for g in groups], axis=1)


def phase(model: Rbm, values: NDArray[np.float64]) -> Phase:
    states = model.visible.states_of(values)
    return Phase(states, model.hidden.mean(model.hidden_input(states)).values)


def both_phases(model: Rbm) -> tuple[Phase, Phase]:
    """Of the data, and of states that are there as often as they are probable."""
    sigma = np.exp(parameters_of(model).get("visible_log_sigma", np.zeros(1)))
    cumulative = np.cumsum(oracle(model).joint().sum(axis=1))
    counts = np.diff(np.rint(MODEL_ROWS * cumulative / cumulative[-1]).astype(int), prepend=0)
    rows = np.repeat(oracle(model).states, counts, axis=0)
    return phase(model, some_data(model) / sigma), phase(model, rows)


def gradient(model: Rbm, offsets: tuple[NDArray, NDArray] | None = None) -> Parameters:
    """The gradient of the mean log-likelihood, by finite differences.

    With offsets (m, l) of the natural states, of centred parameters, in which the natural biases
    are those given less W l and W' m, sigma standing as it is.
    """
    o, data, step = oracle(model), some_data(model), 1e-5
    result = {name: np.empty_like(values) for name, values in o.p.items()}

    def shifted(name: str, place: tuple[int, ...], by: float) -> float:
        moved = {key: values.copy() for key, values in o.p.items()}
        moved[name][place] += by
        if offsets is not None and name == "weights":
            i, j = place
            below, above = (
                np.exp(o.p.get(f"{layer}_log_sigma", 0 * o.p[f"{layer}_bias"]))
                for layer in ("visible", "hidden")
            )
            moved["visible_bias"][i] -= below[i] * by * offsets[1][j]
            moved["hidden_bias"][j] -= above[j] * by * offsets[0][i]
        return Oracle(o.visible, o.hidden, moved).log_likelihood(data)

    for name, values in result.items():
        for place in np.ndindex(values.shape):
            values[place] = (shifted(name, place, step) - shifted(name, place, -step)) / (2 * step)
    return result


def penalty(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient of decay / 2 |W|^2 + l1 |W|."""
    return RULE.decay * weights + RULE.l1 * np.sign(weights)


@each_pair
def test_an_update_follows_the_gradient(visible: str, hidden: str) -> None:
    model = machine(visible, hidden)
    before, exact = parameters_of(model), gradient(model)
    exact["weights"] -= penalty(before["weights"])
    phases = both_phases(model)
    assert Update(model).step(*phases, RULE)
    assert exact.keys() == before.keys()
    for name, values in parameters_of(model).items():
        step = (values - before[name]) / RATE
        np.testing.assert_allclose(step, exact[name], rtol=0, atol=TOLERANCE)


@each_pair
def test_a_centred_update_follows_the_gradient_in_centred_parameters(
    visible: str, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centering, "SLIDE", np.float32(0))
    model = machine(visible, hidden)
    below, above = (
        np.linspace(0.3, 0.8, model.visible.units),
        np.linspace(0.6, 0.2, model.hidden.units),
    )
    offsets = Centering(model, below)
    offsets.visible[: model.visible.units] = below
    offsets.hidden[: model.hidden.units] = above
    before, exact = parameters_of(model), gradient(model, (below, above))
    sigma = {
        layer: np.exp(before.get(f"{layer}_log_sigma", np.zeros(1)))
        for layer in ("visible", "hidden")
    }
    # A step of the centred parameters, said in ordinary ones.
    exact["visible_bias"] -= sigma["visible"] * (exact["weights"] @ above)
    exact["hidden_bias"] -= sigma["hidden"] * (exact["weights"].T @ below)
    phases = both_phases(model)
    assert Update(model, offsets).step(*phases, Rule(RATE))
    for name, values in parameters_of(model).items():
        step = (values - before[name]) / RATE
        np.testing.assert_allclose(step, exact[name], rtol=0, atol=TOLERANCE)


def test_a_given_deviation_is_data_divided_by_it() -> None:
    data = np.random.default_rng(6).normal([3, -1, 5], [0.5, 2, 4], (200, 3)).astype(np.float32)
    given, unit = Rbm.dense((3,), 2, "gaussian:0.5"), Rbm.dense((3,), 2, "gaussian")
    weights, bias = np.linspace(-0.4, 0.6, 6).reshape(3, 2), np.array([0.5, -1, 2])
    given.load(
        {
            **given.parameters(),
            "weights": weights,
            "visible_bias": bias,
            "hidden_bias": np.array([-0.3, 0.2]),
        }
    )
    unit.load({**given.parameters(), "visible_bias": bias / 0.5})
    of_data, of_quotient = (
        model.visible.from_data(
            values, np.arange(200), 1.0, "none", Draws(1).at(Purpose.BINARIZE, 0)
        )
        for model, values in ((given, data), (unit, data / np.float32(0.5)))
    )
    energies = free_energy(given, of_data), free_energy(unit, of_quotient)
    np.testing.assert_allclose(energies[0], energies[1], rtol=1e-6)
    # dv = sigma ds, for each unit.
    assert log_partition(given) == pytest.approx(log_partition(unit) + 3 * np.log(0.5), rel=1e-6)
    draw = Draws(1).at(Purpose.VISIBLE, 0)
    drawn = [
        model.visible.sample(model.visible_input(BitStates.empty(200, 2)), draw).to_array()
        for model in (given, unit)
    ]
    values = given.visible.to_data(drawn[0])
    np.testing.assert_allclose(values, 0.5 * drawn[1], rtol=1e-6)
    assert abs(values.std(axis=0) - 0.5).max() < 0.1  # four standard errors


@pytest.mark.parametrize("kinds", [("gaussian:0.5", "bernoulli"), ("bernoulli", "gaussian:3")])
def test_a_given_deviation_stays(kinds: tuple[str, str]) -> None:
    data = np.random.default_rng(6).random((200, 3)).astype(np.float32)
    model = Rbm.dense((3,), 2, *kinds)
    rate, steps = Schedule.parse("0.1"), Schedule.parse("1")
    hyperparameters = Hyperparameters(1, 10, rate, rate, weight_decay=0.0, gibbs_steps=steps)
    trainer = Trainer(
        model, Images(data, 1.0, np.arange(200), "sample"), None, hyperparameters, seed=1
    )
    trainer.initialize()
    before = model.copied().parameters()
    list(trainer.run())
    after = model.parameters()
    layer, sigma = ("visible", 0.5) if kinds[1] == "bernoulli" else ("hidden", 3)
    np.testing.assert_allclose(np.exp(after[f"{layer}_log_sigma"]), sigma, rtol=1e-6)
    assert (after[f"{layer}_bias"] != before[f"{layer}_bias"]).all()
    np.testing.assert_allclose(
        getattr(model, layer).bias[: len(after[f"{layer}_bias"])],
        after[f"{layer}_bias"] / sigma,
        rtol=1e-6,
    )


@pytest.mark.parametrize("kind", ["gaussian", "gaussian:learned"])
def test_offsets_start_at_the_mean_of_the_states(kind: str) -> None:
    data = np.random.default_rng(6).normal([3, -1, 5], [0.5, 2, 4], (200, 3)).astype(np.float32)
    model = Rbm.dense((3,), 2, kind)
    images = Images(data, 1.0, np.arange(200))
    rate, steps = Schedule.parse("0.1"), Schedule.parse("1")
    hyperparameters = Hyperparameters(1, 10, rate, rate, weight_decay=0.0, gibbs_steps=steps)
    trainer = Trainer(model, images, None, hyperparameters, seed=1)
    trainer.initialize()
    sigma = data.std(axis=0) if kind == "gaussian:learned" else 1
    offset = trainer.state()["offset/visible"][:3]
    np.testing.assert_allclose(offset, data.mean(axis=0) / sigma, rtol=1e-5)

"""What a step of learning does to weights and biases that many units share.

Against dense machines, the same steps on paper, and the gradient of the exact likelihood.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from convolutions import (
    Array,
    Parameters,
    all_bits,
    channel_and_filter,
    each_binary,
    each_machine,
    joint,
    link_of,
    machine,
    mean_log_likelihood,
    parameters_of,
    some_states,
    written_out,
)
from numpy.typing import NDArray
from reference import bit_uniforms, sigmoid, tie, uniforms_of, untie

from rbmcli.draws import Draw, Draws, Purpose
from rbmcli.inference.exact import log_likelihood
from rbmcli.io.batches import Batches
from rbmcli.learning import centering
from rbmcli.learning.algorithm import Method
from rbmcli.learning.batch import Images
from rbmcli.learning.centering import REFRESH, SLIDE, Centering
from rbmcli.learning.loop import EpochDone, StepDone
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.sparsity import DECAY, SparsityTarget
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.learning.update import Regularization, Update
from rbmcli.model.links import Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates, States

RATE = 1 / 16


def phase_of(model: Rbm, states: States) -> Phase:
    return Phase(states, model.hidden.mean(model.hidden_input(states)).values)


def positions(model: Rbm) -> int:
    height, width, _ = model.hidden.shape
    return height * width


def by_parameter(model: Rbm, of_units: Parameters) -> Parameters:
    """Sums over the places of a dense machine's gradients, per position of a filter."""
    channels, filters = channel_and_filter(model)
    sums = {"weights": untie(link_of(model), of_units["weights"])}
    for name in of_units.keys() - {"weights"}:
        place = channels if name.startswith("visible") else filters
        sums[name] = np.bincount(place, of_units[name])
    return {name: values / positions(model) for name, values in sums.items()}


# One step ----------------------------------------------------------------------------------------


@each_machine
@pytest.mark.parametrize("floats", [(), (0,), (0, 1)])
def test_a_step_sums_the_gradients_of_all_places(
    name: str, floats: tuple[int, ...], isa: str
) -> None:
    """Of weights, both biases and log sigma; whichever form the visible states have."""
    model = machine(name)
    dense = written_out(model)
    states = [some_states(model.visible, rows, seed) for rows, seed in ((9, 1), (7, 2))]
    for i in floats:
        states[i] = FloatStates(states[i].floats(), states[i].units)
    before, dense_before = parameters_of(model), parameters_of(dense)
    for each in (model, dense):
        assert Update(each).step(*(phase_of(each, x) for x in states), Rule(RATE))
    of_units = {name: x - dense_before[name] for name, x in parameters_of(dense).items()}
    expected = by_parameter(model, of_units)
    assert expected.keys() == before.keys()
    for name, values in parameters_of(model).items():
        np.testing.assert_allclose(values - before[name], expected[name], rtol=1e-4, atol=2e-6)


def exact_step(name: str, offsets: Array | None = None) -> Parameters:
    """By how much an update changes the parameters of a machine, per rate and position.

    Statistics are linear in the hidden means, which can so carry the model's p(v); for visible
    biases, in the visible states.
    """
    steps: Parameters = {}
    for carrier in ("hidden", "visible"):
        model = machine(name)
        every, data = all_bits(model.visible.units), some_data(model)
        weight = len(every) * joint(model).sum(axis=1, keepdims=True).astype(np.float32)
        positive, negative = (
            phase_of(model, BitStates.from_array(x)) for x in (every[data], every)
        )
        if carrier == "hidden":
            negative.hidden[:] *= weight
        else:
            values = negative.visible.floats() * weight
            negative = Phase(FloatStates(values, model.visible.units), negative.hidden)
        centred = None
        if offsets is not None:
            centred = Centering(model, offsets[channel_and_filter(model)[0]])
        before = parameters_of(model)
        assert Update(model, centred).step(positive, negative, Rule(RATE))
        changes = {key: (x - before[key]) / RATE for key, x in parameters_of(model).items()}
        steps |= {
            key: change * positions(model)
            for key, change in changes.items()
            if (key == "visible_bias") == (carrier == "visible")
        }
    return steps


def some_data(model: Rbm) -> NDArray[np.int64]:
    """Numbers of images that are mostly on, as the machine does not expect them."""
    bits = np.random.default_rng(3).random((7, model.visible.units)) < 0.85
    return bits @ (1 << np.arange(model.visible.units))


def gradient(model: Rbm, data: NDArray[np.int64], offsets: Array) -> Parameters:
    """That of the mean log-likelihood, by finite differences.

    With offsets m of channels, in coordinates (W, c, b') where b' = b + the sum over taps of W m:
    states counted from m, biases then being those of centred states.
    """
    p, step = parameters_of(model), 1e-5
    result = {name: np.empty_like(values) for name, values in p.items()}

    def shifted(name: str, place: tuple[int, ...], by: float) -> float:
        moved = {key: values.copy() for key, values in p.items()}
        moved[name][place] += by
        if name == "weights":  # b' stays
            moved["hidden_bias"][place[0]] -= by * offsets[place[1]]
        return mean_log_likelihood(model, moved, data)

    for name, values in result.items():
        for place in np.ndindex(values.shape):
            values[place] = (shifted(name, place, step) - shifted(name, place, -step)) / (2 * step)
    return result


def number_of_channels(model: Rbm) -> int:
    return len(model.parameters()["visible_bias"])


@each_binary
def test_an_update_follows_the_gradient_of_the_likelihood(name: str) -> None:
    model, found = machine(name), exact_step(name)
    exact = gradient(model, some_data(model), np.zeros(number_of_channels(model)))
    assert found.keys() == exact.keys()
    for key, step in found.items():
        np.testing.assert_allclose(step, exact[key], rtol=0, atol=1e-4)


@each_binary
def test_a_centred_update_follows_the_gradient_in_centred_coordinates(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of (W, c, b') along the gradient there, said in ordinary parameters.

    So centring changes the direction of learning, never what is learned: where the gradient in one
    set of coordinates is zero, it is in the other.
    """
    monkeypatch.setattr(centering, "SLIDE", np.float32(0))
    model = machine(name)
    offsets = np.linspace(0.8, 0.5, number_of_channels(model))
    exact = gradient(model, some_data(model), offsets)
    # By so much the weights' step differs from the plain one.
    assert np.abs(np.outer(exact["hidden_bias"], offsets)).max() > 1e-2
    exact["hidden_bias"] -= np.einsum("kcyx,c->k", exact["weights"], offsets)
    for key, step in exact_step(name, offsets).items():
        np.testing.assert_allclose(step, exact[key], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["gaussian", "gaussian:learned"])
def test_offsets_are_means_of_channels(kind: str) -> None:
    """Of states, which are data over sigma; they follow the batches channel by channel."""
    model = Rbm.convolutional((2, 3, 4), (2, 2, 2), 1, kind)
    mean = np.random.default_rng(1).normal(size=24)
    model.initialize(mean, np.repeat([0.5, 3.0], 12), Draws(1))
    spread = np.sqrt([0.25 + mean[:12].var(), 9 + mean[12:].var()])
    sigma = spread if kind == "gaussian:learned" else np.ones(2)
    np.testing.assert_allclose(model.visible.sigma[::12], sigma, rtol=1e-6)
    of_channels = mean.reshape(2, 12).mean(axis=1)
    np.testing.assert_allclose(model.parameters()["visible_bias"], of_channels, rtol=1e-5)
    offsets = Centering(model, mean)
    expected = of_channels / sigma
    np.testing.assert_allclose(offsets.visible[:24], np.repeat(expected, 12), rtol=1e-5)
    batch = np.random.default_rng(2).normal(size=24).astype(np.float32)
    offsets.follow(batch, np.ones(model.hidden.units, np.float32))
    expected += SLIDE * (batch.reshape(2, 12).mean(axis=1) - expected)
    np.testing.assert_allclose(offsets.visible[:24], np.repeat(expected, 12), rtol=1e-5)
    assert not offsets.hidden.any()


# Training on paper -------------------------------------------------------------------------------

SEED, IMAGES, BATCH = 6, 23, 8
FORMS: dict[str, dict[str, Any]] = {
    "pooled": {"visible_shape": (4, 7), "filters": (3, 3, 2), "pool": 2},
    "plain": {"visible_shape": (4, 7), "filters": (3, 3, 2), "pool": 1},
    "planes": {"visible_shape": (2, 3, 5), "filters": (3, 2, 2), "pool": 2},
}


def hyperparameters(
    *,
    algorithm: str = "cd",
    learning_rate: str = "0.3",
    gibbs_steps: str = "1",
    momentum: str = "0.5",
    decay: float = 0.0,
    regularization: Regularization | None = None,
    **changes: Any,
) -> Hyperparameters:
    values = {"epochs": 2, "batch_size": BATCH, "centering": False} | changes
    return Hyperparameters(
        learning_rate=Schedule.parse(learning_rate),
        momentum=Schedule.parse(momentum),
        weight_decay=decay,
        gibbs_steps=Schedule.parse(gibbs_steps),
        method=Method(algorithm, temperatures=3),
        regularization=regularization or Regularization(),
        **values,
    )


def images_for(model: Rbm) -> Images:
    rng = np.random.default_rng(1)
    pixels = (rng.random((IMAGES, model.visible.units)) ** 2 * 256).astype(np.uint8)
    return Images(pixels, 255.0, np.arange(IMAGES))


class Paper:
    """Contrastive divergence and its update with shared parameters, in float64 numpy."""

    def __init__(self, model: Rbm, images: Images, hyper: Hyperparameters) -> None:
        self.model, self.images, self.hyper, self.draws = model, images, hyper, Draws(SEED)
        self.p = parameters_of(model)
        self.velocity = {name: np.zeros_like(x) for name, x in self.p.items()}
        self.channels, self.filters = channel_and_filter(model)
        self.offsets = self.mean_of_channels(images.mean) * hyper.centering
        self.activity = np.full(len(self.p["hidden_bias"]), 0.1)
        self.chains: Array | None = None
        self.updates = 0

    def mean_of_channels(self, values: Array) -> Array:
        return np.bincount(self.channels, values) / np.bincount(self.channels)

    def up(self, visible: Array) -> Array:
        matrix = tie(link_of(self.model), self.p["weights"])
        return visible @ matrix + self.p["hidden_bias"][self.filters]

    def down(self, hidden: Array, draw: Draw) -> Array:
        matrix = tie(link_of(self.model), self.p["weights"])
        total = hidden @ matrix.T + self.p["visible_bias"][self.channels]
        return self.bernoulli(sigmoid(total), draw)

    def bernoulli(self, probability: Array, draw: Draw) -> Array:
        drawn = bit_uniforms(draw, *probability.shape)
        uncertain = (probability > 0) & (probability < 1)
        near = np.abs(drawn - probability)[uncertain]
        assert near.min(initial=1) > 1e-6, "a draw is too close to call: choose another seed"
        return (drawn < probability).astype(np.float64)

    def sampled(self, total: Array, draw: Draw) -> Array:
        kind = self.model.hidden.kind
        drawn = uniforms_of(kind, draw, *total.shape)
        states = [kind.define_sample(total, drawn + nudge) for nudge in (-1e-6, 0, 1e-6)]
        assert (states[0] == states[2]).all(), "too close to call: choose another seed"
        return states[1].astype(np.float64)

    def step(self, rows: NDArray[np.int64], step: int) -> None:
        at, mean = self.draws.at, self.model.hidden.kind.define_mean
        values = self.images.pixels[rows] / np.float64(255)
        first = self.bernoulli(values, at(Purpose.BINARIZE, step))
        persistent = self.hyper.method.algorithm == "pcd"
        total = self.up(first)
        if persistent and self.chains is None:
            start = np.tile(sigmoid(self.p["visible_bias"][self.channels]), (BATCH, 1))
            start = self.bernoulli(start, at(Purpose.CHAINS, 0, 0))
            self.chains = self.sampled(self.up(start), at(Purpose.CHAINS, 0, 1))
        hidden = total
        for substep in range(int(self.hyper.gibbs_steps.at(0, 1))):
            states = self.chains if persistent else None
            if states is None:
                states = self.sampled(hidden, at(Purpose.HIDDEN, step, substep))
            last = self.down(states, at(Purpose.VISIBLE, step, substep + 1))
            hidden = self.up(last)
            if persistent:
                self.chains = self.sampled(hidden, at(Purpose.HIDDEN, step, substep + 1))
        self.update(first, mean(total), last, mean(hidden))

    def update(self, v0: Array, h0: Array, v1: Array, h1: Array) -> None:
        """The rule of the paper, each gradient being divided by the positions of a filter."""
        hyper, p, link = self.hyper, self.p, link_of(self.model)
        count, decay = positions(self.model), hyper.weight_decay
        if hyper.centering:
            mean = self.mean_of_channels(v0.mean(axis=0))
            self.offsets = self.offsets + SLIDE * (mean - self.offsets)
        at = self.offsets[self.channels]
        weights = untie(link, (v0 - at).T @ h0 / len(v0) - (v1 - at).T @ h1 / len(v1)) / count
        below = np.bincount(self.channels, v0.mean(axis=0) - v1.mean(axis=0)) / count
        above = np.bincount(self.filters, h0.mean(axis=0) - h1.mean(axis=0)) / count
        wanted = hyper.regularization.sparsity
        if wanted is not None:
            mean = np.bincount(self.filters, h0.mean(axis=0)) / count
            self.activity += (1 - DECAY) * (mean - self.activity)
            pull = wanted.cost * (wanted.target - self.activity)
            above += pull
            if wanted.on == "both":
                outer = np.outer(v0.mean(axis=0) - at, pull[self.filters])
                weights += untie(link, outer) / count
        penalty = decay * p["weights"] + hyper.l1 * np.sign(p["weights"])
        if self.updates % REFRESH == 0:
            self.of_penalty = np.einsum("kcyx,c->k", penalty, self.offsets)
        self.updates += 1
        above += self.of_penalty - np.einsum("kcyx,c->k", weights, self.offsets)
        rate, momentum = hyper.learning_rate.at(0, 1), hyper.momentum.at(0, 1)
        gradients = {
            "weights": weights - penalty,
            "visible_bias": below,
            "hidden_bias": above,
        }
        for name, step in gradients.items():
            velocity = self.velocity[name]
            velocity *= momentum
            velocity += rate * step
            p[name] += momentum * velocity + rate * step if hyper.nesterov else velocity
        if hyper.regularization.max_norm is not None:
            norms = np.sqrt(np.square(p["weights"]).sum(axis=(1, 2, 3), keepdims=True))
            change = p["weights"] * (np.minimum(1, hyper.regularization.max_norm / norms) - 1)
            p["weights"] += change
            p["hidden_bias"] -= np.einsum("kcyx,c->k", change, self.offsets)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gibbs_steps": "3", "momentum": "0"},
        {"decay": 0.1, "l1": 0.05},
        {"nesterov": True, "momentum": "0.8"},
        {"centering": True},
        {"centering": True, "decay": 0.1, "l1": 0.05, "nesterov": True},
        {"regularization": Regularization(sparsity=SparsityTarget(0.1, 2.0, "bias"))},
        {"regularization": Regularization(sparsity=SparsityTarget(0.1, 2.0, "both"))},
        {
            "regularization": Regularization(sparsity=SparsityTarget(0.1, 2.0, "both")),
            "centering": True,
        },
        {"regularization": Regularization(max_norm=0.05), "centering": True},
        {"algorithm": "pcd", "gibbs_steps": "2"},
        {"algorithm": "pcd", "centering": True},
    ],
)
def test_steps_are_those_on_paper(form: str, options: dict[str, Any]) -> None:
    """Two epochs, a short last batch included, with the very same draws."""
    hyper = hyperparameters(**options)
    model = Rbm.convolutional(**FORMS[form])
    images = images_for(model)
    trainer = Trainer(model, images, None, hyper, SEED)
    trainer.initialize()
    paper = Paper(model, images, hyper)
    if hyper.regularization.max_norm is not None:
        norms = np.linalg.norm(paper.p["weights"].reshape(3, -1), axis=1)
        assert norms.max() < 0.05
    batches = Batches(images.rows, BATCH, Draws(SEED))
    for event in trainer.run():
        if isinstance(event, StepDone):
            paper.step(batches.at(event.step - 1)[0], event.step - 1)
    assert paper.updates == 6
    for name, exact in paper.p.items():
        np.testing.assert_allclose(model.parameters()[name], exact, rtol=0, atol=3e-6)
        found = model.velocities()[name]
        np.testing.assert_allclose(found, paper.velocity[name], rtol=0, atol=3e-6)
    if hyper.regularization.max_norm is not None:
        norms = np.linalg.norm(paper.p["weights"].reshape(3, -1), axis=1)
        assert norms.max() == pytest.approx(0.05)


def test_options_change_the_result() -> None:
    """Those compared above do differ from each other."""
    results = set()
    for options in (
        {},
        {"centering": True},
        {"decay": 0.1},
        {"l1": 0.05},
        {"nesterov": True},
        {"algorithm": "pcd"},
        {"algorithm": "fpcd"},
        {"algorithm": "pt"},
        {"regularization": Regularization(max_norm=0.05)},
        *(
            {"regularization": Regularization(sparsity=SparsityTarget(0.1, 2.0, on))}
            for on in ("bias", "both")
        ),
    ):
        model = Rbm.convolutional(**FORMS["pooled"])
        trainer = Trainer(model, images_for(model), None, hyperparameters(**options), SEED)
        trainer.initialize()
        list(trainer.run())
        results.add(model.parameters()["weights"].tobytes())
        results.add(model.parameters()["hidden_bias"].tobytes())
    assert len(results) >= 2 * 11 - 1  # biases may take the same pull, on weights or not


# Likelihoods -------------------------------------------------------------------------------------


def corners() -> NDArray[np.uint8]:
    """Pictures of 3 x 3 with one square of 2 x 2 on, anywhere, and none."""
    pictures = np.zeros((5, 3, 3), np.uint8)
    for picture, (y, x) in zip(pictures, np.ndindex(2, 2), strict=False):
        picture[y : y + 2, x : x + 2] = 1
    return pictures.reshape(5, 9)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("algorithm", ["cd", "pcd", "fpcd", "pt"])
def test_training_raises_the_exact_likelihood(algorithm: str, pool: int, centred: bool) -> None:
    """Pictures of which filters tell where the square is."""
    pictures = corners()
    states = BitStates.from_array(pictures)
    model = Rbm.convolutional((3, 3), (2, 2, 2), pool)
    hyper = hyperparameters(
        algorithm=algorithm,
        learning_rate="0.2:0.01",
        gibbs_steps="2",
        epochs=300,
        batch_size=40,
        centering=centred,
    )
    images = Images(np.tile(pictures, (8, 1)), 1.0, np.arange(40))
    trainer = Trainer(model, images, None, hyper, seed=2)
    trainer.initialize()
    likelihoods = [
        log_likelihood(model, states).mean()
        for event in trainer.run()
        if isinstance(event, EpochDone) and event.epoch in (0, 40, 300)
    ]
    # Pixels are on by 16 in 45 each, at first independently: 9 binary entropies.
    p = 16 / 45
    independent = 9 * (p * np.log(p) + (1 - p) * np.log(1 - p))
    assert likelihoods[0] == pytest.approx(independent, abs=0.05)
    assert likelihoods[0] + 0.05 < likelihoods[1] < likelihoods[2]
    assert likelihoods[2] > independent + 1

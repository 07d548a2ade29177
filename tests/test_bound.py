"""The bound of stacks that can be summed over: every image, and every state of hidden units."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import connections

from rbmcli.draws import Draws, Purpose
from rbmcli.inference.ais import Estimate
from rbmcli.inference.bound import weigh, why_no_bound
from rbmcli.inference.evaluation import measure_stack
from rbmcli.inference.exact import log_likelihood, log_partition
from rbmcli.inference.labels import image_classes
from rbmcli.inference.likelihood import annealed, exactly, mean_bound
from rbmcli.inference.reconstruction import reconstruct, reconstruction_error
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import FloatStates, States
from rbmcli.model.way_down import WayDown

Array = NDArray[np.float64]

DRAWS = 20_000
#: Of each level from the images up: a kind, and how many units. Kinds drawn approximately stand
#: for those that they approximate.
STACKS = {
    "two": [("bernoulli", 4), ("bernoulli", 3), ("bernoulli", 3)],
    "three": [("bernoulli", 4), ("bernoulli", 3), ("bernoulli", 2), ("bernoulli", 3)],
    "real": [("gaussian:learned", 3), ("bernoulli", 4), ("gaussian:learned", 2)],
    "counts": [("binomial:3", 2), ("binomial:2", 3), ("softmax:3", 3)],
    "groups": [("softmax:3", 6), ("softmax:2", 4), ("binomial:3", 2)],
    "rectified": [("gaussian", 2), ("nrelu", 2), ("bernoulli", 3)],
    "three of kinds": [("nrelu", 2), ("bernoulli", 3), ("binomial:2", 2), ("nrelu:exact", 1)],
}
#: A convolution that is pooled, and on what it feeds a dense layer, or one more.
CONVOLUTIONAL = ("convolutional", "two convolutions")
ways = pytest.mark.parametrize("untied", [False, True], ids=["tied", "untied"])
labelled = pytest.mark.parametrize("classes", [0, 3], ids=["", "labels"])


def parameters(model: Rbm, rng: np.random.Generator) -> dict[str, Array]:
    return {name: rng.uniform(-0.6, 0.6, x.shape) for name, x in model.parameters().items()}


def stack_of(name: str, *, untied: bool = False, classes: int = 0, seed: int = 1) -> Stack:
    rng = np.random.default_rng(seed)
    if name in CONVOLUTIONAL:
        return convolutional_stack(name, classes, rng)
    machines = []
    levels = list(itertools.pairwise(STACKS[name]))
    for number, ((below, units), (above, hidden)) in enumerate(levels, 1):
        group = int(above.partition(":")[2]) if above.startswith("softmax") else 1
        labels = classes if number == len(levels) else 0
        machines.append(Rbm.dense((units,), hidden // group, below, above, labels))
        machines[-1].load(parameters(machines[-1], rng))
    stack = Stack(machines)
    if untied:
        stack.ways_down = [WayDown.of(machine) for machine in machines[:-1]]
        for way in stack.ways_down:
            way.link.set_weights(rng.uniform(-0.6, 0.6, way.link.weights.shape))
            way.visible.bias[: way.visible.units] += rng.uniform(-0.6, 0.6, way.visible.units)
    return stack


def convolutional_stack(name: str, classes: int, rng: np.random.Generator) -> Stack:
    if name == "two convolutions":
        first = Rbm.convolutional((2, 5), (1, 1, 2), 2)
        second = Rbm.convolutional(first.hidden.fed_shape, (3, 1, 2), planar=False)
    else:
        first = Rbm.convolutional((2, 3), (2, 1, 2), 2)
        second = Rbm.dense(first.hidden.fed_shape, 3, labels=classes)
    for model in (first, second):
        model.load(parameters(model, rng))
    return Stack([first, second])


def images_of(stack: Stack, count: int = 3) -> Array:
    """Some states of the images' units, as they are inside the machine."""
    layer = stack.image_layer
    rng = np.random.default_rng(2)
    if layer.kind.squared_energy:
        return rng.normal(0.2, 1, (count, layer.units)).astype(np.float32).astype(np.float64)
    every = states_of_layer(layer)
    return every[rng.choice(min(len(every), 30), count, replace=False)]


# The oracle --------------------------------------------------------------------------------------


def states_of_layer(layer: Layer) -> Array:
    """All states of a layer, (states, units); rectified units up to 30."""
    parts, places, start = [], [], 0
    for kind, units in layer.kind.of_model.blocks(layer.units):
        of_group = np.arange(31.0)[:, np.newaxis] if kind.quadratic else kind.group_states
        parts += [of_group.astype(np.float64)] * (units // kind.group)
        places += [start + kind.group_places(units).ravel()]
        start += units
    every = np.array([np.concatenate(choice) for choice in itertools.product(*parts)])
    states = np.empty_like(every)
    states[:, np.concatenate(places)] = every
    return states


def fed(layer: Layer, states: Array) -> tuple[Array, Array]:
    """What a layer above sees of states, and their log probability given that."""
    kind = layer.kind
    if kind.pool == 1:
        return states, np.zeros(len(states))
    pooled = states[:, kind.group_places(layer.units)].max(axis=2)
    return pooled, -np.log(kind.group) * pooled.sum(axis=1)


def log_conditional(layer: Layer, states: Array, total: Array) -> Array:
    """log p(states | total inputs), every state given every row of inputs: (states, rows)."""
    kind = layer.kind.of_model
    own = kind.define_log_base(states).sum(axis=-1)
    log_z = kind.define_cumulant(total).sum(axis=-1)
    scale = layer.parameters.get("log_sigma", np.zeros(1)).sum(dtype=np.float64)
    return states @ total.T + own[:, np.newaxis] - log_z - scale


def bias(layer: Layer) -> Array:
    return layer.bias[: layer.units].astype(np.float64)


def up(model: Rbm, states: Array) -> Array:
    return states @ connections(model)[: model.features] + bias(model.hidden)


def down(way: Rbm | WayDown, states: Array) -> Array:
    weights = way.link.weights if isinstance(way, WayDown) else connections(way).T
    return states @ weights.astype(np.float64) + bias(way.visible)


def log_star(top: Rbm, features: Array) -> Array:
    """log of the sum over hidden units and labels of exp(-E), of every row of features."""
    labels = np.eye(top.classes) if top.classes else np.zeros((1, 0))
    found = []
    for label in labels:
        visible = np.concatenate([features, np.tile(label, (len(features), 1))], axis=1)
        total = visible @ connections(top) + bias(top.hidden)
        own = visible @ bias(top.visible)
        own += top.visible.kind.of_model.define_log_base(visible).sum(axis=-1)
        found.append(own + top.hidden.kind.of_model.define_cumulant(total).sum(axis=-1))
    squares = sum(
        np.square(bias(layer)).sum() / 2
        for layer in (top.visible, top.hidden)
        if layer.kind.squared_energy
    )
    sigma = top.hidden.parameters.get("log_sigma", np.zeros(1)).sum(dtype=np.float64)
    return np.logaddexp.reduce(found, axis=0) - squares + sigma


def every_path(stack: Stack, image: Array) -> tuple[Array, Array]:
    """(log q(h | v), log p(v, h) + log Z) of all states of the directed levels' hidden units."""
    log_q, log_p, below = np.zeros(1), np.zeros(1), image[np.newaxis]
    for machine, way in zip(stack.machines[:-1], stack.directed, strict=True):
        states = states_of_layer(machine.hidden)
        q = log_conditional(machine.hidden, states, up(machine, below)).T
        p = log_conditional(way.visible, below, down(way, states))
        log_q = (log_q[:, np.newaxis] + q).ravel()
        pooled, given = fed(machine.hidden, states)
        log_p = (log_p[:, np.newaxis] + p + given).ravel()
        below = np.tile(pooled, (len(below), 1))
    return log_q, log_p + log_star(stack.top, below)


def exact_moments(stack: Stack, image: Array) -> tuple[float, float]:
    """Mean and standard deviation under q of the log weight of an image."""
    log_q, log_p = every_path(stack, image)
    assert np.logaddexp.reduce(log_q) == pytest.approx(0, abs=1e-6)
    q = np.exp(log_q)
    mean = q @ (log_p - log_q)
    return mean, float(np.sqrt(q @ np.square(log_p - log_q - mean)))


def log_z(top: Rbm) -> float:
    return float(np.logaddexp.reduce(log_star(top, states_of_layer(feature_layer(top)))))


def feature_layer(top: Rbm) -> Layer:
    return Layer(top.feature_kind, (top.features,))


def repeated(stack: Stack, image: Array, times: int = DRAWS) -> States:
    return stack.image_layer.states_of(np.tile(image, (times, 1)))


def skip_what_cannot_be(name: str, untied: bool, classes: int) -> None:
    if (untied and name in CONVOLUTIONAL) or (classes and name == "two convolutions"):
        pytest.skip("there are no such stacks")


# The bound ---------------------------------------------------------------------------------------


@labelled
@ways
@pytest.mark.parametrize("name", [*STACKS, *CONVOLUTIONAL])
def test_the_mean_weight_is_the_bound(name: str, untied: bool, classes: int) -> None:
    skip_what_cannot_be(name, untied, classes)
    stack = stack_of(name, untied=untied, classes=classes)
    for number, image in enumerate(images_of(stack)):
        draw = Draws(5).at(Purpose.BOUND, 0, number)
        found = weigh(stack, repeated(stack, image), draw).log_weight
        mean, deviation = exact_moments(stack, image)
        assert abs(found.mean() - mean) < 5 * deviation / np.sqrt(DRAWS) + 1e-5
        assert found.std() == pytest.approx(deviation, rel=0.1)


@labelled
@ways
@pytest.mark.parametrize("name", ["two", "three", "groups", "counts", *CONVOLUTIONAL])
def test_it_lies_below_the_likelihood(name: str, untied: bool, classes: int) -> None:
    skip_what_cannot_be(name, untied, classes)
    stack = stack_of(name, untied=untied, classes=classes)
    every = states_of_layer(stack.image_layer)
    partition = log_z(stack.top)
    assert log_partition(stack.top) == pytest.approx(partition, abs=1e-5)
    likelihoods = []
    for image in every:
        log_q, log_p = every_path(stack, image)
        likelihoods.append(np.logaddexp.reduce(log_p) - partition)
        bound = np.exp(log_q) @ (log_p - log_q) - partition
        assert bound < likelihoods[-1] - 1e-4
    assert np.logaddexp.reduce(likelihoods) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [
        ("bernoulli", "bernoulli"),
        ("binomial:3", "softmax:3"),
        ("gaussian:learned", "bernoulli"),
        ("nrelu", "binomial:2"),
    ],
)
def test_it_is_the_likelihood_where_a_layer_starts_as_the_transpose(
    visible: str, hidden: str
) -> None:
    """There q is the posterior, so that every draw says the same."""
    rng = np.random.default_rng(3)
    first = Rbm.dense((3,), 3 if hidden != "softmax:3" else 1, visible, hidden)
    first.load(parameters(first, rng))
    second = Rbm.dense((first.hidden.units,), 3, hidden, visible)
    second.start_as_transpose(first)
    stack = Stack([first, second])
    assert log_partition(second) == pytest.approx(log_partition(first), abs=1e-5)
    images = first.visible.states_of(images_of(stack, 8))
    expected = log_likelihood(first, images)
    for number in range(5):
        found = weigh(stack, images, Draws(number).at(Purpose.BOUND, 0)).log_weight
        np.testing.assert_allclose(found - log_partition(second), expected, atol=2e-5)


@labelled
def test_of_one_machine_it_is_the_likelihood(classes: int) -> None:
    model = stack_of("two", classes=classes).top
    stack = Stack([model])
    every = states_of_layer(stack.image_layer)
    found = weigh(stack, stack.image_layer.states_of(every), Draws(1).at(Purpose.BOUND, 0))
    np.testing.assert_allclose(found.log_weight, log_star(model, every), atol=1e-5)
    assert np.logaddexp.reduce(found.log_weight) == pytest.approx(log_partition(model), abs=1e-5)


@labelled
def test_the_mean_at_the_top(classes: int) -> None:
    stack = stack_of("two", classes=classes)
    image = images_of(stack)[0]
    first, top = stack.machines
    found = weigh(stack, repeated(stack, image), Draws(5).at(Purpose.BOUND, 0)).top_mean
    mean = 1 / (1 + np.exp(-up(first, image[np.newaxis])[0]))
    np.testing.assert_allclose(found[: top.features], mean, atol=5 * 0.5 / np.sqrt(DRAWS))
    assert len(found) == top.visible.units
    if classes:
        exact = exact_classes(stack, image)
        np.testing.assert_allclose(found[top.features :], exact, atol=5 * 0.5 / np.sqrt(DRAWS))


def test_no_bound_across_kinds() -> None:
    below = Rbm.dense((4,), 3, "bernoulli", "binomial:2")
    reason = why_no_bound(Stack([below, Rbm.dense((3,), 2, "gaussian", "bernoulli")]))
    assert reason is not None
    assert "layer 1 has gaussian units where layer 0 has binomial:2 ones" in reason
    for name in STACKS:
        assert why_no_bound(stack_of(name, classes=3)) is None
    deviations = Rbm.dense((4,), 3, "bernoulli", "gaussian")
    assert why_no_bound(Stack([deviations, Rbm.dense((3,), 2, "gaussian:learned")])) is None


# What is measured of many images -----------------------------------------------------------------


def test_measured_in_blocks() -> None:
    stack = stack_of("three", classes=2)
    image = images_of(stack)[0]
    images = repeated(stack, image, 4000)
    blocks = [images.take(np.arange(start, start + 800)) for start in range(0, 4000, 800)]
    whole = measure_stack(stack, [images], Draws(1), 1)
    parts = measure_stack(stack, blocks, Draws(1), 1)
    np.testing.assert_array_equal(parts.log_weights, whole.log_weights)
    np.testing.assert_allclose(parts.top_mean, whole.top_mean, rtol=1e-6)
    assert parts.reconstruction_error == pytest.approx(whole.reconstruction_error)
    assert whole.are_states
    several = measure_stack(stack, blocks, Draws(1), 9)
    mean, deviation = exact_moments(stack, image)
    assert abs(several.log_weights.mean() - mean) < 5 * deviation / np.sqrt(9 * 4000) + 1e-5
    assert several.log_weights.std() == pytest.approx(deviation / 3, rel=0.1)
    grey = FloatStates(images.floats() * np.float32(0.5), images.units)
    assert not measure_stack(stack, [grey], Draws(1), 1).are_states


def test_mean_bound() -> None:
    weights = np.array([1.0, 3.0, 8.0])
    exact = mean_bound(weights, exactly(2.0))
    assert exact[:3] == (2.0, 2.0, 2.0)
    assert exact.standard_error == pytest.approx(np.sqrt(13 / 3))
    found = mean_bound(weights, annealed(Estimate(2.0, 1.5, 3.0), 10, 20))
    assert found[:3] == (2.0, 1.0, 2.5)
    assert np.isnan(mean_bound(weights[:1], exactly(2.0)).standard_error)


# Reconstruction ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STACKS)
def test_of_one_machine_it_is_reconstructed_as_ever(name: str) -> None:
    model = stack_of(name).machines[0]
    images = model.visible.states_of(images_of(Stack([model])))
    up, down = (Draws(3).at(Purpose.MONITOR, 0, substep) for substep in (0, 1))
    found = reconstruction_error(Stack([model]), images, up, down)
    np.testing.assert_array_equal(found, reconstruct(model, images, up).error)


@labelled
@ways
@pytest.mark.parametrize("name", ["two", "real", "groups"])
def test_reconstruction_through_a_stack(name: str, untied: bool, classes: int) -> None:
    """Its mean is that over all paths up and down."""
    stack = stack_of(name, untied=untied, classes=classes)
    first, top = stack.machines
    (way,) = stack.directed
    image = images_of(stack)[0]
    middle = states_of_layer(first.hidden)
    q = np.exp(log_conditional(first.hidden, middle, up(first, image[np.newaxis])))[:, 0]
    # Of the top's hidden units only the path matters: real ones are drawn, finely enough.
    rng = np.random.default_rng(4)
    total = up(top, middle)
    if top.hidden.kind.squared_energy:
        hidden = total[:, np.newaxis] + rng.standard_normal((len(middle), 4000, top.hidden.units))
        back = hidden @ top.link.weights.T.astype(np.float64) + bias(top.visible)
        rows = back[..., : top.features].reshape(-1, top.features)
        p = np.exp(log_conditional(feature_layer(top), middle, rows))
        p = p.reshape(len(middle), len(middle), 4000).mean(axis=2)
    else:
        hidden = states_of_layer(top.hidden)
        given = np.exp(log_conditional(top.hidden, hidden, total))
        rows = down(top, hidden)[:, : top.features]
        p = np.exp(log_conditional(feature_layer(top), middle, rows)) @ given
    sigma = stack.image_layer.sigma.astype(np.float64)
    means = way.visible.kind.define_mean(down(way, middle))
    errors = np.square((means - image) * sigma).sum(axis=1)
    exact = errors @ p @ q
    deviation = np.sqrt(np.square(errors) @ p @ q - exact**2)
    names = (Draws(3).at(Purpose.MONITOR, 0, substep) for substep in (0, 1))
    found = reconstruction_error(stack, repeated(stack, image), *names)
    assert abs(found.mean() - exact) < 5 * deviation / np.sqrt(DRAWS) + 1e-3 * deviation
    assert found.std() == pytest.approx(deviation, rel=0.1)


# Label units -------------------------------------------------------------------------------------


def given_classes(top: Rbm, features: Array) -> Array:
    """p(class | features), (rows, classes), by one machine for each class."""
    of_class = []
    for label in np.eye(top.classes):
        weights = top.link.weights.astype(np.float64)
        total = features @ weights[: top.features] + label @ weights[top.features :]
        cumulant = top.hidden.kind.of_model.define_cumulant(total + bias(top.hidden)).sum(axis=-1)
        of_class.append(cumulant + bias(top.visible)[top.features :] @ label)
    return np.exp(of_class - np.logaddexp.reduce(of_class, axis=0)).T


def exact_classes(stack: Stack, image: Array) -> Array:
    """The mean under q of p(class | features), (classes,)."""
    first, top = stack.machines
    middle = states_of_layer(first.hidden)
    q = np.exp(log_conditional(first.hidden, middle, up(first, image[np.newaxis])))[:, 0]
    return q @ given_classes(top, middle)


@pytest.mark.parametrize("name", ["two", "counts"])
def test_classes_of_images(name: str) -> None:
    stack = stack_of(name, classes=3)
    image = images_of(stack)[0]
    draw = Draws(6).at(Purpose.LABELS, 0)
    by_means = np.exp(image_classes(stack, repeated(stack, image, 1), draw))
    first = stack.machines[0]
    means = first.hidden.kind.define_mean(up(first, image[np.newaxis]))
    np.testing.assert_allclose(by_means, given_classes(stack.top, means), atol=1e-5)
    drawn = np.exp(image_classes(stack, repeated(stack, image, 500), draw, 40))
    np.testing.assert_allclose(drawn.sum(axis=1), 1)
    assert (drawn.std(axis=0) > 1e-4).all()
    exact = exact_classes(stack, image)
    np.testing.assert_allclose(drawn.mean(axis=0), exact, atol=5 * 0.5 / np.sqrt(500 * 40))
    assert np.abs(drawn.mean(axis=0) - exact).max() < 1e-2

"""Stacks of machines, and what a layer learns from, against plain float64 numpy and its draws."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import bit_uniforms, connections, uniforms_of

from rbmcli.arrays import to_padded
from rbmcli.draws import Draw, Draws, Purpose, apart
from rbmcli.errors import RbmError
from rbmcli.learning.algorithm import Method
from rbmcli.learning.batch import Images
from rbmcli.learning.inputs import Activations, Labelled, activations
from rbmcli.learning.loop import StepDone
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack, check_joint
from rbmcli.model.states import BitStates, FloatStates, States
from rbmcli.model.units import unit_kind
from rbmcli.model.way_down import WayDown

Values = NDArray[np.float64]
SHAPE, ROWS, CLASSES = (3, 4), 60, 3
DRAW = Draws(5, 2).at(Purpose.SAMPLE, 7)

#: (visible and hidden kind of the machine below, those of the machine on it).
JOINTS = [
    ("bernoulli", "bernoulli", "bernoulli", "bernoulli"),
    ("gaussian:learned", "binomial:5", "binomial:5", "softmax:4"),
    ("binomial:3", "softmax:3", "softmax:3", "bernoulli"),
    ("gaussian", "nrelu", "gaussian:learned", "bernoulli"),
    ("bernoulli", "nrelu:exact", "nrelu:exact", "nrelu"),
    ("bernoulli", "nrelu", "nrelu", "bernoulli"),
    ("bernoulli", "binomial:4", "gaussian:learned", "nrelu"),
    ("gaussian", "gaussian:learned", "gaussian", "bernoulli"),
    ("nrelu", "gaussian", "gaussian:learned", "gaussian:learned"),
]
STANDING = pytest.mark.parametrize("kinds", JOINTS, ids="-".join)


def randomized(model: Rbm, seed: int) -> Rbm:
    """Parameters far from zero; where there may be no density for large weights, nearer."""
    rng = np.random.default_rng(seed)
    scale = 0.15 if model.visible.kind.quadratic or model.hidden.kind.quadratic else 0.8
    model.load({name: rng.normal(0, scale, x.shape) for name, x in model.parameters().items()})
    return model


def stack_of(*kinds: str, labels: int = 0) -> Stack:
    """Two machines of these kinds on images of shape SHAPE."""
    below = randomized(Rbm.dense(SHAPE, 5, *kinds[:2]), 1)
    above = Rbm.dense((below.hidden.units,), 4, *kinds[2:], labels=labels)
    return Stack([below, randomized(above, 2)])


def sigma(layer: Layer) -> Values:
    log = layer.parameters.get("log_sigma", np.zeros(layer.units))
    return np.exp(log[: layer.units].astype(np.float64))


def bias(layer: Layer) -> Values:
    """In natural terms."""
    return layer.parameters["bias"][: layer.units].astype(np.float64) / sigma(layer)


def weights(model: Rbm) -> Values:
    return model.link.weights.astype(np.float64)


def some_states(layer: Layer, rows: int = ROWS) -> tuple[States, Values]:
    """Drawn states of unconnected units, and the same as an array."""
    total = to_padded(np.broadcast_to(layer.bias[: layer.units], (rows, layer.units)))
    states = layer.sample(total, Draws(3).at(Purpose.CHAINS, 0))
    return states, states.to_array().astype(np.float64)


def drawn(layer: Layer, total: Values, draw: Draw) -> tuple[Values, NDArray[np.bool_]]:
    """States by definition with the kernel's uniforms, and where rounding cannot change them."""
    chance = uniforms_of(layer.kind, draw, *total.shape)
    states = layer.kind.define_sample(total, chance).astype(np.float64)
    if layer.kind.valid_range[0] == -np.inf or layer.kind.name == "nrelu":
        return states, np.ones(total.shape, bool)
    nudged = [layer.kind.define_sample(total, chance + nudge) for nudge in (-1e-5, 1e-5)]
    return states, np.equal(*nudged)


def assert_drawn(states: States, layer: Layer, total: Values, draw: Draw) -> None:
    expected, sure = drawn(layer, total, draw)
    assert sure.mean() > 0.98
    actual = states.to_array()
    np.testing.assert_allclose(actual[sure], expected[sure], rtol=2e-5, atol=2e-5)
    assert isinstance(states, BitStates) == layer.kind.as_bits


def on_paper(states: Values, layer: Layer, other: Layer) -> Values:
    """States of `other` as those of `layer`, through the values that both stand for."""
    return np.clip(states * sigma(other), *layer.kind.valid_range) / sigma(layer)


# Joints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "above", "others"),
    [
        ("bernoulli", "gaussian", "make them bernoulli$"),
        ("bernoulli", "binomial:1", "make them bernoulli$"),
        ("softmax:3", "softmax:4", "make them softmax:3$"),
        ("softmax:3", "bernoulli", "make them softmax:3$"),
        ("binomial:5", "binomial:6", "make them binomial:5 or gaussian or gaussian:learned"),
        ("nrelu", "nrelu:exact", "make them nrelu or gaussian or gaussian:learned"),
        ("nrelu", "bernoulli", "make them nrelu or gaussian or gaussian:learned"),
        ("gaussian:learned", "bernoulli", "make them gaussian or gaussian or gaussian:learned"),
    ],
)
def test_units_that_cannot_stand_on_others(below: str, above: str, others: str) -> None:
    with pytest.raises(RbmError, match=f"^{above} units cannot stand on {below} ones; {others}"):
        check_joint(unit_kind(below), unit_kind(above))


@STANDING
def test_units_that_can(kinds: tuple[str, ...]) -> None:
    check_joint(unit_kind(kinds[1]), unit_kind(kinds[2]))


@STANDING
@pytest.mark.parametrize("downward", [False, True])
def test_states_stand_for_the_same_values_on_both_sides(
    kinds: tuple[str, ...], downward: bool
) -> None:
    stack = stack_of(*kinds)
    ends = stack.machines[1].visible, stack.machines[0].hidden
    layer, other = reversed(ends) if downward else ends
    states, values = some_states(other)
    before = values.copy()
    adopted = layer.adopted(states, other)
    expected = on_paper(values, layer, other)
    np.testing.assert_allclose(adopted.to_array(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(states.to_array(), before)
    assert (adopted.floats()[:, layer.units :] == 0).all()


def test_values_out_of_range_are_moved_into_it() -> None:
    hidden, visible = Layer(unit_kind("binomial:4"), (2,)), Layer(unit_kind("gaussian"), (2,))
    states = FloatStates(to_padded(np.array([[-3.0, 2.5], [9.0, 4.0]])), 2)
    assert hidden.adopted(states, visible).to_array().tolist() == [[0.0, 2.5], [4.0, 4.0]]
    rectified = Layer(unit_kind("nrelu"), (2,))
    assert rectified.adopted(states, visible).to_array().tolist() == [[0.0, 2.5], [9.0, 4.0]]


# Up and down -------------------------------------------------------------------------------------


@STANDING
def test_the_way_up_by_draws(kinds: tuple[str, ...], isa: str) -> None:
    stack = stack_of(*kinds)
    below, above = stack.machines
    states, values = some_states(below.visible)
    levels = stack.raised(states, DRAW, sampled=True)
    assert len(levels) == 3
    assert levels[0] is states
    total = values @ weights(below) + bias(below.hidden)
    assert_drawn(levels[1], below.hidden, total, apart(DRAW, 1))
    standing = on_paper(levels[1].to_array().astype(np.float64), above.visible, below.hidden)
    total = standing @ weights(above) + bias(above.hidden)
    assert_drawn(levels[2], above.hidden, total, apart(DRAW, 2))
    shorter = stack.raised(states, DRAW, sampled=True, machines=1)
    assert [x.to_array().tobytes() for x in shorter] == [x.to_array().tobytes() for x in levels[:2]]


@STANDING
def test_the_way_up_by_means(kinds: tuple[str, ...], isa: str) -> None:
    """Rectified units feed max(0, x), which is not their mean."""
    stack = stack_of(*kinds)
    states, values = some_states(stack.machines[0].visible)
    levels = stack.raised(states, DRAW, sampled=False)
    other = None
    for machine, level in zip(stack.machines, levels[1:], strict=True):
        if other is not None:
            values = on_paper(values, machine.visible, other)
        total = values @ weights(machine) + bias(machine.hidden)
        other, kind = machine.hidden, machine.hidden.kind
        rectified = kind.name.startswith("nrelu")
        values = np.maximum(0, total) if rectified else kind.define_mean(total)
        np.testing.assert_allclose(level.to_array(), values, rtol=1e-4, atol=1e-5)


@STANDING
def test_the_way_down(kinds: tuple[str, ...], isa: str) -> None:
    stack = stack_of(*kinds)
    below, above = stack.machines
    top, values = some_states(above.visible)
    states, means = stack.lowered(top, DRAW)
    hidden = on_paper(values, below.hidden, above.visible)
    total = hidden @ weights(below).T + bias(below.visible)
    assert_drawn(states, below.visible, total, DRAW)
    expected = below.visible.kind.define_mean(total)
    np.testing.assert_allclose(means[:, : below.visible.units], expected, rtol=1e-4, atol=1e-5)


def test_three_levels_down_are_drawn_apart() -> None:
    machines = [
        randomized(Rbm.dense((units,), hidden), number)
        for number, (units, hidden) in enumerate([(12, 12), (12, 12), (12, 12)])
    ]
    stack = Stack(machines)
    top, values = some_states(machines[2].visible)
    states, _ = stack.lowered(top, DRAW)
    for level in (1, 0):
        machine = machines[level]
        total = values @ weights(machine).T + bias(machine.visible)
        values, sure = drawn(machine.visible, total, apart(DRAW, level))
        assert sure.all(), "a draw is too close to call: choose another seed"
    np.testing.assert_array_equal(states.to_array(), values)
    keys = {apart(DRAW, level)[0] for level in range(5)}
    assert len(keys) == 5


def test_one_machine_gives_back_what_it_is_given() -> None:
    stack = Stack([randomized(Rbm.dense(SHAPE, 5), 1)])
    states, values = some_states(stack.top.visible)
    lowered, means = stack.lowered(states, DRAW)
    np.testing.assert_array_equal(lowered.to_array(), values)
    np.testing.assert_array_equal(means[:, : stack.top.features], values)


def test_a_copy_of_the_way_down_is_the_way_down() -> None:
    own = Stack([randomized(Rbm.dense(SHAPE, 5), 1), randomized(Rbm.dense((5,), 4), 2)])
    copied = Stack(own.machines, [WayDown.of(own.machines[0])])
    top, _ = some_states(own.top.visible)
    for ours, theirs in zip(own.lowered(top, DRAW), copied.lowered(top, DRAW), strict=True):
        left, right = (getattr(x, "bits", x) for x in (ours, theirs))
        np.testing.assert_array_equal(left, right)
    for level in (0, 1):
        np.testing.assert_array_equal(own.filters(level), copied.filters(level))
    copied.ways_down[0].visible.bias[:12] += 50
    assert (copied.lowered(top, DRAW)[0].to_array() == 1).all()
    assert not (own.lowered(top, DRAW)[0].to_array() == 1).all()


@pytest.mark.parametrize("kind", ["bernoulli", "binomial:5", "nrelu"])
def test_label_units_are_off_on_the_way_up_and_left_out_on_the_way_down(kind: str) -> None:
    stack = stack_of("bernoulli", kind, kind, "bernoulli", labels=CLASSES)
    below, above = stack.machines
    states, values = some_states(below.visible)
    levels = stack.raised(states, DRAW, sampled=True)
    features = levels[1].to_array().astype(np.float64)
    assert levels[1].units == below.hidden.units == above.features
    total = features @ weights(above)[: above.features] + bias(above.hidden)
    assert_drawn(levels[2], above.hidden, total, apart(DRAW, 2))
    top, values = some_states(above.visible)
    assert (values[:, above.features :].sum(axis=1) == 1).all()
    lowered, _ = stack.lowered(top, DRAW)
    total = values[:, : above.features] @ weights(below).T + bias(below.visible)
    assert_drawn(lowered, below.visible, total, DRAW)


# Filters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [0, CLASSES])
def test_filters_are_products_of_weights(labels: int) -> None:
    machines = [Rbm.dense(SHAPE, 7), Rbm.dense((7,), 6), Rbm.dense((6,), 5, labels=labels)]
    stack = Stack([randomized(machine, number) for number, machine in enumerate(machines)])
    product = np.eye(12)
    for level, machine in enumerate(machines):
        product = product @ weights(machine)[: machine.features]
        found = stack.filters(level)
        assert found.shape == (machine.hidden.units, *SHAPE)
        np.testing.assert_allclose(found.reshape(len(found), -1), product.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(stack.filters(0), machines[0].filters())


def test_filters_pass_learned_deviations() -> None:
    """A state of the upper machine is a datum over its sigma, one of the lower over its own."""
    kind = "gaussian:learned"
    machines = [Rbm.dense(SHAPE, 7, hidden_kind=kind), Rbm.dense((7,), 6, visible_kind=kind)]
    stack = Stack([randomized(machine, number) for number, machine in enumerate(machines)])
    below, above = stack.machines
    assert np.ptp(above.visible.sigma / below.hidden.sigma) > 0.1
    between = np.diag(above.visible.sigma / below.hidden.sigma)
    expected = (weights(below) @ between @ weights(above)).T
    found = stack.filters(1).reshape(6, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_filters_of_one_machine_with_label_units_are_pictures() -> None:
    model = randomized(Rbm.dense(SHAPE, 5, labels=CLASSES), 1)
    found = Stack([model]).filters(0)
    np.testing.assert_array_equal(found, model.link.weights[:12].T.reshape(5, *SHAPE))


# Convolutions ------------------------------------------------------------------------------------


def convolutional_stack() -> Stack:
    """Two pooled convolutions and a dense layer on images of two channels, 2 x 8 x 9.

    The lower filters leave out a row, the upper ones nothing.
    """
    first = Rbm.convolutional((2, 8, 9), (3, 2, 4), 2)
    assert first.hidden.fed_shape == (3, 3, 3)
    second = Rbm.convolutional(first.hidden.fed_shape, (4, 2, 2), 2, planar=False)
    assert second.hidden.fed_shape == (1, 1, 4)
    third = Rbm.dense(second.hidden.fed_shape, 5)
    return Stack([randomized(x, number) for number, x in enumerate([first, second, third])])


def by_unit(layer: Layer) -> Values:
    """The bias of each unit, which many share."""
    return layer.bias[: layer.units].astype(np.float64)


def blocks(layer: Layer, values: NDArray[Any]) -> NDArray[Any]:
    """Values (rows, units) of a pooled layer as (rows, blocks, units of a block)."""
    return values[:, layer.kind.group_places(layer.units)]


@pytest.mark.parametrize("sampled", [True, False])
def test_the_way_up_through_pooled_units(sampled: bool) -> None:
    """Each layer learns from the pooled units of the one below: drawn, or how probable they are."""
    stack = convolutional_stack()
    states, values = some_states(stack.machines[0].visible)
    levels = stack.raised(states, DRAW, sampled=sampled)
    assert [level.units for level in levels] == [144, 27, 4, 5]
    for number, (machine, level) in enumerate(zip(stack.machines, levels[1:], strict=True), 1):
        layer = machine.hidden
        total = values @ connections(machine) + by_unit(layer)
        if sampled:
            units, sure = drawn(layer, total, apart(DRAW, number))
            assert sure.all(), "a draw is too close to call: choose another seed"
        else:
            units = layer.kind.define_mean(total)
        values = blocks(layer, units).sum(axis=2) if layer.kind.pool > 1 else units
        assert isinstance(level, BitStates) == sampled
        np.testing.assert_allclose(level.to_array(), values, rtol=1e-4, atol=1e-6)


def test_the_way_down_through_pooled_units() -> None:
    """Where a pooled unit is on, one of its block is, any of them alike."""
    stack = convolutional_stack()
    top, values = some_states(stack.top.visible)
    states, means = stack.lowered(top, DRAW)
    for level in (1, 0):
        machine = stack.machines[level]
        layer = machine.hidden
        draw = apart(DRAW, len(stack.machines) + level)
        on = np.repeat(values[:, :, np.newaxis], layer.kind.group, axis=2)
        total = np.empty((len(values), layer.units))
        total[:, layer.kind.group_places(layer.units)] = np.where(on > 0, 60.0, -60.0)
        hidden, sure = drawn(layer, total, draw)
        assert sure.all(), "a draw is too close to call: choose another seed"
        np.testing.assert_array_equal(blocks(layer, hidden).sum(axis=2), values)
        total = hidden @ connections(machine).T + by_unit(machine.visible)
        values, sure = drawn(machine.visible, total, apart(DRAW, level))
        assert sure.all(), "a draw is too close to call: choose another seed"
    np.testing.assert_array_equal(states.to_array(), values)
    expected = machine.visible.kind.define_mean(total)
    np.testing.assert_allclose(means[:, :144], expected, rtol=1e-4, atol=1e-5)


def test_filters_of_upper_layers_are_weighted_sums_of_those_below() -> None:
    """Pooled units add what the units of their block do on average; written out place by place."""
    stack = convolutional_stack()
    lower, upper, top = (weights(machine) for machine in stack.machines)
    np.testing.assert_array_equal(stack.filters(0), lower.astype(np.float32))

    def projected(pooled: Values, height: int, width: int) -> Values:
        """What values of pooled units (rows, columns, filters) add to an image."""
        picture = np.zeros((2, height, width))
        for py, px, k in np.ndindex(pooled.shape):
            for cy, cx in np.ndindex(2, 2):
                for c, fy, fx in np.ndindex(lower.shape[1:]):
                    y, x = 2 * py + cy + fy, 2 * px + cx + fx
                    picture[c, y, x] += pooled[py, px, k] / 4 * lower[k, c, fy, fx]
        return picture

    expected = [projected(filter_.transpose(1, 2, 0), 5, 7) for filter_ in upper]
    found = stack.filters(1)
    assert found.shape == (4, 2, 5, 7)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    whole = []
    for unit in range(5):
        pooled = np.zeros((3, 3, 3))
        for k in range(4):
            for cy, cx in np.ndindex(2, 2):
                for c, fy, fx in np.ndindex(upper.shape[1:]):
                    pooled[cy + fy, cx + fx, c] += top[k, unit] / 4 * upper[k, c, fy, fx]
        whole.append(projected(pooled, 8, 9))
    found = stack.filters(2)
    assert found.shape == (5, 2, 8, 9)
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sampled", [True, False])
def test_convolutions_learn_from_pooled_units(sampled: bool) -> None:
    stack = convolutional_stack()
    first, second = stack.machines[:2]
    pixels = np.random.default_rng(1).integers(0, 256, (30, 144), np.uint8)
    data, draws = Images(pixels, 255.0, np.arange(30)), Draws(6, 1)
    inputs = activations(data, [first], sampled, draws)
    assert inputs.mean.shape == inputs.deviation.shape == (27,)
    draw = draws.at(Purpose.ACTIVATIONS, 0)
    layer = first.hidden
    total = binarized(data, data.rows, draw) @ connections(first) + by_unit(layer)
    if sampled:
        units, sure = drawn(layer, total, apart(draw, 1))
        assert sure.all(), "a draw is too close to call: choose another seed"
    else:
        units = layer.kind.define_mean(total)
    pooled = blocks(layer, units).sum(axis=2)
    np.testing.assert_allclose(inputs.mean, pooled.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(inputs.deviation, pooled.std(axis=0), rtol=1e-4, atol=1e-5)
    second.initialize(inputs.mean, inputs.deviation, draws)
    of_channels = pooled.reshape(-1, 3).mean(axis=0)
    found = second.parameters()["visible_bias"]
    np.testing.assert_allclose(1 / (1 + np.exp(-found.astype(np.float64))), of_channels, rtol=1e-5)


# Starting from the transpose ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "hidden", "labels"),
    [
        (("bernoulli", "bernoulli"), 12, 0),
        (("bernoulli", "bernoulli"), 15, CLASSES),
        (("gaussian:learned", "bernoulli"), 12, 0),
        (("bernoulli", "gaussian:learned"), 14, 0),
        (("bernoulli", "softmax:4"), 12, 0),
        (("nrelu", "binomial:5"), 13, 0),
    ],
)
def test_a_transpose_tells_of_the_units_below_what_the_layer_below_does(
    kinds: tuple[str, str], hidden: int, labels: int
) -> None:
    below = randomized(Rbm.dense(SHAPE, 5, *kinds), 1)
    model = Rbm.dense((below.hidden.units,), hidden, kinds[1], kinds[0], labels=labels)
    units = below.hidden.units + labels
    model.initialize(np.full(units, 0.3), np.full(units, 1.5), Draws(4))
    random = model.link.weights.copy()
    model.start_as_transpose(below)
    states, values = some_states(below.visible)
    ours = np.zeros((ROWS, model.hidden.units))
    ours[:, :12] = values
    told = model.visible_input(model.hidden.states_of(ours))[:, : below.hidden.units]
    wanted = below.hidden_input(states)[:, : below.hidden.units]
    np.testing.assert_allclose(told, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(sigma(model.visible)[: model.features], sigma(below.hidden))
    np.testing.assert_array_equal(sigma(model.hidden)[:12], sigma(below.visible))
    np.testing.assert_array_equal(bias(model.hidden)[:12], bias(below.visible))
    np.testing.assert_array_equal(model.link.weights[:, 12:], random[:, 12:])
    np.testing.assert_array_equal(model.link.weights[model.features :], random[model.features :])


@pytest.mark.parametrize(
    ("kinds", "hidden", "own", "says"),
    [
        (("bernoulli", "bernoulli"), 11, ("bernoulli", "bernoulli"), "needs 12 bernoulli hidden"),
        (("gaussian", "bernoulli"), 12, ("bernoulli", "bernoulli"), "needs 12 gaussian hidden"),
        (("bernoulli", "nrelu"), 12, ("gaussian", "bernoulli"), "needs its nrelu units"),
        (("gaussian", "gaussian:learned"), 12, ("gaussian", "gaussian"), "its gaussian:learned"),
        (("gaussian", "gaussian"), 12, ("gaussian:learned", "gaussian"), "needs its gaussian unit"),
    ],
)
def test_transposes_that_do_not_fit(
    kinds: tuple[str, str], hidden: int, own: tuple[str, str], says: str
) -> None:
    below = Rbm.dense(SHAPE, 5, *kinds)
    model = Rbm.dense((below.hidden.units,), hidden, *own)
    with pytest.raises(RbmError, match=says):
        model.start_as_transpose(below)


# What a layer learns from ------------------------------------------------------------------------


def images(rows: int = ROWS) -> Images:
    pixels = (np.random.default_rng(1).random((rows, 12)) ** 2 * 256).astype(np.uint8)
    return Images(pixels, 255.0, np.arange(rows))


def binarized(inputs: Images, rows: NDArray[np.int64], draw: Draw) -> Values:
    values = inputs.pixels[rows] / 255
    return (bit_uniforms(draw, *values.shape) < values).astype(np.float64)


@pytest.mark.parametrize("sampled", [True, False])
def test_activations_are_those_of_images_drawn_anew_each_step(sampled: bool) -> None:
    data, draws = images(), Draws(6, 2)
    machines = [randomized(Rbm.dense(SHAPE, 9), 1), randomized(Rbm.dense((9,), 8), 2)]
    inputs = activations(data, machines, sampled, draws)
    layer = Layer(unit_kind("bernoulli"), (8,))
    rows = np.array([7, 3, 55, 20])
    seen = []
    for step in (0, 1):
        draw = draws.at(Purpose.BINARIZE, step)
        values = binarized(data, rows, draw)
        for level, machine in enumerate(machines, 1):
            total = values @ weights(machine) + bias(machine.hidden)
            values = 1 / (1 + np.exp(-total))
            if sampled:
                values, sure = drawn(machine.hidden, total, apart(draw, level))
                assert sure.all(), "a draw is too close to call: choose another seed"
        found = inputs.states(rows, layer, draw, step)
        assert isinstance(found, BitStates) == sampled
        np.testing.assert_allclose(found.to_array(), values, rtol=1e-5, atol=1e-6)
        seen.append(found.to_array().tobytes())
    assert seen[0] != seen[1]
    assert inputs.rows is data.rows


@pytest.mark.parametrize("kinds", [JOINTS[0], JOINTS[3], JOINTS[6]], ids="-".join)
def test_states_are_in_the_terms_of_the_layer_that_is_fed(kinds: tuple[str, ...]) -> None:
    stack = stack_of(*kinds)
    below, above = stack.machines
    data = dataclasses.replace(images(), binarize="none") if kinds[0] == "gaussian" else images()
    inputs = Activations(data, Stack([below]), True, Draws(6, 1))
    draw = Draws(6, 1).at(Purpose.BINARIZE, 3)
    first = data.states(data.rows, below.visible, draw)
    fed = stack.raised(first, draw, sampled=True, machines=1)[-1].to_array().astype(np.float64)
    found = inputs.states(data.rows, above.visible, draw)
    expected = on_paper(fed, above.visible, below.hidden)
    np.testing.assert_allclose(found.to_array(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hidden", ["bernoulli", "binomial:5", "nrelu", "gaussian:learned"])
def test_moments_are_those_of_one_pass(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the data's terms, whatever the blocks; the last of which is short."""
    monkeypatch.setattr("rbmcli.learning.inputs._BLOCK", 25)
    data = dataclasses.replace(images(90), rows=np.arange(4, 77))
    model = randomized(Rbm.dense(SHAPE, 6, "bernoulli", hidden), 1)
    draws = Draws(6, 1)
    inputs = Activations(data, Stack([model]), True, draws)
    values = []
    for start in (0, 25, 50):
        draw = draws.at(Purpose.ACTIVATIONS, 0, 0, start)
        states = data.states(data.rows[start : start + 25], model.visible, draw)
        total = states.to_array() @ weights(model) + bias(model.hidden)
        values.append(drawn(model.hidden, total, apart(draw, 1))[0] * sigma(model.hidden))
    together = np.concatenate(values)
    assert len(together) == 73
    np.testing.assert_allclose(inputs.mean, together.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(inputs.deviation, together.std(axis=0), rtol=1e-4, atol=1e-4)


def test_without_machines_a_layer_learns_from_the_images_themselves() -> None:
    data = images()
    assert activations(data, [], True, Draws(0)) is data


def test_nothing_is_kept_of_activations() -> None:
    """Of a data set larger than any layer, no array that is held grows with the images."""
    data = images(2000)
    inputs = Activations(data, Stack([randomized(Rbm.dense(SHAPE, 9), 1)]), True, Draws(6, 1))
    layer = Layer(unit_kind("bernoulli"), (9,))
    assert inputs.mean.shape == inputs.deviation.shape == (9,)
    inputs.states(data.rows, layer, Draws(6, 1).at(Purpose.BINARIZE, 0), 0)
    held = [x for x in vars(inputs).values() if isinstance(x, tuple)]
    arrays = [x for x in itertools.chain(*held, vars(inputs).values()) if hasattr(x, "nbytes")]
    assert len(arrays) == 2
    assert max(x.nbytes for x in arrays) < 2000


def test_layers_draw_apart() -> None:
    """The same image at the same step is another draw for another layer, purpose and level."""
    data = images()
    machine = randomized(Rbm.dense(SHAPE, 12), 1)
    layer = Layer(unit_kind("bernoulli"), (12,))
    flat = dataclasses.replace(data, pixels=np.full_like(data.pixels, 128))
    seen = set()
    for number in (1, 2, 3):
        draws = Draws(6, number)
        inputs = activations(flat, [machine], True, draws)
        for purpose in (Purpose.BINARIZE, Purpose.MONITOR):
            draw = draws.at(purpose, 0)
            seen.add(flat.states(flat.rows, layer, draw).to_array().tobytes())
            seen.add(inputs.states(flat.rows, layer, draw).to_array().tobytes())
    assert len(seen) == 12
    # Bits of neighbouring layers agree as often as chance has it: 720 of them, within 4 sigma.
    one, two = (
        flat.states(flat.rows, layer, Draws(6, number).at(Purpose.BINARIZE, 0)).to_array()
        for number in (1, 2)
    )
    assert abs((one == two).mean() - 0.5) < 4 * 0.5 / np.sqrt(one.size)


# Labels ------------------------------------------------------------------------------------------


def test_labels_stand_beside_features() -> None:
    data = dataclasses.replace(images(), rows=np.arange(5, 50))
    labels = np.random.default_rng(3).integers(0, CLASSES, ROWS)
    model = randomized(Rbm.dense(SHAPE, 9), 1)
    draws = Draws(6, 1)
    features = Layer(unit_kind("bernoulli"), (9,))
    plain = activations(data, [model], True, draws)
    inputs = Labelled(plain, features, labels, CLASSES)
    above = Rbm.dense((9,), 4, labels=CLASSES)
    rows, draw = np.array([49, 5, 23, 24]), draws.at(Purpose.BINARIZE, 1)
    found = inputs.states(rows, above.visible, draw, 1).to_array()
    np.testing.assert_array_equal(found[:, :9], plain.states(rows, features, draw, 1).to_array())
    np.testing.assert_array_equal(found[:, 9:], np.eye(CLASSES)[labels[rows]])
    one_hot = np.eye(CLASSES)[labels[5:50]]
    np.testing.assert_allclose(inputs.mean, [*plain.mean, *one_hot.mean(axis=0)])
    np.testing.assert_allclose(inputs.deviation, [*plain.deviation, *one_hot.std(axis=0)])
    np.testing.assert_array_equal(inputs.rows, data.rows)


# A trainer fed so --------------------------------------------------------------------------------


def test_a_trainer_learns_from_activations_as_from_the_same_states_given() -> None:
    """What is fed is all that matters: the bits of each step, handed over as data, teach alike."""
    data, draws = images(), Draws(6, 1)
    below = randomized(Rbm.dense(SHAPE, 9), 1)
    inputs = activations(data, [below], True, draws)
    layer = Layer(unit_kind("bernoulli"), (9,))

    @dataclasses.dataclass(frozen=True)
    class Recorded:
        """The same states, made beforehand."""

        rows: NDArray[np.int64]
        mean: Values
        deviation: Values

        def states(
            self, rows: NDArray[np.int64], layer: Layer, draw: Draw, step: int | None = None
        ) -> States:
            values = binarized(data, rows, draw)
            total = values @ weights(below) + bias(below.hidden)
            found, sure = drawn(below.hidden, total, apart(draw, 1))
            assert sure.all(), "a draw is too close to call: choose another seed"
            return BitStates.from_array(found)

    recorded = Recorded(data.rows, inputs.mean, inputs.deviation)
    found: list[dict[str, NDArray[Any]]] = []
    for source in (inputs, recorded):
        hyper = Hyperparameters(
            epochs=2,
            batch_size=25,
            learning_rate=Schedule.parse("0.1"),
            momentum=Schedule.parse("0.5"),
            weight_decay=1e-3,
            gibbs_steps=Schedule.parse("1"),
            method=Method(),
        )
        trainer = Trainer(Rbm.dense((9,), 4), source, None, hyper, 6, 1)
        trainer.initialize()
        before = trainer.model.link.weights.copy()
        assert sum(isinstance(event, StepDone) for event in trainer.run()) == 6
        assert (trainer.model.link.weights != before).any()
        found.append({name: x.copy() for name, x in trainer.model.parameters().items()})
    assert layer.units == 9
    for name, values in found[0].items():
        assert values.tobytes() == found[1][name].tobytes(), name

"""Chains through all levels of a stack against sums over all states of all levels, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from convolutions import all_bits, hidden_states
from numpy.typing import NDArray
from reference import connections
from test_inpainting import distance, distance_of, last
from test_stack import convolutional_stack, randomized, some_states, stack_of

from rbmcli import _kernels
from rbmcli.arrays import Floats
from rbmcli.draws import Draw
from rbmcli.errors import RbmError
from rbmcli.inference.clamping import Clamp
from rbmcli.inference.hierarchy import at_once, by_turns, check_at_once, usual_biases
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import BitStates, States
from rbmcli.model.units import Pooled, UnitKind
from rbmcli.model.units.bernoulli import Bernoulli
from rbmcli.model.way_down import WayDown

Values = NDArray[np.float64]
CHAINS, CLASSES = 60_000, 3
Walk = Iterator[tuple[States, Floats]]


def of_machines(*machines: Rbm) -> Stack:
    """They with large weights, and biases at which units hang on what they are told."""
    for number, model in enumerate(machines):
        rng = np.random.default_rng(10 + number)
        model.link.set_weights(rng.normal(0, 3, model.link.weights.shape))
        matrix = connections(model)
        for axis, layer in enumerate((model.hidden, model.visible)):
            bias = rng.normal(-matrix.sum(axis=axis) / 2, 0.5) - np.log(layer.kind.pool**2)
            own = bias if layer.sharing is None else layer.sharing.means(bias)
            layer.parameters["bias"][: layer.count] = own
            layer.refresh()
    return Stack(machines)


def dense() -> Stack:
    return of_machines(Rbm.dense((2, 3), 4), Rbm.dense((4,), 3))


def three() -> Stack:
    return of_machines(Rbm.dense((2, 3), 4), Rbm.dense((4,), 3), Rbm.dense((3,), 3))


def pooled_below() -> Stack:
    """Filters on two blocks of each of two maps."""
    first = Rbm.convolutional((2, 4), (2, 1, 1), 2)
    return of_machines(first, Rbm.convolutional(first.hidden.fed_shape, (3, 1, 1), planar=False))


def pooled_above() -> Stack:
    first = Rbm.convolutional((3, 3), (2, 2, 2))
    return of_machines(first, Rbm.convolutional((2, 2, 2), (2, 1, 1), 2, planar=False))


def dense_on_pooled() -> Stack:
    first = Rbm.convolutional((2, 5), (1, 1, 2), 2)
    return of_machines(first, Rbm.dense(first.hidden.fed_shape, 3))


def labelled() -> Stack:
    return of_machines(Rbm.dense((2, 3), 4), Rbm.dense((4,), 3, labels=CLASSES))


def one_labelled() -> Stack:
    return of_machines(Rbm.dense((2, 3), 3, labels=CLASSES))


def untied() -> Stack:
    """Ways down of their own, as up-down leaves them."""
    stack = three().untied()
    for number, way in enumerate(stack.ways_down):
        rng = np.random.default_rng(70 + number)
        way.link.set_weights(rng.normal(0, 3, way.link.weights.shape))
        way.visible.bias[: way.visible.units] = -way.link.weights.sum(axis=0) / 2
    return stack


#: Stacks whose levels can be drawn at once, and others.
BOTH_WAYS = [dense, three, pooled_below, pooled_above, dense_on_pooled]
TIED_OR_NOT = [*BOTH_WAYS, labelled, one_labelled, untied]
each_stack = pytest.mark.parametrize("make", TIED_OR_NOT, ids=lambda make: make.__name__)
each_of_both_ways = pytest.mark.parametrize("make", BOTH_WAYS, ids=lambda make: make.__name__)


# The oracle: every state of every level, in float64 -----------------------------------------------


def hidden_list(model: Rbm) -> NDArray[np.uint8]:
    """Every state of the hidden units."""
    return hidden_states(model) if len(model.hidden.shape) == 3 else all_bits(model.hidden.units)


def visible_list(model: Rbm, *, labels: bool) -> NDArray[np.uint8]:
    """Every state of the features, as `all_bits` has them; each with each label, or with none."""
    features = all_bits(model.features)
    if not model.classes:
        return features
    beside = np.eye(model.classes, dtype=np.uint8) if labels else np.zeros((1, model.classes))
    every = np.tile(beside, (len(features), 1))
    return np.hstack([features.repeat(len(beside), axis=0), every]).astype(np.uint8)


def softmax(exponents: Values) -> Values:
    """Of each row."""
    return np.exp(exponents - np.logaddexp.reduce(exponents, axis=1)[:, np.newaxis])


def own_bias(layer: Layer) -> Values:
    return layer.bias[: layer.units].astype(np.float64)


def up(model: Rbm) -> Values:
    """p(h | features), label units being off: (states of the features, hidden states)."""
    seen = visible_list(model, labels=False)
    return softmax((seen @ connections(model) + own_bias(model.hidden)) @ hidden_list(model).T)


def down(way: Rbm | WayDown, hidden: NDArray[np.uint8]) -> Values:
    """p(features | h), (hidden states, states of the features)."""
    matrix = connections(way).T if isinstance(way, Rbm) else way.link.weights.astype(np.float64)
    total = hidden @ matrix + own_bias(way.visible)
    if isinstance(way, WayDown):
        return softmax(total @ all_bits(way.visible.units).T)
    every = softmax(total @ visible_list(way, labels=True).T)
    return every.reshape(len(hidden), -1, max(way.classes, 1)).sum(axis=2)


def spread(model: Rbm, fed: Values) -> Values:
    """Values (rows, units that a layer above sees), at each unit that they stand for."""
    pool = model.hidden.kind.pool
    maps = fed.reshape(-1, *model.hidden.fed_shape)
    if pool > 1:
        maps = maps.repeat(pool, axis=1).repeat(pool, axis=2)
    return maps.reshape(len(fed), -1)


def fed_by(model: Rbm, hidden: NDArray[Any]) -> NDArray[Any]:
    """What a layer above sees of hidden states."""
    pool = model.hidden.kind.pool
    if pool == 1:
        return hidden
    height, width, maps = model.hidden.fed_shape
    blocks = hidden.reshape(-1, height, pool, width, pool, maps)
    return blocks.sum(axis=(2, 4), dtype=hidden.dtype).reshape(len(hidden), -1)


def feeding(model: Rbm) -> Values:
    """Which hidden state feeds what, 0 or 1: (hidden states, states of what is fed)."""
    fed = fed_by(model, hidden_list(model))
    return np.eye(1 << fed.shape[1])[fed @ (1 << np.arange(fed.shape[1]))]


def turn(stack: Stack, *, gibbs_step: bool = True) -> Values:
    """p(v' | v) of one step of `by_turns`; without the Gibbs step at the top it is another one."""
    below = stack.machines[:-1]
    steps = [np.eye(1 << stack.image_layer.units)]
    steps += [x for model in below for x in (up(model), feeding(model))]
    if gibbs_step:
        steps += [up(stack.top), down(stack.top, hidden_list(stack.top))]
    for model, way in reversed(list(zip(below, stack.directed, strict=True))):
        alike = feeding(model).T
        steps += [alike / alike.sum(axis=1, keepdims=True), down(way, hidden_list(model))]
    result = steps[0]
    for step in steps[1:]:
        result = result @ step
    np.testing.assert_allclose(result.sum(axis=1), 1)
    return result


def held(states: NDArray[np.uint8], image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Values:
    """Which state each of all states becomes where the masked units are put back, 0 or 1."""
    put_back = np.where(mask, image, states)
    return np.eye(len(states))[put_back @ (1 << np.arange(len(image)))]


# By turns ----------------------------------------------------------------------------------------


def alike(image: NDArray[np.uint8], rows: int = CHAINS) -> BitStates:
    return BitStates.from_array(np.tile(image, (rows, 1)))


@each_stack
@pytest.mark.parametrize("clamped", [False, True], ids=["free", "clamped"])
def test_by_turns_images_go_up_take_a_gibbs_step_and_come_down(
    make: Callable[[], Stack], clamped: bool
) -> None:
    """The first two images of chains that start alike have the distribution of the sum."""
    stack = make()
    units = stack.image_layer.units
    image = (np.arange(units) % 3 == 0).astype(np.uint8)
    mask = (np.arange(units) < units // 2) & clamped
    clamp = Clamp(alike(image), mask) if clamped else None
    step = turn(stack) @ held(all_bits(units), image, mask)
    start = np.zeros(1 << units)
    start[image @ (1 << np.arange(units))] = 1
    first, *rest = by_turns(stack, alike(image), 2, 3, clamp=clamp)
    assert (first[0].to_array() == image).all()
    assert (first[1] == image).all()
    exact = start
    for states, means in rest:
        exact = exact @ step
        found, floor = distance(states, exact)
        assert found < floor
        drawn = (states.to_array() - means).mean(axis=0, dtype=np.float64)
        assert np.abs(drawn).max() < 5 * 0.5 / np.sqrt(CHAINS)
        assert means[:, ~mask].min() > 0
        assert means[:, ~mask].max() < 1
    wrong = turn(stack, gibbs_step=False) @ held(all_bits(units), image, mask)
    assert 0.5 * np.abs(start @ (wrong - step)).sum() > 2 * floor


# At once -----------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """A draw of a layer: its total inputs, the states, and the draw's name."""

    layer: Layer
    total: Values
    states: States
    draw: Draw

    @property
    def values(self) -> Values:
        return self.states.to_array().astype(np.float64)


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[Drawn]:
    """What layers draw, one by one, from now on."""
    recorded: list[Drawn] = []
    sample = Layer.sample

    def recording(self: Layer, total: Floats, draw: Draw, mean_out: Floats | None = None) -> States:
        before = total[:, : self.units].astype(np.float64)
        states = sample(self, total, draw, mean_out)
        recorded.append(Drawn(self, before, states, draw))
        return states

    monkeypatch.setattr(Layer, "sample", recording)
    return recorded


def random_usual(stack: Stack) -> list[Floats]:
    """Biases of units that are more or less usual, of every level between images and top."""
    rng = np.random.default_rng(4)
    layers = [machine.visible for machine in stack.machines[1:]]
    return [layer.shared(rng.normal(0, 2, layer.units)).astype(np.float32) for layer in layers]


@each_of_both_ways
def test_at_once_a_level_is_drawn_from_both_sides(
    make: Callable[[], Stack], draws: list[Drawn]
) -> None:
    """p(h | v, h') ~ p1(h | v) p(h | h') / p1(h): every factor summed up by itself."""
    stack = make()
    first, second = stack.machines[:2]
    usual = random_usual(stack)
    image = (np.arange(first.visible.units) % 3 == 0).astype(np.uint8)
    last(at_once(stack, alike(image), usual, 1, 3))
    # First all levels from below, then these anew, then images.
    machines = len(stack.machines)
    layers = [machine.hidden for machine in stack.machines]
    assert [drawn.layer for drawn in draws] == [*layers, *layers, first.visible]
    from_below, above, lowest, images = (draws[n].states for n in (0, 1, machines, -1))

    hidden = hidden_list(first)
    number = {row.tobytes(): n for n, row in enumerate(hidden)}

    def counts(states: States) -> NDArray[np.int64]:
        """How many of them are each of `hidden`."""
        seen, times = np.unique(states.to_array(), axis=0, return_counts=True)
        found = np.zeros(len(hidden), np.int64)
        found[[number[row.tobytes()] for row in seen]] = times
        return found

    given_image = up(first)[image @ (1 << np.arange(image.size))]
    found, floor = distance_of(counts(from_below), given_image)
    assert found < floor
    found, floor = distance(images, counts(lowest) / CHAINS @ down(first, hidden))
    assert found < floor

    fed = fed_by(first, hidden)

    def independent(bias: Values) -> Values:
        """The probability of what every hidden state feeds, given natural biases."""
        on = 1 / (1 + np.exp(-bias))
        return np.prod(np.where(fed, on, 1 - on), axis=1)

    seen, group, times = np.unique(
        above.to_array(), axis=0, return_inverse=True, return_counts=True
    )
    wrong = []
    for upper in np.flatnonzero(times > 2000):
        told = seen[upper] @ connections(second).T + own_bias(second.visible)
        both = given_image * independent(told)
        exact = both / independent(usual[0].astype(np.float64))
        exact /= exact.sum()
        rows = np.flatnonzero(group.ravel() == upper)
        found, floor = distance_of(counts(lowest.take(rows)), exact)
        assert found < floor
        wrong += [0.5 * np.abs(x - exact).sum() / floor for x in (given_image, both / both.sum())]
    assert len(wrong) > 2
    assert max(wrong[0::2]) > 2, "what is above does not show"
    assert max(wrong[1::2]) > 2, "what is usual does not show"


KINDS = [
    ("gaussian:learned", "bernoulli", "bernoulli", "bernoulli"),
    ("binomial:3", "softmax:3", "softmax:3", "bernoulli"),
    ("gaussian", "nrelu", "nrelu", "bernoulli"),
    ("bernoulli", "nrelu", "gaussian", "nrelu"),
    ("bernoulli", "binomial:4", "gaussian", "gaussian"),
]


def stacks_of_kinds() -> list[Stack]:
    lower = randomized(Rbm.convolutional((2, 4, 5), (3, 2, 2), 1, "gaussian", "nrelu"), 1)
    upper = Rbm.convolutional((3, 4, 3), (2, 2, 2), 2, "gaussian", planar=False)
    of_maps = Stack([lower, randomized(upper, 2)])
    return [*(stack_of(*kinds) for kinds in KINDS), of_maps, convolutional_stack()]


each_kind = pytest.mark.parametrize("number", range(len(KINDS) + 2))


@each_kind
def test_at_once_every_step_goes_by_the_rule(number: int, draws: list[Drawn]) -> None:
    """Whatever the kinds: the total inputs of each draw, from the states drawn before it."""
    stack = stacks_of_kinds()[number]
    check_at_once(stack)
    usual = random_usual(stack)
    start, _ = some_states(stack.image_layer)
    draws.clear()
    walk = list(at_once(stack, start, usual, 3, 3))
    machines = len(stack.machines)
    assert len(draws) == machines + 3 * (machines + 1)
    assert len({drawn.draw for drawn in draws}) == len(draws)
    images, above = walk[0][0], list[Values]()
    queue = iter(draws)
    for step, (states, means) in enumerate(walk):
        values = images.to_array().astype(np.float64)
        hidden: list[Values] = []
        for level, machine in enumerate(stack.machines):
            if level:
                values = np.clip(values, *machine.visible.kind.valid_range)
            total = values @ connections(machine) + own_bias(machine.hidden)
            if above and level + 1 < machines:
                upper = stack.machines[level + 1]
                told = above[level + 1] @ connections(upper).T + own_bias(upper.visible)
                total += spread(machine, told - usual[level])
            drawn = next(queue)
            assert drawn.layer is machine.hidden
            np.testing.assert_allclose(drawn.total, total, rtol=1e-4, atol=2e-5)
            hidden.append(drawn.values)
            values = fed_by(machine, drawn.values)
        above = hidden
        if not step:
            continue
        lowest = stack.machines[0]
        drawn = next(queue)
        total = hidden[0] @ connections(lowest).T + own_bias(lowest.visible)
        assert drawn.layer is lowest.visible
        np.testing.assert_allclose(drawn.total, total, rtol=1e-4, atol=2e-5)
        assert states is drawn.states
        expected = lowest.visible.kind.define_mean(total)
        np.testing.assert_allclose(means, expected, rtol=1e-4, atol=2e-5)
        images = states


@pytest.mark.parametrize("steps", [0, 2])
def test_the_image_is_what_the_walk_starts_at(steps: int) -> None:
    stack = convolutional_stack()
    start, values = some_states(stack.image_layer)
    usual = usual_of(stack)
    for walk in (by_turns(stack, start, steps, 3), at_once(stack, start, usual, steps, 3)):
        first, *rest = walk
        assert (first[0].to_array() == values).all()
        assert (first[1] == values).all()
        assert len(rest) == steps


@each_kind
def test_usual_biases_are_those_of_units_as_active_as_images_make_them(number: int) -> None:
    """Of the units that a layer above sees; of convolutions those of a map have one."""
    stack = stacks_of_kinds()[number]
    images, values = some_states(stack.image_layer)
    found = usual_biases(stack, images)
    assert len(found) == len(stack.machines) - 1
    for level, usual in enumerate(found):
        machine, upper = stack.machines[level : level + 2]
        kind, total = machine.hidden.kind, values @ connections(machine) + own_bias(machine.hidden)
        values = np.maximum(0, total) if kind.name == "nrelu" else kind.define_mean(total)
        if kind.pool > 1:
            values = values[:, kind.group_places(machine.hidden.units)].sum(axis=2)
        mean = values.mean(axis=0)
        if upper.visible.sharing is not None:
            maps = machine.hidden.fed_shape[-1]
            mean = np.tile(mean.reshape(-1, maps).mean(axis=0), mean.size // maps)
        assert usual.dtype == np.float32
        expected = upper.visible.kind.bias_from_mean(mean)
        np.testing.assert_allclose(usual, expected, rtol=1e-3, atol=1e-4)
        if upper.visible.kind.name == "bernoulli":
            np.testing.assert_allclose(1 / (1 + np.exp(-usual)), mean, rtol=1e-4)


def usual_of(stack: Stack) -> list[Floats]:
    return usual_biases(stack, some_states(stack.image_layer)[0])


@pytest.mark.parametrize("walking", ["by turns", "at once"])
@each_kind
def test_clamped_units_stay(number: int, walking: str) -> None:
    stack = stacks_of_kinds()[number]
    kept, values = some_states(stack.image_layer)
    start = kept.take(np.roll(np.arange(kept.rows), 1))
    mask = np.arange(kept.units) < kept.units // 6 * 3
    clamp = Clamp(kept, mask)
    walk = (
        by_turns(stack, start, 4, 3, clamp=clamp)
        if walking == "by turns"
        else at_once(stack, start, usual_of(stack), 4, 3, clamp=clamp)
    )
    free = []
    for states, means in walk:
        assert (states.to_array()[:, mask] == values[:, mask].astype(np.float32)).all()
        assert (means[:, mask] == values[:, mask].astype(np.float32)).all()
        free.append(states.to_array()[:, ~mask])
    assert (free[0] == start.to_array()[:, ~mask]).all()
    assert all((one != two).any() for one, two in itertools.pairwise(free))


@each_kind
def test_threads_and_instruction_sets_do_not_show(number: int, isa: str, threads: int) -> None:
    stack = stacks_of_kinds()[number]

    def bytes_of() -> list[bytes]:
        start, _ = some_states(stack.image_layer, 130)
        walks = [by_turns(stack, start, 2, 3), at_once(stack, start, usual_of(stack), 2, 3)]
        return [x.tobytes() for walk in walks for s, means in walk for x in (s.to_array(), means)]

    found = bytes_of()
    _kernels.use_isa("baseline")
    _kernels.set_threads(1)
    assert bytes_of() == found


def test_no_draw_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a level and another, by the ways up and down, or by one step and the next."""
    stack = convolutional_stack()
    start, _ = some_states(stack.image_layer)
    used: list[Draw] = []

    def recording(kind: type[UnitKind]) -> Callable[..., None]:
        run = kind.run

        def record(*arguments: Any) -> None:
            run(*arguments)
            used.append(arguments[-1])

        return record

    for kind in (Bernoulli, Pooled):
        monkeypatch.setattr(kind, "run", recording(kind))
    up_and_down, all_levels = 3 + 1 + 2 * 2, 3 + 1
    last(by_turns(stack, start, 3, 3))
    assert len(set(used)) == len(used) == 3 * up_and_down
    used.clear()
    last(at_once(stack, start, random_usual(stack), 3, 3))
    assert len(set(used)) == len(used) == 3 + 3 * all_levels


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (labelled, "its top layer has label units"),
        (untied, "its ways up and down were trained apart"),
        (lambda: stack_of("gaussian", "gaussian:learned", "gaussian", "bernoulli"), "its inner"),
        (lambda: stack_of("bernoulli", "nrelu", "gaussian:learned", "bernoulli"), "its inner"),
        (lambda: stack_of("bernoulli", "bernoulli", "bernoulli", "gaussian:learned"), "its inner"),
    ],
)
def test_stacks_that_cannot_be_drawn_at_once(make: Callable[[], Stack], says: str) -> None:
    with pytest.raises(RbmError, match=f"^{says}"):
        check_at_once(make())

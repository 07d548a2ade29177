"""Convolutional machines against dense ones whose weights are tied, and against sums over all of
their states in float64 numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from convolutions import (
    BINARY,
    MACHINES,
    all_bits,
    each_binary,
    each_machine,
    exponents,
    hidden_states,
    joint,
    link_of,
    machine,
    parameters_of,
    some_states,
    written_out,
)
from numpy.typing import NDArray
from reference import connections

from rbmcli.draws import Draws
from rbmcli.errors import RbmError
from rbmcli.inference import ais
from rbmcli.inference.annealing import Path, ladder
from rbmcli.inference.chains import Chain
from rbmcli.inference.exact import is_exact, layer_states, log_likelihood, log_partition
from rbmcli.inference.free_energy import free_energy, pseudo_log_likelihood
from rbmcli.model.density import has_density
from rbmcli.model.links import Maps
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates, States
from rbmcli.model.units import Pooled, unit_kind


def as_floats(states: States) -> FloatStates:
    return FloatStates(states.floats(), states.units)


# Shapes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "filters", "pool", "hidden", "connected"),
    [
        ((28, 28), (40, 11, 11), 2, (18, 18, 40), (28, 28)),
        ((28, 28), (40, 12, 12), 2, (16, 16, 40), (27, 27)),
        ((3, 9, 7), (5, 2, 3), 3, (6, 3, 5), (7, 5)),
        ((9, 7), (5, 9, 7), 1, (1, 1, 5), (9, 7)),
        ((9, 7), (5, 1, 1), 7, (7, 7, 5), (7, 7)),
    ],
)
def test_places_of_filters_are_cut_to_whole_blocks(
    shape: tuple[int, ...],
    filters: tuple[int, int, int],
    pool: int,
    hidden: tuple[int, ...],
    connected: tuple[int, int],
) -> None:
    maps = Maps.over(shape, filters, pool, planar=True)
    assert maps.hidden_shape == hidden
    assert maps.connected == connected
    model = Rbm.convolutional(shape, filters, pool)
    assert model.hidden.shape == hidden
    assert model.hidden.fed_shape == (hidden[0] // pool, hidden[1] // pool, hidden[2])
    assert model.parameters()["hidden_bias"].shape == (filters[0],)
    assert model.parameters()["visible_bias"].shape == ((*shape, 1, 1)[0] if shape[2:] else 1,)
    channels = model.parameters()["visible_bias"].size
    assert model.parameters()["weights"].shape == (filters[0], channels, *filters[1:])


@pytest.mark.parametrize(
    ("shape", "filters", "pool", "kinds", "says"),
    [
        ((5, 5), (2, 6, 2), 1, ("bernoulli",) * 2, "filters of 6x2 .* larger than .* 5x5"),
        ((5, 5), (2, 2, 6), 1, ("bernoulli",) * 2, "filters of 2x6 .* larger than .* 5x5"),
        ((5, 5), (2, 4, 2), 3, ("bernoulli",) * 2, "2x4 places on 5x5, fewer than .* 3x3"),
        ((25,), (2, 2, 2), 1, ("bernoulli",) * 2, r"needs rows and columns, .* shape \(25,\)"),
        ((1, 3, 5, 5), (2, 2, 2), 1, ("bernoulli",) * 2, "needs rows and columns"),
        ((5, 5), (2, 2, 2), 2, ("bernoulli", "nrelu"), "nrelu hidden units cannot be pooled"),
        ((4, 4), (2, 2, 2), 1, ("softmax:4", "bernoulli"), "softmax:4 units have no rows and"),
        ((4, 4), (2, 2, 2), 1, ("bernoulli", "softmax:4"), "softmax:4 units have no rows and"),
    ],
)
def test_sizes_and_kinds_that_do_not_fit(
    shape: tuple[int, ...],
    filters: tuple[int, int, int],
    pool: int,
    kinds: tuple[str, str],
    says: str,
) -> None:
    with pytest.raises(RbmError, match=says):
        Rbm.convolutional(shape, filters, pool, *kinds)


def test_the_machines_here_leave_out_some_units_and_not_others() -> None:
    left_out = {name: not connections(machine(name)).any(axis=1).all() for name in MACHINES}
    assert left_out["cut off"]
    assert not left_out["pooled"]


# Total inputs ------------------------------------------------------------------------------------


@each_machine
@pytest.mark.parametrize("form", ["as drawn", "floats", "most on"])
def test_total_inputs_are_those_of_the_dense_machine(name: str, form: str, isa: str) -> None:
    model = machine(name)
    dense, matrix = written_out(model), connections(model)
    for layer, total, weights, bias in (
        (model.visible, model.hidden_input, matrix, dense.hidden.bias),
        (model.hidden, model.visible_input, matrix.T, dense.visible.bias),
    ):
        states = some_states(layer)
        if form == "floats":
            states = as_floats(states)
        elif form == "most on" and layer.kind.as_bits:
            # Of a block more than one too: the link knows nothing of blocks.
            states = BitStates.from_array(np.random.default_rng(2).random((40, layer.units)) < 0.7)
            assert states.density > 0.6
        found = total(states)
        units = weights.shape[1]
        exact = states.floats()[:, : layer.units].astype(np.float64) @ weights + bias[:units]
        np.testing.assert_allclose(found[:, :units], exact, rtol=1e-5, atol=1e-5)
        assert not found[:, units:].any()


@each_binary
def test_bits_and_floats_give_the_same_bits(name: str, isa: str) -> None:
    model = machine(name)
    for layer, total in (
        (model.visible, model.hidden_input),
        (model.hidden, model.visible_input),
    ):
        states = some_states(layer)
        assert isinstance(states, BitStates)
        assert states.density <= 0.4
        assert total(states).tobytes() == total(as_floats(states)).tobytes()


def test_filters_are_weights_of_places() -> None:
    """With the channels of images first; a filter at the first place is a column of the matrix."""
    for name in ("pooled", "planes", "channels last"):
        model = machine(name)
        maps = link_of(model).maps
        filters = model.filters()
        shape = (maps.filter_height, maps.filter_width)
        assert filters.shape[1:] == (shape if maps.channels == 1 else (maps.channels, *shape))
        weights = model.parameters()["weights"]
        np.testing.assert_array_equal(filters.reshape(weights.shape), weights)
        first = connections(model)[:, : maps.filters].T
        np.testing.assert_array_equal(model.patterns(), first.astype(np.float32))


# Energies ----------------------------------------------------------------------------------------


@each_machine
def test_free_energy_is_that_of_the_dense_machine(name: str) -> None:
    model = machine(name)
    states = some_states(model.visible)
    expected = free_energy(written_out(model), states)
    np.testing.assert_allclose(free_energy(model, states), expected, rtol=1e-5, atol=1e-5)


@each_machine
def test_log_partition_is_that_of_the_dense_machine(name: str) -> None:
    model = machine(name)
    if name == "gaussian:learned-gaussian:learned-1":
        assert not is_exact(model)
        return
    expected = log_partition(written_out(model))
    assert log_partition(model) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", [*BINARY, "binomial:3-bernoulli-2", "bernoulli-nrelu:exact-1"])
def test_pseudo_likelihood_is_that_of_the_dense_machine(name: str) -> None:
    model = machine(name)
    states = some_states(model.visible)
    groups = np.random.default_rng(4).integers(model.visible.units, size=states.rows)
    found = pseudo_log_likelihood(model, states, groups)
    expected = pseudo_log_likelihood(written_out(model), states, groups)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@each_machine
def test_log_conditionals_are_those_of_the_dense_machine(name: str) -> None:
    model = machine(name)
    dense = written_out(model)
    below, above = some_states(model.visible), some_states(model.hidden)
    for layer, other, states, total in (
        (model.hidden, dense.hidden, above, model.hidden_input(below)),
        (model.visible, dense.visible, below, model.visible_input(above)),
    ):
        found, expected = (x.log_conditional(states, total) for x in (layer, other))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        found, expected = (x.log_weight(states) for x in (layer, other))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@each_machine
def test_spectral_norm_is_that_of_the_dense_machine(name: str) -> None:
    model = machine(name)
    expected = np.linalg.norm(connections(model), 2)
    assert model.link.spectral_norm() == pytest.approx(expected, rel=2e-3)
    assert model.link.precise_spectral_norm() >= expected * (1 - 1e-6)


@pytest.mark.parametrize("side", [10, 15])
@pytest.mark.parametrize("filters", ["random", "edges", "even"])
def test_spectral_norm_of_larger_machines(filters: str, side: int) -> None:
    """What decides whether there is a density is never too small, and not much too large."""
    model = Rbm.convolutional((2, side, side), (3, 3, 3), 1, "gaussian", "gaussian")
    weights = np.random.default_rng(1).normal(0, 0.3, (3, 2, 3, 3))
    if filters == "edges":
        weights[..., 0], weights[..., 1] = -weights[..., 2], 0
    if filters == "even":
        weights = np.abs(weights)
    model.link.set_weights(weights)
    exact = np.linalg.norm(connections(model), 2)
    assert model.link.spectral_norm() == pytest.approx(exact, rel=2e-3)
    bound = model.link.precise_spectral_norm()
    assert exact <= bound < exact * (1 + (3 / side) ** 2)
    for scale, there_is_one in ((0.99 / bound, True), (1.001 / exact, False)):
        model.link.set_weights(scale * weights)
        assert has_density(model) == there_is_one


@each_binary
def test_layer_states_are_all_that_there_are(name: str) -> None:
    model = machine(name)
    every = hidden_states(model)
    found = layer_states(model.hidden, 0, len(every)).astype(np.uint8)
    assert {row.tobytes() for row in found} == {row.tobytes() for row in every}
    assert len(np.unique(found, axis=0)) == len(every)


@each_binary
def test_log_partition_and_free_energy_are_those_of_all_states(name: str) -> None:
    model = machine(name)
    of_visible = np.logaddexp.reduce(exponents(model, parameters_of(model)), axis=1)
    partition = np.logaddexp.reduce(of_visible)
    assert log_partition(model) == pytest.approx(partition, rel=1e-6)
    states = BitStates.from_array(all_bits(model.visible.units))
    np.testing.assert_allclose(free_energy(model, states), -of_visible, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(log_likelihood(model, states), of_visible - partition, atol=2e-5)


@pytest.mark.parametrize("name", ["pooled", "planes", "plain", "gaussian:learned-bernoulli-2"])
def test_annealing_gives_the_log_partition_of_enumeration(name: str) -> None:
    model = machine(name)
    if name in BINARY:
        exact = np.logaddexp.reduce(exponents(model, parameters_of(model)), axis=None)
    else:
        exact = log_partition(model)
    path = Path(model, np.full(model.visible.units, 0.4))
    estimate = ais.log_partition(path, ladder(300), 100, Draws(3))
    assert abs(estimate.value - exact) < 0.2
    assert estimate.low < exact < estimate.high
    assert estimate.high - estimate.low < 0.6


# Conditional distributions -----------------------------------------------------------------------

CHAINS = 40_000


@pytest.mark.parametrize("name", [name for name in BINARY if BINARY[name]["pool"] > 1])
def test_blocks_are_drawn_with_the_probabilities_of_the_joint_distribution(name: str) -> None:
    """Given an image each block by itself is none, or exactly one of its units."""
    model = machine(name)
    p, every = joint(model), hidden_states(model)
    places = model.hidden.kind.group_places(model.hidden.units)
    for number in (3, len(p) // 2 + 1):
        visible = BitStates.from_array(
            np.broadcast_to(all_bits(model.visible.units)[number], (CHAINS, model.visible.units))
        )
        drawn = Chain(model, Draws(number)).sample_hidden(visible, 0, 0).to_array()
        given = p[number] / p[number].sum()
        for block in places:
            assert drawn[:, block].sum(axis=1).max() == 1
            exact = given @ every[:, block]
            found = drawn[:, block].mean(axis=0)
            bound = 5 * np.sqrt(exact * (1 - exact) / CHAINS)
            assert (np.abs(found - exact) < bound).all()
        # Blocks are independent of each other.
        first, second = (drawn[:, block].any(axis=1) for block in places[:2])
        on = given @ (every[:, places[0]].any(axis=1) & every[:, places[1]].any(axis=1))
        assert abs((first & second).mean() - on) < 5 * np.sqrt(on * (1 - on) / CHAINS)


@each_binary
def test_means_are_those_of_the_joint_distribution(name: str, isa: str) -> None:
    model = machine(name)
    p, every = joint(model), hidden_states(model)
    visible = BitStates.from_array(all_bits(model.visible.units))
    means = model.hidden.mean(model.hidden_input(visible)).to_array()
    given = p / p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(means, given @ every, rtol=1e-5, atol=1e-6)
    hidden = model.hidden.states_of(every)
    means = model.visible.mean(model.visible_input(hidden)).to_array()
    given = (p / p.sum(axis=0)).T
    np.testing.assert_allclose(means, given @ visible.to_array(), rtol=1e-5, atol=1e-6)


# Gibbs chains ------------------------------------------------------------------------------------

#: Chains, and machines of so few states that as many tell distributions apart.
MANY = 50_000
SMALL: dict[str, dict[str, Any]] = {
    "small": {"visible_shape": (2, 3), "filters": (2, 1, 2), "pool": 2},
    "small planes": {"visible_shape": (2, 2, 2), "filters": (2, 1, 1), "pool": 2},
    "small plain": {"visible_shape": (2, 3), "filters": (2, 2, 2), "pool": 1},
    "small by three": {"visible_shape": (3, 3), "filters": (1, 1, 1), "pool": 3},
}


def small_machine(name: str) -> Rbm:
    """One with parameters that all matter."""
    rng = np.random.default_rng([*map(ord, name)])
    model = Rbm.convolutional(**SMALL[name])
    shapes = {name: x.shape for name, x in model.parameters().items()}
    model.load(
        {
            name: rng.choice([-1, 1], shape) * rng.uniform(0.5, 1.2, shape)
            for name, shape in shapes.items()
        }
    )
    return model


def cells(model: Rbm, visible: States, hidden: States) -> NDArray[np.int64]:
    """The numbers of pairs of states in `joint`."""
    every = hidden_states(model)
    code = 1 << np.arange(model.hidden.units, dtype=np.int64)
    order = np.argsort(every @ code)
    drawn = hidden.to_array().astype(np.int64) @ code
    place = np.searchsorted((every @ code)[order], drawn)
    # A state that cannot be, of two units on in a block, would be counted as its neighbour.
    assert ((every @ code)[order][np.minimum(place, len(every) - 1)] == drawn).all()
    of_visible = visible.to_array().astype(np.int64) @ (1 << np.arange(model.visible.units))
    return of_visible * len(every) + order[place]


def distance_after(chain: Chain, model: Rbm, steps: int) -> tuple[float, float]:
    """(total variation from p(v, h) after Gibbs steps from the exact p(v), what chance leaves)."""
    exact = joint(model)
    rng = np.random.default_rng(1)
    start = rng.choice(len(exact), MANY, p=exact.sum(axis=1))
    visible: States = BitStates.from_array(all_bits(model.visible.units)[start])
    hidden = chain.sample_hidden(visible, 0, 0)
    for substep in range(1, steps + 1):
        visible, hidden = chain.gibbs_step(hidden, 0, substep)
    counts = np.bincount(cells(model, visible, hidden), minlength=exact.size)
    samples = rng.multinomial(MANY, exact.ravel(), size=40)
    floor = 0.5 * np.abs(samples / MANY - exact.ravel()).sum(axis=1)
    found = 0.5 * np.abs(counts / MANY - exact.ravel()).sum()
    return float(found), float(floor.mean() + 5 * floor.std())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("steps", [0, 3])
def test_gibbs_steps_leave_the_distribution_as_it_is(name: str, steps: int) -> None:
    model = small_machine(name)
    distance, floor = distance_after(Chain(model, Draws(7)), model, steps)
    assert distance < floor


@pytest.mark.parametrize("name", SMALL)
def test_a_slightly_different_machine_is_noticed(name: str) -> None:
    model, wrong = small_machine(name), small_machine(name)
    wrong.link.set_weights(1.3 * wrong.link.weights)
    distance, floor = distance_after(Chain(wrong, Draws(7)), model, 3)
    assert distance > floor


class Independent(Pooled):
    """What is wrong with other programs: units of a block drawn by themselves, one then kept."""

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:
        return 1 / (1 + np.exp(-total))

    def sample(self, total: Any, units: int, draw: Any, mean_out: Any = None) -> States:
        kind = unit_kind("bernoulli")
        drawn = kind.sample(total, units, draw).to_array()
        groups = drawn[:, self.group_places(units)]
        first = groups & (np.cumsum(groups, axis=2) == 1)
        kept = np.zeros_like(drawn)
        kept[:, self.group_places(units)] = first
        return BitStates.from_array(kept)


def test_units_of_a_block_that_are_drawn_by_themselves_are_noticed() -> None:
    model, wrong = small_machine("small"), small_machine("small")
    kind = wrong.hidden.kind
    assert isinstance(kind, Pooled)
    wrong.hidden.kind = Independent(kind.shape, kind.pool)
    distance, floor = distance_after(Chain(wrong, Draws(7)), model, 3)
    assert distance > 3 * floor

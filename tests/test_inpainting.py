"""Clamped units stay, free ones follow their conditional; tempered chains reach every mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_statistics import all_states, joint, numbers_of, random_machine

from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.inference.chains import fantasies, random_start
from rbmcli.inference.clamping import Clamp, check_mask
from rbmcli.inference.ladder import Ladder
from rbmcli.inference.replicas import tempered_fantasies
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, States
from rbmcli.model.units import unit_kind

CHAINS = 20_000


def last(walk: Any) -> States:
    for visible, _ in walk:  # noqa: B007
        pass
    result: States = visible
    return result


def distance(states: States, exact: NDArray[np.float64]) -> tuple[float, float]:
    """(total variation from the exact distribution, what exact samples stay below)."""
    return distance_of(np.bincount(numbers_of(states), minlength=exact.size), exact)


def distance_of(counts: NDArray[np.int64], exact: NDArray[np.float64]) -> tuple[float, float]:
    """The same, given how often each state was drawn."""
    rows = counts.sum()
    samples = np.random.default_rng(0).multinomial(rows, exact, size=300)
    floors = 0.5 * np.abs(samples / rows - exact).sum(axis=1)
    found = 0.5 * np.abs(counts / rows - exact).sum()
    return float(found), float(floors.mean() + 5 * floors.std())


def conditional(
    model: Rbm, mask: NDArray[np.bool_], values: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """p(v | the units in the mask have these values), of every visible state."""
    agree = (all_states(model.visible.units)[:, mask] == values[mask]).all(axis=1)
    exact = joint(model).sum(axis=1) * agree
    return exact / exact.sum()


def islands() -> Rbm:
    """Either pair of units is likely to be on, and hardly a Gibbs chain goes from one to the other.

    Each pair is held by a hidden unit, whose bias makes up for half of what it gains.
    """
    model = Rbm.dense((4,), 2)
    one = [9.0, 9.0, -9.0, -9.0]
    model.load(
        {
            "weights": np.array([one, np.negative(one)]).T,
            "visible_bias": np.array([0.2, -0.2, 0.1, 0.0]),
            "hidden_bias": np.array([-9.0, -9.2]),
        }
    )
    return model


# Clamped units -----------------------------------------------------------------------------------

MASK = np.array([True, False, True, False, False])
VALUES = np.array([1, 0, 0, 1, 1], np.uint8)


@pytest.mark.parametrize("tempered", [False, True])
def test_free_units_come_to_their_distribution_given_the_clamped_ones(tempered: bool) -> None:
    model = random_machine(5, 3, weight=1.5)
    exact = conditional(model, MASK, VALUES)
    clamp = Clamp(BitStates.from_array(np.tile(VALUES, (CHAINS, 1))), MASK)
    start = random_start(model.visible, CHAINS, seed=1)
    if tempered:
        walk = tempered_fantasies(model, start, 30, 2, Ladder.even(3), clamp=clamp)
    else:
        walk = fantasies(model, start, 30, 2, clamp=clamp)
    found, floor = distance(last(walk), exact)
    assert found < floor
    # Free units of an unclamped walk have another distribution, so the test can fail.
    assert 0.5 * np.abs(joint(model).sum(axis=1) - exact).sum() > 10 * floor


@pytest.mark.parametrize("tempered", [False, True])
@pytest.mark.parametrize("binarize", ["threshold", "none"])
@pytest.mark.parametrize(
    "kind", ["bernoulli", "binomial:3", "gaussian", "gaussian:learned", "nrelu", "softmax:2"]
)
def test_clamped_units_stay_exactly(kind: str, binarize: str, tempered: bool) -> None:
    model = Rbm.dense((6,), 4, kind)
    rng = np.random.default_rng(0)
    parameters = {name: rng.normal(0, 0.3, x.shape) for name, x in model.parameters().items()}
    model.load(parameters)
    images = np.eye(2, dtype=np.float32)[rng.integers(2, size=(8, 3))].reshape(8, 6)
    if not kind.startswith("softmax"):
        images *= rng.random((8, 6), np.float32)
    draw = Draws(1).at(Purpose.BINARIZE, 0)
    kept = model.visible.from_data(images, np.arange(8), 1.0, binarize, draw)
    mask = np.array([1, 1, 0, 0, 1, 1], bool)
    clamp = Clamp(kept, mask)
    start = random_start(model.visible, 8, 1)
    walk = (
        tempered_fantasies(model, start, 4, 3, Ladder.even(3), clamp=clamp)
        if tempered
        else fantasies(model, start, 4, 3, clamp=clamp)
    )
    expected, free = kept.to_array()[:, mask], []
    for visible, means in walk:
        assert (visible.to_array()[:, mask] == expected).all()
        assert (means[:, mask] == expected).all()
        free.append(visible.to_array()[:, ~mask])
    assert len(free) == 5
    assert any((free[0] != other).any() for other in free[1:])


def test_means_of_free_units_are_those_given_the_hidden_ones() -> None:
    """Averaged over chains, samples and means agree, in the clamped walk too."""
    model = random_machine(5, 3, weight=1.5)
    clamp = Clamp(BitStates.from_array(np.tile(VALUES, (CHAINS, 1))), MASK)
    for walk in (
        fantasies(model, random_start(model.visible, CHAINS, 1), 3, 2, clamp=clamp),
        tempered_fantasies(
            model, random_start(model.visible, CHAINS, 1), 3, 2, Ladder.even(3), clamp=clamp
        ),
    ):
        for visible, means in walk:
            difference = (visible.to_array() - means).mean(axis=0, dtype=np.float64)
            assert np.abs(difference).max() < 5 * 0.5 / np.sqrt(CHAINS)


@pytest.mark.parametrize(
    ("mask", "kind", "says"),
    [
        ([1, 1, 1, 1], "bernoulli", "m.png: keeps every unit"),
        ([0, 0, 0, 0], "bernoulli", "m.png: keeps no unit"),
        ([1, 1, 1, 0], "softmax:2", "m.png: keeps some units of a group"),
    ],
)
def test_masks_that_make_no_sense(mask: list[int], kind: str, says: str) -> None:
    with pytest.raises(RbmError, match=f"^{says}"):
        check_mask(np.array(mask, bool), unit_kind(kind), "m.png")
    check_mask(np.array([1, 1, 0, 0], bool), unit_kind(kind), "m.png")


# Tempering ---------------------------------------------------------------------------------------


def test_tempered_chains_come_from_one_mode_to_the_other() -> None:
    model = islands()
    exact = joint(model).sum(axis=1)
    start = BitStates.from_array(np.tile([1, 1, 0, 0], (5000, 1)))
    found, floor = distance(last(fantasies(model, start, 60, 1)), exact)
    assert found > 10 * floor
    walk = tempered_fantasies(model, start, 60, 1, Ladder.even(5, weight=0.1))
    found, floor = distance(last(walk), exact)
    assert found < floor


@pytest.mark.parametrize("of_its_own", [True, False])
def test_swaps_leave_the_distribution_as_it_is(of_its_own: bool) -> None:
    """Whatever the reference. Two rungs and strong weights: a wrong swap shows at the top."""
    model = random_machine(5, 3, weight=3.0)
    reference = model.visible.bias.copy()
    reference[:5] += [2.0, -1.0, 0.5, -2.0, 0.0]
    start = random_start(model.visible, CHAINS, 5)
    ladder = Ladder(np.array([1.0, 0.5]))
    given = None if of_its_own else reference
    walk = tempered_fantasies(model, start, 40, 2, ladder, reference=given)
    found, floor = distance(last(walk), joint(model).sum(axis=1))
    assert found < floor


def test_a_ladder_of_one_rung_is_a_plain_walk() -> None:
    model = random_machine(5, 3)
    start = random_start(model.visible, 50, 5)
    ladder = Ladder(np.ones(1))
    for plain, tempered in zip(
        fantasies(model, start, 5, 2, first_step=7),
        tempered_fantasies(model, start, 5, 2, ladder, first_step=7),
        strict=True,
    ):
        assert (plain[0].to_array() == tempered[0].to_array()).all()
        assert (plain[1] == tempered[1]).all()


def test_the_first_step_names_the_draws() -> None:
    """A walk taken up at step 3 is the rest of the walk from 0."""
    model = random_machine(5, 3)
    whole = [v.to_array() for v, _ in fantasies(model, random_start(model.visible, 50, 5), 6, 2)]
    middle = BitStates.from_array(whole[3])
    rest = [v.to_array() for v, _ in fantasies(model, middle, 3, 2, first_step=3)]
    assert (np.array(whole[3:]) == np.array(rest)).all()


def test_swaps_take_turns_and_go_by_the_chance() -> None:
    rungs, chains = 4, 10_000
    u = np.zeros((rungs, chains))
    u[1] = -1.5  # the gap is 1/3: swaps of 0 and 1, and of 2 and 1 upward, have these chances
    draw = Draws(1).at(Purpose.SWAP, 0)
    for turn, pairs in ((0, [(0, 1), (2, 3)]), (1, [(1, 2)])):
        ladder = Ladder.even(rungs, weight=1.0)
        order = ladder.swap(u.ravel(), draw, turn).reshape(rungs, chains)
        assert sorted(order.ravel()) == list(range(rungs * chains))
        assert (order % chains == np.arange(chains)).all()  # chains stay in their columns
        came_from = order // chains
        idle = [r for r in range(rungs) if all(r not in pair for pair in pairs)]
        assert all((came_from[rung] == rung).all() for rung in idle)
        for upper, lower in pairs:
            chance = min(1.0, float(np.exp((u[lower, 0] - u[upper, 0]) / 3)))
            swapped = (came_from[upper] == lower).mean()
            assert abs(swapped - chance) <= 5 * np.sqrt(chance * (1 - chance) / chains)
            assert ladder.rejection[upper] == pytest.approx(1 - chance)


def test_a_ladder_adapts_to_rejections() -> None:
    ladder = Ladder(np.linspace(1, 0, 4), np.array([0.6, 0.2, 0.2]))
    ladder.adapt()
    # The summed rejection, in a line between the old rungs, is evenly spaced at the new ones.
    barrier = np.interp(ladder.beta[::-1], [0, 1 / 3, 2 / 3, 1], [1.0, 0.8, 0.6, 0.0])[::-1]
    np.testing.assert_allclose(barrier, [0, 1 / 3, 2 / 3, 1], atol=1e-12)
    even = Ladder(np.linspace(1, 0, 4), np.full(3, 0.4))
    even.adapt()
    np.testing.assert_allclose(even.beta, np.linspace(1, 0, 4), atol=1e-12)

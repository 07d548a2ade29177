"""Names of draws: every one its own, and words that are uniform and independent between them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rbmcli import _kernels
from rbmcli.draws import Draw, Draws, Purpose, apart


def words(draw: Draw, rows: int, units: int) -> np.ndarray:
    out = np.empty((rows, units), np.uint32)
    _kernels.random_words(draw, out)
    return out


def test_keys_of_all_seeds_layers_and_purposes_differ() -> None:
    seeds = [*range(50), 2**32, 2**63, 2**64 - 1, -2]
    names = list(itertools.product(seeds, range(4), Purpose))
    keys = {Draws(seed, layer).key(purpose) for seed, layer, purpose in names}
    assert len(keys) == len(names)
    assert all(0 <= key < 2**64 for key in keys)


def test_keys_stay_what_they_were() -> None:
    # A change of these, wanted or not, keeps runs from being resumed as they would have gone on.
    assert Draws(0).key(Purpose.WEIGHTS) == 0x07776F161BD8EA27
    assert Draws(1, layer=1).key(Purpose.SAMPLE) == 0x48138E0A7120CE51


def test_a_draw_names_step_substep_and_first_row() -> None:
    draws = Draws(3)
    key = draws.key(Purpose.HIDDEN)
    assert draws.at(Purpose.HIDDEN, 5) == (key, 5, 0, 0)
    assert draws.at(Purpose.HIDDEN, 2**32 + 5, 2, 7) == (key, 5, 2, 7)


def test_rows_are_counted_from_the_first_row() -> None:
    draws = Draws(3)
    whole = words(draws.at(Purpose.VISIBLE, 1), 20, 37)
    part = words(draws.at(Purpose.VISIBLE, 1, first_row=13), 7, 37)
    np.testing.assert_array_equal(part, whole[13:])


def test_fewer_units_draw_the_same() -> None:
    draw = Draws(3).at(Purpose.VISIBLE, 1)
    np.testing.assert_array_equal(words(draw, 5, 37), words(draw, 5, 101)[:, :37])


@pytest.mark.parametrize(
    "other",
    [
        Draws(12).at(Purpose.HIDDEN, 100, 1),
        Draws(11, layer=1).at(Purpose.HIDDEN, 100, 1),
        Draws(11).at(Purpose.VISIBLE, 100, 1),
        Draws(11).at(Purpose.HIDDEN, 101, 1),
        Draws(11).at(Purpose.HIDDEN, 100, 2),
        Draws(11).at(Purpose.HIDDEN, 100, 1, first_row=1000),
        apart(Draws(11).at(Purpose.HIDDEN, 100, 1), 1),
    ],
    ids=["seed", "layer", "purpose", "step", "substep", "row", "apart"],
)
def test_draws_are_uniform_and_independent(other: Draw) -> None:
    rows, units, cells = 1000, 784, 16
    first = words(Draws(11).at(Purpose.HIDDEN, 100, 1), rows, units) >> 28
    second = words(other, rows, units) >> 28
    expected = rows * units / cells**2
    joint = np.bincount((first * cells + second).ravel(), minlength=cells**2)
    statistic = ((joint - expected) ** 2 / expected).sum()
    freedom = cells**2 - 1
    # The statistic has mean `freedom` and variance 2 freedom.
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


def test_generators_are_named_too() -> None:
    draws = Draws(4)
    first = draws.generator(Purpose.SHUFFLE, 3).random(5)
    np.testing.assert_array_equal(draws.generator(Purpose.SHUFFLE, 3).random(5), first)
    for other in (
        draws.generator(Purpose.SHUFFLE, 4),
        draws.generator(Purpose.WEIGHTS, 3),
        Draws(5).generator(Purpose.SHUFFLE, 3),
    ):
        assert not np.isin(other.random(5), first).any()

"""Blocks of several kinds side by side: states, draws and kernels, at sizes that fit no word."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ROUNDOFF, joint_of, uniforms_of

from rbmcli import _kernels
from rbmcli.arrays import padded, to_padded, words_for
from rbmcli.draws import Draws, Purpose, apart
from rbmcli.errors import RbmError
from rbmcli.inference.clamping import check_mask
from rbmcli.model.states import BitStates, FloatStates, States, beside, columns, one_hot
from rbmcli.model.units import Joint, unit_kind

DRAW = (0xFEDCBA9876543210, 3, 1, 5)
ROWS = 33
SIZES = (1, 63, 64, 65, 500)
KINDS = ("bernoulli", "binomial:5", "nrelu", "nrelu:exact")
JOINTS = [
    *itertools.product(KINDS[:1], SIZES, (2, 10)),
    *itertools.product(KINDS[1:], (17, 64), (10,)),
]


@pytest.fixture(params=JOINTS, ids=lambda joint: "-".join(map(str, joint)))
def joint(request: pytest.FixtureRequest) -> Joint:
    kind, units, labels = request.param
    return joint_of((kind, units), (f"softmax:{labels}", labels))


def some_totals(kind: Joint, rows: int = ROWS) -> NDArray[np.float32]:
    rng = np.random.default_rng(kind.units)
    return rng.normal(0, 2, (rows, kind.units)).astype(np.float32)


def some_bits(rows: int, units: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng([units, seed]).integers(0, 2, (rows, units), np.uint8)


# States ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [1, 10, 64, 130])
@pytest.mark.parametrize("left", SIZES)
def test_states_side_by_side_and_their_parts(left: int, right: int) -> None:
    values = some_bits(7, left), some_bits(7, right, 1)
    bits = [BitStates.from_array(part) for part in values]
    floats = [FloatStates(to_padded(part), part.shape[1]) for part in values]
    for parts in ((bits[0], bits[1]), (bits[0], floats[1]), (floats[0], bits[1]), tuple(floats)):
        both = beside(*parts)
        form = BitStates if parts == (bits[0], bits[1]) else FloatStates
        assert isinstance(both, form)
        assert both.units == left + right
        np.testing.assert_array_equal(both.to_array(), np.concatenate(values, axis=1))
        assert_nothing_beyond(both)
        cuts = (0, left), (left, left + right), (left - 1, left + 1), (left // 2, left + right)
        for start, stop in cuts:
            part = columns(both, start, stop)
            assert isinstance(part, form)
            np.testing.assert_array_equal(part.to_array(), both.to_array()[:, start:stop])
            assert_nothing_beyond(part)


def assert_nothing_beyond(states: States) -> None:
    if isinstance(states, BitStates):
        assert states.bits.shape[1] == words_for(states.units)
        assert states.count == states.to_array().sum()
        assert states.bits.flags.c_contiguous
    else:
        assert states.values.shape[1] == padded(states.units)
        assert not states.values[:, states.units :].any()


@pytest.mark.parametrize("classes", [2, 10, 64, 130])
def test_one_hot(classes: int) -> None:
    labels = np.random.default_rng(classes).integers(classes, size=50)
    states = one_hot(labels, classes)
    np.testing.assert_array_equal(states.to_array(), np.eye(classes)[labels])
    assert one_hot(labels[:0], classes).rows == 0


@pytest.mark.parametrize("wrong", [-1, 10])
def test_labels_that_are_no_class_are_refused(wrong: int) -> None:
    with pytest.raises(RbmError, match=f"^label {wrong}: there are 10 classes; .* 0 to 9$"):
        one_hot(np.array([3, wrong, 5]), 10)


# Draws -------------------------------------------------------------------------------------------


def test_draws_of_blocks_are_their_own() -> None:
    draw = Draws(3).at(Purpose.VISIBLE, 5, 2, 7)
    assert apart(draw, 0) == draw
    others = [apart(draw, number) for number in range(20)]
    assert len({key for key, *_ in others}) == 20
    assert all(0 <= key < 2**64 and rest == list(draw[1:]) for key, *rest in others)


def test_blocks_draw_independently() -> None:
    """Two blocks of the same kind: how often units are on together is no more than by chance."""
    rows = 40_000
    kind = joint_of(("bernoulli", 4), ("bernoulli", 4), ("bernoulli", 4))
    states = kind.sample(to_padded(np.zeros((rows, 12))), 12, DRAW).floats()[:, :12]
    correlation = np.corrcoef(states.T) - np.eye(12)
    assert np.abs(correlation).max() < 5 / np.sqrt(rows)


def test_the_first_block_draws_what_it_would_alone(joint: Joint) -> None:
    totals = some_totals(joint)
    kind, units = joint.blocks(joint.units)[0]
    alone = kind.sample(to_padded(totals[:, :units]), units, DRAW)
    drawn = joint.sample(to_padded(totals), joint.units, DRAW)
    np.testing.assert_array_equal(drawn.to_array()[:, :units], alone.to_array())


# Kernels -----------------------------------------------------------------------------------------


def test_means_and_cumulants_are_as_defined(joint: Joint, isa: str) -> None:
    totals, units = some_totals(joint), joint.units
    exact = totals.astype(np.float64)
    rounding = ROUNDOFF * (8 + np.ptp(totals))
    total, mean = to_padded(totals), np.full((ROWS, padded(units)), np.nan, np.float32)
    joint.run(total, units, mean, None, None)
    np.testing.assert_allclose(mean[:, :units], joint.define_mean(exact), rtol=rounding)
    assert not mean[:, units:].any()
    np.testing.assert_array_equal(total, to_padded(totals))

    terms = joint.define_cumulant(0.5 * exact)
    bound = 16 * ROUNDOFF * (np.abs(terms) + np.abs(totals).max()).sum(axis=1)
    found = np.full(ROWS, 2.5)
    joint.add_cumulant(total, units, found, 0.5, -2.0)
    assert (np.abs(found - (2.5 - 2 * terms.sum(axis=1))) <= bound).all()
    change = terms.sum(axis=1) - joint.define_cumulant(0.25 * exact).sum(axis=1)
    found = np.full(ROWS, 2.5)
    joint.add_cumulant_change(total, units, found, np.float32([0.25, 0.5]), -2.0)
    assert (np.abs(found - (2.5 - 2 * change)) <= bound).all()


def test_states_are_as_defined(joint: Joint, isa: str) -> None:
    totals, units = some_totals(joint), joint.units
    drawn = np.concatenate(
        [
            uniforms_of(kind, apart(DRAW, number), ROWS, own)
            for number, (kind, own) in enumerate(joint.blocks(units))
        ],
        axis=1,
    )
    exact = totals.astype(np.float64)
    states = joint.sample(to_padded(totals), units, DRAW)
    assert isinstance(states, BitStates if joint.as_bits else FloatStates)
    assert_nothing_beyond(states)
    expected = joint.define_sample(exact, drawn)
    # Rounding may decide otherwise where nudged uniforms do; the paper's rectified draws vary.
    nudged = [joint.define_sample(exact, drawn + nudge) for nudge in (-3e-6, 3e-6)]
    sure = np.abs(nudged[1] - nudged[0]) < 0.01
    assert sure.mean() > 0.99
    np.testing.assert_allclose(states.to_array()[sure], expected[sure], rtol=1e-5, atol=2e-5)


def test_either_output_alone_in_place_and_over_what_was_there(joint: Joint) -> None:
    totals, units = some_totals(joint), joint.units
    mean = to_padded(totals)
    states = joint.sample(mean, units, DRAW, mean_out=mean)
    only_mean = joint.mean(to_padded(totals), units, np.full_like(mean, np.nan)).values
    np.testing.assert_array_equal(mean, only_mean)
    if isinstance(states, BitStates):
        raw, blank = states.bits, np.full_like(states.bits, 2**64 - 1)
    else:
        raw, blank = states.values, np.full_like(states.values, np.nan)
    joint.run(to_padded(totals), units, None, blank, DRAW)
    np.testing.assert_array_equal(blank, raw)


def test_threads_and_instruction_sets_do_not_show(joint: Joint) -> None:
    results = set()
    for isa in ("baseline", "avx2", "avx512"):
        try:
            _kernels.use_isa(isa)
        except ValueError:
            continue
        for threads in (1, 2, 3):
            _kernels.set_threads(threads)
            total, cumulant = to_padded(some_totals(joint, 130)), np.zeros(130)
            joint.add_cumulant(total, joint.units, cumulant)
            states = joint.sample(total, joint.units, DRAW, mean_out=total)
            results.add((cumulant.tobytes(), total.tobytes(), states.to_array().tobytes()))
    assert len(results) == 1


def test_no_rows_are_no_error(joint: Joint) -> None:
    empty = np.zeros((0, padded(joint.units)), np.float32)
    assert joint.mean(empty, joint.units, empty).rows == 0
    assert joint.sample(empty, joint.units, DRAW).rows == 0
    joint.add_cumulant(empty, joint.units, np.zeros(0))


# What a joint says of itself ---------------------------------------------------------------------


def test_what_a_joint_is() -> None:
    labelled = joint_of(("bernoulli", 500), ("softmax:10", 10))
    assert labelled.name == "500 bernoulli + 10 softmax:10"
    assert labelled.as_bits
    assert not labelled.quadratic
    assert labelled.valid_range == (0, 1)
    assert labelled.of_model is labelled
    rectified = joint_of(("nrelu", 3), ("softmax:2", 2))
    assert not rectified.as_bits
    assert rectified.quadratic
    assert rectified.takes == "0 and above"
    assert rectified.of_model.name == "3 nrelu:exact + 2 softmax:2"


@pytest.mark.parametrize("name", ["gaussian", "gaussian:learned"])
def test_gaussian_units_stand_alone(name: str) -> None:
    with pytest.raises(RbmError, match=r"^label units stand beside .* not gaussian ones$"):
        joint_of((name, 3), ("softmax:2", 2))


def test_masks_keep_whole_groups_of_each_block() -> None:
    kind = joint_of(("bernoulli", 3), ("softmax:2", 4))
    check_mask(np.array([1, 0, 1, 1, 1, 0, 0], bool), kind, "m.png")
    with pytest.raises(RbmError, match=r"^m\.png: keeps some units of a group .*groups of 2$"):
        check_mask(np.array([1, 0, 1, 0, 1, 1, 0], bool), kind, "m.png")


@pytest.mark.parametrize("binarize", ["sample", "threshold", "none"])
def test_data_become_states_block_by_block(binarize: str) -> None:
    rng = np.random.default_rng(2)
    features = rng.integers(0, 256, (20, 65))
    images = np.concatenate([features, 255 * np.eye(3, dtype=int)[rng.integers(3, size=20)]], 1)
    images = images.astype(np.uint8)
    index = np.array([7, 3, 3, 19])
    kind = joint_of(("bernoulli", 65), ("softmax:3", 3))
    how, scale = kind.reading(255, 255.0, binarize)
    states = kind.from_data(images, index, scale, how, DRAW)
    own = np.ascontiguousarray(images[:, :65])
    alone = unit_kind("bernoulli").from_data(own, index, scale, how, DRAW)
    assert isinstance(states, type(alone))
    np.testing.assert_array_equal(states.to_array()[:, :65], alone.to_array())
    np.testing.assert_array_equal(states.to_array()[:, 65:], images[index, 65:] // 255)

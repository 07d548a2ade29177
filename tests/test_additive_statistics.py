"""Statistics of parts of a batch add up to those of the batch, and teach the same step.

The step of the whole is the one that training takes: in one kernel, where there is one.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rbmcli.arrays import to_padded
from rbmcli.learning.centering import REFRESH, Centering
from rbmcli.learning.sparsity import SparsityTarget
from rbmcli.learning.statistics import Statistics
from rbmcli.learning.update import Regularization, Update
from rbmcli.model.links import Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates

RULE = Rule(0.05, 0.9, 0.01, 0.0, True)
#: Where the rows of both phases are cut: into parts of different sizes.
CUTS = ([0, 3, 4, 11, 20], [0, 5, 6, 9, 12])
MACHINES = {
    "binary": lambda: Rbm.dense((70,), 33),
    "gaussian": lambda: Rbm.dense((20,), 17, "gaussian", "nrelu"),
    "given deviation": lambda: Rbm.dense((20,), 17, "gaussian:0.5"),
    "learned deviation": lambda: Rbm.dense((20,), 17, "gaussian:learned"),
    "both learned": lambda: Rbm.dense((20,), 9, "gaussian:learned", "gaussian:learned"),
    "filters": lambda: Rbm.convolutional((8, 9), (5, 3, 2), 2),
    "filters over channels": lambda: Rbm.convolutional((6, 6, 4), (9, 3, 3), planar=False),
    "filters over colours": lambda: Rbm.convolutional((3, 6, 6), (9, 3, 3), 1, "gaussian:learned"),
}
SPARSE = SparsityTarget(0.1, 0.7), SparsityTarget(0.2, 0.3, "both")


def begun(name: str, centred: bool, limits: Regularization) -> tuple[Rbm, Update]:
    model, rng = MACHINES[name](), np.random.default_rng(5)
    for array in (model.parameters() | model.velocities()).values():
        array[:] = rng.normal(0, 0.1, array.shape)
    model.visible.refresh()
    model.hidden.refresh()
    centering = Centering(model, rng.random(model.visible.units)) if centred else None
    return model, Update(model, centering, limits)


def phase(model: Rbm, rng: np.random.Generator, rows: int) -> Phase:
    values = rng.random((rows, model.visible.units)).astype(np.float32)
    hidden = to_padded(rng.random((rows, model.hidden.units), np.float32))
    if model.visible.kind.as_bits:
        return Phase(BitStates.from_array(values < 0.3), hidden)
    return Phase(FloatStates(to_padded(values - 0.5), model.visible.units), hidden)


def part(whole: Phase, first: int, end: int) -> Phase:
    return Phase(whole.visible.take(np.arange(first, end)), whole.hidden[first:end].copy())


def added_up(update: Update, positive: Phase, negative: Phase) -> Statistics:
    whole = positive.visible.rows, negative.visible.rows
    shares = []
    for i in range(len(CUTS[0]) - 1):
        parts = [
            part(each, *cuts[i : i + 2])
            for each, cuts in zip((positive, negative), CUTS, strict=True)
        ]
        shares.append(update.share(parts[0], parts[1], whole))
    return reduce(Statistics.plus, shares)


def everything(model: Rbm, update: Update) -> dict[str, NDArray[Any]]:
    velocities = {f"velocity of {name}": x for name, x in model.velocities().items()}
    found = {**model.parameters(), **update.state(), **velocities}
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("sparse", [None, *SPARSE], ids=["any", "biases", "both"])
@pytest.mark.parametrize("name", MACHINES)
def test_parts_add_up_to_the_batch(name, sparse, centred):
    limits = Regularization(sparsity=sparse)
    (one, whole), (other, parts) = (begun(name, centred, limits) for _ in range(2))
    rng = np.random.default_rng(1)
    for _ in range(REFRESH + 2):
        positive, negative = phase(one, rng, CUTS[0][-1]), phase(one, rng, CUTS[1][-1])
        assert whole.step(positive, negative, RULE)
        assert parts.apply(added_up(parts, positive, negative), RULE)
        found, wanted = everything(other, parts), everything(one, whole)
        assert found.keys() == wanted.keys()
        for key, values in wanted.items():
            scale = np.abs(values).max() + 1
            np.testing.assert_allclose(found[key], values, 0, 1e-5 * scale, err_msg=key)
        other.load(one.parameters(), one.velocities())  # differences must not grow
        parts.restore(whole.state())


def test_a_part_that_is_left_out_is_missed():
    """The tolerance above is far below what one row of twenty comes to."""
    (one, whole), (other, parts) = (begun("binary", True, Regularization()) for _ in range(2))
    rng = np.random.default_rng(1)
    positive, negative = phase(one, rng, 20), phase(one, rng, 12)
    shares = parts.share(part(positive, 0, 19), negative, (20, 12))
    assert whole.step(positive, negative, RULE)
    assert parts.apply(shares, RULE)
    found, wanted = everything(other, parts), everything(one, whole)
    assert all(
        np.abs(found[key] - wanted[key]).max() > 1e-4
        for key in ("weights", "visible_bias", "hidden_bias")
    )

"""A step in one kernel is the same step that numpy and single kernels take, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import padded, to_padded, zeros
from rbmcli.cli.main import run as rbm
from rbmcli.learning.centering import REFRESH, Centering
from rbmcli.learning.sparsity import SparsityTarget
from rbmcli.learning.update import Regularization, Update
from rbmcli.model.links import Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates

#: (visible, hidden, rows of the data, rows of the model, fraction that is on)
SIZES = [
    *((1, 1, 1, 1, 0.5), (2, 17, 3, 5, 1.0), (16, 16, 16, 16, 0.0), (63, 33, 100, 70, 0.2)),
    *((64, 64, 9, 10, 0.3), (65, 130, 10, 9, 0.9), (130, 65, 257, 3, 0.1)),
    *((784, 50, 100, 100, 0.2), (257, 300, 7, 7, 0.4)),
]
KINDS = [
    ("bernoulli", "bernoulli"),
    ("gaussian", "bernoulli"),
    ("gaussian:0.5", "nrelu"),
    ("gaussian:learned", "gaussian:learned"),
]
RULES = [
    Rule(0.1, 0.0, 0.0, 0.0, False),
    Rule(0.05, 0.9, 0.001, 0.0, False),
    Rule(0.2, 0.5, 0.01, 0.0, True),
]


def everything(model: Rbm, update: Update) -> dict[str, NDArray[Any]]:
    arrays = {**model.parameters(), **update.state()}
    arrays |= {f"velocity of {name}": x for name, x in model.velocities().items()}
    return {name: np.array(values) for name, values in arrays.items()}


def begun(
    visible: int, hidden: int, centred: bool, seed: int, kinds: tuple[str, str] = KINDS[0]
) -> tuple[Rbm, Update]:
    rng = np.random.default_rng(seed)
    model = Rbm.dense((visible,), hidden, *kinds)
    model.link.set_weights(rng.normal(0, 0.1, (visible, hidden)).astype(np.float32))
    for name, values in {**model.parameters(), **model.velocities()}.items():
        if name != "weights":
            values[:] = rng.normal(0, 0.3, values.shape)
    model.visible.refresh()
    model.hidden.refresh()
    centering = Centering(model, rng.random(visible)) if centred else None
    return model, Update(model, centering)


def phase(
    rng: np.random.Generator,
    rows: int,
    visible: int,
    hidden: int,
    density: float,
    real: bool = False,
) -> Phase:
    on = rng.random((rows, visible)) < density
    states: BitStates | FloatStates = BitStates.from_array(on)
    if real:
        states = FloatStates(to_padded(on * rng.normal(0, 1, on.shape)), visible)
    return Phase(states, to_padded(rng.random((rows, hidden), np.float32)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("centred", [False, True])
def test_one_kernel_and_many_take_the_same_steps(isa, threads, centred, rule):
    for number, (visible, hidden, rows, others, density) in enumerate(SIZES):
        rng = np.random.default_rng(number)
        (whole, one), (parts, many) = (begun(visible, hidden, centred, number) for _ in range(2))
        for _ in range(REFRESH + 2 if visible < 100 else 2):
            positive = phase(rng, rows, visible, hidden, density)
            negative = phase(rng, others, visible, hidden, density)
            assert one._whole_step(positive, negative, rule) is True
            assert many._step_by_step(positive, negative, rule) is True
            found, wanted = everything(whole, one), everything(parts, many)
            assert found.keys() == wanted.keys()
            for name, values in wanted.items():
                if centred and "bias" in name:  # products with offsets are summed in another order
                    np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5)
                else:
                    assert found[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("kinds", KINDS[1:])
def test_so_they_do_with_real_values(isa, threads, kinds, centred, rule):
    """Deviations learn from the gradient of the weights what single kernels draw from states."""
    for number, (visible, hidden, rows, others, density) in enumerate(SIZES):
        if visible > 200 and (rule is not RULES[1] or isa == "baseline"):
            continue  # one rule and the fast instruction sets will do
        rng = np.random.default_rng(number)
        (whole, one), (parts, many) = (
            begun(visible, hidden, centred, number, kinds) for _ in range(2)
        )
        # Of random states deviations learn to be small, and squares of s - c / sigma grow.
        learned = "gaussian:learned" in kinds
        for _ in range(REFRESH + 2 if visible < 64 and not learned else 2):
            positive = phase(rng, rows, visible, hidden, density, True)
            negative = phase(rng, others, visible, hidden, density, True)
            assert one._whole_step(positive, negative, rule) is True
            assert many._step_by_step(positive, negative, rule) is True
            found, wanted = everything(whole, one), everything(parts, many)
            assert found.keys() == wanted.keys()
            for name, values in wanted.items():
                scale = np.abs(values).max() + 1
                np.testing.assert_allclose(found[name], values, 2e-5, 2e-5 * scale, err_msg=name)
            parts.load(whole.parameters(), whole.velocities())  # differences must not grow
            many.restore(one.state())
            for layer in (whole.visible, whole.hidden):  # what is kept beside the parameters
                kept = layer.bias.copy(), layer.sigma.copy()
                layer.refresh()
                assert kept[0].tobytes() == layer.bias.tobytes()
                assert kept[1].tobytes() == layer.sigma.tobytes()


#: What filters see, their number and sides, what is pooled, the kind of the visible units.
FILTERS = [
    ((8, 9, 1), (5, 3, 2), 1, "bernoulli"),
    ((9, 8, 3), (17, 3, 3), 2, "bernoulli"),
    ((6, 6, 20), (40, 2, 3), 1, "bernoulli"),
    ((9, 7, 1), (16, 2, 2), 2, "gaussian"),
    ((5, 5, 2), (3, 5, 5), 1, "gaussian"),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("sparse", [None, SparsityTarget(0.1, 0.7)])
def test_so_they_do_with_filters(isa, threads, sparse, centred, rule):
    for number, (shape, filters, pool, kind) in enumerate(FILTERS):
        rng = np.random.default_rng(number)
        machines = []
        for _ in range(2):
            values = np.random.default_rng(number + 100)
            model = Rbm.convolutional(shape, filters, pool, kind, planar=False)
            for array in (model.parameters() | model.velocities()).values():
                array[:] = values.normal(0, 0.2, array.shape)
            model.visible.refresh()
            model.hidden.refresh()
            centering = Centering(model, values.random(model.visible.units)) if centred else None
            machines.append((model, Update(model, centering, Regularization(sparsity=sparse))))
        (whole, one), (parts, many) = machines
        units = whole.visible.units, whole.hidden.units
        for _ in range(REFRESH + 2 if number == 0 else 3):
            positive = phase(rng, 9, *units, 0.2, kind == "gaussian")
            negative = phase(rng, 6, *units, 0.3, kind == "gaussian")
            assert one._whole_step(positive, negative, rule) is True
            assert many._step_by_step(positive, negative, rule) is True
            found, wanted = everything(whole, one), everything(parts, many)
            assert found.keys() == wanted.keys()
            for name, values in wanted.items():
                scale = np.abs(values).max() + 1
                np.testing.assert_allclose(found[name], values, 0, 1e-5 * scale, err_msg=name)
            for layer in (whole.visible, whole.hidden):  # what is kept beside the parameters
                kept = layer.bias.copy()
                layer.refresh()
                assert kept.tobytes() == layer.bias.tobytes()


@pytest.mark.parametrize("kinds", KINDS[1:])
def test_bits_of_real_values_are_the_same_everywhere(kinds):
    """On every instruction set and number of threads."""
    found = set()
    for isa in ("baseline", "avx2", "avx512"):
        try:
            _kernels.use_isa(isa)
        except ValueError:
            continue
        for threads in (1, 3):
            _kernels.set_threads(threads)
            _kernels.share_from(0)
            for visible, hidden, rows, others, density in SIZES[:-1]:
                if visible > 200:
                    visible, hidden = 150, 50
                rng = np.random.default_rng(3)
                model, update = begun(visible, hidden, True, 3, kinds)
                for _ in range(2):
                    positive = phase(rng, rows, visible, hidden, density, True)
                    negative = phase(rng, others, visible, hidden, 1.0, True)
                    assert update._whole_step(positive, negative, RULES[1]) is True
                values = [x.tobytes() for x in everything(model, update).values()]
                found.add((visible, hidden, rows, hash(tuple(values))))
    assert len(found) == len(SIZES) - 1


@pytest.mark.parametrize("where", ["weights", "visible_bias", "hidden_bias"])
def test_what_is_not_finite_is_noticed(where, threads):
    rng = np.random.default_rng(1)
    model, update = begun(40, 30, True, 1)
    states = phase(rng, 10, 40, 30, 0.3), phase(rng, 10, 40, 30, 0.3)
    assert update._whole_step(*states, RULES[0]) is True
    values = model.parameters()[where]
    values.flat[-1] = np.inf
    model.link.set_weights(model.link.weights.copy())
    assert update._whole_step(*states, RULES[0]) is False


def in_turn(
    states: NDArray[Any], matrix: NDArray[Any], bias: NDArray[Any], together: int
) -> NDArray[Any]:
    """The bias, and in turn the sum of the rows that some units `together` select, in float32."""
    out = np.repeat(bias[np.newaxis], len(states), axis=0)
    for first in range(0, len(matrix), together):
        sums = np.zeros_like(out)
        for unit in range(first, min(first + together, len(matrix))):
            sums[states[:, unit] > 0] += matrix[unit]
        out += sums
    return out


@pytest.mark.parametrize("density", [0.0, 0.05, 0.21, 0.26, 0.5, 1.0])
def test_inputs_of_bits(isa, threads, density):
    """By lists up to a density, beyond it by tables."""
    rng = np.random.default_rng(5)
    for rows, units, width in (
        (1, 1, 1),
        (7, 130, 33),
        (100, 65, 500),
        (33, 784, 17),
        (300, 3, 40),
        (1100, 260, 50),
    ):
        on = np.zeros(rows * units, bool)
        on[: round(density * rows * units)] = True
        states = BitStates.from_array(rng.permutation(on).reshape(rows, units))
        matrix: NDArray[Any] = to_padded(rng.normal(size=(units, width)).astype(np.float32))
        bias, out = to_padded(rng.normal(size=width)), zeros((rows, padded(width)))
        lists = np.empty(_kernels.lists_length(rows, units, out.shape[1]), np.uint32)
        _kernels.bit_inputs(states.bits, units, matrix, width, bias, out, lists)
        together = 1 if states.count <= _kernels.most_listed(rows, units) else 4
        first, on = _kernels.first_units(rows, units), states.to_array()
        wanted = in_turn(on[:, :first], matrix[:first], bias, together)
        if first < units:
            wanted += in_turn(on[:, first:], matrix[first:], np.zeros_like(bias), together)
        assert out[:, :width].tobytes() == wanted[:, :width].tobytes()
        wanted = in_turn(on, matrix, bias, together)
        beside, again = to_padded(matrix[:, :width].T), zeros(out.shape)
        _kernels.bit_inputs(states.bits, units, beside, width, bias, again, lists, True)
        assert again[:, :width].tobytes() == wanted[:, :width].tobytes()
        assert not again[:, width:].any()
        exact = bias.astype(np.float64) + states.to_array().astype(np.float64) @ matrix
        assert np.abs(out[:, :width] - exact[:, :width]).max() < 1e-3


def plans(*options: str) -> list[bool]:
    """Whether the plans that a short training made can be replayed."""
    found: list[bool] = []
    original = _kernels.recorded

    def recorded() -> Any:
        plan = original()
        found.append(plan is not None)
        return plan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "recorded", recorded)
        size = [] if "--conv" in options else ["--hidden", "6"]
        common = ["--batch-size", "20", "--epochs", "2", "-q", "-o", "run.h5", "--force"]
        assert rbm(["train", "images.npy", *size, *common, *options]) == 0
    return found


def test_which_steps_are_replayed(tmp_path, monkeypatch):
    """Batches of 20 and a last one of 10: two plans. What cannot be replayed is found out."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("images.npy", (rng.random((50, 8, 8)) * 255).astype(np.uint8))
    assert plans() == [True, True]
    assert plans("--no-centering", "--momentum", "0.5") == [True, True]
    assert plans("--algorithm", "pcd", "--gibbs-steps", "2") == [True, True]
    assert plans("--gibbs-steps", "1@0,2@1") == [True] * 4
    assert plans("--hidden-kind", "softmax:3", "--hidden", "2") == [True, True]
    for kinds in (
        ["--hidden-kind", "nrelu"],
        ["--hidden-kind", "binomial:3"],
        ["--visible-kind", "gaussian"],
        ["--visible-kind", "gaussian:learned"],
        ["--visible-kind", "gaussian:0.5", "--hidden-kind", "nrelu:exact"],
    ):
        assert plans(*kinds, "--lr", "0.001") == [True, True], kinds
        assert plans(*kinds, "--lr", "0.001", "--algorithm", "pcd") == [True, True], kinds
    for options in (
        ["--crop", "6x6"],
        ["--visible-kind", "binomial:3"],
        ["--sparsity-target", "0.1"],
    ):
        assert plans(*options) == [False, False], options
    for options in (
        [],
        ["--pool", "2", "--sparsity-target", "0.1"],
        ["--visible-kind", "gaussian", "--lr", "0.001"],
        ["--algorithm", "pcd", "--no-centering"],
    ):
        assert plans("--conv", "2x3x3", *options) == [True, True], options
    for options in (
        ["--sparsity-target", "0.1", "--sparsity-on", "both"],
        ["--visible-kind", "gaussian:0.5", "--lr", "0.001"],
        ["--reconstruction", "mean"],
    ):
        assert plans("--conv", "2x3x3", *options) == [False, False], options
    for options in (["--l1", "0.001"], ["--algorithm", "fpcd"], ["--algorithm", "pt"]):
        assert plans(*options) == [], options


def test_a_plan_of_less_than_a_step_cannot_be_run():
    rows = np.arange(3)
    _kernels.record(1, rows, ())
    assert _kernels.recorded() is None
    with pytest.raises(ValueError, match="not of a whole step"):
        _kernels.Plan(1, rows, ()).run(
            1, rows[np.newaxis], RULES[0].as_tuple(), np.zeros(1, np.uint8)
        )

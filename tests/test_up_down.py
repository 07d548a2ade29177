"""Up-down: a step is the one on paper, and it climbs what the paper says it climbs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import bit_uniforms, sigmoid, uniforms_of

from rbmcli import _kernels
from rbmcli.draws import Draw, Draws, Purpose, apart
from rbmcli.errors import RbmError
from rbmcli.io.batches import Batches
from rbmcli.learning import up_down
from rbmcli.learning.batch import Images
from rbmcli.learning.inputs import Examples
from rbmcli.learning.loop import Diverged, EpochDone, LoopHyperparameters, StepDone
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.up_down import UpDown
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.units import UnitKind, unit_kind

IMAGES, BATCH, SEED, CLASSES = 37, 10, 4, 3

Values = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]


def hyperparameters(**changes: Any) -> LoopHyperparameters:
    values: dict[str, Any] = {
        "epochs": 2,
        "batch_size": BATCH,
        "learning_rate": "0.2",
        "momentum": "0",
        "weight_decay": 0.0,
        "gibbs_steps": "1",
        **changes,
    }
    for name in ("learning_rate", "momentum", "gibbs_steps"):
        values[name] = Schedule.parse(values[name])
    return LoopHyperparameters(**values)


def stack_of(units: list[int], kinds: list[str], *, labels: bool = False, seed: int = 1) -> Stack:
    """Machines between levels of so many units, with random parameters, untied.

    kinds: of each level; "gaussian on binomial:4" for visible units that stand on others.
    """
    rng = np.random.default_rng(seed)
    machines = []
    for level in range(len(units) - 1):
        visible, hidden = kinds[level].split(" on ")[0], kinds[level + 1].split(" on ")[-1]
        classes = CLASSES if labels and level == len(units) - 2 else 0
        above = units[level + 1] // unit_kind(hidden).group
        machine = Rbm.dense((units[level],), above, visible, hidden, classes)
        machine.load(
            {
                name: rng.normal(0, 0.4, values.shape).astype(np.float32)
                for name, values in machine.parameters().items()
            }
        )
        machines.append(machine)
    stack = Stack(machines).untied()
    shaken = {
        name: values + rng.normal(0, 0.1, values.shape).astype(np.float32)
        for name, values in stack.parameters().items()
    }
    stack.load(shaken)
    return stack


def images_of(kind: str, units: int, count: int = IMAGES) -> Images:
    rng = np.random.default_rng(2)
    if kind.startswith("softmax"):
        group = int(kind.split(":")[1])
        values = np.eye(group)[rng.integers(group, size=(count, units // group))]
        return Images(values.reshape(count, units).astype(np.float32), 1.0, np.arange(count))
    if kind.startswith("binomial"):
        counts = rng.integers(int(kind.split(":")[1]) + 1, size=(count, units))
        return Images(counts.astype(np.uint8), 1.0, np.arange(count), "none")
    if kind == "gaussian":
        values = rng.normal(size=(count, units))
        return Images(values.astype(np.float32), 1.0, np.arange(count), "none")
    return Images((rng.random((count, units)) * 256).astype(np.uint8), 255.0, np.arange(count))


def examples(stack: Stack, images: Images) -> Examples:
    labels = np.random.default_rng(3).integers(CLASSES, size=len(images.pixels))
    return Examples(images, labels if stack.top.classes else None)


def new_loop(stack: Stack, images: Images, **changes: Any) -> UpDown:
    return UpDown(stack, examples(stack, images), None, hyperparameters(**changes), SEED)


def everything(loop: UpDown) -> Arrays:
    """Copies of parameters and velocities."""
    both = {"parameter": loop.model.parameters(), "velocity": loop.model.velocities()}
    return {f"{kind} {name}": x.copy() for kind, of in both.items() for name, x in of.items()}


def assert_same_bytes(first: Arrays, second: Arrays) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert values.tobytes() == second[name].tobytes(), f"{name} differs"


# What a step computes ----------------------------------------------------------------------------


class ReferenceUpDown:
    """Appendix B of the paper in float64 numpy, for any kinds, with the very same draws."""

    def __init__(self, stack: Stack, shown: Examples, hyperparameters: LoopHyperparameters) -> None:
        self.p = {name: x.astype(np.float64) for name, x in stack.parameters().items()}
        self.velocity = {name: np.zeros_like(x) for name, x in self.p.items()}
        self.shown, self.hyper = shown, hyperparameters
        self.visible = [machine.visible.kind for machine in stack.machines]
        self.hidden = [machine.hidden.kind for machine in stack.machines]
        self.directed = len(stack.ways_down)
        self.features = stack.top.features
        self.draws = Draws(SEED, up_down._LAYER)

    def draw(self, kind: UnitKind, total: Values, draw: Draw) -> Values:
        drawn = [
            uniforms_of(of, apart(draw, number), len(total), units)
            for number, (of, units) in enumerate(kind.blocks(total.shape[1]))
        ]
        return kind.define_sample(total, np.hstack(drawn)).astype(np.float64)

    def up(self, level: int, states: Values) -> Values:
        name = f"recognition/{level}"
        return states @ self.p[f"{name}/weights"] + self.p[f"{name}/hidden_bias"]

    def down(self, level: int, states: Values) -> Values:
        name = f"generative/{level}"
        return states @ self.p[f"{name}/weights"].T + self.p[f"{name}/visible_bias"]

    def step(self, rows: NDArray[np.int64], step: int, epoch: int) -> None:
        gradients = {}
        wake = self.draws.at(Purpose.WAKE, step)
        images = self.shown.images
        assert isinstance(images, Images)
        values = images.pixels[rows] / np.float64(images.scale)
        if images.binarize == "sample" and self.visible[0].is_drawn_from_data:
            values = (bit_uniforms(wake, *values.shape) < values).astype(np.float64)
        levels = [values]
        for level in range(self.directed):
            total = self.up(level, levels[-1])
            levels.append(self.draw(self.hidden[level], total, apart(wake, level + 1)))
        for level in range(self.directed):
            below, above = levels[level], levels[level + 1]
            error = below - self.visible[level].define_mean(self.down(level, above))
            gradients[f"generative/{level}/weights"] = error.T @ above / len(rows)
            gradients[f"generative/{level}/visible_bias"] = error.mean(axis=0)

        first = levels[-1]
        if self.shown.labels is not None:
            first = np.hstack([first, np.eye(CLASSES)[self.shown.labels[rows]]])
        w, c, b = (self.p[f"top/{name}"] for name in ("weights", "visible_bias", "hidden_bias"))
        below_kind, above_kind = self.visible[-1], self.hidden[-1]
        last, h0 = first, above_kind.define_mean(first @ w + b)
        for substep in range(round(self.hyper.gibbs_steps.at(epoch, self.hyper.epochs))):
            draw = self.draws.at(Purpose.HIDDEN, step, substep)
            hidden = self.draw(above_kind, last @ w + b, draw)
            draw = self.draws.at(Purpose.VISIBLE, step, substep + 1)
            last = self.draw(below_kind, hidden @ w.T + c, draw)
        h1 = above_kind.define_mean(last @ w + b)
        gradients["top/weights"] = (first.T @ h0 - last.T @ h1) / len(rows)
        gradients["top/weights"] -= self.hyper.weight_decay * w
        gradients["top/visible_bias"] = (first - last).mean(axis=0)
        gradients["top/hidden_bias"] = (h0 - h1).mean(axis=0)

        above, sleep = last[:, : self.features], self.draws.at(Purpose.SLEEP, step)
        for level in reversed(range(self.directed)):
            low, high = self.hidden[level].valid_range
            above = np.clip(above, low, high)
            below = self.draw(self.visible[level], self.down(level, above), apart(sleep, level))
            error = above - self.hidden[level].define_mean(self.up(level, below))
            gradients[f"recognition/{level}/weights"] = below.T @ error / len(rows)
            gradients[f"recognition/{level}/hidden_bias"] = error.mean(axis=0)
            above = below

        assert gradients.keys() == self.p.keys()
        rate = self.hyper.learning_rate.at(epoch, self.hyper.epochs)
        momentum = self.hyper.momentum.at(epoch, self.hyper.epochs)
        for name, gradient in gradients.items():
            self.velocity[name] = momentum * self.velocity[name] + rate * gradient
            self.p[name] += self.velocity[name]


STEPS: list[tuple[list[int], list[str], dict[str, Any]]] = [
    ([21, 9, 7], ["bernoulli"] * 3, {}),
    ([21, 70, 9, 7], ["bernoulli"] * 4, {"gibbs_steps": "1@0,3@1"}),
    ([21, 9, 7], ["bernoulli"] * 3, {"momentum": "0.5", "weight_decay": 0.1}),
    ([21, 9, 7], ["bernoulli"] * 3, {"learning_rate": "0.2:0.02", "batch_size": 1000}),
    ([12, 9, 6, 6], ["softmax:3"] * 4, {}),
    ([11, 9, 7], ["binomial:4"] * 3, {"learning_rate": "0.02"}),
    ([11, 9, 7], ["gaussian", "bernoulli", "bernoulli"], {"learning_rate": "0.02"}),
    ([11, 9, 7], ["bernoulli", "gaussian", "bernoulli"], {"learning_rate": "0.02"}),
    (
        [11, 9, 7],
        ["bernoulli", "gaussian on binomial:4", "bernoulli"],
        {"learning_rate": "0.02"},
    ),
]


@pytest.mark.parametrize(
    ("units", "kinds", "options", "labels"),
    [
        (*case, labels)
        for case in STEPS
        for labels in (False, True)
        if not (labels and case[1][-2].startswith("gaussian"))  # which they cannot stand beside
    ],
)
def test_steps_are_those_on_paper(
    units: list[int], kinds: list[str], options: dict[str, Any], labels: bool, isa: str
) -> None:
    """Two epochs, short last batches included."""
    stack = stack_of(units, kinds, labels=labels)
    loop = new_loop(stack, images_of(kinds[0], units[0]), **options)
    reference = ReferenceUpDown(stack, loop._examples, loop._hyper)
    batches = Batches(np.arange(IMAGES), loop._hyper.batch_size, reference.draws)
    for event in loop.run():
        if isinstance(event, StepDone):
            step = event.step - 1
            reference.step(batches.at(step)[0], step, step // batches.steps_per_epoch)
    assert loop.step == 2 * batches.steps_per_epoch
    for named, exact in (
        (stack.parameters(), reference.p),
        (stack.velocities(), reference.velocity),
    ):
        assert named.keys() == exact.keys()
        for name, values in named.items():
            np.testing.assert_allclose(values, exact[name], rtol=0, atol=5e-6, err_msg=name)


def test_measurements_are_those_on_paper(isa: str) -> None:
    """Of all the images, which are fewer than what a subset holds."""
    stack = stack_of([21, 9, 7], ["bernoulli"] * 3, labels=True)
    images = images_of("bernoulli", 21)
    labels = np.random.default_rng(3).integers(CLASSES, size=IMAGES)
    training = Examples(replace(images, rows=np.arange(20)), labels)
    validation = Examples(replace(images, rows=np.arange(20, IMAGES)), labels)
    measured = next(
        iter(UpDown(stack, training, validation, hyperparameters(), SEED).run())
    ).metrics
    reference = ReferenceUpDown(stack, training, hyperparameters())
    w, c, b = (reference.p[f"top/{name}"] for name in ("weights", "visible_bias", "hidden_bias"))
    draws, energies = reference.draws, {}

    def free_energy(features: Values, classes: NDArray[np.int64]) -> Values:
        visible = np.hstack([features, np.eye(CLASSES)[classes]])
        return -visible @ c - np.logaddexp(0, visible @ w + b).sum(axis=1)

    for name, rows in (("train", np.arange(20)), ("validation", np.arange(20, IMAGES))):
        values = images.pixels[rows] / 255.0
        shown = (bit_uniforms(draws.at(Purpose.MONITOR, 0), *values.shape) < values) * 1.0
        means = sigmoid(reference.up(0, shown))
        up = apart(draws.at(Purpose.MONITOR, 1), 1)
        features = (bit_uniforms(up, *means.shape) < means) * 1.0
        energies[name] = free_energy(features, labels[rows]).mean()
        assert measured[f"free_energy_{name}"] == pytest.approx(energies[name], rel=1e-5)
        of_classes = [free_energy(means, np.full(len(rows), k)) for k in range(CLASSES)]
        error = (np.argmin(of_classes, axis=0) != labels[rows]).mean()
        assert 0 < error < 1
        assert measured[f"label_error_{name}"] == pytest.approx(error)
        if name == "train":
            squares = np.square(shown - sigmoid(reference.down(0, features))).sum(axis=1)
            assert measured["reconstruction_error"] == pytest.approx(squares.mean(), rel=1e-5)
    gap = energies["validation"] - energies["train"]
    assert measured["free_energy_gap"] == pytest.approx(gap, rel=1e-4)


# What it climbs ----------------------------------------------------------------------------------


def every(units: int) -> Values:
    """All binary states, (2^units, units)."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=units)))


def log_bernoulli(states: Values, total: Values) -> Values:
    """log p of every one of `states` (m, units) given total inputs (n, units), (n, m)."""
    return total @ states.T - np.logaddexp(0, total).sum(axis=1, keepdims=True)


def numeric_gradient(objective: Callable[[Values], float], at: Values) -> Values:
    """By central differences."""
    result = np.empty_like(at)
    for place in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[place] = 1e-4
        result[place] = (objective(at + step) - objective(at - step)) / 2e-4
    return result


def one_long_step(stack: Stack, probabilities: Values, gibbs_steps: int, draws: int) -> Arrays:
    """What a step of rate 1 adds to each parameter, each image drawn so many times."""
    before = {name: values.astype(np.float64) for name, values in stack.parameters().items()}
    pixels = np.repeat(probabilities, draws, axis=0).astype(np.float32)
    images = Examples(Images(pixels, 1.0, np.arange(len(pixels))))
    settings = hyperparameters(
        epochs=1, batch_size=len(pixels), learning_rate="1", gibbs_steps=str(gibbs_steps)
    )
    for _ in UpDown(stack, images, None, settings, SEED).run():
        pass
    return {name: values - before[name] for name, values in stack.parameters().items()}


def test_each_way_climbs_the_likelihood_of_what_it_is_to_expect() -> None:
    """Enumerated: ways down climb E_q log p(v | h), ways up E_p log q(h | v), p after k steps."""
    stack, gibbs_steps, draws = stack_of([4, 3, 3], ["bernoulli"] * 3), 2, 20_000
    p = {name: values.astype(np.float64) for name, values in stack.parameters().items()}
    probabilities = np.random.default_rng(5).random((6, 4)).round(1)
    pixels, hidden = every(4), every(3)
    data = np.prod(
        np.where(pixels[np.newaxis] == 1, probabilities[:, np.newaxis], 1 - probabilities[:, None]),
        axis=2,
    ).mean(axis=0)

    def log_q(weights: Values, bias: Values) -> Values:
        return log_bernoulli(hidden, pixels @ weights + bias)  # (pixels, hidden)

    def log_p(weights: Values, bias: Values) -> Values:
        return log_bernoulli(pixels, hidden @ weights.T + bias)  # (hidden, pixels)

    up = p["recognition/0/weights"], p["recognition/0/hidden_bias"]
    down = p["generative/0/weights"], p["generative/0/visible_bias"]
    wake = data[:, np.newaxis] * np.exp(log_q(*up))
    w, c, b = p["top/weights"], p["top/visible_bias"], p["top/hidden_bias"]
    features, top = wake.sum(axis=0), every(3)
    for _ in range(gibbs_steps):
        features = features @ np.exp(log_bernoulli(top, hidden @ w + b))
        features = features @ np.exp(log_bernoulli(hidden, top @ w.T + c))
    sleep = features[:, np.newaxis] * np.exp(log_p(*down))

    expected = {
        "generative/0/weights": numeric_gradient(
            lambda x: float((wake.T * log_p(x, down[1])).sum()), down[0]
        ),
        "generative/0/visible_bias": numeric_gradient(
            lambda x: float((wake.T * log_p(down[0], x)).sum()), down[1]
        ),
        "recognition/0/weights": numeric_gradient(
            lambda x: float((sleep.T * log_q(x, up[1])).sum()), up[0]
        ),
        "recognition/0/hidden_bias": numeric_gradient(
            lambda x: float((sleep.T * log_q(up[0], x)).sum()), up[1]
        ),
    }
    added = one_long_step(stack, probabilities, gibbs_steps, draws)
    for name, gradient in expected.items():
        # A term is within [-1, 1], so its deviation is at most 1/2 around a mean of errors.
        bound = 5 * 0.5 / np.sqrt(draws * len(probabilities))
        assert np.abs(gradient).max() > 5 * bound, f"{name}: nothing to be seen"
        np.testing.assert_allclose(added[name], gradient, rtol=0, atol=bound, err_msg=name)


def log_likelihood(stack: Stack, images: Values) -> float:
    """Mean log p of binary images under a stack of two machines, by enumeration."""
    p = {name: values.astype(np.float64) for name, values in stack.parameters().items()}
    hidden = every(stack.machines[0].hidden.units)
    log_top = hidden @ p["top/visible_bias"] + np.logaddexp(
        0, hidden @ p["top/weights"] + p["top/hidden_bias"]
    ).sum(axis=1)
    log_top -= np.logaddexp.reduce(log_top)
    total = hidden @ p["generative/0/weights"].T + p["generative/0/visible_bias"]
    joint = log_bernoulli(images, total) + log_top[:, np.newaxis]
    return float(np.logaddexp.reduce(joint, axis=0).mean())


def bars() -> Values:
    """Columns or rows of a 3 x 3 image that are on, and none."""
    columns = np.repeat(every(3)[1:-1], 3, axis=0).reshape(-1, 9)
    rows = columns.reshape(-1, 3, 3).transpose(0, 2, 1).reshape(-1, 9)
    return np.concatenate([columns, rows])


def test_training_raises_the_likelihood() -> None:
    """From noise, beyond that of independent pixels, on patterns whose pixels go together."""
    images = bars()
    machines = [Rbm.dense((9,), 7), Rbm.dense((7,), 7)]
    for number, machine in enumerate(machines):
        machine.initialize(np.full(machine.visible.units, 0.5), np.ones(1), Draws(number))
    stack = Stack(machines).untied()
    before = log_likelihood(stack, images)
    repeated = np.tile(images, (10, 1)).astype(np.float32)
    shown = Examples(Images(repeated, 1.0, np.arange(len(repeated))))
    settings = hyperparameters(
        epochs=200, batch_size=20, learning_rate="0.2:0.02", momentum="0.5", gibbs_steps="3"
    )
    for _ in UpDown(stack, shown, None, settings, SEED).run():
        pass
    after = log_likelihood(stack, images)
    assert before == pytest.approx(-9 * np.log(2), abs=0.05)  # as for every pixel by itself
    assert after > before + 1.5


def test_labels_are_learned() -> None:
    """Which side of an image is on."""
    rng = np.random.default_rng(6)
    labels = rng.integers(CLASSES, size=600)
    pixels = np.repeat(np.eye(CLASSES)[labels], 4, axis=1)
    images = Images((0.1 + 0.8 * pixels).astype(np.float32), 1.0, np.arange(600))
    stack = stack_of([12, 8, 10], ["bernoulli"] * 3, labels=True)
    training = Examples(Images(images.pixels, 1.0, np.arange(400)), labels)
    validation = Examples(Images(images.pixels, 1.0, np.arange(400, 600)), labels)
    loop = UpDown(stack, training, validation, hyperparameters(epochs=30, momentum="0.5"), SEED)
    measured = [event.metrics for event in loop.run() if isinstance(event, EpochDone)]
    assert measured[0]["label_error_validation"] > 0.3
    for name in ("label_error_train", "label_error_validation"):
        assert measured[-1][name] < 0.1
    assert measured[-1]["reconstruction_error"] < measured[0]["reconstruction_error"]


# Nothing else decides it -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bernoulli", "binomial:4"])
def test_threads_do_not_show(kind: str, isa: str) -> None:
    results = []
    for threads in (1, 2, 3):
        _kernels.set_threads(threads)
        loop = new_loop(
            stack_of([300, 200, 130], [kind] * 3, labels=True),
            images_of("bernoulli", 300),
            learning_rate="0.01",
            label_weight=5,
        )
        metrics = [event.metrics for event in loop.run() if isinstance(event, EpochDone)]
        results.append((everything(loop), repr(metrics)))
    for arrays, metrics in results[1:]:
        assert_same_bytes(results[0][0], arrays)
        assert metrics == results[0][1]


@pytest.mark.parametrize("stop", [0, 1, 3, 4, 7])
def test_a_resumed_run_ends_like_an_uninterrupted_one(stop: int) -> None:
    def fresh(seed: int) -> UpDown:
        stack = stack_of([21, 9, 7], ["bernoulli"] * 3, labels=True, seed=seed)
        return new_loop(stack, images_of("bernoulli", 21), momentum="0.5@0,0.9@1", label_weight=2)

    whole = fresh(1)
    for _ in whole.run():
        pass
    first = fresh(1)
    for _ in first.run():
        if first.step == stop:
            break
    second = fresh(2)
    second.model.load(first.model.parameters(), first.model.velocities())
    second.restore(first.state(), first.metrics)
    for _ in second.run():
        pass
    assert_same_bytes(everything(whole), everything(second))
    assert repr(list(whole.metrics)) == repr(list(second.metrics))


def test_untied_shares_nothing_and_begins_as_it_was() -> None:
    tied = Stack([Rbm.dense((12,), 9), Rbm.dense((9,), 7)])
    rng = np.random.default_rng(8)
    for machine in tied.machines:
        shapes = {name: values.shape for name, values in machine.parameters().items()}
        machine.load({name: rng.normal(size=shape) for name, shape in shapes.items()})
    before = [
        {name: values.copy() for name, values in machine.parameters().items()}
        for machine in tied.machines
    ]
    untied = tied.untied()
    named = untied.parameters()
    assert list(named) == [
        "recognition/0/weights",
        "recognition/0/hidden_bias",
        "generative/0/weights",
        "generative/0/visible_bias",
        "top/weights",
        "top/visible_bias",
        "top/hidden_bias",
    ]
    assert named.keys() == untied.velocities().keys()
    for name, values in named.items():
        place = 1 if name.startswith("top") else 0
        np.testing.assert_array_equal(values, before[place][name.split("/")[-1]])
        assert values.shape == untied.velocities()[name].shape
    again = untied.untied()
    for _ in new_loop(untied, images_of("bernoulli", 12)).run():
        pass
    for machine, parameters in zip(tied.machines, before, strict=True):
        assert_same_bytes(machine.parameters(), parameters)
        assert not machine.link.velocity.any()
    for name, values in again.parameters().items():
        place = 1 if name.startswith("top") else 0
        np.testing.assert_array_equal(values, before[place][name.split("/")[-1]])
        assert (untied.parameters()[name] != values).any(), f"{name} was not trained"
    assert not any(values.any() for values in again.velocities().values())


def test_a_loaded_stack_is_the_one_that_was_written() -> None:
    first = stack_of([12, 9, 7], ["bernoulli"] * 3, seed=1)
    second = stack_of([12, 9, 7], ["bernoulli"] * 3, seed=2)
    second.load({name: values.copy() for name, values in first.parameters().items()})
    images = images_of("bernoulli", 12)
    for _ in zip(new_loop(first, images).run(), new_loop(second, images).run(), strict=True):
        pass
    assert_same_bytes(first.parameters(), second.parameters())
    for level in range(2):
        np.testing.assert_array_equal(first.filters(level), second.filters(level))


# What cannot be ----------------------------------------------------------------------------------


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(RbmError, match="two layers or more"):
        Stack([Rbm.dense((4,), 3)]).untied()
    learned = Stack([Rbm.dense((4,), 3, "gaussian:learned"), Rbm.dense((3,), 3)])
    with pytest.raises(RbmError, match=r"layer 0 has gaussian:learned units.* gaussian units"):
        learned.untied()
    stack = stack_of([12, 9, 7], ["bernoulli"] * 3, labels=True)
    with pytest.raises(RbmError, match=r"label units.*--labels"):
        UpDown(stack, Examples(images_of("bernoulli", 12)), None, hyperparameters(), SEED)


def test_divergence_is_told() -> None:
    stack = stack_of([11, 9, 7], ["gaussian", "bernoulli", "bernoulli"])
    loop = new_loop(stack, images_of("gaussian", 11), learning_rate="1e30")
    with pytest.raises(Diverged, match="diverged"):
        for _ in loop.run():
            pass

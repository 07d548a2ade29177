"""The training loop: what a step computes, in which order, and that nothing else decides it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import bit_uniforms, sigmoid

from rbmcli import _kernels
from rbmcli.arrays import to_padded, zeros
from rbmcli.draws import Draw, Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.batches import Batches, split
from rbmcli.learning import monitor
from rbmcli.learning.algorithm import Method
from rbmcli.learning.batch import Images
from rbmcli.learning.centering import REFRESH, SLIDE
from rbmcli.learning.loop import Diverged, EpochDone, StepDone
from rbmcli.learning.monitor import Monitor
from rbmcli.learning.schedules import Interval, Schedule
from rbmcli.learning.sparsity import DECAY, SparsityTarget
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.learning.update import Regularization, Update
from rbmcli.model.links import Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates

VISIBLE, HIDDEN, IMAGES, BATCH, SEED = 21, 9, 37, 10, 6

Arrays = dict[str, NDArray[Any]]
Values = NDArray[np.float64]

#: Machines whose runs are compared: None is a dense one, else its filters.
each_form = pytest.mark.parametrize("filters", [None, (5, 2, 2)], ids=["dense", "filters"])

METHOD = [field.name for field in dataclasses.fields(Method)]


ALGORITHM_OPTIONS: list[dict[str, Any]] = [
    {"algorithm": "pcd"},
    {"algorithm": "pcd", "chains": 7},
    {"algorithm": "fpcd"},
    {"algorithm": "fpcd", "fast_learning_rate": 0.2},
    {"algorithm": "pt", "temperatures": 3},
    {"algorithm": "pt", "temperatures": 4},
]


def pixels(count: int = IMAGES, units: int = VISIBLE) -> NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    return (rng.random((count, units)) ** 2 * 256).astype(np.uint8)


def hyperparameters(**changes: Any) -> Hyperparameters:
    values = {
        "epochs": 2,
        "batch_size": BATCH,
        "learning_rate": "0.3",
        "momentum": "0.5",
        "weight_decay": 0.0,
        "gibbs_steps": "1",
        "centering": False,
        **changes,
    }
    method = {name: values.pop(name) for name in METHOD if name in values}
    if method:
        values["method"] = Method(**method)
    limits = "max_norm", "max_spectral_norm", "sparsity"
    pressed = {name: values.pop(name) for name in limits if name in values}
    if pressed:
        values["regularization"] = Regularization(**pressed)
    for name in ("learning_rate", "momentum", "gibbs_steps"):
        values[name] = Schedule.parse(values[name])
    return Hyperparameters(**values)


def new_trainer(
    hyper: Hyperparameters,
    images: Images | None = None,
    validation: Images | None = None,
    hidden: int = HIDDEN,
    seed: int = SEED,
    filters: tuple[int, int, int] | None = None,
) -> Trainer:
    """Of a dense machine; or of filters, on images of VISIBLE pixels in 3 rows, or on squares."""
    images = images or Images(pixels(), 255.0, np.arange(IMAGES))
    units = images.pixels.shape[1]
    if filters is None:
        model = Rbm.dense((units,), hidden)
    else:
        rows = 3 if units == VISIBLE else math.isqrt(units)
        model = Rbm.convolutional((rows, units // rows), filters, 2)
    trainer = Trainer(model, images, validation, hyper, seed)
    trainer.initialize()
    return trainer


def everything(trainer: Trainer) -> Arrays:
    """Copies of parameters and velocities."""
    model = trainer.model
    return {
        f"{kind} {name}": values.copy()
        for kind, arrays in (("parameter", model.parameters()), ("velocity", model.velocities()))
        for name, values in arrays.items()
    }


def assert_same_bytes(first: Arrays, second: Arrays) -> None:
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert values.tobytes() == second[name].tobytes(), f"{name} differs"


# What a step computes ----------------------------------------------------------------------------


class ReferenceTraining:
    """Contrastive divergence and its update as they are written on paper, in float64 numpy."""

    def __init__(self, model: Rbm, images: Images, hyper: Hyperparameters) -> None:
        self.w, self.c, self.b = (
            model.parameters()[name].astype(np.float64)
            for name in ("weights", "visible_bias", "hidden_bias")
        )
        self.velocity = [np.zeros_like(values) for values in (self.w, self.c, self.b)]
        self.images, self.hyper = images, hyper
        self.draws = Draws(SEED)
        self.chains: NDArray[np.float64] | None = None
        self.offsets = [images.mean, sigmoid(self.b)]
        self.fast = [np.zeros_like(values) for values in (self.w, self.c, self.b)]
        self.updates = 0
        self.activity = np.full(self.b.shape, 0.2)
        #: How near a uniform came to the probability that it decided on.
        self.margin = 1.0

    def draw(self, probability: NDArray[np.float64], draw: Draw) -> NDArray[np.float64]:
        drawn = bit_uniforms(draw, *probability.shape)
        uncertain = (probability > 0) & (probability < 1)
        nearest = np.abs(drawn - probability)[uncertain].min(initial=1.0)
        self.margin = min(self.margin, nearest)
        return (drawn < probability).astype(np.float64)

    def hidden(self, visible: Values, *, fast: bool = False) -> Values:
        w, _, b = self.sampled() if fast else (self.w, self.c, self.b)
        mean = sigmoid(visible @ w + b)
        return (
            mean / mean.sum(axis=1, keepdims=True) if self.hyper.method.normalize_hidden else mean
        )

    def sampled(self) -> list[Values]:
        """The parameters that persistent chains belong to: with the fast ones, if there are any."""
        return [x + fast for x, fast in zip((self.w, self.c, self.b), self.fast, strict=True)]

    def data(self, rows: NDArray[np.int64], step: int) -> NDArray[np.float64]:
        values = self.images.pixels[rows] / np.float64(self.images.scale)
        if self.images.binarize == "threshold":
            return (values > 0.5).astype(np.float64)
        if self.images.binarize == "sample":
            return self.draw(values, self.draws.at(Purpose.BINARIZE, step))
        return values

    def step(self, rows: NDArray[np.int64], step: int, epoch: int) -> None:
        hyper, at = self.hyper, self.draws.at
        first = self.data(rows, step)
        first_hidden = hidden = self.hidden(first)
        gibbs_steps = int(hyper.gibbs_steps.at(epoch, hyper.epochs))
        persistent = hyper.method.algorithm in ("pcd", "fpcd")
        w, c, _ = self.sampled()
        if persistent and self.chains is None:
            visible = np.broadcast_to(sigmoid(self.c), (hyper.batch_size, VISIBLE))
            visible = self.draw(visible, at(Purpose.CHAINS, 0, 0))
            self.chains = self.draw(self.hidden(visible), at(Purpose.CHAINS, 0, 1))
        for substep in range(gibbs_steps):
            if self.chains is None:
                states = self.draw(hidden, at(Purpose.HIDDEN, step, substep))
            else:
                states = self.chains
            last = sigmoid(states @ w.T + c)
            if not hyper.method.mean_field:
                last = self.draw(last, at(Purpose.VISIBLE, step, substep + 1))
            hidden = self.hidden(last, fast=True)
            if persistent:
                self.chains = self.draw(hidden, at(Purpose.HIDDEN, step, substep + 1))
        self.update(first, first_hidden, last, hidden, epoch)
        if hyper.method.algorithm == "fpcd":
            rate, count = hyper.method.fast_learning_rate, len(rows)
            statistics = (
                first.T @ first_hidden / count - last.T @ hidden / len(last),
                first.mean(axis=0) - last.mean(axis=0),
                first_hidden.mean(axis=0) - hidden.mean(axis=0),
            )
            for fast, gradient in zip(self.fast, statistics, strict=True):
                fast *= 0.95
                fast += rate * gradient

    def update(self, v0: Values, h0: Values, v1: Values, h1: Values, epoch: int) -> None:
        """The update rule; centring is written as the gradient of centred states."""
        hyper = self.hyper
        below_at, above_at = np.zeros_like(self.c), np.zeros_like(self.b)
        if hyper.centering:
            means = v0.mean(axis=0), h0.mean(axis=0)
            for offset, mean in zip(self.offsets, means, strict=True):
                offset += SLIDE * (mean - offset)
            below_at, above_at = self.offsets
        weights = (v0 - below_at).T @ (h0 - above_at) / len(v0) - (v1 - below_at).T @ (
            h1 - above_at
        ) / len(v1)
        penalty = hyper.weight_decay * self.w + hyper.l1 * np.sign(self.w)
        if self.updates % REFRESH == 0:
            self.penalties = penalty @ above_at, penalty.T @ below_at
        self.updates += 1
        below = v0.mean(axis=0) - v1.mean(axis=0) - weights @ above_at + self.penalties[0]
        above = h0.mean(axis=0) - h1.mean(axis=0) - weights.T @ below_at + self.penalties[1]
        wanted = hyper.regularization.sparsity
        if wanted is not None:
            self.activity += (1 - DECAY) * (h0.mean(axis=0) - self.activity)
            pull = wanted.cost * (wanted.target - self.activity)
            above = above + pull
            if wanted.on == "both":
                change = np.outer(v0.mean(axis=0) - below_at, pull)
                weights = weights + change
                below = below - change @ above_at
                above = above - change.T @ below_at
        weights = weights - penalty
        rate = hyper.learning_rate.at(epoch, hyper.epochs)
        momentum = hyper.momentum.at(epoch, hyper.epochs)
        for values, velocity, gradient in zip(
            (self.w, self.c, self.b), self.velocity, (weights, below, above), strict=True
        ):
            velocity *= momentum
            velocity += rate * gradient
            values += momentum * velocity + rate * gradient if hyper.nesterov else velocity
        if hyper.regularization.max_norm is not None:
            norms = np.sqrt((self.w**2).sum(axis=0))
            change = self.w * (np.minimum(1, hyper.regularization.max_norm / norms) - 1)
            self.w += change
            self.c -= change @ above_at
            self.b -= change.T @ below_at


@pytest.mark.parametrize(
    ("options", "binarize"),
    [
        ({}, "sample"),
        ({"momentum": "0"}, "threshold"),
        ({"momentum": "0.5@0,0.9@1", "learning_rate": "0.3:0.1"}, "sample"),
        ({"weight_decay": 0.1}, "sample"),
        ({"gibbs_steps": "1@0,4@1"}, "sample"),
        ({"mean_field": True, "weight_decay": 0.1}, "sample"),
        ({"mean_field": True, "gibbs_steps": "3"}, "none"),
        ({"normalize_hidden": True}, "sample"),
        ({"normalize_hidden": True, "gibbs_steps": "2", "mean_field": True}, "sample"),
        ({}, "none"),
        ({"batch_size": 1}, "sample"),
        ({"batch_size": 1000}, "sample"),
        ({"centering": True}, "sample"),
        ({"centering": True, "momentum": "0.9"}, "none"),
        ({"centering": True, "weight_decay": 0.1, "batch_size": 3}, "sample"),
        ({"centering": True, "weight_decay": 0.1, "l1": 0.05}, "sample"),
        ({"centering": True, "max_norm": 0.1}, "sample"),
        ({"l1": 0.05}, "sample"),
        ({"nesterov": True}, "sample"),
        ({"max_norm": 0.1}, "sample"),
        ({"sparsity": SparsityTarget(0.2, 0.7, "bias")}, "sample"),
        ({"sparsity": SparsityTarget(0.2, 0.7, "both")}, "none"),
        ({"sparsity": SparsityTarget(0.2, 0.7, "both"), "centering": True}, "sample"),
        ({"algorithm": "pcd"}, "sample"),
        ({"algorithm": "pcd", "gibbs_steps": "3", "centering": True}, "threshold"),
        ({"algorithm": "pcd", "mean_field": True}, "none"),
        ({"algorithm": "fpcd"}, "sample"),
        ({"algorithm": "fpcd", "fast_learning_rate": 0.5, "centering": True}, "sample"),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_steps_are_those_on_paper(
    options: dict[str, Any], binarize: str, dtype: type, isa: str
) -> None:
    """Two epochs, short last batches included, with the very same draws."""
    hyper = hyperparameters(**options)
    values = pixels() if dtype is np.uint8 else pixels().astype(np.float32) / np.float32(255)
    scale = 255.0 if dtype is np.uint8 else 1.0
    images = Images(values, scale, np.arange(IMAGES), binarize)
    trainer = new_trainer(hyper, images)
    reference = ReferenceTraining(trainer.model, images, hyper)
    batches = Batches(images.rows, hyper.batch_size, Draws(SEED))
    for event in trainer.run():
        if isinstance(event, StepDone):
            step = event.step - 1
            rows = batches.at(step)[0]
            assert event.images == len(rows)
            reference.step(rows, step, step // batches.steps_per_epoch)
    assert trainer.step == 2 * batches.steps_per_epoch
    assert reference.margin > 1e-6, "a draw is too close to call: choose another seed"
    model = trainer.model
    for actual, exact in zip(
        (*model.parameters().values(), *model.velocities().values()),
        (reference.w, reference.c, reference.b, *reference.velocity),
        strict=True,
    ):
        np.testing.assert_allclose(actual, exact, rtol=0, atol=3e-6)


@pytest.mark.parametrize("floats", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("rows", [(8, 8), (8, 3), (3, 8)])
def test_each_phase_is_a_mean_over_its_own_rows(
    rows: tuple[int, int], floats: tuple[int, ...], isa: str
) -> None:
    """Whichever form the visible states of either phase have."""
    rng = np.random.default_rng(2)
    model = Rbm.dense((VISIBLE,), HIDDEN)
    model.link.set_weights(rng.normal(size=(VISIBLE, HIDDEN)))
    before = model.link.weights.astype(np.float64)
    values = [(rng.random((count, VISIBLE)) < 0.4) * 1.0 for count in rows]
    means = [rng.random((count, HIDDEN)).astype(np.float32) for count in rows]
    phases = [
        Phase(
            FloatStates(to_padded(values[i]), VISIBLE)
            if i in floats
            else BitStates.from_array(values[i]),
            to_padded(means[i]),
        )
        for i in range(2)
    ]
    assert Update(model).step(*phases, Rule(0.5, 0.0, 0.25))
    statistics = [values[i].T @ means[i] / rows[i] for i in range(2)]
    exact = before + 0.5 * (statistics[0] - statistics[1] - 0.25 * before)
    np.testing.assert_allclose(model.link.weights, exact, atol=1e-6)
    for bias, (first, second) in zip(("visible_bias", "hidden_bias"), (values, means), strict=True):
        exact = 0.5 * (first.mean(axis=0) - second.mean(axis=0))
        np.testing.assert_allclose(model.parameters()[bias], exact, atol=1e-6)


def test_training_starts_from_small_weights_and_the_mean_of_the_data() -> None:
    images = Images(pixels(50, 784), 255.0, np.arange(50))
    parameters = new_trainer(hyperparameters(), images, hidden=99).model.parameters()
    assert abs(parameters["weights"].std() - 0.01) < 0.0002
    assert abs(parameters["weights"].mean()) < 0.0002
    np.testing.assert_allclose(sigmoid(parameters["visible_bias"]), images.mean, rtol=1e-5)
    assert not parameters["hidden_bias"].any()


def test_hidden_biases_start_where_they_are_told_to() -> None:
    images = Images(pixels(50, 784), 255.0, np.arange(50))
    parameters = new_trainer(hyperparameters(hidden_bias=-2.5), images).model.parameters()
    assert (parameters["hidden_bias"] == -2.5).all()
    model = Rbm.convolutional((28, 28), (3, 5, 5), 2)
    trainer = Trainer(model, images, None, hyperparameters(hidden_bias=-2.5), SEED)
    trainer.initialize()
    np.testing.assert_array_equal(model.parameters()["hidden_bias"], [-2.5] * 3)
    # As units have it, too: one in a block of four is on with 4 / (4 + exp(2.5)).
    blank = FloatStates(zeros((1, model.visible.ld)), 784)
    on = model.hidden.kind.fed(
        model.hidden_input(blank), model.hidden.units, zeros((1, model.hidden.ld))
    )
    np.testing.assert_allclose(on.to_array(), 4 / (4 + np.exp(2.5)), rtol=1e-5)


def test_options_change_the_result() -> None:
    """Those compared above do differ from each other."""
    results = set()
    for options in (
        {},
        {"momentum": "0.9"},
        {"weight_decay": 0.1},
        {"gibbs_steps": "2"},
        {"mean_field": True},
        {"normalize_hidden": True},
        {"learning_rate": "0.2"},
        {"batch_size": 9},
        {"centering": True},
        {"l1": 0.05},
        {"nesterov": True},
        {"hidden_bias": -1.0},
        {"max_norm": 0.1},
        {"sparsity": SparsityTarget(0.2, 0.7, "bias")},
        {"sparsity": SparsityTarget(0.2, 0.7, "both")},
        *ALGORITHM_OPTIONS,
    ):
        trainer = new_trainer(hyperparameters(**options))
        list(trainer.run())
        results.add(trainer.model.link.weights.tobytes())
    assert len(results) == 15 + len(ALGORITHM_OPTIONS)


# Batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 10, 36, 37, 38, 1000])
def test_every_epoch_visits_each_row_once(batch_size: int) -> None:
    rows = np.arange(100, 137)
    batches = Batches(rows, batch_size, Draws(1))
    steps = batches.steps_per_epoch
    assert steps == -(-37 // min(batch_size, 37))
    orders = []
    for epoch in range(3):
        visited = [batches.at(epoch * steps + i)[0] for i in range(steps)]
        assert {len(batch) for batch in visited[:-1]} <= {batch_size}
        order = np.concatenate(visited)
        np.testing.assert_array_equal(np.sort(order), rows)
        orders.append(order.tolist())
    assert orders[0] != orders[1] != orders[2] != rows.tolist()


def test_batches_do_not_depend_on_what_was_asked_before() -> None:
    forward, backward = (Batches(np.arange(37), 10, Draws(1)) for _ in range(2))
    expected = [forward.at(step)[0] for step in range(12)]
    for step in reversed(range(12)):
        np.testing.assert_array_equal(backward.at(step)[0], expected[step])
    other = Batches(np.arange(37), 10, Draws(2)).at(0)[0]
    assert not np.array_equal(other, expected[0])


def test_batches_that_are_asked_for_together_are_alike_and_of_one_epoch() -> None:
    batches, single = (Batches(np.arange(37), 10, Draws(1)) for _ in range(2))
    for step, most, wanted in ((0, 1, 1), (0, 2, 2), (1, 9, 2), (2, 9, 1), (3, 9, 1), (4, 9, 3)):
        together = batches.at(step, most)
        assert len(together) == wanted
        for i, rows in enumerate(together):
            np.testing.assert_array_equal(rows, single.at(step + i)[0])


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_split_shares_out_all_rows(fraction: float) -> None:
    training, validation = split(41, fraction, Draws(1))
    assert len(validation) == round(41 * fraction)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, validation])), np.arange(41))
    again = split(41, fraction, Draws(1))[1]
    np.testing.assert_array_equal(validation, again)


# Sameness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"mean_field": True}, {"normalize_hidden": True}, {"centering": True}, *ALGORITHM_OPTIONS],
)
@each_form
def test_threads_do_not_show(
    options: dict[str, Any], filters: tuple[int, int, int] | None, isa: str
) -> None:
    results = []
    for threads in (1, 2, 3):
        _kernels.set_threads(threads)
        images = Images(pixels(150, 784), 255.0, np.arange(150))
        hyper = hyperparameters(batch_size=64, **options)
        trainer = new_trainer(hyper, images, hidden=130, filters=filters)
        list(trainer.run())
        results.append((everything(trainer), repr(list(trainer.metrics))))
    for arrays, metrics in results[1:]:
        assert_same_bytes(arrays, results[0][0])
        assert metrics == results[0][1]


@pytest.mark.parametrize(
    "options", [{}, {"mean_field": True}, {"centering": True}, *ALGORITHM_OPTIONS]
)
@each_form
def test_instruction_sets_do_not_show(
    options: dict[str, Any], filters: tuple[int, int, int] | None, isa: str
) -> None:
    hyper = hyperparameters(**options)
    results = []
    for name in (isa, "baseline"):
        _kernels.use_isa(name)
        trainer = new_trainer(hyper, filters=filters)
        for _ in trainer.run():
            pass
        results.append(everything(trainer))
    assert_same_bytes(*results)


def test_seeds_do_show() -> None:
    first, second = (new_trainer(hyperparameters(), seed=seed) for seed in (1, 2))
    assert first.model.link.weights.tobytes() != second.model.link.weights.tobytes()
    second.model.load(first.model.parameters())
    for trainer in (first, second):
        list(trainer.run())
    assert first.model.link.weights.tobytes() != second.model.link.weights.tobytes()


RESUMED = [
    hyperparameters(epochs=3, gibbs_steps="1@0,2@1", momentum="0.5@0,0.9@1", patience=2, **options)
    for options in (
        {},
        {"algorithm": "pcd", "centering": True, "sparsity": SparsityTarget(0.2, 0.7, "both")},
        {"algorithm": "fpcd", "max_spectral_norm": 0.2},
        {"algorithm": "pt", "temperatures": 3},
    )
]
VALIDATION = Images(pixels(60)[IMAGES:], 255.0, np.arange(60 - IMAGES))


def of_form(parameter: tuple[Hyperparameters, Any]) -> Trainer:
    hyper, filters = parameter
    return new_trainer(hyper, validation=VALIDATION, filters=filters)


@pytest.fixture(
    scope="module",
    params=[*itertools.product(RESUMED, [None, (5, 2, 2)])],
    ids=lambda x: f"{x[0].method.algorithm}-{'filters' if x[1] else 'dense'}",
)
def uninterrupted(request: pytest.FixtureRequest) -> tuple[Trainer, list[Any]]:
    trainer = of_form(request.param)
    return trainer, list(trainer.run())


@pytest.mark.parametrize("stop", range(16))
def test_a_resumed_run_ends_like_one_never_stopped(
    stop: int, uninterrupted: tuple[Trainer, list[Any]], request: pytest.FixtureRequest
) -> None:
    """Stopped after every event there is: 0 is that of the start, then steps and epochs."""
    whole, events = uninterrupted
    assert len(events) == 16
    form = request.node.callspec.params["uninterrupted"]
    first = of_form(form)
    seen = list(itertools.islice(first.run(), stop + 1))
    saved = [
        {name: values.copy() for name, values in arrays.items()}
        for arrays in (first.model.parameters(), first.model.velocities())
    ]
    state = {name: np.copy(value) for name, value in first.state().items()}
    metrics = [dict(row) for row in first.metrics]

    second = of_form(form)
    second.model.load(*saved)
    second.restore(state, metrics)
    seen += second.run()
    assert seen == events
    assert repr(list(second.metrics)) == repr(list(whole.metrics))
    assert_same_bytes(everything(second), everything(whole))


def test_events_count_steps_and_epochs(uninterrupted: tuple[Trainer, list[Any]]) -> None:
    trainer, events = uninterrupted
    epochs = [event for event in events if isinstance(event, EpochDone)]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [(event.epoch, event.step) for event in epochs] == [(0, 0), (1, 4), (2, 8), (3, 12)]
    assert [(event.step, event.images) for event in steps] == [
        (step, 7 if step % 4 == 0 else 10) for step in range(1, 13)
    ]
    assert [event.metrics for event in epochs] == list(trainer.metrics)
    assert events.index(epochs[1]) == events.index(steps[3]) + 1
    assert (trainer.epoch, trainer.steps_per_epoch, trainer.finished) == (3.0, 4, True)


def test_steps_that_are_taken_together_are_the_same(
    uninterrupted: tuple[Trainer, list[Any]], request: pytest.FixtureRequest
) -> None:
    whole, events = uninterrupted
    trainer = of_form(request.node.callspec.params["uninterrupted"])
    seen = list(trainer.run(lambda step: 2 - step % 2))
    epochs, wanted = (
        [event for event in each if isinstance(event, EpochDone)] for each in (seen, events)
    )
    assert epochs == wanted
    last = [event.step for event in seen if isinstance(event, StepDone)]
    assert {2, 4, 6, 8, 10, 12} <= set(last), "an event that was wanted is missing"
    images = sum(event.images for event in seen if isinstance(event, StepDone))
    assert images == sum(event.images for event in events if isinstance(event, StepDone))
    assert_same_bytes(everything(trainer), everything(whole))


def test_plain_steps_are_taken_together() -> None:
    trainer = new_trainer(hyperparameters(epochs=30))
    steps = [event for event in trainer.run(lambda step: 99) if isinstance(event, StepDone)]
    assert len(steps) < 30 * trainer.steps_per_epoch
    assert all(event.images <= 37 for event in steps)


# When it ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"learning_rate": "1e39"}, 1),  # no float32
        ({"learning_rate": "3e38"}, None),
        ({"learning_rate": "1", "weight_decay": 1e10}, None),
        ({"learning_rate": "3e38", "mean_field": True}, None),
        ({"momentum": "1e30"}, None),
    ],
)
def test_divergence_is_told_at_once(options: dict[str, Any], steps: int | None) -> None:
    trainer = new_trainer(hyperparameters(epochs=50, **options))
    was_finite = []

    def train() -> None:
        for _ in trainer.run():
            parameters = trainer.model.parameters().values()
            was_finite.append(all(np.isfinite(values).all() for values in parameters))

    with pytest.raises(Diverged, match=r"training diverged .* --learning-rate$"):
        train()
    assert all(was_finite), "a step that lost the parameters did not say so"
    assert trainer.step == (steps or trainer.step)


@pytest.mark.parametrize("most", [1, 9])
@pytest.mark.parametrize("name", ["weights", "visible_bias", "hidden_bias"])
def test_each_parameter_is_watched(name: str, most: int) -> None:
    trainer = new_trainer(hyperparameters())
    events = trainer.run(lambda step: 1 if step < 2 else most)
    list(itertools.islice(events, 3))
    trainer.model.velocities()[name][-1] = np.inf
    with pytest.raises(Diverged, match=r"at step 3 \(epoch 0\.75\)"):
        next(events)


def test_a_model_that_overflows_is_told_when_measured() -> None:
    trainer = new_trainer(hyperparameters())
    trainer.model.link.set_weights(np.full((VISIBLE, HIDDEN), 3e38))
    with pytest.raises(Diverged, match="free energy"):
        next(iter(trainer.run()))


@pytest.mark.parametrize(
    ("gaps", "patience", "epochs"),
    [
        ([5, 4, 3, 2, 1], 2, 5),
        ([5, 4, 4, 4, 1], 2, 4),  # as low is not lower
        ([1, 2, 3, 4, 5], 2, 3),
        ([1, 2, 3, 0, 5], 3, 5),
        ([3, 5, 2, 5, 5], 2, 5),
        ([1, 0, 1, 1, 1], 1, 3),
        ([1, 1, 1, 1, 1], None, 5),
    ],
)
def test_patience_waits_for_a_lower_gap(
    gaps: list[float], patience: int | None, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([0, *gaps])  # the measurement before training does not count

    def measure(self: Monitor) -> dict[str, float]:
        return {"free_energy_train": 0.0, "free_energy_gap": float(next(measured))}

    monkeypatch.setattr(Monitor, "measure", measure)
    trainer = new_trainer(hyperparameters(epochs=5, patience=patience))
    events = list(trainer.run())
    assert isinstance(events[-1], EpochDone)
    assert events[-1].epoch == epochs
    assert trainer.finished


def test_a_finished_run_has_nothing_to_do(uninterrupted: tuple[Trainer, list[Any]]) -> None:
    assert list(uninterrupted[0].run()) == []


def test_more_epochs_go_on_from_there(
    uninterrupted: tuple[Trainer, list[Any]], request: pytest.FixtureRequest
) -> None:
    whole, _ = uninterrupted
    hyper, filters = request.node.callspec.params["uninterrupted"]
    trainer = of_form((dataclasses.replace(hyper, epochs=2), filters))
    list(trainer.run())
    longer = of_form((hyper, filters))
    longer.model.load(trainer.model.parameters(), trainer.model.velocities())
    longer.restore(trainer.state(), trainer.metrics)
    list(longer.run())
    assert_same_bytes(everything(longer), everything(whole))


# Measurements ------------------------------------------------------------------------------------


def test_measurements_are_what_they_say() -> None:
    trainer = new_trainer(hyperparameters(epochs=1), validation=VALIDATION)
    list(trainer.run())
    measured = trainer.metrics[-1]
    model, draws = trainer.model, Draws(SEED)
    w, c, b = (values.astype(np.float64) for values in model.parameters().values())

    def states(images: Images) -> NDArray[np.float64]:
        probability = images.pixels[images.rows] / np.float32(255)
        return (bit_uniforms(draws.at(Purpose.MONITOR, 0), *probability.shape) < probability) * 1.0

    def free_energy(visible: NDArray[np.float64]) -> NDArray[np.float64]:
        return -visible @ c - np.logaddexp(0, visible @ w + b).sum(axis=1)

    visible = states(Images(pixels(), 255.0, np.arange(IMAGES)))
    hidden = sigmoid(visible @ w + b)
    drawn = bit_uniforms(draws.at(Purpose.MONITOR, 1), *hidden.shape) < hidden
    error = ((visible - sigmoid(drawn @ w.T + c)) ** 2).sum(axis=1)
    flips = draws.generator(Purpose.MONITOR).integers(VISIBLE, size=IMAGES)
    flipped = visible.copy()
    flipped[np.arange(IMAGES), flips] = 1 - flipped[np.arange(IMAGES), flips]
    odds = free_energy(flipped) - free_energy(visible)
    energy, held_out = free_energy(visible).mean(), free_energy(states(VALIDATION)).mean()
    expected = {
        "epoch": 1,
        "step": 4,
        "reconstruction_error": error.mean(),
        "pseudo_log_likelihood": (-VISIBLE * np.logaddexp(0, -odds)).mean(),
        "free_energy_train": energy,
        "free_energy_validation": held_out,
        "free_energy_gap": held_out - energy,
        "hidden_activation": hidden.mean(),
        "weight_rms": np.sqrt((w**2).mean()),
        "learning_rate": 0.3,
        "momentum": 0.5,
        "gibbs_steps": 1,
    }
    assert measured == pytest.approx(expected, rel=1e-5)


def test_what_is_not_defined_is_nan() -> None:
    images = Images(pixels(), 255.0, np.arange(IMAGES), "none")
    trainer = new_trainer(hyperparameters(epochs=0), images)
    (event,) = trainer.run()
    undefined = {name for name, value in event.metrics.items() if np.isnan(value)}
    assert undefined == {"pseudo_log_likelihood", "free_energy_validation", "free_energy_gap"}


def test_rates_measured_are_those_that_were_used() -> None:
    options = {"learning_rate": "0.4:0.2", "momentum": "0.5@0,0.9@1", "gibbs_steps": "1@0,3@2"}
    trainer = new_trainer(hyperparameters(epochs=3, **options))
    list(trainer.run())
    # Of epoch 0, before training: what will be used.
    assert [row["learning_rate"] for row in trainer.metrics] == pytest.approx([0.4, 0.4, 0.3, 0.2])
    assert [row["momentum"] for row in trainer.metrics] == [0.5, 0.5, 0.9, 0.9]
    assert [row["gibbs_steps"] for row in trainer.metrics] == [1, 1, 1, 3]


def test_measuring_disturbs_nothing() -> None:
    trainer = new_trainer(hyperparameters())
    before = everything(trainer)
    measure = Monitor(
        trainer.model, Images(pixels(), 255.0, np.arange(IMAGES)), None, Draws(3)
    ).measure
    assert repr(measure()) == repr(measure())
    assert_same_bytes(everything(trainer), before)


def test_a_large_data_set_is_measured_by_a_subset_of_its_rows() -> None:
    """Rows that belong to the set are all on, the others off; the free energy tells them apart."""
    values = np.zeros((4 * monitor.SUBSET, 5), np.uint8)
    rows = np.arange(0, len(values), 2)
    values[rows] = 1
    model = Rbm.dense((5,), 2)
    model.visible.bias[:5] = 1
    measured = Monitor(
        model, Images(values, 1.0, rows), Images(values, 1.0, rows + 1), Draws(3)
    ).measure()
    assert measured["free_energy_train"] == pytest.approx(-5 - 2 * np.log(2))
    assert measured["free_energy_validation"] == pytest.approx(-2 * np.log(2))


def test_the_subset_is_no_larger_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "SUBSET", 1)
    images = Images(np.triu(np.ones((8, 8), np.uint8)), 1.0, np.arange(8))
    model = Rbm.dense((8,), 1)
    model.visible.bias[:8] = 1
    measured = Monitor(model, images, None, Draws(3)).measure()["free_energy_train"]
    of_one_image = [-number_on - np.log(2) for number_on in range(1, 9)]  # their mean is none
    assert min(abs(measured - energy) for energy in of_one_image) < 1e-6


# Images ------------------------------------------------------------------------------------------


def test_mean_image_is_that_of_the_rows_that_belong() -> None:
    values = pixels(2500)
    rows = np.arange(0, 2500, 2)
    mean = Images(values, 255.0, rows).mean
    np.testing.assert_allclose(mean, values[rows].mean(axis=0) / 255, rtol=1e-12)


@pytest.mark.parametrize(("scale", "fits"), [(255.0, True), (254.0, False)])
def test_values_outside_the_range_are_refused(scale: float, fits: bool) -> None:
    values = pixels()
    values[3, 3] = 255
    images = Images(values, scale, np.arange(IMAGES))
    kind = Rbm.dense((1,), 1).visible.kind
    if fits:
        images.for_kind(kind, "here")
    else:
        with pytest.raises(
            RbmError, match=r"^here: values from 0 to 1\.00394, .* scale the data, .*"
        ):
            images.for_kind(kind, "here")


# Schedules and intervals -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "epochs", "expected"),
    [
        ("0.1", 3, [0.1, 0.1, 0.1]),
        ("1e-3", 1, [0.001]),
        ("0.5@0,0.9@2", 4, [0.5, 0.5, 0.9, 0.9]),
        ("3@0,2@1,1@2", 3, [3, 2, 1]),
        ("0.1@0", 2, [0.1, 0.1]),
        ("0.1:0.5", 5, [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("1:0", 2, [1, 0]),
        ("0.1:0.5", 1, [0.1]),
    ],
)
def test_schedules(text: str, epochs: int, expected: list[float]) -> None:
    schedule = Schedule.parse(text)
    assert schedule.text == text
    assert [schedule.at(epoch, epochs) for epoch in range(epochs)] == pytest.approx(expected)
    assert schedule.is_ramp == (":" in text)


def test_values_of_a_schedule() -> None:
    assert Schedule.parse("0.1").values == (0.1,)
    assert Schedule.parse("0.5@0,0.9@5").values == (0.5, 0.9)
    assert Schedule.parse("0.1:0.001").values == (0.1, 0.001)


NO_SCHEDULES = ["", "fast", "0.1,0.2", "0.1:", ":0.1", "0.1:0.2:0.3", "0.1:0.2@3", "0.1@", "@0"]
NO_SCHEDULES += ["0.1@1", "0.1@0,", "0.1@0@1", "0.1@0,0.2", "0.1@0,0.2@0", "0.1@0,0.2@3,0.3@2"]


@pytest.mark.parametrize("text", NO_SCHEDULES)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(RbmError, match=r"is not a schedule: write"):
        Schedule.parse(text)


@pytest.mark.parametrize(
    ("text", "steps_per_epoch", "due"),
    [
        ("1epochs", 4, [4, 8, 12]),
        ("1epoch", 5, [5, 10]),
        ("2epochs", 3, [6, 12]),
        ("5steps", 4, [5, 10]),
        ("1step", 4, list(range(1, 13))),
    ],
)
def test_intervals(text: str, steps_per_epoch: int, due: list[int]) -> None:
    interval = Interval.parse(text)
    assert interval.text == text
    assert [step for step in range(1, 13) if interval.due(step, steps_per_epoch)] == due
    for step in range(due[-1]):
        following = min(each for each in due if each > step)
        assert interval.until_due(step, steps_per_epoch) == following - step


@pytest.mark.parametrize(
    "text", ["", "steps", "5", "0steps", "-1steps", "1.5epochs", "1 epochs", "1hour", "steps5"]
)
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(RbmError, match="is not an interval: write"):
        Interval.parse(text)

"""Images whose label is mistaken count more: by the gradient of log p(label | features)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.draws import Draws
from rbmcli.inference.labels import class_energies, class_log_probabilities
from rbmcli.learning.algorithm import Method
from rbmcli.learning.batch import Images
from rbmcli.learning.discrimination import Discrimination
from rbmcli.learning.inputs import Labelled
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.model.layer import Layer
from rbmcli.model.links import Phase
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates, States, beside, one_hot
from rbmcli.model.units import unit_kind

FEATURES, CLASSES, HIDDEN = 4, 3, 3

Arrays = dict[str, NDArray[Any]]


def machine(hidden: str = "bernoulli") -> Rbm:
    rng = np.random.default_rng(1)
    groups = HIDDEN // unit_kind(hidden).group
    model = Rbm.dense((FEATURES,), groups, "bernoulli", hidden, labels=CLASSES)
    model.load({name: rng.normal(0, 0.8, x.shape) for name, x in model.parameters().items()})
    return model


def phase(model: Rbm, visible: States) -> Phase:
    return Phase(visible, model.hidden.mean(model.hidden_input(visible)).values)


def labelled(features: States, labels: Any) -> States:
    return beside(features, one_hot(np.broadcast_to(labels, features.rows), CLASSES))


def random_phase(model: Rbm, rows: int, seed: int) -> Phase:
    rng = np.random.default_rng(seed)
    features = BitStates.from_array(rng.integers(2, size=(rows, FEATURES)))
    return phase(model, labelled(features, rng.integers(CLASSES, size=rows)))


def statistics(of: Phase) -> Arrays:
    """What a phase adds to gradients in natural terms, float64."""
    visible = of.visible.to_array().astype(np.float64)
    hidden = of.hidden[:, :HIDDEN].astype(np.float64)
    return {
        "weights": visible.T @ hidden / len(visible),
        "visible_bias": visible.mean(axis=0),
        "hidden_bias": hidden.mean(axis=0),
    }


def difference(positive: Phase, negative: Phase) -> Arrays:
    first, second = statistics(positive), statistics(negative)
    return {name: first[name] - second[name] for name in first}


def log_probability(model: Rbm, features: States, label: int) -> float:
    return float(class_log_probabilities(class_energies(model, features))[0, label])


@pytest.mark.parametrize("hidden", ["bernoulli", "nrelu:exact", "softmax:3", "gaussian"])
@pytest.mark.parametrize("means", [False, True])
def test_the_expected_gradient_is_that_of_the_conditional_likelihood(
    hidden: str, means: bool
) -> None:
    model, images, weight = machine(hidden=hidden), 40_000, 2
    values = np.array([[0.9, 0.0, 0.4, 0.7]]) if means else np.array([[1, 0, 1, 1]])
    features: States = BitStates.from_array(values)
    if means:
        features = FloatStates(np.pad(values.astype(np.float32), ((0, 0), (0, 12))), FEATURES)
    label = 2
    shown = phase(model, labelled(features.take(np.zeros(images, np.int64)), label))
    # The joint gradient is nothing: both of its sides are the data's.
    both = Discrimination(model, Draws(3), weight).widened(shown, shown, step=5)
    mistaken = 1 - np.exp(log_probability(model, features, label))
    rows = both[0].visible.rows
    assert both[1].visible.rows == rows
    assert rows == pytest.approx(images * (1 + weight * mistaken), rel=0.02)
    found = difference(*both)
    for name, values in model.parameters().items():
        numeric = np.zeros(values.shape)
        for place in np.ndindex(values.shape):
            ends = []
            for step in (0.01, -0.01):
                changed = {n: x.copy() for n, x in model.parameters().items()}
                changed[name][place] += step
                other = machine(hidden=hidden)
                other.load(changed)
                ends.append(log_probability(other, features, label))
            numeric[place] = (ends[0] - ends[1]) / 0.02
        own = found[name] * rows / (images * weight)
        np.testing.assert_allclose(own, numeric, atol=0.02)
        assert np.abs(numeric).max() > 0.05


@pytest.mark.parametrize(("images", "chains"), [(6, 6), (6, 3), (5, 15), (1, 4), (100, 20)])
def test_images_and_chains_keep_their_weight_whatever_their_numbers(
    images: int, chains: int
) -> None:
    model = machine()
    positive, negative = random_phase(model, images, 0), random_phase(model, chains, 1)
    both = Discrimination(model, Draws(3), 5).widened(positive, negative, step=0)
    assert both[0].visible.rows == both[1].visible.rows > images
    # Features are held: in their biases' gradient, what was added cancels.
    share = -(-chains // images) * images / both[0].visible.rows
    joint = difference(positive, negative)["visible_bias"][:FEATURES]
    found = difference(*both)["visible_bias"][:FEATURES]
    np.testing.assert_allclose(found, share * joint, atol=1e-6)


@pytest.mark.parametrize(("images", "chains"), [(7, 10), (10, 7)])
def test_every_image_and_every_chain_is_still_there(images: int, chains: int) -> None:
    model = machine()
    positive, negative = random_phase(model, images, 0), random_phase(model, chains, 1)
    both = Discrimination(model, Draws(3), 1).widened(positive, negative, step=0)
    assert both[0].visible.rows == both[1].visible.rows
    for before, after in zip((positive, negative), both, strict=True):
        rows = before.visible.rows
        kept = after.visible.take(np.arange(rows)).to_array()
        np.testing.assert_array_equal(kept, before.visible.to_array())
        np.testing.assert_array_equal(after.hidden[:rows], before.hidden)


def test_right_labels_change_nothing() -> None:
    model = machine()
    parameters = {name: np.zeros_like(x) for name, x in model.parameters().items()}
    parameters["visible_bias"][FEATURES] = 50  # the first class, whatever the features
    model.load(parameters)
    shown = phase(model, labelled(BitStates.empty(20, FEATURES), 0))
    other = random_phase(model, 20, 1)
    widened = Discrimination(model, Draws(3), 5).widened(shown, other, step=0)
    assert widened[0] is shown
    assert widened[1] is other


def test_without_weight_or_label_units_it_does_nothing() -> None:
    model = machine()
    both = random_phase(model, 9, 0), random_phase(model, 9, 1)
    assert Discrimination(model, Draws(3), 5).widened(*both, step=0)[0] is not both[0]
    for same in (
        Discrimination(model, Draws(3), 0),
        Discrimination(Rbm.dense((4,), 2), Draws(3), 5),
    ):
        widened = same.widened(*both, step=0)
        assert widened[0] is both[0]
        assert widened[1] is both[1]


# In training -------------------------------------------------------------------------------------

SAMPLED, MEANS = "sample", "none"


def trainer(binarize: str, weight: int, algorithm: str = "cd") -> Trainer:
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=57)
    pixels = rng.integers(256, size=(57, 70)).astype(np.uint8)
    model = Rbm.dense((70,), 33, labels=CLASSES)
    images = Images(pixels, 255.0, np.arange(57), binarize)
    inputs = Labelled(images, Layer(unit_kind("bernoulli"), (70,)), labels, CLASSES)
    hyper = Hyperparameters(
        epochs=3,
        batch_size=20,
        learning_rate=Schedule.parse("0.2"),
        momentum=Schedule.parse("0.5"),
        weight_decay=0.0,
        gibbs_steps=Schedule.parse("1"),
        method=Method(algorithm=algorithm, chains=13 if algorithm == "pcd" else None),
        label_weight=weight,
    )
    return Trainer(model, inputs, None, hyper, seed=4)


def learned(of: Trainer) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in of.model.parameters().items()}


def run(of: Trainer) -> dict[str, bytes]:
    of.initialize()
    for _ in of.run():
        pass
    return learned(of)


@pytest.mark.parametrize("algorithm", ["cd", "pcd"])
@pytest.mark.parametrize("binarize", [SAMPLED, MEANS])
def test_threads_do_not_show(binarize: str, algorithm: str) -> None:
    found = []
    for threads in (1, 2, 3):
        _kernels.set_threads(threads)
        found.append(run(trainer(binarize, 5, algorithm)))
    assert found[0] == found[1] == found[2]
    assert found[0] != run(trainer(binarize, 0, algorithm))


@pytest.mark.parametrize("algorithm", ["cd", "pcd"])
@pytest.mark.parametrize("binarize", [SAMPLED, MEANS])
def test_a_resumed_run_ends_like_an_uninterrupted_one(binarize: str, algorithm: str) -> None:
    whole = run(trainer(binarize, 5, algorithm))
    first, second = trainer(binarize, 5, algorithm), trainer(binarize, 5, algorithm)
    first.initialize()
    for _ in first.run():
        if first.step == 4:
            break
    state = {n: np.copy(x) if isinstance(x, np.ndarray) else x for n, x in first.state().items()}
    second.model.load(first.model.parameters(), first.model.velocities())
    second.restore(state, list(first.metrics))
    for _ in second.run():
        pass
    assert learned(second) == whole

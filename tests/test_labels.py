"""Machines with label units, against sums over all features, labels and hidden states."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.draws import Draws
from rbmcli.errors import RbmError
from rbmcli.inference import exact, reverse_ais
from rbmcli.inference.ais import log_partition
from rbmcli.inference.annealing import Path, ladder
from rbmcli.inference.chains import fantasies, random_start
from rbmcli.inference.exact import count_states, layer_states
from rbmcli.inference.free_energy import free_energy, has_pseudo_likelihood
from rbmcli.inference.labels import (
    class_energies,
    class_log_probabilities,
    classify,
    features_energy,
    label_clamp,
)
from rbmcli.inference.ladder import Ladder
from rbmcli.inference.replicas import tempered_fantasies
from rbmcli.learning.algorithm import Method
from rbmcli.learning.batch import Images
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates, beside, columns, one_hot

FEATURES, CLASSES, HIDDEN = 4, 3, 3


def machine(
    kind: str = "bernoulli", weight: float = 0.8, features: int = FEATURES, hidden: int = HIDDEN
) -> Rbm:
    rng = np.random.default_rng(0)
    model = Rbm.dense((features,), hidden, kind, labels=CLASSES)
    model.load({name: rng.normal(0, weight, x.shape) for name, x in model.parameters().items()})
    return model


def every_binary(units: int) -> NDArray[np.float64]:
    return np.array(list(itertools.product([0.0, 1.0], repeat=units)))


def log_joint(model: Rbm, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """log of the sum over hidden states of exp(-E), features with each label, (rows, classes)."""
    p = {name: values.astype(np.float64) for name, values in model.parameters().items()}
    visible = np.concatenate(
        [np.repeat(features, CLASSES, axis=0), np.tile(np.eye(CLASSES), (len(features), 1))], axis=1
    )
    hidden = every_binary(model.hidden.units)
    exponents = visible @ p["weights"] @ hidden.T + hidden @ p["hidden_bias"]
    own = visible @ p["visible_bias"]
    return (own + np.logaddexp.reduce(exponents, axis=1)).reshape(-1, CLASSES)


# The machine -------------------------------------------------------------------------------------


def test_features_and_labels_of_a_machine() -> None:
    model = Rbm.dense((4, 3), 7, labels=10)
    assert (model.features, model.classes) == (12, 10)
    assert model.visible.shape == (22,)
    assert model.link.weights.shape == (22, 7)
    assert model.visible.kind.name == "12 bernoulli + 10 softmax:10"
    plain = Rbm.dense((4, 3), 7)
    assert (plain.features, plain.classes) == (12, 0)
    assert plain.visible.shape == (4, 3)


@pytest.mark.parametrize(
    ("kind", "labels", "message"),
    [
        ("gaussian", 3, "label units stand beside"),
        ("bernoulli", 1, "'softmax:1': the number must be"),
        ("bernoulli", -2, "'softmax:-2' is not a kind"),
        ("softmax:4", 3, "6 visible units are not whole groups of 4"),
    ],
)
def test_machines_that_cannot_be_are_refused(kind: str, labels: int, message: str) -> None:
    with pytest.raises(RbmError, match=f"^{message}"):
        Rbm.dense((6,), 2, kind, labels=labels)


def test_every_state_of_features_and_labels() -> None:
    model = machine("binomial:2")
    count = count_states(model.visible)
    assert count == 3**FEATURES * CLASSES
    states = np.concatenate(
        [layer_states(model.visible, 0, 100), layer_states(model.visible, 100, count)]
    )
    assert len(np.unique(states, axis=0)) == count
    assert set(np.unique(states[:, :FEATURES])) == {0, 1, 2}
    assert (states[:, FEATURES:].sum(axis=1) == 1).all()


# Classes -----------------------------------------------------------------------------------------


def test_energies_of_classes_are_those_of_the_sum_over_hidden_states() -> None:
    model, features = machine(weight=2.0), every_binary(FEATURES)
    states = BitStates.from_array(features)
    energies = class_energies(model, states)
    log_p = log_joint(model, features)
    np.testing.assert_allclose(energies, -log_p, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(classify(energies), log_p.argmax(axis=1))
    assert len(set(classify(energies))) > 1
    of_features = np.logaddexp.reduce(log_p, axis=1)
    np.testing.assert_allclose(features_energy(energies), -of_features, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(
        class_log_probabilities(energies), log_p - of_features[:, np.newaxis], atol=4e-6
    )
    total = np.logaddexp.reduce(-features_energy(energies))
    assert exact.log_partition(model) == pytest.approx(total, rel=1e-6)
    for label in range(CLASSES):
        labels = one_hot(np.full(states.rows, label), CLASSES)
        whole = free_energy(model, beside(states, labels))
        np.testing.assert_allclose(whole, energies[:, label], rtol=1e-6)


def test_energies_of_classes_given_means() -> None:
    model = machine()
    features = np.random.default_rng(1).random((9, FEATURES))
    states = FloatStates(
        np.pad(features, ((0, 0), (0, 16 - FEATURES))).astype(np.float32), FEATURES
    )
    found = class_energies(model, states)
    np.testing.assert_allclose(found, -log_joint(model, features), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("kind", ["binomial:3", "nrelu", "softmax:2"])
@pytest.mark.parametrize("hidden", ["bernoulli", "gaussian", "nrelu"])
def test_energies_of_classes_of_every_kind_are_free_energies(kind: str, hidden: str) -> None:
    rng = np.random.default_rng(8)
    model = Rbm.dense((70,), 6, kind, hidden, labels=CLASSES)
    model.load({name: rng.normal(0, 0.2, x.shape) for name, x in model.parameters().items()})
    states = random_start(model.visible, 11, seed=3)
    features = columns(states, 0, model.features)
    energies = class_energies(model, features)
    for label in range(CLASSES):
        whole = beside(features, one_hot(np.full(11, label), CLASSES))
        np.testing.assert_allclose(energies[:, label], free_energy(model, whole), rtol=1e-5)


# log Z and likelihoods ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bernoulli", "binomial:3", "nrelu", "softmax:2"])
def test_annealing_comes_to_the_log_partition_of_enumeration(kind: str) -> None:
    model = machine(kind, 0.4)
    truth = exact.log_partition(model)
    path = Path(model, np.concatenate([np.full(FEATURES, 0.5), np.full(CLASSES, 1 / CLASSES)]))
    estimate = log_partition(path, ladder(300), 100, Draws(3))
    assert abs(estimate.value - truth) < 0.2
    assert estimate.low < truth < estimate.high
    assert estimate.high - estimate.low < 0.6
    images = random_start(model.visible, 5, seed=4)
    if kind == "nrelu":  # has a likelihood where its states are counts
        images = model.visible.states_of(np.rint(images.to_array()))
    likelihood = -free_energy(model, images) - truth
    found = reverse_ais.log_likelihood(path, ladder(300), images, 100, Draws(3))
    np.testing.assert_allclose(found, likelihood, atol=0.3)


def test_labelled_states_have_no_pseudo_likelihood() -> None:
    model = machine()
    assert not has_pseudo_likelihood(model, random_start(model.visible, 3, seed=1))


# Chains of a class -------------------------------------------------------------------------------


@pytest.mark.parametrize("tempered", [False, True])
@pytest.mark.parametrize("kind", ["bernoulli", "binomial:1"])
def test_chains_of_a_class_come_to_its_features(kind: str, tempered: bool) -> None:
    """binomial:1 is bernoulli by another name, whose states are floats."""
    chains, model = 20_000, machine(kind)
    labels = np.arange(chains) % CLASSES
    clamp, start = label_clamp(model, labels), random_start(model.visible, chains, seed=1)
    if tempered:
        walk = tempered_fantasies(model, start, 20, 2, Ladder.even(3), clamp=clamp)
    else:
        walk = fantasies(model, start, 20, 2, clamp=clamp)
    for states, means in walk:
        held = one_hot(labels, CLASSES).to_array()
        np.testing.assert_array_equal(states.to_array()[:, FEATURES:], held)
        np.testing.assert_array_equal(means[:, FEATURES:], held)
    drawn = columns(states, 0, model.features).to_array().astype(int)
    numbers = drawn @ (1 << np.arange(FEATURES)[::-1])
    log_p = log_joint(model, every_binary(FEATURES))
    for label in range(CLASSES):
        p = np.exp(log_p[:, label] - np.logaddexp.reduce(log_p[:, label]))
        own = numbers[labels == label]
        found = np.bincount(own, minlength=p.size) / own.size
        assert (np.abs(found - p) < 5 * np.sqrt(p * (1 - p) / own.size)).all()


def test_a_class_that_is_none_is_refused() -> None:
    with pytest.raises(RbmError, match=r"^label 3: there are 3 classes"):
        label_clamp(machine(), np.array([0, 3]))


# Learning ----------------------------------------------------------------------------------------


def labelled_data(rows: int, features: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noisy copies of a pattern for each class, one-hot labels beside them."""
    rng = np.random.default_rng(0)
    patterns, labels = rng.integers(0, 2, (CLASSES, features)), rng.integers(CLASSES, size=rows)
    noisy = patterns[labels] ^ (rng.random((rows, features)) < 0.1)
    return np.concatenate([noisy, np.eye(CLASSES)[labels]], axis=1).astype(np.uint8), labels


def trained(images: Images, **method: Any) -> Trainer:
    rate, momentum, steps = (Schedule.parse(text) for text in ("0.1", "0.5", "1"))
    hyper = Hyperparameters(4, 20, rate, momentum, 0.0, steps, method=Method(**method))
    features = images.pixels.shape[1] - CLASSES
    trainer = Trainer(Rbm.dense((features,), 20, labels=CLASSES), images, images, hyper, seed=2)
    trainer.initialize()
    for _ in trainer.run():
        pass
    return trainer


@pytest.mark.parametrize(
    "method",
    [
        {"algorithm": "cd"},
        {"algorithm": "cd", "mean_field": True},
        {"algorithm": "pcd"},
        {"algorithm": "fpcd"},
        {"algorithm": "pt", "temperatures": 3},
    ],
    ids=lambda method: "-".join(map(str, method.values())),
)
def test_labels_are_learned(method: dict[str, Any]) -> None:
    data, labels = labelled_data(800, 70)
    images = Images(data[:400], 1.0, np.arange(400))
    model = trained(images, **method).model
    energies = class_energies(model, BitStates.from_array(data[400:, :70]))
    assert (classify(energies) != labels[400:]).mean() < 0.02
    means = FloatStates(BitStates.from_array(data[400:, :70]).floats(), 70)
    np.testing.assert_allclose(class_energies(model, means), energies, rtol=1e-5)


@pytest.mark.parametrize("binarize", ["sample", "none"])
def test_threads_do_not_show_in_what_is_learned(binarize: str) -> None:
    images = Images(labelled_data(100, 500)[0], 1.0, np.arange(100), binarize)
    found = set()
    for threads in (1, 2, 3):
        _kernels.set_threads(threads)
        parameters = trained(images).model.parameters()
        found.add(tuple(values.tobytes() for values in parameters.values()))
    assert len(found) == 1

"""What machines of spins do; tests/test_new_kind.py runs this with a build that knows spins.

Everything is compared with sums over all states, in plain numpy.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.cli.main import run
from rbmcli.draws import Draws
from rbmcli.inference import ais, exact
from rbmcli.inference.annealing import Path, ladder
from rbmcli.inference.free_energy import free_energy, pseudo_log_likelihood
from rbmcli.learning.batch import Images
from rbmcli.learning.loop import EpochDone
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.model.rbm import Rbm

VALUES = {"spin": (-1.0, 1.0), "bernoulli": (0.0, 1.0)}
VISIBLE, HIDDEN = 6, 3
each_pair = pytest.mark.parametrize(
    ("visible", "hidden"), [("spin", "bernoulli"), ("bernoulli", "spin"), ("spin", "spin")]
)


def every_state(kind: str, units: int) -> NDArray[np.float64]:
    return np.array(list(itertools.product(VALUES[kind], repeat=units)))


def log_weights(model: Rbm) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All visible states, and log of the sum over all hidden ones of exp(-E), for each."""
    p = {name: values.astype(np.float64) for name, values in model.parameters().items()}
    v = every_state(model.visible.kind.name, VISIBLE)
    h = every_state(model.hidden.kind.name, HIDDEN)
    energy = -(v @ p["weights"] @ h.T + (v @ p["visible_bias"])[:, np.newaxis])
    return v, np.logaddexp.reduce(-energy + h @ p["hidden_bias"], axis=1)


def random_machine(visible: str, hidden: str) -> Rbm:
    model, rng = Rbm.dense((VISIBLE,), HIDDEN, visible, hidden), np.random.default_rng(2)
    model.load({name: rng.normal(0, 0.6, x.shape) for name, x in model.parameters().items()})
    return model


@each_pair
def test_energies_are_those_of_sums(visible: str, hidden: str, isa: str) -> None:
    model = random_machine(visible, hidden)
    values, expected = log_weights(model)
    states = model.visible.states_of(values)
    np.testing.assert_allclose(-free_energy(model, states), expected, rtol=1e-6)
    normaliser = np.logaddexp.reduce(expected)
    assert exact.log_partition(model) == pytest.approx(normaliser, rel=1e-6)
    units = np.arange(len(values)) % VISIBLE
    number = {tuple(v): weight for v, weight in zip(values, expected, strict=True)}
    low, high = VALUES[visible]
    for v, unit, found in zip(
        values, units, pseudo_log_likelihood(model, states, units), strict=True
    ):
        other = v.copy()
        other[unit] = low + high - v[unit]
        here, there = number[tuple(v)], number[tuple(other)]
        assert found == pytest.approx(VISIBLE * (here - np.logaddexp(here, there)), abs=1e-5)


@each_pair
def test_annealing_finds_the_partition_function(visible: str, hidden: str, isa: str) -> None:
    model = random_machine(visible, hidden)
    path = Path(model, np.full(VISIBLE, 0.3))
    estimate = ais.log_partition(path, ladder(300), 200, Draws(3))
    assert estimate.low < np.logaddexp.reduce(log_weights(model)[1]) < estimate.high
    assert estimate.high - estimate.low < 0.6


def some_data(kind: str) -> NDArray[np.float32]:
    """Three patterns, of which each value is turned round with probability 0.05."""
    rng, (low, high) = np.random.default_rng(5), VALUES[kind]
    patterns = rng.integers(0, 2, (3, VISIBLE))[rng.integers(0, 3, 120)]
    on = patterns ^ (rng.random(patterns.shape) < 0.05)
    return (low + (high - low) * on).astype(np.float32)


def trained(visible: str, hidden: str) -> tuple[Rbm, list[float]]:
    """A machine, and the mean log-likelihood of its data before and after training."""
    data, model = some_data(visible), Rbm.dense((VISIBLE,), HIDDEN, visible, hidden)
    model.initialize(data.mean(axis=0), data.std(axis=0), Draws(1))
    settings = Hyperparameters(
        epochs=100,
        batch_size=20,
        learning_rate=Schedule.parse("0.05"),
        momentum=Schedule.parse("0.5"),
        weight_decay=0.0,
        gibbs_steps=Schedule.parse("1"),
    )
    trainer = Trainer(model, Images(data, 1.0, np.arange(len(data))), None, settings, 1)
    found = []
    for event in trainer.run():
        if isinstance(event, EpochDone) and event.epoch in (0, 100):
            values, weights = log_weights(model)
            row = (data[:, np.newaxis] == values).all(axis=2).argmax(axis=1)
            found.append(float((weights[row] - np.logaddexp.reduce(weights)).mean()))
    return model, found


@each_pair
def test_training_raises_the_likelihood(visible: str, hidden: str, isa: str) -> None:
    before, after = trained(visible, hidden)[1]
    assert before + 0.5 < after


@each_pair
def test_instruction_sets_do_not_show(visible: str, hidden: str) -> None:
    found = set()
    for name in ("baseline", "avx2", "avx512"):
        try:
            _kernels.use_isa(name)
        except ValueError:
            continue
        found.add(trained(visible, hidden)[0].link.weights.tobytes())
    assert len(found) == 1


def test_commands_know_the_kind(tmp_path: Any, capfd: Any) -> None:
    """Its name is in the help, in run files and in what is said of them."""
    data, file = tmp_path / "data.npy", tmp_path / "run.h5"
    np.save(data, some_data("spin").reshape(-1, 2, 3))
    options = ["--visible-kind", "spin", "--hidden-kind", "spin", "--hidden", "3", "--epochs", "2"]
    assert run(["train", str(data), *options, "--quiet", "-o", str(file)]) == 0
    capfd.readouterr()
    assert run(["evaluate", str(file), str(data), "--json"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["kinds"] == {"visible": "spin", "hidden": "spin"}
    assert facts["log_partition"]["method"] == "exact"
    assert facts["log_likelihood"]["value"] < 0
    assert run(["train", "--help"]) == 0
    assert "spin" in capfd.readouterr().out

"""`rbm evaluate`: what it measures, how it says it, and where it refuses."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changing import changing
from commands import names, write_images

from rbmcli.arrays import to_padded
from rbmcli.cli.evaluate import command
from rbmcli.cli.main import run as rbm
from rbmcli.cli.models import load_stack
from rbmcli.draws import Draws, Purpose
from rbmcli.inference import ais, annealing, reverse_ais
from rbmcli.inference.classifier import INVERSE_PENALTIES
from rbmcli.inference.evaluation import measure_stack
from rbmcli.inference.exact import log_likelihood, log_partition
from rbmcli.inference.free_energy import free_energy
from rbmcli.inference.labels import class_energies, features_energy, image_classes
from rbmcli.inference.likelihood import exactly, mean_bound
from rbmcli.io.runfile import RunReader
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import BitStates, FloatStates, binarized

SIDE = 4
FEW = ["--ais-temperatures", "60", "--ais-chains", "40", "--threads", "1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npy", 90, SIDE)
    return tmp_path


def train(*options: object, source: str = "images.npy") -> None:
    usual = ["-o", "run.h5", "--force", "--batch-size", "10", "--epochs", "2", "--threads", "1"]
    usual += ["--checkpoint-every", "100epochs", "--snapshot-every", "100epochs"]
    arguments = ["train", source, *usual, "--hidden", "5", "--quiet", *map(str, options)]
    assert rbm(arguments) == 0


def evaluate(capfd, *options: object, source: str = "images.npy") -> dict[str, Any]:
    """What `--json` prints; nothing else is said."""
    capfd.readouterr()
    arguments = ["evaluate", "run.h5", source, "--json", "--quiet", *FEW, *map(str, options)]
    assert rbm(arguments) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return json.loads(out, parse_constant=pytest.fail)


def fails(capfd, *arguments: str) -> str:
    before = names(Path())
    capfd.readouterr()
    assert rbm(["evaluate", *arguments, *FEW]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert names(Path()) == before
    assert err.startswith("rbm: error: ")
    assert err.count("\n") == 1
    return err


def too_large_to_count(monkeypatch, most: int = 1) -> None:
    monkeypatch.setattr("rbmcli.inference.exact.MOST_STATES", most)


def test_exact_numbers_are_those_of_the_model(folder, capfd):
    train("--binarize", "threshold")
    found = evaluate(capfd)
    with RunReader(Path("run.h5")) as run:
        model = load_stack(run).top
    pixels = np.load("images.npy").reshape(90, -1)
    states = BitStates.from_array(pixels / 255)
    assert found["free_energy"] == pytest.approx(free_energy(model, states).mean())
    partition, likelihood = found["log_partition"], found["log_likelihood"]
    assert partition["method"] == "exact"
    assert partition["low"] == partition["value"] == partition["high"]
    assert likelihood["value"] == pytest.approx(log_likelihood(model, states).mean())
    assert likelihood["conservative"] == likelihood["value"]
    assert found["images"] == 90
    assert found["kinds"] == {"visible": "bernoulli", "hidden": "bernoulli"}

    hidden = model.hidden.sample(
        model.hidden_input(states), Draws(0).at(Purpose.MONITOR, 0, 0, 0)
    ).to_array()
    total = hidden @ model.link.weights.T + model.visible.bias[: SIDE**2]
    error = np.square(states.to_array() - 1 / (1 + np.exp(-total.astype(np.float64))))
    assert found["reconstruction_error"] == pytest.approx(error.sum(axis=1).mean(), rel=1e-5)

    def flipped(unit: int) -> np.ndarray:
        other = states.to_array()
        other[:, unit] ^= 1
        return free_energy(model, BitStates.from_array(other))

    here = free_energy(model, states)
    terms = sum(-np.logaddexp(0, here - flipped(unit)) for unit in range(SIDE**2))
    # 16 units are fewer than the terms that are looked at: the sum is complete.
    assert found["pseudo_log_likelihood"] == pytest.approx(terms.mean(), rel=1e-4)


def test_ais_agrees_with_enumeration(folder, capfd, monkeypatch):
    train("--epochs", 20)
    exact = evaluate(capfd, "--ais-temperatures", 500)
    too_large_to_count(monkeypatch)
    found = evaluate(capfd, "--ais-temperatures", 500, "--ais-chains", 100)
    truth, partition = exact["log_partition"]["value"], found["log_partition"]
    assert partition["method"] == "ais"
    assert (partition["chains"], partition["temperatures"]) == (100, 500)
    assert partition["low"] < truth < partition["high"]
    assert abs(partition["value"] - truth) < 0.2
    for name in ("reconstruction_error", "pseudo_log_likelihood", "free_energy"):
        assert found[name] == exact[name]
    likelihood = found["log_likelihood"]
    assert likelihood["value"] == pytest.approx(-found["free_energy"] - partition["value"])
    assert likelihood["low"] == pytest.approx(-found["free_energy"] - partition["high"])
    assert likelihood["high"] == pytest.approx(-found["free_energy"] - partition["low"])
    assert likelihood["conservative_images"] == 90
    below = exact["log_likelihood"]["value"] - likelihood["conservative"]
    assert -4 * likelihood["conservative_error"] < below < 0.5


def test_raise_understates_with_few_temperatures(folder, capfd, monkeypatch):
    train("--epochs", 80, "--lr", 0.5)
    truth = evaluate(capfd)["log_likelihood"]["value"]
    too_large_to_count(monkeypatch)
    likelihood = evaluate(capfd, "--ais-temperatures", 2)["log_likelihood"]
    assert likelihood["conservative"] < truth - 4 * likelihood["conservative_error"]


def test_the_part_of_raise_can_be_chosen(folder, capfd, monkeypatch):
    train()
    too_large_to_count(monkeypatch)
    likelihood = evaluate(capfd, "--raise-images", 0)["log_likelihood"]
    assert likelihood["conservative"] is None
    assert likelihood["conservative_images"] == 0
    one = evaluate(capfd, "--raise-images", 30)["log_likelihood"]
    four = evaluate(capfd, "--raise-images", 30, "--raise-chains", 4)["log_likelihood"]
    assert one["conservative_images"] == 30
    assert 0 < four["conservative_error"] < one["conservative_error"]
    alone = evaluate(capfd, "--raise-images", 1)["log_likelihood"]
    assert alone["conservative_error"] is None
    assert rbm(["evaluate", "run.h5", "images.npy", "--raise-images", "1"]) == 0
    assert ", RAISE, from 1 image\n" in (said := capfd.readouterr().out)
    assert "nan" not in said


def test_an_interval_without_lower_end_is_null(folder, capfd, monkeypatch):
    """Of two chains, the mean weight is within 3 standard errors of 0 more often than not."""
    train("--epochs", 40, "--lr", 0.5)
    too_large_to_count(monkeypatch)
    found = evaluate(capfd, "--ais-chains", 2, "--ais-temperatures", 2, "--raise-images", 0)
    assert found["log_partition"]["low"] is None
    assert found["log_likelihood"]["high"] is None
    assert found["log_likelihood"]["low"] < found["log_likelihood"]["value"]


def test_seed_and_threads(folder, capfd, monkeypatch):
    train()
    too_large_to_count(monkeypatch)
    first = evaluate(capfd)
    assert evaluate(capfd, "--threads", 3) == first
    other = evaluate(capfd, "--seed", 1)
    assert other["seed"] == 1
    assert other["free_energy"] != first["free_energy"]  # the data are drawn by the seed as well
    assert other["log_partition"]["value"] != first["log_partition"]["value"]


def test_images_are_drawn_once_whatever_the_blocks(folder, capfd, monkeypatch):
    train()
    first = evaluate(capfd)
    monkeypatch.setattr("rbmcli.cli.measuring._BLOCK", 7)
    blocks = evaluate(capfd)
    for name in ("free_energy", "reconstruction_error"):
        assert blocks[name] == pytest.approx(first[name], rel=1e-6)


def test_binarization_is_part_of_the_result(folder, capfd):
    train()
    drawn = evaluate(capfd, "--seed", 3)
    assert (drawn["binarize"], drawn["binarized"]) == (
        "sample",
        "each value drawn once, seed 3",
    )
    cut = evaluate(capfd, "--binarize", "threshold")
    assert (cut["binarize"], cut["binarized"]) == ("threshold", "cut at 0.5")
    assert cut["free_energy"] != drawn["free_energy"]
    pixels = np.load("images.npy") > 127
    np.save("bits.npy", pixels)
    asis = evaluate(capfd, "--binarize", "none", source="bits.npy")
    assert asis["binarized"] == "taken as they are"
    assert asis["log_likelihood"]["value"] == pytest.approx(cut["log_likelihood"]["value"])
    train("--binarize", "threshold")
    assert evaluate(capfd)["binarize"] == "threshold"


def test_limit(folder, capfd):
    train()
    found = evaluate(capfd, "--limit", 12)
    np.save("few.npy", np.load("images.npy")[:12])
    assert found["images"] == 12
    assert found == evaluate(capfd, source="few.npy")


def test_images_are_seen_as_in_training(folder, capfd):
    """Cropped in the centre, and preprocessed as was fitted to the training images."""
    train("--crop", "2x2", "--preprocess", "standardize", "--visible-kind", "gaussian")
    found = evaluate(capfd)
    pixels = np.load("images.npy")[:, 1:3, 1:3].reshape(90, 4) / 255
    assert found["images"] == 90
    with RunReader(Path("run.h5")) as run:
        model = load_stack(run).top
    mean, deviation = pixels.mean(axis=0), pixels.std(axis=0)
    states = model.visible.states_of((pixels - mean) / deviation)
    # The statistics were fitted to crops at random places: alike, not the same.
    assert found["free_energy"] == pytest.approx(free_energy(model, states).mean(), abs=0.5)


def refused(capfd, *options: str) -> tuple[dict[str, Any], str]:
    capfd.readouterr()
    assert rbm(["evaluate", "run.h5", "images.npy", "--json", "--quiet", *FEW, *options]) == 0
    out, err = capfd.readouterr()
    assert err.count("\n") == 1
    found = json.loads(out)
    assert found["log_partition"] is None
    assert found["log_likelihood"] is None
    return found, err


def test_real_values_have_no_likelihood_in_binary_units(folder, capfd):
    train()
    found, err = refused(capfd, "--binarize", "none")
    assert "the data are no states of bernoulli units" in err
    assert found["pseudo_log_likelihood"] is None
    assert np.isfinite(found["reconstruction_error"])
    assert np.isfinite(found["free_energy"])


def test_no_likelihood_without_a_density(folder, capfd):
    np.save("images.npy", np.random.default_rng(0).normal(size=(90, 16)).astype(np.float32))
    train("--visible-kind", "gaussian", "--hidden-kind", "gaussian", "--lr", 0.001)
    found = evaluate(capfd)
    assert found["binarize"] == "none"
    assert found["log_partition"]["method"] == "ais"
    assert found["pseudo_log_likelihood"] is None
    with changing("run.h5") as file:
        file["model/weights"][...] *= 1.001 / np.linalg.norm(file["model/weights"][...], 2)
    found, err = refused(capfd)
    assert "spectral norm of the weights is below 1, and it is 1.001" in err


@pytest.mark.parametrize(
    ("visible", "hidden"),
    [("binomial:4", "bernoulli"), ("gaussian:learned", "bernoulli"), ("bernoulli", "nrelu")],
)
def test_other_kinds(folder, capfd, monkeypatch, visible, hidden):
    train("--visible-kind", visible, "--hidden-kind", hidden, "--lr", 0.01)
    truth = evaluate(capfd)
    too_large_to_count(monkeypatch)
    found = evaluate(capfd, "--ais-temperatures", 200)
    assert found["kinds"] == {"visible": visible, "hidden": hidden}
    partition = found["log_partition"]
    assert partition["low"] < truth["log_partition"]["value"] < partition["high"]


def test_for_a_reader(folder, capfd, monkeypatch):
    train()
    assert rbm(["evaluate", "run.h5", "images.npy", *FEW]) == 0
    out, err = capfd.readouterr()
    assert "each value drawn once, seed 0" in out
    assert "exact" in out
    too_large_to_count(monkeypatch)
    assert rbm(["evaluate", "run.h5", "images.npy", *FEW]) == 0
    out, err = capfd.readouterr()
    assert "AIS, 40 chains, 60 temperatures" in out
    assert "RAISE, from 90 images" in out
    train()
    assert rbm(["evaluate", "run.h5", "images.npy", *FEW, "--binarize", "none"]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[-1].split() == ["log_likelihood", "-"]
    assert err.splitlines()[0] == (
        "images.npy: 90 images of 4x4, bytes 0 to 255 taken as 0 to 1, no labels"
    )
    assert err.splitlines()[1].startswith("no likelihood: ")


def test_progress_is_shown(folder, capfd, monkeypatch):
    train()
    too_large_to_count(monkeypatch)
    monkeypatch.setattr("rbmcli.cli.progress._LINE_EVERY", -1.0)
    assert rbm(["evaluate", "run.h5", "images.npy", *FEW]) == 0
    err = capfd.readouterr().err.splitlines()
    assert {"images 100%", "AIS 100%", "RAISE 100%"} < set(err)
    told = [int(line[4:-1]) for line in err if line.startswith("AIS ")]
    assert told == sorted(told)
    assert len(told) > 3


def test_errors(folder, capfd, monkeypatch):
    train()
    assert "nowhere.h5" in fails(capfd, "nowhere.h5", "images.npy")
    assert "nowhere: no such file" in fails(capfd, "run.h5", "nowhere")
    np.save("small.npy", np.zeros((3, 2, 2), np.uint8))
    assert "images of 4 values, but the machine has 16" in fails(capfd, "run.h5", "small.npy")
    np.save("large.npy", np.full((3, SIDE, SIDE), 2.0))
    assert "large.npy: values from 2 to 2" in fails(capfd, "run.h5", "large.npy")
    too_large_to_count(monkeypatch, 31)
    message = fails(capfd, "run.h5", "images.npy", "--exact")
    assert "16 visible and 5 hidden units have too many states" in message
    assert "without --exact" in message
    too_large_to_count(monkeypatch, 32)
    assert evaluate(capfd, "--exact")["log_partition"]["method"] == "exact"


@pytest.mark.parametrize(
    "options", ["--ais-chains 1", "--ais-temperatures 1", "--raise-chains 0", "--binarize often"]
)
def test_wrong_usage(folder, options):
    assert rbm(["evaluate", "run.h5", "images.npy", *options.split()]) == 2


def test_defaults_are_those_of_inference():
    """They stand in the command's file a second time, so that --help imports nothing heavy."""
    defaults = {option.name: option.default for option in command.params}
    assert defaults["ais_chains"] == ais.CHAINS
    assert defaults["ais_temperatures"] == annealing.TEMPERATURES
    assert defaults["raise_images"] == reverse_ais.IMAGES
    assert defaults["raise_chains"] == reverse_ais.CHAINS


def test_counts_are_read_as_in_training(folder, capfd):
    """Test images of counts none of which is above 1 would be read as fractions by themselves."""
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 9, (40, SIDE, SIDE)).astype(np.uint8)
    np.save("counts.npy", counts)
    np.save("few.npy", counts % 2)
    kind = ["--visible-kind", "binomial:8", "--lr", "0.001", "--threads", "1", "--quiet"]
    assert rbm(["train", "counts.npy", "--hidden", "3", *kind, "-o", "counts.h5"]) == 0
    assert rbm(["evaluate", "counts.h5", "few.npy", "--json"]) == 0
    read = json.loads(capfd.readouterr().out)
    assert read["binarize"] == "none"
    # Counts of 0 and 1 lie far from a mean of 4: 8 times as far as if they stood for 0 and 8.
    assert read["reconstruction_error"] > 8 * SIDE * SIDE


# Stacks ------------------------------------------------------------------------------------------


def use_stack(monkeypatch, *levels: int, classes: int = 0, kind: str = "bernoulli") -> Stack:
    """A stack with random weights, as which `run.h5` is read from now on."""
    rng, machines = np.random.default_rng(8), []
    for number, (below, above) in enumerate(pairwise([SIDE**2, *levels]), 1):
        labels = classes if number == len(levels) else 0
        shape = (SIDE, SIDE) if number == 1 else (below,)
        hidden = "bernoulli" if number == len(levels) else kind
        machines.append(
            Rbm.dense(shape, above, "bernoulli" if number == 1 else kind, hidden, labels)
        )
        shapes = {name: x.shape for name, x in machines[-1].parameters().items()}
        machines[-1].load({name: rng.normal(0, 0.5, shape) for name, shape in shapes.items()})
    stack = Stack(machines)
    monkeypatch.setattr("rbmcli.cli.models.load_stack", lambda run, greedy: stack)
    return stack


def test_numbers_of_a_stack(folder, capfd, monkeypatch):
    train("--binarize", "threshold")
    stack = use_stack(monkeypatch, 6, 5)
    found = evaluate(capfd)
    pixels = np.load("images.npy").reshape(90, -1)
    states = BitStates.from_array(pixels / 255)
    measured = measure_stack(stack, [states], Draws(0), 1)
    assert found["reconstruction_error"] == measured.reconstruction_error
    partition = found["log_partition"]
    assert partition["value"] == pytest.approx(log_partition(stack.top))
    bound = mean_bound(measured.log_weights, exactly(partition["value"]))
    assert found["log_likelihood_bound"] == pytest.approx(bound._asdict())
    for name in ("log_likelihood", "pseudo_log_likelihood", "free_energy"):
        assert found[name] is None
    assert "label_error" not in found
    assert found["kinds"] == {"visible": "bernoulli", "hidden": ["bernoulli", "bernoulli"]}
    assert evaluate(capfd, "--threads", 3) == found
    monkeypatch.setattr("rbmcli.cli.measuring._BLOCK", 7)
    blocks = evaluate(capfd)
    assert blocks["log_likelihood_bound"] == pytest.approx(found["log_likelihood_bound"])
    several = evaluate(capfd, "--bound-samples", 30)["log_likelihood_bound"]
    assert several["standard_error"] < bound.standard_error
    assert abs(several["value"] - bound.value) < 5 * bound.standard_error
    too_large_to_count(monkeypatch)
    estimated = evaluate(capfd, "--ais-temperatures", 500, "--ais-chains", 100)
    assert estimated["log_partition"]["method"] == "ais"
    interval = estimated["log_likelihood_bound"]
    assert interval["low"] < bound.value < interval["high"]
    assert interval["high"] - interval["low"] < 2
    assert "too many states" in fails(capfd, "run.h5", "images.npy", "--exact")


def test_a_stack_for_a_reader(folder, capfd, monkeypatch):
    train()
    use_stack(monkeypatch, 6, 5, classes=3)
    assert rbm(["evaluate", "run.h5", "images.npy", *FEW, "--limit", "1"]) == 0
    out, err = capfd.readouterr()
    assert "kinds                  bernoulli over bernoulli over bernoulli\n" in out
    assert re.search(r"log_likelihood_bound   -[\d.]+, standard error unknown\n", out)
    assert "label_error            -\n" in out
    lines = err.splitlines()
    assert lines[0].startswith("images.npy: 1 image of 4x4, bytes ")
    assert lines[1:] == ["no label error: images.npy has no labels; name some with --labels"]
    np.save("labels.npy", np.zeros(90, int))
    too_large_to_count(monkeypatch)
    assert rbm(["evaluate", "run.h5", "images.npy", *FEW, "--labels", "labels.npy"]) == 0
    out, err = capfd.readouterr()
    assert re.search(r"log_likelihood_bound   -[\d.]+ \(-.* to -.*\), standard error [\d.]+\n", out)
    assert re.search(r"label_error            [\d.]+%\n", out)
    assert err.splitlines() == [
        "images.npy: 90 images of 4x4, bytes 0 to 255 taken as 0 to 1, labels from labels.npy"
    ]


def test_a_stack_without_a_bound(folder, capfd, monkeypatch):
    train()
    stack = use_stack(monkeypatch, 6, 5, kind="binomial:2")
    assert evaluate(capfd)["log_likelihood_bound"] is not None
    stack.machines[1] = Rbm.dense((6,), 5, "gaussian")
    found, err = refused(capfd)
    assert found["log_likelihood_bound"] is None
    assert "layer 1 has gaussian units where layer 0 has binomial:2 ones" in err
    found, err = refused(capfd, "--binarize", "none")
    assert "the data are no states of bernoulli units" in err


def test_before_and_after_up_down(folder, capfd):
    options = ["--epochs", "2", "--batch-size", "10", "--threads", "1", "--quiet", "--force"]
    layers = ["--add-layer", "6", "--add-layer", "5", "--up-down", "3,lr=0.2"]
    assert rbm(["stack", "images.npy", "-o", "run.h5", *options, *layers]) == 0
    after, before = evaluate(capfd), evaluate(capfd, "--greedy")
    assert after["reconstruction_error"] != before["reconstruction_error"]
    assert rbm(["stack", "images.npy", "-o", "run.h5", *options, *layers[:4]]) == 0
    assert evaluate(capfd) == before
    assert rbm(["evaluate", "run.h5", "images.npy", "--greedy"]) == 1
    assert "run.h5: had no up-down" in capfd.readouterr().err


@pytest.mark.parametrize("levels", [(5,), (6, 5)], ids=["machine", "stack"])
def test_the_error_of_label_units(folder, capfd, monkeypatch, levels):
    """By the least free energy; of a single machine with label units the bound is exact."""
    train()
    stack = use_stack(monkeypatch, *levels, classes=3)
    pixels = np.load("images.npy").reshape(90, -1)
    grey = FloatStates(to_padded(pixels / np.float32(255)), SIDE**2)
    draw, first = Draws(0).at(Purpose.LABELS, 0), stack.top.features
    balance = image_classes(stack, grey, draw).mean(axis=0)
    stack.top.visible.bias[first : first + 3] -= balance
    classes = image_classes(stack, grey, draw).argmax(axis=1)
    assert len(set(classes)) == 3
    np.save("labels.npy", np.where(np.arange(90) < 27, (classes + 1) % 3, classes))
    found = evaluate(capfd, "--labels", "labels.npy")
    assert found["label_error"] == pytest.approx(0.3)
    np.savez("both.npz", images=np.load("images.npy"), labels=classes)
    beside = evaluate(capfd, source="both.npz:images")
    assert beside["label_error"] == 0
    drawn = evaluate(capfd, "--label-samples", 50, source="both.npz:images")
    assert 0 <= drawn["label_error"] < 0.2
    monkeypatch.setattr("rbmcli.cli.measuring._BLOCK", 7)
    assert evaluate(capfd, "--labels", "labels.npy")["label_error"] == pytest.approx(0.3)
    if len(levels) == 1:
        states = images_as_drawn(90)
        exact = -features_energy(class_energies(stack.top, states)) - log_partition(stack.top)
        assert found["log_likelihood_bound"]["value"] == pytest.approx(exact.mean())


def images_as_drawn(count: int) -> BitStates:
    pixels = np.load("images.npy").reshape(count, -1)
    draw = Draws(0).at(Purpose.BINARIZE, 0)
    return binarized(pixels, np.arange(count), 255.0, None, draw)


def test_labels_that_do_not_fit(folder, capfd, monkeypatch):
    train()
    np.save("labels.npy", np.arange(90) % 4)
    np.save("few.npy", np.arange(9))
    message = fails(capfd, "run.h5", "images.npy", "--labels", "labels.npy")
    assert "run.h5: has no label units" in message
    use_stack(monkeypatch, 6, 5, classes=3)
    message = fails(capfd, "run.h5", "images.npy", "--labels", "labels.npy")
    assert "labels from 0 to 3, but the machine has 3 label units" in message
    assert "few.npy" in fails(capfd, "run.h5", "images.npy", "--labels", "few.npy")
    message = fails(capfd, "run.h5", "images.npy", "--classifier", "images.npy")
    assert "images.npy: has no labels" in message
    assert "--labels" in message
    np.save("labels.npy", np.arange(90) % 3)
    labels = ["--labels", "labels.npy", "--classifier", "images.npy"]
    message = fails(capfd, "run.h5", "images.npy", *labels)
    assert "--classifier-labels" in message
    np.save("same.npy", np.ones(90, int))
    message = fails(
        capfd, "run.h5", "images.npy", *labels, "--classifier-labels", "same.npy", "--quiet"
    )
    assert "two classes or more" in message


@pytest.mark.parametrize("layer", [None, "0", "all"])
def test_a_classifier_of_features(folder, capfd, monkeypatch, layer):
    """Of images whose class stands in one pixel, which hidden units of either layer pass on."""
    train()
    stack = use_stack(monkeypatch, 6, 5)
    for machine in stack.machines:
        machine.link.set_weights(4 * np.eye(machine.visible.units, machine.hidden.units))
    images = np.load("images.npy")
    labels = np.arange(90) % 3
    images[:, 0, :3] = 255 * (labels[:, np.newaxis] == np.arange(3))
    np.save("images.npy", images)
    np.save("labels.npy", labels * 7)
    np.savez("test.npz", images=images[:30], labels=labels[:30] * 7)
    options = ["--classifier", "images.npy", "--classifier-labels", "labels.npy"]
    options += [] if layer is None else ["--layer", layer]
    found = evaluate(capfd, *options, source="test.npz")
    assert found["classifier_error"] == 0
    about = found["classifier"]
    assert about["layers"] == {None: [1], "0": [0], "all": [0, 1]}[layer]
    assert about["images"] == 90
    assert about["inverse_penalty"] in INVERSE_PENALTIES
    assert about["held_out_error"] == 0
    assert rbm(["evaluate", "run.h5", "test.npz", *FEW, *options]) == 0
    out = capfd.readouterr().out
    layers = {None: "1", "0": "0", "all": "0, 1"}[layer]
    assert f"classifier_error       0.00%, layer {layers}, C " in out
    wrong = np.where(np.arange(30) < 3, 1 - labels[:30], labels[:30]) * 7
    np.save("wrong.npy", wrong)
    found = evaluate(capfd, *options, "--labels", "wrong.npy", source="test.npz")
    assert found["classifier_error"] == pytest.approx((wrong != labels[:30] * 7).mean())


def test_a_classifier_of_one_machine(folder, capfd):
    train()
    np.save("labels.npy", np.arange(90) % 2)
    options = ["--labels", "labels.npy"]
    options += ["--classifier", "images.npy", "--classifier-labels", "labels.npy"]
    plain, found = evaluate(capfd), evaluate(capfd, *options)
    assert found["classifier"]["layers"] == [0]
    assert 0 < found["classifier_error"] < 1
    assert {name: value for name, value in found.items() if name in plain} == plain
    message = fails(capfd, "run.h5", "images.npy", *options, "--layer", "1")
    assert "run.h5: holds no layer 1" in message


def test_a_classifier_without_scikit_learn(folder, capfd, monkeypatch):
    train()
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    message = fails(capfd, "run.h5", "images.npy", "--classifier", "images.npy")
    assert "pip install scikit-learn" in message
    assert rbm(["evaluate", "run.h5", "images.npy", "--layer", "all"]) == 2


def test_a_stack_from_its_file(folder, capfd):
    """As `rbm stack` writes it."""
    np.savez("bars.npz", images=np.load("images.npy"), labels=np.arange(90) % 2)
    layers = ["--add-layer", "6", "--add-layer", "5", "--label-units"]
    usual = ["-o", "run.h5", "--quiet", "--epochs", "1", "--threads", "1"]
    assert rbm(["stack", "bars.npz:images", *layers, *usual]) == 0
    found = evaluate(capfd, source="bars.npz:images")
    with RunReader(Path("run.h5")) as run:
        stack = load_stack(run)
    assert found["log_partition"]["value"] == pytest.approx(log_partition(stack.top))
    assert found["log_likelihood_bound"]["value"] < 0
    assert 0 < found["label_error"] < 1

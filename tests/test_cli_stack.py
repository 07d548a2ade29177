"""`rbm stack` from the outside: what its run file holds, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import tomllib

import h5py
import numpy as np
import pytest
from commands import contents, names, refused, running, wait_for, write_images

from rbmcli.cli import datasets
from rbmcli.cli.main import run as rbm
from rbmcli.draws import Draws
from rbmcli.io.batches import split
from rbmcli.io.runfile import RunReader

SMALL = ["--batch-size", "20", "--epochs", "2", "--threads", "1", "--quiet"]
THREE = ["--add-layer", "12", "--add-layer", "10,lr=0.1", "--add-layer", "8,epochs=3"]
MAPS = ["--add-layer", "conv=5x3x3", "--add-layer", "conv=4x2x2,pool=1,lr=0.1"]
MAPS += ["--add-layer", "8,epochs=3"]
CLASSES = 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder, entered, with 105 images of 8 x 8 in it, whose labels are in other files."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npy", 105)
    write_images(tmp_path / "other.npy", 40)
    labels = np.random.default_rng(2).integers(0, CLASSES, 105)
    np.save("labels.npy", labels)
    np.save("negative.npy", labels - 1)
    np.save("large.npy", labels + 1023)
    np.save("short.npy", labels[:-1])
    np.savez("valid.npz", images=np.load("other.npy"), labels=np.arange(40) % CLASSES)
    np.savez("beyond.npz", images=np.load("other.npy"), labels=np.arange(40) % 4)
    random = np.random.default_rng(3)
    np.save("real.npy", random.normal(size=(105, 8, 8)).astype(np.float32))
    return tmp_path


def done(command, *options, output="run.h5", source="images.npy"):
    """Run a command that trains and return what its file holds."""
    assert rbm([*map(str, [command, source, "-o", output, *SMALL, *options])]) == 0
    return contents(output)


def stack(*options, output="run.h5", source="images.npy"):
    return done("stack", *options, output=output, source=source)


def layer(found, number):
    """What a file of a stack holds of a layer, by the names that a single machine's has."""
    prefix = f"layers/{number}/"
    return {name.removeprefix(prefix): x for name, x in found.items() if name.startswith(prefix)}


def array(found, name):
    dtype, shape, values = found[name]
    return np.frombuffer(values, dtype).reshape(shape)


def stopped(process, log, layer):
    """Wait for a layer's first line in a log of metrics; whether it came before the end."""
    return wait_for(
        lambda: log.exists() and f'"layer": {layer}, "epoch": 1' in log.read_text(), process
    )


# What is trained ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--validation 0.2 --patience 1",
        "--validation other.npy",
        "--visible-kind gaussian --preprocess contrast,zca --validation 0.2 --lr 0.001",
        "--crop 6x6 --flip",
        "--visible-kind gaussian:learned --preprocess standardize --crop 6x6 --lr 0.001",
        "--visible-kind gaussian:0.5 --preprocess standardize --lr 0.001 --hidden-bias -2",
        "--algorithm pcd --chains 7",
        "--algorithm pt --temperatures 3",
        "--hidden-kind nrelu --lr 0.001 --no-centering --nesterov",
        "--hidden-kind softmax:3 --visible-kind binomial:8",
        "--labels labels.npy --only 1 --limit 20 --seed 4 --binarize threshold",
    ],
)
def test_a_stack_of_one_layer_is_what_train_gives(folder, options):
    one = stack("--add-layer", 12, *options.split())
    alone = done("train", "--hidden", 12, *options.split(), output="alone.h5")
    assert layer(one, 0) == alone
    assert len(one) == len(alone)


@pytest.mark.parametrize(
    "options",
    [
        "--conv 5x3x3",
        "--conv 5x3x3 --pool 1 --validation 0.2 --algorithm pcd --chains 7",
        "--conv 5x4x3 --algorithm fpcd --sparsity-target 0.1",
        "--conv 5x3x3 --algorithm pt --temperatures 3",
        "--conv 5x3x3 --crop 6x6 --flip",
        "--conv 5x3x3 --visible-kind gaussian --preprocess contrast,zca --lr 0.001",
        "--conv 5x3x3 --pool 1 --hidden-kind nrelu --lr 0.001 --no-centering --nesterov",
    ],
)
def test_so_it_is_of_convolutions(folder, options):
    _, filters, *others = options.split()
    pool = others[1] if "--pool" in others else "2"
    others = others[2:] if "--pool" in others else others
    one = stack("--add-layer", f"conv={filters},pool={pool}", *others)
    alone = done("train", *options.split(), output="alone.h5")
    assert layer(one, 0) == alone
    assert len(one) == len(alone)


def test_layers_and_what_is_kept_of_them(folder):
    found = stack(*THREE)
    sizes = [(64, 12), (12, 10), (10, 8)]
    pixels = np.eye(64)
    with RunReader("run.h5") as run:
        assert run.finished
        assert [section.key for section in run.layers] == ["layers/0", "layers/1", "layers/2"]
        for number, (section, size) in enumerate(zip(run.layers, sizes, strict=True)):
            epochs = 3 if number == 2 else 2
            assert section.finished
            assert section.state["model/weights"].shape == size
            assert section.metrics["epoch"].tolist() == [*range(epochs + 1)]
            assert section.config["learning-rate"] == ("0.1" if number == 1 else "0.05")
            pixels = pixels @ section.state["model/weights"]
            last = section.filters[-1].reshape(size[1], 64)
            np.testing.assert_allclose(last, pixels.T, rtol=1e-4, atol=1e-6)
    # Other layers take nothing from those above them.
    below = stack(*THREE[:4], output="below.h5")
    assert {name: x for name, x in found.items() if not name.startswith("layers/2/")} == below


def test_convolutions_and_what_is_kept_of_them(folder):
    """Of 8 x 8 images; the third layer's filters are whole images."""
    found = stack(*MAPS)
    with RunReader("run.h5") as run:
        assert run.finished
        shapes = [section.state["model/weights"].shape for section in run.layers]
        assert shapes == [(5, 1, 3, 3), (4, 5, 2, 2), (16, 8)]
        counts = [section.state["model/visible_bias"].shape for section in run.layers]
        assert counts == [(1,), (5,), (16,)]
        pictures = [section.filters.shape for section in run.layers]
        assert pictures == [(3, 5, 3, 3), (3, 4, 6, 6), (4, 8, 8, 8)]
        assert [section.config.get("pool") for section in run.layers] == [2, 1, None]
        assert [section.config.get("hidden") for section in run.layers] == [None, None, 8]
    below = stack(*MAPS[:4], output="below.h5")
    assert {name: x for name, x in found.items() if not name.startswith("layers/2/")} == below


@pytest.mark.parametrize("input_", ["samples", "means"])
def test_a_convolution_in_options_of_all_layers(folder, input_):
    """A layer that says its hidden units is dense; others are as the options for all say."""
    options = ["--input", input_, "--conv", "5x3x3", "--add-layer", "pool=2"]
    found = stack(*options, "--add-layer", "pool=1,lr=0.1", "--add-layer", 9)
    layers = ["--add-layer", "conv=5x3x3", "--add-layer", "conv=5x3x3,pool=1,lr=0.1"]
    assert found == stack(*layers, "--add-layer", 9, "--input", input_, output="other.h5")


def test_it_learns(folder):
    options = ["--epochs", 25, "--lr", 0.1, "--add-layer", 30, "--add-layer", 20]
    options += ["--checkpoint-every", "25epochs", "--snapshot-every", "25epochs"]
    stack(*options)
    with RunReader("run.h5") as run:
        for section in run.layers:
            error = section.metrics["reconstruction_error"]
            assert error[-1] < 0.8 * error[0]


@pytest.mark.parametrize(
    "options",
    [
        "--add-layer 40 --add-layer 80",
        "--add-layer 40 --add-layer 80 --input means",
        "--add-layer 40 --add-layer 80 --visible-kind nrelu --hidden-kind nrelu --lr 0.001"
        " --start transpose",
        " ".join(MAPS),
        " ".join([*MAPS, "--input means"]),
    ],
)
def test_threads_do_not_change_a_byte(folder, options):
    found = []
    for threads in (1, 2, 3):
        options_now = [*options.split(), "--batch-size", 50, "--threads", threads]
        found.append(stack(*options_now, output=f"{threads}.h5"))
    assert found[0] == found[1] == found[2]


def test_means_and_samples_teach_upper_layers_otherwise(folder):
    samples, means = stack(*THREE), stack(*THREE, "--input", "means", output="means.h5")
    assert layer(samples, 0) == layer(means, 0)
    for number in (1, 2):
        assert layer(samples, number)["model/weights"] != layer(means, number)["model/weights"]
    of_one = ["--add-layer", "12", "--add-layer", "10,lr=0.1,input=means", *THREE[4:]]
    mixed = stack(*of_one, output="mixed.h5")
    assert layer(mixed, 1) == layer(means, 1)
    assert layer(mixed, 2) != layer(means, 2)


def test_starting_from_the_transpose(folder):
    """Before training, a layer as large as the images tells of the one below what it does."""
    transposed = ["--add-layer", "12,epochs=2", "--add-layer", "70,start=transpose"]
    found = stack(*transposed, "--epochs", 0)
    below, above = (array(found, f"layers/{number}/model/weights") for number in (0, 1))
    np.testing.assert_array_equal(above[:, :64], below.T)
    assert (above[:, 64:] != 0).all()
    for name, of_below in (("visible", "hidden"), ("hidden", "visible")):
        ours, theirs = f"layers/1/model/{name}_bias", f"layers/0/model/{of_below}_bias"
        np.testing.assert_array_equal(array(found, ours)[:64], array(found, theirs))
    again = stack("--add-layer", "12,epochs=2", "--add-layer", 70, "--epochs", 0, output="r.h5")
    assert (array(again, "layers/1/model/weights")[:, :64] != below.T).any()


def test_metrics_log_says_which_layer(folder, capfd):
    stack(*THREE, "--metrics", "log")
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert [(x["layer"], x["epoch"]) for x in lines] == [
        *((0, epoch) for epoch in (0, 1, 2)),
        *((1, epoch) for epoch in (0, 1, 2)),
        *((2, epoch) for epoch in (0, 1, 2, 3)),
    ]
    with RunReader("run.h5") as run:
        measured = [x for s in run.layers for x in s.metrics["reconstruction_error"].tolist()]
    assert [x["reconstruction_error"] for x in lines] == measured
    assert capfd.readouterr() == ("", "")


def test_what_is_said_on_the_way(folder, capfd):
    assert rbm(["stack", "images.npy", "-o", "run.h5", "--epochs", "2", *THREE[:4]]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("images.npy: 105 images of 8x8, ")
    assert lines[1].startswith("layer 0  epoch 0/2  error ")
    assert lines[-2].startswith("layer 1  epoch 2/2  error ")
    assert lines[-1] == "run.h5: done"


# Labels ------------------------------------------------------------------------------------------

LABELLED = ["--label-units", "--labels", "labels.npy"]


@pytest.mark.parametrize(
    "layers",
    [["--add-layer", 12], THREE, ["--add-layer", 9, "--add-layer", "8,algorithm=pcd"], MAPS],
)
def test_label_units_stand_beside_the_top_layer_alone(folder, layers):
    plain, found = stack(*layers, output="plain.h5"), stack(*layers, *LABELLED)
    top = len(layers) // 2 - 1
    for number in range(top):
        assert layer(found, number) == layer(plain, number)
    weights, without = (array(x, f"layers/{top}/model/weights") for x in (found, plain))
    assert weights.shape == (without.shape[0] + CLASSES, without.shape[1])
    filters = array(found, f"layers/{top}/filters")
    assert filters.shape == array(plain, f"layers/{top}/filters").shape
    with RunReader("run.h5") as run:
        assert [s.config.get("classes") for s in run.layers] == [None] * top + [CLASSES]


@pytest.mark.parametrize("options", ["", "--preprocess standardize", "--crop 6x6 --flip"])
def test_images_keep_their_labels(folder, options):
    """The label of an image is its first two pixels: learned, unless labels go astray."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 400)
    images = rng.integers(0, 256, (400, 8, 8), np.uint8)
    images[:, 2:6, 2:6] = np.where(labels, 255, 0)[:, np.newaxis, np.newaxis]
    np.savez("told.npz", images=images, labels=labels)
    kinds = ["--visible-kind", "gaussian"] if "preprocess" in options else []
    learning = [
        "--add-layer",
        "20,lr=0.02",
        "--add-layer",
        "10,lr=0.1",
        "--epochs",
        10,
        "--snapshot-every",
        "10epochs",
        "--checkpoint-every",
        "10epochs",
    ]
    stack(*learning, "--label-units", "--validation", 0.3, *kinds, *options.split(),
          source="told.npz")  # fmt: skip
    with RunReader("run.h5") as run:
        weights = run.layers[1].state["model/weights"]
        rows, _ = split(400, 0.3, Draws(0))
        frequencies = np.bincount(labels[rows]) / len(rows)
        assert run.layers[1].metrics["epoch"][-1] == 10
    assert abs(frequencies - 0.5).max() < 0.1
    assert np.abs(weights[-2] - weights[-1]).max() > 0.5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--label-units", "images.npy: has no labels, which --label-units learns; give --labels"),
        ("--label-units --labels negative.npy", "images.npy: labels from -1 to 1, but label units"),
        ("--label-units --labels large.npy", "labels from 1023 to 1025, but label units count"),
        ("--label-units --labels short.npy", "short.npy: "),
        ("--label-units --labels labels.npy --validation other.npy", "its images have no labels"),
        (
            "--label-units --labels labels.npy --validation beyond.npz",
            "--validation: labels from 0 to 3, but those of images.npy are from 0 to 2",
        ),
    ],
)
def test_labels_that_cannot_be_learned(folder, capfd, options, says):
    command = ["stack", "images.npy", "-o", "run.h5", *SMALL, *THREE, *options.split()]
    error = refused(capfd, *command)
    assert says in error


def test_labels_that_can(folder):
    stack(*THREE, *LABELLED, "--validation", "valid.npz")
    with RunReader("run.h5") as run:
        assert np.isfinite(run.layers[2].metrics["free_energy_gap"]).all()


# Options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("12", "hidden=12"),
        ("12,lr=0.1", "12,learning-rate=0.1"),
        ("12,kind=binomial:3", "hidden=12,hidden-kind=binomial:3"),
        ("12,momentum=0.5@0,0.9@1,lr=0.1", "lr=0.1,momentum=0.5@0,0.9@1,hidden=12"),
        ("12,centering=false,nesterov=true", "12,nesterov=yes,centering=off"),
        (" 12,lr=0.05 ", "12"),
    ],
)
def test_specs_that_say_the_same(folder, one, other):
    layers = ["--add-layer", "9"]
    if "kind" in one:
        layers = ["--add-layer", "9,kind=binomial:2"]
    first = stack(*layers, "--add-layer", one)
    assert stack(*layers, "--add-layer", other, output="other.h5") == first
    if "," in one.strip() and "lr=0.05" not in one:
        assert stack(*layers, "--add-layer", "12", output="plain.h5") != first


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "a stack needs layers: --add-layer 500, once for each"),
        (["x"], "'x' is not NAME=VALUE, as in hidden=500,lr=0.1"),
        ([""], "'' is not NAME=VALUE"),
        (["12,"], "'12,' is not NAME=VALUE"),
        (["-5"], "'-5' is not NAME=VALUE"),
        (["lr="], "'lr=' is not NAME=VALUE"),
        (["12, lr=0.1"], "'12, lr=0.1' is not NAME=VALUE"),
        (["12,LR=0.1"], "'12,LR=0.1' is not NAME=VALUE"),
        (["0"], "'0': hidden: 0 is not in the range 1<=x<="),
        (["12,hidden=5"], "'12,hidden=5' says hidden twice"),
        (["12,lr=0.1,learning-rate=0.2"], "says learning-rate twice"),
        (["12,kind=nrelu,hidden-kind=nrelu"], "says hidden-kind twice"),
        (["12,lr=fast"], "'12,lr=fast': learning-rate: "),
        (["12,lrr=0.1"], "there is no option lrr here; did you mean "),
        (["12,labels=x"], "there is no option labels here"),
        (["12,kind=foo"], "'12,kind=foo': hidden-kind: 'foo' is not a kind of unit; there are"),
        (["12,start=transpose"], "nothing is below the first layer"),
        (["12,input=means"], "nothing is below the first layer"),
        (["12", "9,visible-kind=nrelu"], "layer 1, '9,visible-kind=nrelu': nrelu units cannot sta"),
        (["12,kind=nrelu", "9,visible-kind=bernoulli"], "bernoulli units cannot stand on nrelu"),
        (["12", "9,input=both"], "input: 'both' is not one of"),
        (["12", "9,chains=5"], "layer 1, '9,chains=5': --chains needs --algorithm pcd, fpcd or pt"),
        (["12", "9,algorithm=pcd,normalize-hidden=true"], "layer 1, '9,algorithm=pcd,normalize-h"),
        (["12", "9,sparsity-target=2,kind=binomial:2"], "the mean activity of binomial:2 hidden"),
        (["12", "9,patience=2"], "--patience needs --validation"),
        (["12", "--chains", "5"], "--chains needs --algorithm pcd, fpcd or pt"),
        (["12", "9", "--visible-kind", "gaussian", "--binarize", "none"], "--binarize needs"),
        (["12,kind=nrelu", "9,visible-kind=gaussian", "--label-units"], "label units cannot stand"),
        (["12", "--up-down", "2"], "--up-down is for two layers or more"),
        (["12", "9", "--up-down", "2,hidden=3"], "'2,hidden=3': there is no option hidden here"),
        (["12", "9", "--up-down", "x"], "'x' is not NAME=VALUE, as in epochs=20,lr=0.1"),
        (["12,normalize-hidden=true", "--label-units"], "add --label-weight 0, or leave it out"),
        (["12", "9,kind=gaussian:learned", "--up-down", "2"], "layer 1 has gaussian:learned units"),
        (["12", "--resume", "--force"], "choose one"),
        (["conv=3x2"], "'conv=3x2': conv: '3x2' is not a number and size of filters: write"),
        (["12,conv=3x2x2"], "layer 0, '12,conv=3x2x2': --hidden needs a machine without --conv"),
        (["12,pool=2"], "layer 0, '12,pool=2': --pool needs --conv"),
        (["pool=2", "--conv", "3x2x2", "--hidden", "9"], "--hidden needs a machine without"),
        (["conv=3x2x2,kind=nrelu"], "--pool 2: nrelu hidden units cannot be pooled"),
        (["12", "9", "--pool", "2"], "--pool needs --conv"),
        (["conv=3x2x2,max-spectral-norm=1"], "--max-spectral-norm is for machines without"),
        (["conv=3x2x2", "--label-units"], "--label-units: label units have no place in an image"),
        (["conv=3x2x2", "9", "--up-down", "2"], "layer 0 has filters that move over its input"),
        (["conv=3x2x2,pool=1,kind=softmax:3"], "softmax:3 units have no rows and columns"),
        (["12", "--grow", "--resume"], "choose one"),
    ],
)
def test_options_that_cannot_be(folder, capfd, options, says):
    layers = []
    for number, text in enumerate(options):
        if text.startswith("--"):
            layers += options[number:]
            break
        layers += ["--add-layer", text]
    command = ["stack", "images.npy", "-o", "run.h5", *SMALL, *layers]
    error = refused(capfd, *command, status=2)
    assert says in error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--add-layer 12 --add-layer 63,start=transpose", "layer 1: to start as the transpose of"),
        ("--add-layer 12 --add-layer 64,start=transpose,kind=nrelu", "needs 64 bernoulli hidden"),
        ("--add-layer 12 --add-layer 9 --add-layer 11,start=transpose", "layer 2: to start as the"),
        (
            "--hidden-kind nrelu --add-layer 9 --add-layer"
            " 64,start=transpose,visible-kind=gaussian,kind=bernoulli",
            "layer 1: to start as the transpose of the layer below, a layer needs its nrelu units",
        ),
        ("--visible-kind softmax:5 --add-layer 12", "images of 64 values are not whole groups of"),
        ("--add-layer conv=3x9x2", "images.npy: filters of 9x2 (height x width) are larger"),
        (
            "--add-layer conv=3x3x3 --add-layer conv=4x4x2,pool=1",
            "layer 1: filters of 4x2 (height x width) are larger than what they stand on, 3x3;",
        ),
        (
            "--add-layer conv=3x3x3 --add-layer conv=4x2x3",
            "layer 1: filters of 2x3 have 2x1 places on 3x3, fewer than a block of 2x2",
        ),
        (
            "--add-layer 16 --add-layer conv=4x2x2",
            "layer 1: a convolution needs rows and columns, and what it stands on has the shape"
            " (16,); put it below the layers that are connected to all units",
        ),
        (
            "--add-layer conv=3x3x3 --add-layer 64,start=transpose",
            "layer 1: only layers without --conv can start as the transpose of each other",
        ),
        (
            "--start transpose --add-layer 12 --add-layer conv=3x3x3",
            "layer 1: only layers without --conv can start as the transpose of each other",
        ),
    ],
)
def test_layers_that_do_not_fit_the_data(folder, capfd, options, says):
    error = refused(capfd, "stack", "images.npy", "-o", "run.h5", *SMALL, *options.split())
    assert says in error


def test_two_commands_for_the_learning_rate_of_up_down(folder):
    """What is taken for granted of up-down does not stand beside what is said."""
    for rate in ("lr=0.01", "learning-rate=0.01"):
        options = ["--epochs", "0", "--up-down", f"0,{rate}"]
        stack(*THREE, *options, output=f"{rate}.h5")
    with RunReader("lr=0.01.h5") as run:
        assert run.config["up-down"] == "0,lr=0.01"


@pytest.mark.parametrize("layers", [THREE, MAPS])
def test_options_of_a_run_make_it_again(folder, capfd, layers):
    labelled = [*LABELLED, "--input", "means", "--seed", 3, "--validation", "0.1"]
    first = stack(*layers, *labelled)
    capfd.readouterr()
    assert rbm(["info", "run.h5", "--config"]) == 0
    text = capfd.readouterr().out
    (folder / "again.toml").write_text(text)
    assert tomllib.loads(text)["add-layer"] == layers[1::2]
    again = ["stack", "images.npy", "-o", "again.h5", "--config", "again.toml", "--quiet"]
    assert rbm(again) == 0
    assert contents(folder / "again.h5") == first


def test_growing_is_no_option_of_files(folder, capfd):
    (folder / "x.toml").write_text("grow = true\n")
    error = refused(
        capfd, "stack", "images.npy", "-o", "run.h5", *THREE, "--config", "x.toml", status=2
    )
    assert "'grow' is not an option" in error


# Growing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", ["train", "stack"])
@pytest.mark.parametrize("options", ["", "--validation 0.2 --seed 3", "--crop 6x6 --flip"])
@pytest.mark.parametrize("convolutional", [False, True])
def test_a_grown_run_is_as_trained_at_once(folder, begun, options, convolutional):
    layers, alone, second = THREE, ["--hidden", 12], "10"
    if convolutional:
        layers, alone, second = [*MAPS], ["--conv", "5x3x3"], "conv=4x2x2,pool=1"
        layers[1] = "conv=5x3x3,pool=2"
    whole = stack(*layers, *options.split(), output="whole.h5")
    done(begun, *(alone if begun == "train" else layers[:2]), *options.split())
    quiet = ["--grow", "--threads", "1", "--quiet"]
    assert rbm(["stack", "-o", "run.h5", *quiet, "--add-layer", second, "--lr", "0.1"]) == 0
    assert rbm(["stack", "images.npy", "-o", "run.h5", *quiet, "--add-layer", "8,epochs=3"]) == 0
    assert contents(folder / "run.h5") == whole
    assert names(folder) >= {"run.h5", "whole.h5"}
    with RunReader("run.h5") as run:
        assert run.finished
        grown = [layers[1], f"{second},learning-rate=0.1", "8,epochs=3"]
        assert run.config["add-layer"] == grown
    assert rbm(["stack", "-o", "run.h5", "--resume", "--quiet"]) == 0
    assert contents(folder / "run.h5") == whole


def test_preprocessing_is_taken_over(folder):
    options = ["--preprocess", "contrast,zca", "--visible-kind", "gaussian", "--lr", "0.001"]
    layers = ["--add-layer", 12, "--add-layer", 7]
    whole = stack(*layers, *options, output="whole.h5")
    done("train", "--hidden", 12, *options)
    assert rbm(["stack", "-o", "run.h5", "--grow", *map(str, layers[2:]), "--quiet"]) == 0
    assert contents(folder / "run.h5") == whole


def test_label_units_may_be_grown(folder):
    whole = stack(*THREE, *LABELLED, output="whole.h5")
    stack(*THREE[:4])
    assert rbm(["stack", "-o", "run.h5", "--grow", "--quiet", *THREE[4:], *LABELLED]) == 0
    assert contents(folder / "run.h5") == whole


def test_growing_with_the_options_of_the_run_in_a_file(folder, capfd):
    stack(*THREE[:4])
    rbm(["info", "run.h5", "--config"])
    options = {
        name: value
        for name, value in tomllib.loads(capfd.readouterr().out).items()
        if name not in ("add-layer", "label-units", "only")
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in options.items()]
    (folder / "x.toml").write_text("\n".join(lines))
    grow = ["stack", "-o", "run.h5", "--grow", "--quiet", "--config", "x.toml"]
    assert rbm([*grow, "--add-layer", "8,epochs=3", "--weight-decay", "0.01"]) == 0
    with RunReader("run.h5") as run:
        assert run.config["add-layer"][-1] == "8,epochs=3,weight-decay=0.01"


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        ("", 2, "--grow adds what --add-layer or --up-down say: give one"),
        ("--add-layer 5 --seed 1", 1, "cannot grow: seed was 0, now 1; ask for the same"),
        ("--add-layer 5 --limit 50", 1, "limit was not given, now 50"),
        ("--add-layer 5 --binarize none", 1, "binarize was sample, now none"),
        ("--add-layer 5 --flip", 1, "flip was False, now True"),
        ("--add-layer 5 --validation 0.1", 1, "validation data were not given, now 0.1 of the"),
        ("--add-layer 5,visible-kind=nrelu", 2, "layer 2, '5,visible-kind=nrelu': nrelu units"),
        ("--add-layer 5 --label-units", 1, "has no labels"),
        ("--up-down 3 --lr 0.2", 2, "--learning-rate is about new layers, and there are none"),
        ("--up-down 3 --label-units", 2, "--label-units is about new layers, and there are none"),
    ],
)
def test_what_a_run_cannot_be_grown_with(folder, capfd, options, status, says):
    stack(*THREE[:4])
    command = ["stack", "-o", "run.h5", "--grow", "--quiet", *options.split()]
    error = refused(capfd, *command, status=status)
    assert says in error


def test_growing_with_other_data(folder, capfd):
    stack(*THREE[:4])
    command = ["stack", "other.npy", "-o", "run.h5", "--grow", "--quiet", "--add-layer", "5"]
    error = refused(capfd, *command)
    assert re.search(r"cannot grow: data were images.npy \(\w+\), now other.npy \(\w+\)", error)


class TestCannotGrow:
    GROW = ("stack", "-o", "run.h5", "--grow", "--quiet", "--add-layer", "5")

    def test_nothing(self, folder, capfd):
        assert "run.h5" in refused(capfd, *self.GROW)

    def test_unfinished(self, folder, capfd):
        stop = ["--max-time", "1e-4s", "-o", "run.h5", *SMALL]
        for begun, layers in (("stack", THREE), ("train", ["--hidden", "5"])):
            assert rbm([begun, "images.npy", *stop, *layers, "--force"]) == 75
            error = refused(capfd, *self.GROW)
            assert "cannot grow: its training is not finished: go on with" in error
            assert f"`rbm {begun} --resume` first" in error

    def test_imported(self, folder, capfd):
        done("train", "--hidden", 5, output="trained.h5")
        assert rbm(["export", "trained.h5", "-o", "weights.npz", "--quiet"]) == 0
        assert rbm(["import", "weights.npz", "-o", "run.h5", "--quiet"]) == 0
        assert "cannot grow: it was imported" in refused(capfd, *self.GROW)

    def test_label_units_on_top(self, folder, capfd):
        stack(*THREE, *LABELLED)
        error = refused(capfd, *self.GROW)
        assert "cannot grow: its top layer has label units, on which no layer can stand" in error

    @pytest.mark.parametrize(
        ("other", "says"),
        [
            (["--add-layer", "7"], "add-layer was ['12', '10,lr=0.1', '7'], now ['12', '10,lr=0."),
            (["--up-down", "1"], "up-down was 1, now not given"),
            (["--add-layer", "7", *LABELLED], "label-units was True, now False"),
        ],
    )
    def test_grown_by_another_while_data_are_read(self, folder, capfd, monkeypatch, other, says):
        stack(*THREE[:4])
        read, grown = datasets.read, {}

        def slowly(*arguments):
            monkeypatch.setattr(datasets, "read", read)
            assert rbm(["stack", "-o", "run.h5", "--grow", "--quiet", *other]) == 0
            grown.update(contents(folder / "run.h5"))
            return read(*arguments)

        monkeypatch.setattr(datasets, "read", slowly)
        assert rbm(self.GROW) == 1
        error = capfd.readouterr().err
        assert "cannot grow: " in error
        assert says in error
        assert contents(folder / "run.h5") == grown


# Stopping and going on ---------------------------------------------------------------------------

LONG = ["stack", "images.npy", "-o", "run.h5", *SMALL, *THREE, "--epochs", "60", *LABELLED]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_signal_stops_in_any_layer(folder, number):
    with running(*LONG, "--metrics", "log", "--checkpoint-every", "100epochs") as process:
        assert stopped(process, folder / "log", number)
        process.terminate()
        process.communicate()
    assert process.returncode == 75
    with RunReader("run.h5") as run:
        assert not run.finished
        assert run.beside == []
        assert [section.finished for section in run.layers] == [True] * number + [False]
    assert rbm(["stack", "-o", "run.h5", "--resume", "--quiet"]) == 0
    assert rbm([*LONG, "-o", "whole.h5"]) == 0
    assert contents(folder / "run.h5") == contents(folder / "whole.h5")


def test_max_time_step_by_step(folder):
    """However short, every time something is done: a step, or the measurements of an epoch."""
    short = [*LONG, "--batch-size", "70", "--epochs", "2"]
    statuses = []
    while not statuses or statuses[-1] == 75:
        statuses.append(rbm([*short, "--resume", "--max-time", "0.000001s"]))
        assert len(statuses) < 50
    assert statuses[-1] == 0
    assert statuses.count(75) == len(statuses) - 1 >= 1
    assert rbm([*short, "-o", "whole.h5"]) == 0
    assert contents(folder / "run.h5") == contents(folder / "whole.h5")


def test_resume_of_a_finished_stack_changes_nothing(folder):
    stack(*THREE)
    before = (folder / "run.h5").read_bytes()
    assert rbm(["stack", "-o", "run.h5", "--resume", "--quiet"]) == 0
    assert (folder / "run.h5").read_bytes() == before


def test_each_command_resumes_its_own_runs(folder, capfd):
    stack(*THREE, output="stack.h5")
    done("train", "--hidden", 5, output="train.h5")
    for other, begun in (("train", "stack"), ("stack", "train")):
        command = [other, "-o", f"{begun}.h5", "--resume", "--quiet"]
        error = refused(capfd, *command)
        assert f"{begun}.h5: was begun by `rbm {begun}`: resume it with that" in error


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--add-layer", "12"], "add-layer was ['12', '10,lr=0.1', '8,epochs=3'], now ['12']"),
        (["--input", "means"], "input was samples, now means"),
        (["--start", "transpose"], "to start as the transpose"),
        (["--lr", "0.3"], "learning-rate was 0.05, now 0.3"),
        (["--epochs", "9"], "epochs were 2, now 9: of a stack, they stay"),
        (["--labels", "negative.npy"], "labels from -1 to 1"),
        (["--labels", "swapped.npy"], "labels are others"),
    ],
)
def test_what_cannot_change(folder, capfd, options, says):
    np.save("swapped.npy", (np.load("labels.npy") + 1) % CLASSES)
    stack(*THREE, *LABELLED)
    error = refused(capfd, "stack", "-o", "run.h5", "--resume", "--quiet", *options)
    assert says in error


def test_moved_labels_and_other_rhythms_may_be(folder):
    whole = stack(*THREE, *LABELLED, output="whole.h5")
    command = ["stack", "images.npy", "-o", "run.h5", *SMALL, *THREE, *LABELLED]
    assert rbm([*command, "--max-time", "1e-4s"]) == 75
    shutil.move("labels.npy", "moved.npy")
    again = [
        "stack",
        "-o",
        "run.h5",
        "--resume",
        "--quiet",
        "--labels",
        "moved.npy",
        "--max-time",
        "1h",
    ]
    assert rbm([*again, "--checkpoint-every", "1steps", "--threads", "2"]) == 0
    assert contents(folder / "run.h5") == whole


def test_a_layer_that_diverges_leaves_those_below(folder, capfd):
    whole = stack(*THREE[:2], output="whole.h5")
    layers = ["--add-layer", "12", "--add-layer", "9,lr=1e30,kind=nrelu"]
    assert rbm(["stack", "images.npy", "-o", "run.h5", *SMALL, *layers]) == 1
    error = capfd.readouterr().err
    assert error.startswith("rbm: error: run.h5: layer 1 training diverged")
    assert error.count("\n") == 1
    with h5py.File("run.h5") as file:
        assert not file.attrs["finished"]
    assert layer(contents(folder / "run.h5"), 0) == layer(whole, 0)

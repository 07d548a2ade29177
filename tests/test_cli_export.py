"""`rbm export` and `rbm import`: weights to and from other programs."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import contents, names, refused
from safetensors.numpy import load_file
from stacks import stack_arrays, write_stack

from rbmcli.cli.export_run import machine_weights, network_tensors
from rbmcli.cli.main import run as rbm
from rbmcli.cli.models import load_stack
from rbmcli.draws import Draws, Purpose
from rbmcli.io.runfile import RunReader
from rbmcli.io.weights import weights_arrays
from rbmcli.model.stack import Stack
from rbmcli.model.states import FloatStates
from rbmcli.model.way_down import WayDown

KINDS = [
    ("bernoulli", "bernoulli"),
    ("gaussian:learned", "bernoulli"),
    ("gaussian:0.5", "bernoulli"),
    ("binomial:3", "softmax:2"),
    ("bernoulli", "gaussian:learned"),
    ("nrelu", "binomial:2"),
]

#: Kinds of the units of a stack from the images up.
STACKS = [
    ["bernoulli", "bernoulli", "bernoulli", "bernoulli"],
    ["gaussian:learned", "nrelu", "gaussian:learned", "gaussian:learned"],
    ["binomial:3", "softmax:2", "bernoulli"],
]
DOCUMENT = (Path(__file__).parent.parent / "docs" / "fine-tuning.md").read_text("utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(visible: str = "bernoulli", hidden: str = "bernoulli", *options: str) -> None:
    """run.h5, of two epochs on images 4 x 3."""
    np.save("images.npy", np.random.default_rng(0).random((30, 4, 3), np.float32))
    kinds = ["--visible-kind", visible, "--hidden-kind", hidden, "--lr", "0.01", "--hidden", "5"]
    rest = ["--epochs", "2", "--threads", "1", "--quiet", *options]
    assert rbm(["train", "images.npy", "-o", "run.h5", *kinds, *rest]) == 0


def published(**changes: Any) -> dict[str, Any]:
    """Arrays as other programs write them, 9 visible and 4 hidden units."""
    rng = np.random.default_rng(1)
    arrays = {
        "weights": rng.normal(0, 1, (9, 4)),
        "visible_bias": rng.normal(0, 1, 9),
        "hidden_bias": rng.normal(0, 1, 4),
    }
    return {name: x for name, x in (arrays | changes).items() if x is not None}


def imported(*options: str) -> int:
    return rbm(["import", "weights.npz", "-o", "new.h5", *options])


def attributes(path: str) -> dict[str, Any]:
    with h5py.File(path) as file:
        found = dict(file.attrs)
    return found | {name: json.loads(found[name]) for name in ("config", "data")}


@pytest.mark.parametrize("kinds", KINDS, ids=str)
def test_round_trip(folder, kinds, capfd):
    train(*kinds)
    assert rbm(["export", "run.h5", "-o", "a.npz"]) == 0
    assert rbm(["import", "a.npz", "-o", "new.h5"]) == 0
    assert rbm(["export", "new.h5", "-o", "b.npz"]) == 0
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    old, new = contents("run.h5"), contents("new.h5")
    model = [name for name in old if name.startswith("model/")]
    assert [name for name in new if name.startswith("model/")] == model
    assert all(new[name] == old[name] for name in model)
    before, after = attributes("run.h5"), attributes("new.h5")
    assert (before["image_shape"] == after["image_shape"]).all()
    for name in ("visible-kind", "hidden-kind", "hidden"):
        assert before["config"][name] == after["config"][name]
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split(":")[0] for line in err.splitlines()] == ["a.npz", "new.h5", "b.npz"]


def test_what_is_exported(folder):
    train("gaussian:learned")
    assert rbm(["export", "run.h5", "-o", "a.npz", "--quiet"]) == 0
    with np.load("a.npz", allow_pickle=False) as arrays, h5py.File("run.h5") as run:
        assert set(arrays) == {
            "weights",
            "visible_bias",
            "hidden_bias",
            "visible_log_sigma",
            "visible_kind",
            "hidden_kind",
            "image_shape",
        }
        for name, values in run["model"].items():
            assert arrays[name].dtype == np.float32
            assert (arrays[name] == values[()]).all()
        assert arrays["weights"].shape == (12, 5)
        assert str(arrays["visible_kind"]) == "gaussian:learned"
        assert str(arrays["hidden_kind"]) == "bernoulli"
        assert arrays["image_shape"].tolist() == [4, 3]


def test_published_weights_serve_every_command(folder, capfd):
    np.savez("weights.npz", **published())
    assert imported("--quiet") == 0
    assert names(folder) == {"weights.npz", "new.h5"}
    facts = attributes("new.h5")
    sha256 = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
    assert facts["data"] == {"imported_from": "weights.npz", "sha256": sha256}
    assert facts["image_shape"].tolist() == [3, 3]
    assert facts["finished"]
    with h5py.File("new.h5") as file:
        weights = published()["weights"].astype(np.float32)
        assert (file["model/weights"][()] == weights).all()
        assert (file["filters"][()] == weights.T.reshape(1, 4, 3, 3)).all()
        assert file["filters_epoch"][()].tolist() == [0.0]
    for words in (
        ["info", "new.h5"],
        ["info", "new.h5", "--json"],
        ["info", "new.h5", "--config"],
        ["render-gif", "new.h5", "-o", "filters.gif"],
        ["render-gif", "new.h5", "-o", "filters.png"],
        ["sample", "new.h5", "--start", "random", "-n", "3", "-k", "2", "-o", "a.png"],
        ["sample", "new.h5", "--source", "images.npy", "-n", "3", "-k", "2", "-o", "b.png"],
        ["export", "new.h5", "-o", "again.npz"],
    ):
        np.save("images.npy", np.eye(9, dtype=np.uint8).reshape(9, 3, 3))
        assert rbm(words) == 0, words
    out = capfd.readouterr().out
    assert "imported_from  weights.npz" in out
    options = out[out.rindex("}") + 1 :].strip()
    (folder / "options.toml").write_text(options)
    words = ["train", "images.npy", "--config", "options.toml", "--epochs", "0", "-o", "t.h5"]
    assert rbm([*words, "--quiet"]) == 0
    assert attributes("t.h5")["config"]["hidden"] == 4


def test_the_same_file_makes_the_same_run(folder):
    np.savez("weights.npz", **published())
    assert imported("--quiet") == 0
    first = (folder / "new.h5").read_bytes()
    assert imported("--quiet", "--force") == 0
    assert (folder / "new.h5").read_bytes() == first


@pytest.mark.parametrize(
    ("arrays", "options", "shape"),
    [
        ({}, [], [3, 3]),
        ({}, ["--shape", "1x9"], [1, 9]),
        ({}, ["--shape", "9"], [9]),
        ({"image_shape": np.array([9, 1])}, [], [9, 1]),
        ({"image_shape": np.array([9, 1])}, ["--shape", "3x3"], [3, 3]),
        ({"weights": np.ones((8, 4)), "visible_bias": np.ones(8)}, [], [8]),
        ({"weights": np.ones((8, 4)), "visible_bias": np.ones(8)}, ["--shape", "2x2x2"], [2, 2, 2]),
        ({"weights": np.ones((9, 4), np.int8)}, [], [3, 3]),
    ],
    ids=str,
)
def test_shapes(folder, arrays, options, shape):
    np.savez("weights.npz", **published(**arrays))
    assert imported("--quiet", *options) == 0
    assert attributes("new.h5")["image_shape"].tolist() == shape


@pytest.mark.parametrize(
    ("arrays", "options", "kinds"),
    [
        ({}, [], ("bernoulli", "bernoulli")),
        ({}, ["--visible-kind", "nrelu", "--hidden-kind", "softmax:2"], ("nrelu", "softmax:2")),
        ({"visible_kind": np.array("nrelu")}, [], ("nrelu", "bernoulli")),
        ({"hidden_kind": np.array("nrelu")}, ["--hidden-kind", "nrelu"], ("bernoulli", "nrelu")),
        (
            {"visible_log_sigma": np.zeros(9)},
            ["--visible-kind", "gaussian:learned"],
            ("gaussian:learned", "bernoulli"),
        ),
    ],
    ids=str,
)  # fmt: skip
def test_kinds(folder, arrays, options, kinds):
    np.savez("weights.npz", **published(**arrays))
    assert imported("--quiet", *options) == 0
    config = attributes("new.h5")["config"]
    assert (config["visible-kind"], config["hidden-kind"]) == kinds
    assert rbm(["sample", "new.h5", "--start", "random", "-k", "2", "-o", "a.png", "-q"]) == 0


def with_nan() -> Any:
    weights = published()["weights"]
    weights[2, 1] = np.nan
    weights[5, 3] = np.inf
    return weights


@pytest.mark.parametrize(
    ("arrays", "options", "says"),
    [
        (
            {"weights": None, "hidden_bias": None, "W": np.ones(3)},
            [],
            "holds no weights and no hidden_bias, but W, visible_bias: give the arrays the names",
        ),
        (
            {"weights": np.ones((4, 9))},
            [],
            r"weights have shape \(4, 9\) and are transposed, hidden x visible: 9 visible and 4",
        ),
        ({"weights": np.ones((9, 5))}, [], r"weights have shape \(9, 5\) and do not fit: 9 vis"),
        ({"weights": np.ones(9)}, [], r"weights has shape \(9,\): store a matrix, visible x"),
        ({"visible_bias": np.ones((9, 1))}, [], r"visible_bias has shape \(9, 1\): store a vec"),
        ({"hidden_bias": np.ones(0)}, [], r"hidden_bias has shape \(0,\), so holds nothing"),
        ({"weights": with_nan()}, [], r"weights .* NaN, .*: 2, the first at \(2, 1\), counted"),
        ({"hidden_bias": np.full(4, 1e39)}, [], r"hidden_bias .*too large.*: 4, the first"),
        ({"weights": np.ones((9, 4), complex)}, [], "weights holds complex128 values: store real"),
        ({"weights": np.full((9, 4), "1")}, [], "weights holds <U1 values: store real"),
        ({"weights": np.full((9, 4), None)}, [], "weights: holds Python objects"),
        ({}, ["--visible-kind", "softmax:2"], "9 visible units are not whole groups of 2"),
        ({}, ["--hidden-kind", "softmax:3"], "4 hidden units are not whole groups of 3"),
        ({}, ["--shape", "2x4"], "9 visible units are no images of 2x4"),
        ({"image_shape": np.array([2, 4])}, [], "image_shape 2 x 4 is not that of 9 visible"),
        ({"image_shape": np.array([4.5, 2])}, [], "image_shape is not a list of sizes"),
        ({"visible_kind": np.array("spam")}, [], "visible_kind: 'spam' is not a kind of unit"),
        ({"visible_kind": np.array([1])}, [], "visible_kind is not a text"),
        (
            {"visible_kind": np.array("gaussian")},
            ["--visible-kind", "bernoulli"],
            "says visible_kind gaussian, not bernoulli: leave --visible-kind out",
        ),
        (
            {"visible_log_sigma": np.zeros(9)},
            [],
            "holds visible_log_sigma, which bernoulli has not: give another --visible-kind",
        ),
        (
            {},
            ["--hidden-kind", "gaussian:learned"],
            "holds no hidden_log_sigma, which gaussian:learned has: give another --hidden-kind",
        ),
        (
            {"visible_log_sigma": np.zeros(8)},
            ["--visible-kind", "gaussian:learned"],
            r"visible_log_sigma has shape \(8,\), but there are 9 visible biases",
        ),
        (
            {"visible_log_sigma": np.full(9, 100.0)},
            ["--visible-kind", "gaussian:learned"],
            "visible_log_sigma has values beyond 80",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_files_that_do_not_fit(folder, capfd, arrays, options, says):
    np.savez("weights.npz", **published(**arrays))
    assert imported(*options) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert re.match(f"rbm: error: weights.npz: {says}", err), err
    assert err.count("\n") == 1
    assert names(folder) == {"weights.npz"}


def test_damaged_files(folder, capfd):
    np.savez("whole.npz", **published())
    whole = (folder / "whole.npz").read_bytes()
    np.save("array.npy", np.ones(3))
    damaged = {
        "cut.npz": whole[:300],
        "flipped.npz": whole[:200] + bytes([whole[200] ^ 255]) + whole[201:],
        "text.npz": b"weights",
        "empty.npz": b"",
        "array.npz": (folder / "array.npy").read_bytes(),
    }
    for name, content in damaged.items():
        (folder / name).write_bytes(content)
    before = names(folder)
    for name in (*damaged, "nowhere.npz", "."):
        assert rbm(["import", name, "-o", "new.h5"]) == 1
        err = capfd.readouterr().err
        assert err.startswith(f"rbm: error: {name}: ")
        assert err.count("\n") == 1
    assert names(folder) == before


def test_outputs_that_exist_are_kept(folder, capfd):
    train()
    np.savez("weights.npz", **published())
    (folder / "new.h5").write_text("precious")
    (folder / "new.npz").write_text("precious")
    for words in (
        ["import", "weights.npz", "-o", "new.h5"],
        ["export", "run.h5", "-o", "new.npz"],
    ):
        assert rbm(words) == 1
        err = capfd.readouterr().err
        assert err.endswith(": exists already: choose another name, or replace it with --force\n")
        assert (folder / words[-1]).read_text() == "precious"
        assert rbm([*words, "--force", "--quiet"]) == 0
        assert (folder / words[-1]).read_bytes() != b"precious"
        assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "words",
    [
        ["export", "run.h5"],
        ["export", "run.h5", "-o", "a.txt"],
        ["import", "weights.npz"],
        ["import", "weights.npz", "-o", "a.h5", "--shape", "3x"],
        ["import", "weights.npz", "-o", "a.h5", "--shape", "0x3"],
        ["import", "weights.npz", "-o", "a.h5", "--visible-kind", "spam"],
    ],
    ids=str,
)
def test_wrong_usage(folder, capfd, words):
    assert rbm(words) == 2
    assert "Error: " in capfd.readouterr().err
    assert names(folder) == set()


def test_there_is_no_training_to_go_on_with(folder, capfd):
    np.savez("weights.npz", **published())
    np.save("images.npy", np.eye(9, dtype=np.uint8).reshape(9, 3, 3))
    assert imported("--quiet") == 0
    before = (folder / "new.h5").read_bytes()
    assert rbm(["train", "images.npy", "-o", "new.h5", "--resume"]) == 1
    err = capfd.readouterr().err
    assert err.startswith("rbm: error: new.h5: cannot resume: it was imported")
    assert err.count("\n") == 1
    assert rbm(["sample", "new.h5", "-o", "a.png"]) == 1
    assert capfd.readouterr().err.startswith("rbm: error: new.h5: was imported without data;")
    assert rbm(["sample", "new.h5", "-o", "a.png", "--start", "chains"]) == 1
    assert "keeps no chains (it was imported)" in capfd.readouterr().err
    assert (folder / "new.h5").read_bytes() == before
    assert names(folder) == {"weights.npz", "images.npy", "new.h5"}


def test_exported_weights_of_preprocessed_images_say_so(folder, capfd):
    """They mean other images than those of the source, and the file cannot say which."""
    train("gaussian", "bernoulli", "--preprocess", "standardize,zca")
    assert rbm(["export", "run.h5", "-o", "a.npz"]) == 0
    assert "images after standardize,zca, which a.npz does not hold" in capfd.readouterr().err
    train("gaussian", "bernoulli", "--force")
    assert rbm(["export", "run.h5", "-o", "a.npz", "--force"]) == 0
    assert "note" not in capfd.readouterr().err


# Stacks ------------------------------------------------------------------------------------------


def exported(name: str) -> dict[str, Any]:
    """What `rbm export` writes of run.h5."""
    assert rbm(["export", "run.h5", "-o", name, "--quiet"]) == 0
    if name.endswith(".safetensors"):
        return load_file(name)
    with np.load(name, allow_pickle=False) as arrays:
        return dict(arrays)


def loaded() -> Stack:
    with RunReader("run.h5") as run:
        return load_stack(run)


def with_other_ways_down(stack: Stack) -> Stack:
    """The same machines, with ways down of their own."""
    ways = [WayDown.of(machine) for machine in stack.machines[:-1]]
    rng = np.random.default_rng(3)
    for way in ways:
        way.link.set_weights(rng.normal(0, 1, way.link.weights.shape))
        way.visible.bias[: way.visible.units] = rng.normal(0, 1, way.visible.units)
    return Stack(stack.machines, ways)


@pytest.mark.parametrize(
    ("kinds", "classes"), [*((kinds, 0) for kinds in STACKS), (STACKS[0], 3), (STACKS[2], 5)]
)
def test_stacks_come_back(folder, kinds, classes):
    given = write_stack("run.h5", (4, 3), kinds, (8, 6, 4)[: len(kinds) - 1], classes)
    found = exported("again.npz")
    assert set(found) == set(given)
    for name, values in given.items():
        assert found[name].dtype == values.dtype
        assert (found[name] == values).all()
    before = contents("run.h5")
    assert rbm(["import", "again.npz", "-o", "run.h5", "--force", "--quiet"]) == 0
    assert contents("run.h5") == before


def test_a_single_machine_with_label_units_comes_back(folder):
    given = write_stack("run.h5", (4, 3), ["bernoulli"] * 2, (6,), 5)
    found = exported("again.npz")
    assert set(found) == set(given)
    assert all((found[name] == values).all() for name, values in given.items())
    with RunReader("run.h5") as run:
        assert run.image_shape == (4, 3)
        assert load_stack(run).top.classes == 5


def test_ways_down_trained_apart_come_back(folder):
    write_stack("run.h5", (4, 3), STACKS[0], (8, 6, 4), 2)
    stack = with_other_ways_down(loaded())
    given = weights_arrays(machine_weights(stack), (4, 3), 2)
    for level, way in enumerate(stack.ways_down):
        assert (given[f"{level}/generative_weights"] == way.link.weights.T).all()
        bias = way.visible.bias[: way.visible.units]
        assert (given[f"{level}/generative_bias"] == bias).all()
    assert "2/generative_weights" not in given
    np.savez("apart.npz", **given)
    assert rbm(["import", "apart.npz", "-o", "run.h5", "--force", "--quiet"]) == 0
    found = exported("again.npz")
    assert set(found) == set(given)
    assert all((found[name] == values).all() for name, values in given.items())


def test_the_wrong_names_and_shapes_of_stacks(folder, capfd):
    def says(change: dict[str, Any], *options: str, classes: int = 0) -> str:
        arrays = stack_arrays((4, 3), STACKS[0], (8, 6, 4), classes) | change
        np.savez("stack.npz", **{name: x for name, x in arrays.items() if x is not None})
        return refused(capfd, "import", "stack.npz", "-o", "new.h5", *options)

    right = stack_arrays((4, 3), STACKS[0], (8, 6, 4))
    assert "holds no 1/weights, but" in says({"1/weights": None})
    assert "holds machine 4 and no machine 3" in says({"4/weights": right["0/weights"]})
    assert "0/weights has shape (3,): store a matrix" in says({"0/weights": np.ones(3)})
    assert "2/hidden_bias has values that are NaN" in says({"2/hidden_bias": np.full(4, np.nan)})
    assert "2/weights have shape (6, 4) and do not fit" in says({"2/hidden_bias": np.ones(5)})
    fewer = {"1/weights": np.ones((7, 6)), "1/visible_bias": np.ones(7)}
    assert "machine 1: 7 visible units, but it stands on 8 units: store" in says(fewer)
    none = {"classes": np.array(3)}
    assert "machine 2: 6 visible units, but it stands on 6 units and 3 lab" in says(none)
    assert "classes is not a number of label units" in says({"classes": np.array(1)})
    apart = {"0/generative_weights": right["0/weights"], "0/generative_bias": np.ones(12)}
    assert "belong to all machines but the top one, or to none: mend those of machine 1" in says(
        apart
    )
    assert "0/generative_bias has shape (3,), but 0/visible_bias (12,)" in says(
        apart | {"0/generative_bias": np.ones(3)}
    )
    assert "machine 1: nrelu units cannot stand on bernoulli ones" in says(
        {"1/visible_kind": np.array("nrelu")}
    )
    assert "numbers its machines, and says their kinds: leave --hidden-kind out" in says(
        {}, "--hidden-kind", "bernoulli"
    )
    learned = {"0/visible_log_sigma": np.zeros(12), "0/visible_kind": np.array("gaussian:learned")}
    learned |= {f"{level}/generative_weights": right[f"{level}/weights"] for level in (0, 1)}
    learned |= {f"{level}/generative_bias": right[f"{level}/visible_bias"] for level in (0, 1)}
    assert "stack.npz: layer 0 has gaussian:learned units" in says(learned)
    assert "machine 2: label units stand beside bernoulli" in says(
        {"1/hidden_kind": np.array("gaussian"), "2/visible_kind": np.array("gaussian")}, classes=3
    )


def shapes(tensors: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    assert all(x.dtype == np.float32 for x in tensors.values())
    return {name: x.shape for name, x in tensors.items()}


def test_names_and_shapes_of_tensors(folder):
    write_stack("run.h5", (4, 3), STACKS[0], (8, 6, 4), 5)
    assert shapes(exported("a.safetensors")) == {
        "encoder.0.weight": (8, 12),
        "encoder.0.bias": (8,),
        "encoder.1.weight": (6, 8),
        "encoder.1.bias": (6,),
        "encoder.2.weight": (4, 6),
        "encoder.2.bias": (4,),
        "decoder.0.weight": (12, 8),
        "decoder.0.bias": (12,),
        "decoder.1.weight": (8, 6),
        "decoder.1.bias": (8,),
        "decoder.2.weight": (6, 4),
        "decoder.2.bias": (6,),
        "classifier.weight": (5, 4),
        "classifier.bias": (5,),
    }
    exported("b.safetensors")
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()


def linear(tensors: dict[str, Any], name: str, values: Any) -> Any:
    """What torch.nn.Linear makes of values (rows, inputs)."""
    weight = tensors[f"{name}.weight"].astype(np.float64)
    return values @ weight.T + tensors[f"{name}.bias"]


def activated(name: str, total: Any) -> Any:
    """What the activation functions that the metadata name make of total inputs."""
    groups = np.exp(total.reshape(len(total), -1, 2))
    return {
        "sigmoid": 1 / (1 + np.exp(-total)),
        "3 * sigmoid": 3 / (1 + np.exp(-total)),
        "relu": np.maximum(total, 0),
        "identity": total,
        "softmax over each 2 units": (groups / groups.sum(-1, keepdims=True)).reshape(total.shape),
    }[name]


@pytest.mark.parametrize("kinds", STACKS, ids=str)
def test_tensors_make_the_same_features_and_images(folder, kinds):
    hidden = (8, 6, 4)[: len(kinds) - 1]
    write_stack("run.h5", (4, 3), kinds, hidden)
    tensors, stack = exported("a.safetensors"), loaded()
    content = (folder / "a.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = json.loads(header["__metadata__"]["rbm"])
    assert about["image_shape"] == [4, 3]
    assert about["program"].startswith("rbmcli ")
    assert [layer["hidden_kind"] for layer in about["layers"]] == kinds[1:]
    assert [layer["visible_kind"] for layer in about["layers"]] == kinds[:-1]

    values = np.random.default_rng(0).random((20, 12)).astype(np.float32)
    lowest, draw = stack.image_layer, Draws(0).at(Purpose.BINARIZE, 0)
    images = lowest.from_data(values, np.arange(20), 1.0, "none", draw)
    levels = stack.raised(images, draw, sampled=False)
    for number, layer in enumerate(about["layers"]):
        own = stack.machines[number]
        values = activated(
            layer["encoder_activation"], linear(tensors, f"encoder.{number}", values)
        )
        expected = own.hidden.to_data(levels[number + 1].to_array())
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)
    for number, layer in reversed(list(enumerate(about["layers"]))):
        own = stack.machines[number]
        states = FloatStates(levels[number + 1].floats(), own.hidden.units)
        mean = own.visible.mean(own.visible_input(states)).to_array()
        below = linear(tensors, f"decoder.{number}", own.hidden.to_data(states.to_array()))
        if layer["decoder_activation"] != "relu":  # whose mean is not what it feeds
            found = activated(layer["decoder_activation"], below)
            np.testing.assert_allclose(found, own.visible.to_data(mean), rtol=1e-4, atol=1e-5)


def test_tensors_classify_as_label_units_do(folder):
    write_stack("run.h5", (4, 3), ["bernoulli"] * 3, (8, 6), 3)
    tensors, top = exported("a.safetensors"), loaded().top
    hidden = np.random.default_rng(0).integers(0, 2, (20, 6))
    mean = top.visible.mean(top.visible_input(top.hidden.states_of(hidden))).to_array()
    odds = np.exp(linear(tensors, "classifier", hidden))
    expected = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mean[:, top.features :], expected, rtol=1e-4)


def test_tensors_lead_down_by_the_ways_down(folder):
    write_stack("run.h5", (4, 3), STACKS[0], (8, 6, 4), 2)
    stack = with_other_ways_down(loaded())
    tensors = network_tensors(stack)
    for level, way in enumerate(stack.ways_down):
        assert (tensors[f"decoder.{level}.weight"] == way.link.weights.T).all()
        assert (tensors[f"decoder.{level}.bias"] == way.visible.bias[: way.visible.units]).all()
        own = stack.machines[level].link.weights
        assert (tensors[f"encoder.{level}.weight"] == own.T).all()
    assert (tensors["decoder.2.weight"] == stack.top.link.weights[:6]).all()


def test_a_single_machine_as_tensors(folder):
    train()
    assert shapes(exported("a.safetensors")) == {
        "encoder.0.weight": (5, 12),
        "encoder.0.bias": (5,),
        "decoder.0.weight": (12, 5),
        "decoder.0.bias": (12,),
    }


def test_preprocessed_images_are_told_of_in_tensors(folder, capfd):
    train("gaussian", "bernoulli", "--preprocess", "standardize")
    assert rbm(["export", "run.h5", "-o", "a.safetensors"]) == 0
    assert "images after standardize, which a.safetensors does not hold" in capfd.readouterr().err
    assert b"standardize" in (folder / "a.safetensors").read_bytes()


def test_without_the_package(folder, capfd, monkeypatch):
    train()
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    line = refused(capfd, "export", "run.h5", "-o", "a.safetensors")
    assert "a.safetensors: a .safetensors file needs a package: `pip install safetensors`" in line
    assert rbm(["export", "run.h5", "-o", "a.npz", "--quiet"]) == 0


def test_the_worked_example_names_the_tensors_rightly(folder):
    """PyTorch may not be here; what the program gives to its network are names and shapes."""
    program = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)[0]
    tree = ast.parse(program)
    sizes = [
        tuple(argument.value for argument in node.args)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "nn.Linear"
    ]
    assert sizes == [(784, 500), (500, 500), (500, 2000), (2000, 10)]
    network = {}
    for number, (inputs, outputs) in enumerate(sizes):  # a sigmoid stands after each
        network |= {f"{2 * number}.weight": (outputs, inputs), f"{2 * number}.bias": (outputs,)}

    write_stack("run.h5", (28, 28), ["bernoulli"] * 4, (500, 500, 2000), 10)
    tensors = exported("deep.safetensors")
    (function,) = (x for x in tree.body if getattr(x, "name", "") == "pretrained")
    scope: dict[str, Any] = {}
    exec(ast.unparse(function), scope)
    (call,) = (x for x in ast.walk(tree) if ast.unparse(x).startswith("pretrained(load_file("))
    assert ast.unparse(call) == "pretrained(load_file('deep.safetensors'), 3)"
    state = {name: x.shape for name, x in scope["pretrained"](tensors, 3).items()}
    state |= {"6.weight": tensors["classifier.weight"].shape}  # as the text below it says
    state |= {"6.bias": tensors["classifier.bias"].shape}
    assert state == network

    rows = re.findall(r"^\| `(\S+)`, `(\S+)` \| ([\dx ]+), (\d+) \|", DOCUMENT, re.MULTILINE)
    told = {}
    for weight, bias, shape, units in rows:
        told |= {weight: tuple(map(int, shape.split(" x "))), bias: (int(units),)}
    assert told == shapes(tensors)

"""Options from recipes and files, and what goes before what."""

from __future__ import annotations

import tomllib

import pytest
from commands import contents, write_images

from rbmcli.cli.configuration import recipe_names
from rbmcli.cli.main import run as rbm
from rbmcli.cli.stack import command as stack
from rbmcli.cli.stack_options import StackOptions
from rbmcli.io.runfile import RunReader

#: Recipes of `rbm stack`, and their hidden units.
STACKS = {
    "dbn": [500, 2000],
    "deep": [500, 500, 2000],
    "labels": [500, 500, 2000],
    "natural": ["24x10x10", "100x10x10"],
    "maps": ["40x11x11", "40x2x2"],
    "strokes": ["40x9x9", "200x9x9"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npy", 60)
    return tmp_path


@pytest.fixture
def recipes():
    """The recipes, which are beside the package in the source tree and in it once installed."""
    pytest.importorskip("rbmcli.recipes", reason="rbmcli is not installed")
    return recipe_names()


def config(*options, output="run.h5"):
    """The options of a run as they are stored, after no epoch of training."""
    command = ["train", "images.npy", "-o", output, "--force", "--quiet", "--epochs", "0"]
    assert rbm([*command, *options]) == 0
    with RunReader(output) as run:
        return run.config


def write(name, text):
    with open(name, "w") as file:
        file.write(text)


def test_defaults(folder):
    found = config()
    assert found["hidden"] == 100
    assert found["momentum"] == "0.5@0,0.9@5"
    assert found["only"] == []
    assert "limit" not in found


def test_values_of_every_type(folder):
    write(
        "all.toml",
        """
        hidden = 7
        learning-rate = 0.25
        momentum = "0.5:0.9"
        gibbs-steps = 3
        weight-decay = 1e-3
        normalize-hidden = true
        limit = 50
        snapshot-every = "5steps"
        max-time = 90
        seed = 12
        """,
    )
    found = config("--config", "all.toml")
    assert (
        found
        | {
            "hidden": 7,
            "learning-rate": "0.25",
            "momentum": "0.5:0.9",
            "gibbs-steps": "3",
            "weight-decay": 0.001,
            "normalize-hidden": True,
            "limit": 50,
            "snapshot-every": "5steps",
            "max-time": 90.0,
            "seed": 12,
        }
        == found
    )


def test_the_other_name_of_an_option(folder):
    write("lr.toml", "lr = '0.3'")
    assert config("--config", "lr.toml")["learning-rate"] == "0.3"


def test_the_command_line_goes_before_a_file(folder):
    write("file.toml", "hidden = 7\nlimit = 30\nnormalize-hidden = false\nseed = 4")
    found = config("--config", "file.toml", "--hidden", "8", "--normalize-hidden", "--seed", "5")
    assert (found["hidden"], found["limit"], found["seed"]) == (8, 30, 5)
    assert found["normalize-hidden"]


@pytest.mark.parametrize("file_first", [False, True])
def test_a_file_goes_before_a_recipe(folder, recipes, file_first):
    """Whatever their order: seven has hidden = 50, epochs = 30 and only = [7]."""
    write("file.toml", "hidden = 9\nonly = []")
    recipe, file = ["--recipe", "seven"], ["--config", "file.toml"]
    found = config(*file, *recipe) if file_first else config(*recipe, *file)
    assert (found["hidden"], found["only"], found["epochs"]) == (9, [], 0)


def test_recipes_are_good(folder, recipes):
    """Each can be trained with, here on the embedded digits."""
    of_train = ["cd1", "cd5", "filters500", "pcd16", "pcd500", "seven"]
    assert recipes == sorted([*of_train, *STACKS])
    for name in of_train:
        options = ["--recipe", name, "--epochs", "0", "--limit", "500", "--quiet"]
        assert rbm(["train", *options, "-o", f"{name}.h5"]) == 0
    with RunReader("seven.h5") as seven, RunReader("cd5.h5") as cd5:
        assert (seven.config["hidden"], seven.config["only"]) == (50, [7])
        assert (cd5.config["hidden"], cd5.config["gibbs-steps"]) == (100, "5")
    with RunReader("filters500.h5") as filters500:
        assert filters500.config["snapshot-every"] == "100steps"


@pytest.mark.parametrize("name", STACKS)
def test_recipes_of_stacks_are_good(recipes, name):
    with stack.make_context("stack", ["digits", "--recipe", name, "-o", "run.h5"]) as ctx:
        options = StackOptions.resolve(ctx, ctx.params)
    sizes = [layer.hidden if layer.conv is None else layer.conv.text for layer in options.layers]
    assert sizes == STACKS[name]
    assert options.label_units == (name == "labels")


def test_a_recipe_that_is_not_there(folder, recipes, capfd):
    assert rbm(["train", "images.npy", "-o", "run.h5", "--recipe", "cake"]) == 2
    assert "there is no recipe 'cake'; there are cd1, cd5, " in capfd.readouterr().err


def test_a_run_again_from_its_configuration(folder, capfd):
    """What `rbm info --config` prints takes `rbm train --config` to the same end."""
    options = ["--hidden", "6", "--lr", "0.2@0,0.1@1", "--momentum", "0.3:0.6", "--epochs", "3"]
    options += ["--batch-size", "7", "--seed", "9", "--validation", "0.2", "--patience", "5"]
    options += ["--snapshot-every", "4steps", "--normalize-hidden", "--limit", "50"]
    options += ["--reconstruction", "mean", "--binarize", "threshold", "--max-time", "1h"]
    assert rbm(["train", "images.npy", "-o", "first.h5", "--quiet", *options]) == 0
    assert rbm(["info", "first.h5", "--config"]) == 0
    text = capfd.readouterr().out
    write("again.toml", text)
    assert rbm(["train", "images.npy", "-o", "second.h5", "-q", "--config", "again.toml"]) == 0
    assert contents(folder / "first.h5") == contents(folder / "second.h5")
    assert rbm(["info", "second.h5", "--config"]) == 0
    assert capfd.readouterr().out == text
    with RunReader("second.h5") as run:
        assert tomllib.loads(text) == run.config


def test_resume_with_the_configuration(folder, recipes, capfd):
    """The same file and recipe, given again with --resume, differ in nothing."""
    write("file.toml", "hidden = 9\nlearning-rate = 0.1")
    options = ["--recipe", "cd5", "--config", "file.toml", "--epochs", "2", "--quiet"]
    assert rbm(["train", "images.npy", "-o", "run.h5", *options]) == 0
    assert rbm(["train", "images.npy", "-o", "run.h5", *options, "--resume"]) == 0
    write("file.toml", "hidden = 9\nlearning-rate = 0.2")
    assert rbm(["train", "images.npy", "-o", "run.h5", *options, "--resume"]) == 1
    assert "learning-rate was 0.1, now 0.2" in capfd.readouterr().err

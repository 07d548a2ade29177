"""What commands make of data: how they are read, what is said of it, what is taken on trust."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from changing import changing
from commands import names, refused, write_images

from rbmcli.cli.main import run as rbm
from rbmcli.io.runfile import RunReader

SMALL = ["--hidden", "5", "--batch-size", "20", "--epochs", "1", "--threads", "1"]
RANDOM = np.random.default_rng(1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npy", 60)
    return tmp_path


def train(source: str, *options: str, output: str = "run.h5") -> None:
    assert rbm(["train", source, "-o", output, *SMALL, "--force", *options]) == 0


def said(capfd, *arguments: str) -> list[str]:
    """What a command says of what it read, and its notes."""
    capfd.readouterr()
    assert rbm(list(arguments)) == 0
    lines = capfd.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("note: ") or " images of " in line]


def config(path: str = "run.h5") -> dict:
    with RunReader(path) as run:
        return run.config


def without(option: str, path: str = "run.h5") -> None:
    """Make a run file of what an earlier version would have written."""
    with changing(path) as file:
        stored = json.loads(file.attrs["config"])
        del stored[option]
        file.attrs["config"] = json.dumps(stored)


# What was read -----------------------------------------------------------------------------------


def test_commands_say_what_they_read(folder, capfd):
    line = "images.npy: 60 images of 8x8, bytes 0 to 255 taken as 0 to 1, no labels"
    assert said(capfd, "train", "images.npy", "-o", "run.h5", *SMALL) == [line]
    assert said(capfd, "stack", "images.npy", "-o", "s.h5", *SMALL, "--add-layer", "4") == [line]
    few = ["--limit", "9", "--ais-temperatures", "2"]
    nine = said(capfd, "evaluate", "run.h5", "images.npy", *few)
    assert nine[0].startswith("images.npy: 9 images of 8x8, bytes ")
    assert said(capfd, "features", "run.h5", "images.npy", "-o", "f.npz")[:1] == [line]
    sample = ["sample", "run.h5", "-n", "2", "-k", "1", "--force", "-o", "a.png"]
    assert said(capfd, *sample, "--source", "images.npy") == [line]
    assert said(capfd, *sample) == []
    np.save("more.npy", np.load("images.npy")[:7])
    validated = ["train", "images.npy", "--force", "-o", "run.h5", *SMALL]
    assert said(capfd, *validated, "--validation", "more.npy")[0] == line
    assert said(capfd, *validated, "--validation", "more.npy")[1].startswith("more.npy: 7 images")
    assert said(capfd, *validated, "--quiet") == []


def test_nothing_is_said_to_be_read_that_is_refused(folder, capfd):
    train("images.npy")
    np.save("large.npy", np.full((4, 9, 9), 7, np.uint8))
    output = ["-o", "f.npz"]
    assert "81 values" in refused(capfd, "features", "run.h5", "large.npy", *output)
    resume = ["large.npy", "-o", "run.h5", "--resume"]
    assert "cannot resume" in refused(capfd, "train", *resume)


def test_counts_are_said_to_be_counts(folder, capfd):
    np.save("counts.npy", RANDOM.integers(0, 9, (60, 8, 8), np.uint8))
    lines = said(capfd, "train", "counts.npy", "-o", "a.h5", *SMALL, "--visible-kind", "binomial:8")
    assert lines == ["counts.npy: 60 images of 8x8, bytes 0 to 8 taken as counts, no labels"]


@pytest.mark.parametrize(
    ("images", "options", "says"),
    [
        (
            RANDOM.integers(0, 17, (60, 8, 8), np.uint8),
            "",
            "the largest value is 16, and bytes are",
        ),
        (np.zeros((60, 8, 8), np.uint8), "", "every value of every image is the same"),
        (
            RANDOM.normal(3, 40, (60, 8, 8)),
            "--visible-kind gaussian --lr 1e-6",
            "expect 1; add --preprocess standardize",
        ),
        (
            RANDOM.normal(3, 0.01, (60, 8, 8)),
            "--visible-kind gaussian --lr 1e-6",
            "values deviate by 0.0099 from their means",
        ),
        (
            RANDOM.normal(3, 1, (60, 8, 8)),
            "--visible-kind gaussian:0.1 --lr 1e-6",
            "gaussian:0.1 units expect 0.1",
        ),
    ],
)
def test_doubtful_data_are_noticed(folder, capfd, images, options, says):
    np.save("odd.npy", images)
    lines = said(capfd, "train", "odd.npy", "-o", "run.h5", *SMALL, *options.split())
    assert lines[1].startswith("note: odd.npy: ")
    assert says in lines[1]


@pytest.mark.parametrize(
    ("images", "options"),
    [
        (RANDOM.integers(0, 200, (60, 8, 8), np.uint8), ""),
        (RANDOM.integers(0, 17, (60, 8, 8), np.uint8), "--visible-kind binomial:16"),
        (RANDOM.normal(3, 2, (60, 8, 8)), "--visible-kind gaussian --lr 1e-6"),
        (RANDOM.normal(3, 40, (60, 8, 8)), "--visible-kind gaussian:learned --lr 1e-6"),
        (
            RANDOM.normal(3, 40, (60, 8, 8)),
            "--visible-kind gaussian --lr 1e-6 --preprocess standardize",
        ),
    ],
)
def test_other_data_are_not(folder, capfd, images, options):
    np.save("fine.npy", images)
    lines = said(capfd, "train", "fine.npy", "-o", "run.h5", *SMALL, *options.split())
    assert not [line for line in lines if line.startswith("note")]


# Ranges ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bernoulli", "binomial:5", "nrelu"])
def test_an_excess_of_rounding_is_cut_off(folder, kind):
    """And the result is that of values that end where they should."""
    right = RANDOM.random((60, 8, 8)).astype(np.float32)
    right[0, 0, :2] = 0, 1
    wrong = right.copy()
    wrong[0, 0, :2] = -1e-9, np.nextafter(np.float32(1), np.float32(2))
    if kind == "nrelu":
        wrong[0, 0, 1] = 1
    np.save("right.npy", right)
    np.save("wrong.npy", wrong)
    for name in ("right", "wrong"):
        train(f"{name}.npy", "--visible-kind", kind, "--lr", "0.001", output=f"{name}.h5")
    with h5py.File("right.h5") as a, h5py.File("wrong.h5") as b:
        np.testing.assert_array_equal(a["model/weights"], b["model/weights"])
    np.testing.assert_array_equal(np.load("wrong.npy"), wrong)


@pytest.mark.parametrize(
    ("most", "says"),
    [
        (1 + 2e-6, "values from 0 to 1.000002, but bernoulli units take 0 to 1; scale"),
        (1.5, "values from 0 to 1.5, but bernoulli units take 0 to 1; scale"),
        (255.0, "take 0 to 1; if they are bytes, store them as uint8"),
        (16.0, "take 0 to 1; divide them by 16, or train binomial:16 visible units"),
    ],
)
def test_extremes_are_told_apart_from_the_range(folder, capfd, most, says):
    images = np.zeros((9, 4, 4))
    images[1, 2, 3] = most
    np.save("x.npy", images)
    assert says in refused(capfd, "train", "x.npy", "-o", "run.h5", "--quiet")


# Channels ----------------------------------------------------------------------------------------

COLOUR = RANDOM.integers(0, 256, (40, 6, 7, 3), np.uint8)


def test_channels_are_read_alike_later(folder, capfd):
    np.save("last.npy", COLOUR)
    np.save("first.npy", COLOUR.transpose(0, 3, 1, 2))
    note, line = said(capfd, "train", "last.npy", "-o", "run.h5", *SMALL)
    assert note.startswith("note: last.npy: images of 6x7x3 are taken to be height x width x")
    assert line.startswith("last.npy: 40 images of 3x6x7, ")
    train("first.npy", output="first.h5")
    with h5py.File("run.h5") as a, h5py.File("first.h5") as b:
        np.testing.assert_array_equal(a["model/weights"], b["model/weights"])
        assert a["filters"].shape[1:] == (5, 3, 6, 7)
    assert config()["channels"] == "last"
    assert config("first.h5")["channels"] == "first"
    features = ["features", "run.h5", "last.npy", "--force", "-o", "f.npz"]
    assert said(capfd, *features) == [line]
    ours = np.load("f.npz")["features"]
    assert rbm(["features", "first.h5", "last.npy", "-o", "g.npz", "--channels", "last"]) == 0
    np.testing.assert_array_equal(ours, np.load("g.npz")["features"])
    assert rbm(["sample", "run.h5", "-n", "2", "-k", "1", "-o", "a.png", "-q"]) == 0
    assert rbm(["train", "-o", "run.h5", "--resume", "--epochs", "2", "-q"]) == 0
    assert config()["channels"] == "last"


def test_channels_in_the_other_order_are_refused(folder, capfd):
    np.save("last.npy", COLOUR)
    np.save("first.npy", COLOUR.transpose(0, 3, 1, 2))
    train("first.npy")
    for command in (["evaluate"], ["features", "-o", "f.npz"], ["sample", "-o", "a.png"]):
        source = ["--source", "last.npy"] if command[0] == "sample" else ["last.npy"]
        words = ["run.h5", *source, *command[1:], "--quiet"]
        error = refused(capfd, command[0], *words)
        assert "images of shape (6, 7, 3), but the machine was trained on (3, 6, 7)" in error
        assert "or say --channels last" in error


def test_images_of_as_many_values_and_another_shape_are_refused(folder, capfd):
    train("images.npy")
    np.save("other.npy", np.load("images.npy").reshape(60, 4, 16))
    error = refused(capfd, "evaluate", "run.h5", "other.npy", "--quiet")
    assert "images of shape (4, 16), but the machine was trained on (8, 8)" in error
    for shape in [(60, 64), (60, 1, 8, 8), (60, 8, 8, 1)]:
        np.save("same.npy", np.load("images.npy").reshape(shape))
        assert rbm(["features", "run.h5", "same.npy", "--force", "-o", "f.npz", "-q"]) == 0
        validation = ["--validation", "same.npy", "--quiet"]
        status = rbm(["train", "images.npy", "--force", "-o", "v.h5", *SMALL, *validation])
        assert status == (1 if len(shape) == 2 else 0)


def test_runs_of_earlier_versions_had_channels_first(folder, capfd):
    np.save("last.npy", COLOUR)
    train("last.npy", "--channels", "first")
    without("channels")
    with RunReader("run.h5") as run:
        assert run.image_shape == (6, 7, 3)
    assert said(capfd, "features", "run.h5", "last.npy", "-o", "f.npz")[0].startswith(
        "last.npy: 40 images of 6x7x3, "
    )
    assert rbm(["sample", "run.h5", "-n", "2", "-k", "1", "-o", "a.png"]) == 0
    error = refused(capfd, "train", "-o", "run.h5", "--resume", "--channels", "last")
    assert "channels was first, now last" in error
    assert rbm(["train", "-o", "run.h5", "--resume", "--epochs", "2"]) == 0
    without("channels")
    grown = ["stack", "-o", "run.h5", "--grow", "--add-layer", "3", "--epochs", "1", "-q"]
    assert rbm(grown) == 0
    assert config()["channels"] == "first"


def test_channels_go_with_a_source(folder, capfd):
    train("images.npy")
    error = refused(capfd, "sample", "run.h5", "-o", "a.png", "--channels", "last", status=2)
    assert "--channels goes with --source" in error


# What a run file names ---------------------------------------------------------------------------

SAMPLE = ["run.h5", "-n", "2", "-k", "1", "-o", "a.png", "--quiet"]


def test_images_named_by_a_run_alone_must_be_those_of_the_run(folder, capfd):
    train("images.npy")
    assert rbm(["sample", *SAMPLE]) == 0
    images = np.load("images.npy")
    images[0, 0, 0] ^= 1
    np.save("images.npy", images)
    os.remove("a.png")
    error = refused(capfd, "sample", *SAMPLE)
    assert "images.npy has changed since the run was trained on it" in error
    assert "--source" in error
    assert rbm(["sample", *SAMPLE, "--source", "images.npy"]) == 0
    os.remove("a.png")
    os.remove("images.npy")
    error = refused(capfd, "sample", *SAMPLE)
    assert "cannot be read (images.npy: no such file" in error
    assert "--source" in error
    os.mkfifo("images.npy")
    assert "images.npy: is a pipe" in refused(capfd, "sample", *SAMPLE)


def test_labels_named_by_a_run_alone_must_be_those_of_the_run(folder, capfd):
    np.save("labels.npy", np.arange(60) % 3)
    train("images.npy", "--labels", "labels.npy", "--only", "1", "--only", "2")
    assert rbm(["sample", *SAMPLE]) == 0
    np.save("labels.npy", np.array([0, 2, 1])[np.arange(60) % 3])  # of the same images
    os.remove("a.png")
    assert "has changed since" in refused(capfd, "sample", *SAMPLE)


def test_a_run_without_a_checksum_names_nothing(folder, capfd):
    train("images.npy")
    with changing("run.h5") as file:
        data = json.loads(file.attrs["data"])
        del data["sha256"]
        file.attrs["data"] = json.dumps(data)
    assert "has changed since" in refused(capfd, "sample", *SAMPLE)


@pytest.mark.parametrize(
    "options",
    [
        "--crop 6x5 --crops-per-image 3 --flip",
        "--patches 70:4x4 --seed 3",
        "--pad 2",
        "--conv 3x4x4 --pool 2",
        "--conv 3x4x4 --pool 2 --crop 7x7",
        "--whiten --visible-kind gaussian --lr 0.001",
        "--preprocess zca --visible-kind gaussian --lr 0.001",
        "--limit 30 --validation 0.2",
    ],
)
def test_whatever_was_done_to_them_they_are_known_again(folder, options):
    used = [*SMALL[2:], *(["--hidden", "5"] if "--conv" not in options else []), "--quiet"]
    assert rbm(["train", "images.npy", "-o", "run.h5", *used, *options.split()]) == 0
    assert rbm(["sample", *SAMPLE]) == 0


# What is no file ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "train pipe -o run.h5",
        "train images.npy --labels pipe -o run.h5",
        "train images.npy --validation pipe -o run.h5",
        "train images.npy --config pipe -o run.h5",
        "stack pipe --add-layer 3 -o run.h5",
        "import pipe -o run.h5",
    ],
)
def test_pipes_are_refused_at_once(folder, capfd, command):
    os.mkfifo("pipe")
    first, *words = command.split()
    status = 2 if "--config" in words else 1
    error = refused(capfd, first, *words, "-q", status=status)
    assert "pipe: is a pipe, which can be read only once" in error


def test_standard_input_is_read_where_it_is_a_file(folder, capfd):
    kept = os.dup(0)
    try:
        with Path("images.npy").open("rb") as file:
            os.dup2(file.fileno(), 0)
        train("/dev/stdin", "--quiet")
        ours, theirs = os.pipe()
        os.dup2(ours, 0)
        content = Path("images.npy").read_bytes()
        writer = threading.Thread(target=lambda: os.write(theirs, content))
        writer.start()
        error = refused(capfd, "train", "/dev/stdin", "-o", "other.h5", "--quiet")
        writer.join()
        os.close(ours)
        os.close(theirs)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert "/dev/stdin: is a pipe" in error
    assert names(folder) == {"images.npy", "run.h5"}


@pytest.mark.parametrize(("name", "status"), [("a\0b", 2), ("x" * 5000, 1)])
def test_names_that_no_file_can_have(folder, capfd, name, status):
    """As a configuration may hold them."""
    Path("run.toml").write_text(f"labels = {json.dumps(name)}\n")
    words = ["train", "images.npy", "--config", "run.toml", "-o", "run.h5", "--quiet"]
    refused(capfd, *words, status=status)


@pytest.mark.parametrize("kind", ["transparent", "pages"])
def test_masks_that_could_mean_either(folder, capfd, kind):
    from PIL import Image

    train("images.npy")
    mask = Image.new("LA", (8, 8), (255, 0))
    if kind == "pages":
        page = Image.new("L", (8, 8), 255)
        page.save("mask.tif", save_all=True, append_images=[page])
    else:
        mask.save("mask.tif")
    error = refused(capfd, "sample", *SAMPLE, "--clamp", "mask.tif")
    assert ("several pages" if kind == "pages" else "transparent parts") in error

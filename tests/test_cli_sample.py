"""`rbm sample`: fantasy particles as pictures and as arrays."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from commands import names, write_images
from PIL import Image

from rbmcli.cli.main import run as rbm

SIDE = 6


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose machine knows bars, lying and standing."""
    folder = tmp_path_factory.mktemp("trained")
    write_images(folder / "images.npy", 200, SIDE)
    options = ["--hidden", "20", "--batch-size", "10", "--epochs", "100", "--lr", "0.1", "--quiet"]
    often = ["--checkpoint-every", "100epochs", "--snapshot-every", "100epochs", "--threads", "1"]
    source, output = str(folder / "images.npy"), str(folder / "run.h5")
    assert rbm(["train", source, "-o", output, *options, *often, "--binarize", "threshold"]) == 0
    return folder / "run.h5"


@pytest.fixture
def folder(tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.h5").write_bytes(trained.read_bytes())
    return tmp_path


def sample(output, *options):
    return rbm([*map(str, ["sample", "run.h5", "-o", output, "--quiet", *options])])


def samples(*options, output="particles.npz"):
    assert sample(output, *options, "--force") == 0
    with np.load(output) as arrays:
        return arrays["samples"], arrays["means"]


def bars(images):
    """How many of the images have a whole row or column on, as all of the training set have."""
    on = images > 0.5
    return (on.all(axis=1).any(axis=1) | on.all(axis=2).any(axis=1)).mean()


def test_arrays(folder, capfd):
    drawn, means = samples("-n", 30, "-k", 5)
    assert drawn.shape == means.shape == (30, SIDE, SIDE)
    assert set(np.unique(drawn)) == {0, 1}
    assert means.min() > 0
    assert means.max() < 1
    assert capfd.readouterr() == ("", "")


def test_the_chains_come_to_what_was_learned(folder):
    noise, _ = samples("-n", 300, "-k", 0, "--start", "random")
    assert 0.45 < noise.mean() < 0.55
    particles, _ = samples("-n", 300, "-k", 300, "--start", "random")
    assert bars(noise) < 0.3
    assert bars(particles) > 0.45


def test_means_belong_to_the_samples(folder):
    """Over many draws from the same hidden states the samples average to the means."""
    drawn, means = samples("-n", 5000, "-k", 3)
    assert np.abs((drawn - means).mean(axis=0)).max() < 5 * 0.5 / np.sqrt(5000)


def test_npz_and_h5_hold_the_same(folder):
    drawn, means = samples("-n", 7, "-k", 4)
    assert sample("particles.h5", "-n", 7, "-k", 4) == 0
    with h5py.File("particles.h5") as file:
        assert (file["samples"][()] == drawn).all()
        assert (file["means"][()] == means).all()


def test_the_seed_decides_and_the_threads_do_not(folder):
    first, _ = samples("-n", 40, "-k", 9, "--threads", 1)
    again, _ = samples("-n", 40, "-k", 9, "--threads", 3)
    other, _ = samples("-n", 40, "-k", 9, "--seed", 1)
    assert (first == again).all()
    assert (first != other).any()


def test_start_from_data(folder, trained):
    images = np.load(trained.parent / "images.npy") > 127
    drawn, _ = samples("--start", "data", "-k", 0, "-n", 50)
    assert all((images == particle).all(axis=(1, 2)).any() for particle in drawn.astype(bool))
    assert len(np.unique(drawn, axis=0)) > 10
    np.save("black.npy", np.zeros((3, SIDE, SIDE), np.uint8))
    drawn, _ = samples("--start", "data", "--source", "black.npy", "-k", 0, "-n", 50)
    assert (drawn == 0).all()


def test_start_from_the_images_that_were_chosen(folder):
    labels = np.arange(9) % 3
    np.save("images.npy", labels[:, np.newaxis, np.newaxis] // np.full((1, SIDE, SIDE), 2) * 255)
    np.save("labels.npy", labels)
    options = ["--labels", "labels.npy", "--only", "2", "--hidden", "3", "--epochs", "0", "--force"]
    assert rbm(["train", "images.npy", "-o", "run.h5", "--quiet", *options]) == 0
    drawn, _ = samples("--start", "data", "-k", 0)
    assert (drawn == 1).all()


def test_grid(folder):
    assert sample("grid.png", "-n", 6, "-k", 3, "--columns", 3, "--scale", 1) == 0
    assert sample("large.png", "-n", 6, "-k", 3, "--columns", 2, "--scale", 4) == 0
    with Image.open("grid.png") as grid, Image.open("large.png") as large:
        assert grid.size == (3 * SIDE + 4, 2 * SIDE + 3)
        assert large.width < large.height
        assert grid.convert("L").getextrema()[1] > 128


@pytest.mark.parametrize(
    ("options", "frames"),
    [
        (["-k", 20], 21),
        (["-k", 20, "--every", 7], 4),  # 0, 7, 14 and the last
        (["-k", 1000], 101),
        (["-k", 0], 1),
    ],
    ids=str,
)
def test_animation(folder, options, frames):
    assert sample("chains.gif", "-n", 4, *options) == 0
    with Image.open("chains.gif") as animation:
        assert getattr(animation, "n_frames", 1) == frames


def test_the_last_frame_is_the_grid(folder):
    options = ["-n", 9, "-k", 12, "--scale", 1]
    assert sample("chains.gif", *options) == 0
    assert sample("grid.png", *options) == 0
    with Image.open("chains.gif") as animation, Image.open("grid.png") as grid:
        animation.seek(animation.n_frames - 1)
        last = np.asarray(animation.convert("L"), int)
        assert np.abs(last - np.asarray(grid.convert("L"), int)).max() <= 17  # one of 16 greys


def test_what_is_said(folder, capfd):
    assert rbm(["sample", "run.h5", "-o", "a.png", "-n", "3", "-k", "2"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "a.png: 3 particles, 2 Gibbs steps\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-o", "there.png"], "there.png: exists already"),
        (["-o", "nowhere/a.png", "-k", "0"], "nowhere/a.png: "),
        (["-o", "a.png", "--start", "chains"], "run.h5: the run keeps no chains"),
        (["-o", "a.png", "--start", "data", "--source", "nowhere"], "nowhere: no such file"),
        (["-o", "a.png", "--start", "data", "--source", "small.npy"], "small.npy: images of 4 "),
        (
            ["-o", "a.png", "--start", "data", "--source", "wide.npy"],
            "wide.npy: values from 0 to 9",
        ),
    ],
    ids=str,
)
def test_failures(folder, capfd, options, says):
    (folder / "there.png").write_text("precious")
    np.save("small.npy", np.zeros((3, 2, 2)))
    np.save("wide.npy", np.arange(3 * SIDE * SIDE).reshape(3, SIDE, SIDE) % 10 * 1.0)
    before = names(folder)
    assert rbm(["sample", "run.h5", *options]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"rbm: error: {says}")
    assert err.count("\n") == 1
    assert names(folder) == before
    assert (folder / "there.png").read_text() == "precious"


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "a.txt"],
        ["-o", "a"],
        [],
        ["-o", "a.png", "-n", "0"],
        ["-o", "a.gif", "--fps", "nan"],
        ["-o", "a.png", "--start", "random", "--source", "x"],
    ],
    ids=str,
)
def test_wrong_usage(folder, capfd, options):
    assert rbm(["sample", "run.h5", *options]) == 2
    assert "Error: " in capfd.readouterr().err
    assert names(folder) == {"run.h5"}


def test_files_that_hold_no_machine(folder, capfd):
    for name, change in [
        ("a.h5", lambda file: file.pop("model")),
        ("b.h5", lambda file: file["model"].pop("weights")),
        ("c.h5", lambda file: file.attrs.update({"image_shape": [3]})),
        ("d.h5", lambda file: file.attrs.update({"version": 7})),
    ]:
        (folder / name).write_bytes((folder / "run.h5").read_bytes())
        with h5py.File(name, "r+") as file:
            change(file)
        assert rbm(["sample", name, "-o", "a.png"]) == 1
        err = capfd.readouterr().err
        assert err.startswith(f"rbm: error: {name}: a ")
        assert err.count("\n") == 1
    assert rbm(["sample", "nowhere.h5", "-o", "a.png"]) == 1
    assert capfd.readouterr().err == "rbm: error: nowhere.h5: no such file\n"


def test_long_work_shows_progress(folder, capfd, monkeypatch):
    monkeypatch.setattr("rbmcli.cli.progress._LINE_EVERY", 0)
    for output in ("a.npz", "a.gif"):
        assert rbm(["sample", "run.h5", "-o", output, "-n", "3", "-k", "2"]) == 0
        lines = capfd.readouterr().err.splitlines()
        assert lines[:-1] == [f"{number}/3 states of the chains" for number in (1, 2, 3)]
    assert sample("b.npz", "-k", 2) == 0
    assert capfd.readouterr() == ("", "")

"""`rbm sample`: fantasy particles as pictures and as arrays."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from changing import changing
from commands import names, refused, write_images
from PIL import Image

from rbmcli.cli.main import run as rbm
from rbmcli.cli.models import load_machine
from rbmcli.inference.exact import layer_states
from rbmcli.inference.free_energy import free_energy
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack

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
        (["-o", "a.png", "--clamp", "nowhere.png"], "nowhere.png: no such file"),
        (["-o", "a.png", "--clamp", "wide.png"], "wide.png: a mask of 6 x 7, but the images"),
        (["-o", "a.png", "--clamp", "there.png"], "there.png: not a readable picture"),
        (["-o", "a.png", "--clamp", "there.npz"], "there.npz: damaged"),
        (["-o", "a.png", "--clamp", "wide.npy"], "wide.npy: a mask of 3 x 6 x 6, but the"),
        (["-o", "a.png", "--clamp", "text.npy"], "text.npy: holds <U1 values"),
        (["-o", "a.png", "--clamp", "two.npz"], "two.npz: holds 2 arrays"),
        (["-o", "a.png", "--clamp", "none.npy"], "none.npy: keeps no unit"),
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
    np.savez("there.npz", np.ones((SIDE, SIDE)))
    (folder / "there.npz").write_bytes((folder / "there.npz").read_bytes()[:200])
    Image.new("L", (SIDE + 1, SIDE)).save("wide.png")
    np.save("text.npy", np.full((SIDE, SIDE), "x"))
    np.save("none.npy", np.zeros((SIDE, SIDE)))
    np.savez("two.npz", a=np.ones(1), b=np.ones(1))
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
        ["-o", "a.png", "--start", "chains", "--source", "x"],
        ["-o", "a.png", "--start", "random", "--clamp", "upper"],
        ["-o", "a.png", "--start", "chains", "--clamp", "upper"],
        ["-o", "a.png", "--class", "1", "--clamp", "upper"],
        ["-o", "a.png", "--class", "1", "--clamp", "upper", "--source", "x"],
        ["-o", "a.png", "--temperatures", "1"],
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
        with changing(name) as file:
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


# Chains of the run -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["pcd", "fpcd", "pt"])
def persistent(request, trained, tmp_path_factory):
    """A run with 12 persistent chains, whose weights decide the visible units for certain."""
    path = tmp_path_factory.mktemp("persistent") / "run.h5"
    options = ["--algorithm", request.param, "--chains", "12", "--quiet"]
    options += ["--temperatures", "3"] if request.param == "pt" else []
    source = str(trained.parent / "images.npy")
    threads = ["--hidden", "20", "--epochs", "20", "--threads", "1"]
    assert rbm(["train", source, "-o", str(path), *options, *threads]) == 0
    with changing(path) as file:
        file["model/weights"][...] = np.float32(1e8) * file["model/weights"][()]
        file["model/visible_bias"][...] = 0
    return path


def test_start_from_the_chains_of_the_run(folder, persistent):
    (folder / "run.h5").write_bytes(persistent.read_bytes())
    with h5py.File("run.h5") as file:
        hidden = file["trainer/chains/hidden"][:12].astype(float)
        rows = len(file["trainer/chains/hidden"])
        weights, bias = file["model/weights"][()], file["model/visible_bias"][()]
    total = hidden @ weights.T.astype(float) + bias
    assert np.abs(total).min() > 17  # the chance of another state is below 2^-24
    expected = (total > 0).reshape(-1, SIDE, SIDE)
    assert len(np.unique(expected, axis=0)) > 4
    assert rows == (36 if "pt" in str(h5_config("run.h5")["algorithm"]) else 12)
    drawn, _ = samples("--start", "chains", "-k", 0)
    assert (drawn == expected).all()
    drawn, _ = samples("--start", "chains", "-k", 0, "-n", 5)
    assert (drawn == expected[:5]).all()


def h5_config(path):
    with h5py.File(path) as file:
        return json.loads(file.attrs["config"])


def test_no_more_chains_than_there_are(folder, persistent, capfd):
    (folder / "run.h5").write_bytes(persistent.read_bytes())
    assert sample("a.png", "--start", "chains", "-n", 13) == 1
    assert capfd.readouterr().err == (
        "rbm: error: run.h5: the run keeps 12 chains, fewer than the 13 of -n; ask for 12 at most\n"
    )
    with changing("run.h5") as file:
        del file["trainer/chains/hidden"]
        file["trainer/chains/hidden"] = np.zeros((12, 7), np.uint8)
    assert sample("a.png", "--start", "chains") == 1
    assert "a damaged run file" in capfd.readouterr().err
    assert names(folder) == {"run.h5"}


# Completed images --------------------------------------------------------------------------------


HALVES = {
    "upper": np.s_[:, :3],
    "lower": np.s_[:, 3:],
    "left": np.s_[:, :, :3],
    "right": np.s_[:, :, 3:],
}


@pytest.mark.parametrize("word", HALVES)
def test_halves_are_kept(folder, word):
    images, _ = samples("-k", 0, "-n", 50)
    drawn, means = samples("--clamp", word, "-k", 7, "-n", 50)
    free = np.ones(images.shape, bool)
    free[HALVES[word]] = False
    assert (drawn[~free] == images[~free]).all()
    assert (means[~free] == images[~free]).all()
    assert (means[free] % 1 != 0).all()
    assert (drawn[free] != images[free]).any()


def test_the_rest_starts_at_noise(folder):
    """Nothing of what is to be completed is seen."""
    noise, _ = samples("-k", 0, "-n", 50, "--start", "random")
    drawn, _ = samples("--clamp", "upper", "-k", 0, "-n", 50)
    assert (drawn[:, 3:] == noise[:, 3:]).all()


def test_masks_in_files(folder):
    expected, _ = samples("--clamp", "left", "-k", 3, "-n", 9)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, :3] = 1
    np.save("mask.npy", mask.astype(bool))
    np.savez("mask.npz", mask=mask * 0.5)
    Image.fromarray(mask).save("mask.png")
    Image.fromarray(mask * 255).save("bright.png")
    for path in ("mask.npy", "mask.npz", "mask.png", "bright.png"):
        drawn, _ = samples("--clamp", path, "-k", 3, "-n", 9)
        assert (drawn == expected).all()


def test_completions_stand_beside_what_was_kept(folder):
    images, _ = samples("-k", 0, "-n", 4)
    _, means = samples("--clamp", "upper", "-k", 3, "-n", 4)
    assert sample("a.png", "--clamp", "upper", "-k", 3, "-n", 4, "--scale", 1, "--columns", 2) == 0
    with Image.open("a.png") as picture:
        shown = np.asarray(picture.convert("L"), int)
    step = SIDE + 1
    assert shown.shape == (2 * step + 1, 6 * step + 1)
    for number in range(4):
        top, left = number // 2 * step + 1, number % 2 * 3 * step + 1
        original, kept, completed = (
            shown[top : top + SIDE, place : place + SIDE]
            for place in (left, left + step, left + 2 * step)
        )
        assert (original == 255 * images[number]).all()
        assert (kept[:3] == original[:3]).all()
        assert (kept[3:] == 128).all()
        assert (completed == np.rint(255 * means[number])).all()


def test_completions_animated(folder):
    assert sample("a.gif", "--clamp", "upper", "-k", 6, "-n", 3) == 0
    with Image.open("a.gif") as animation:
        assert animation.n_frames == 7


def test_flat_images_have_no_sides(folder, capfd):
    np.save("flat.npy", np.eye(4))
    assert rbm(["train", "flat.npy", "-o", "f.h5", "--epochs", "0", "--quiet"]) == 0
    assert rbm(["sample", "f.h5", "-o", "a.png", "--clamp", "upper"]) == 1
    assert capfd.readouterr().err.startswith("rbm: error: upper: the images are 4 and have no ")


# Tempered chains ---------------------------------------------------------------------------------


def test_tempered_chains_come_to_what_was_learned(folder, capfd):
    assert rbm(["sample", "run.h5", "-o", "a.npz", "--temperatures", "4", "-n", "9"]) == 0
    err = capfd.readouterr().err
    assert err.startswith("a.npz: 9 particles, 100 Gibbs steps; temperatures swap in ")
    options = ["--temperatures", 6, "-n", 200, "-k", 40]
    first, _ = samples(*options, "--threads", 1)
    again, _ = samples(*options, "--threads", 3)
    plain, _ = samples("-n", 200, "-k", 40)
    assert (first == again).all()
    assert (first != plain).any()
    assert bars(first) > 0.32  # noise has less than 0.3


def test_tempered_and_clamped(folder):
    images, _ = samples("-k", 0, "-n", 20)
    drawn, _ = samples("--clamp", "right", "-k", 5, "-n", 20, "--temperatures", 3)
    assert (drawn[:, :, 3:] == images[:, :, 3:]).all()


# Other kinds of units ----------------------------------------------------------------------------


KINDS = ["binomial:3", "gaussian", "gaussian:learned", "nrelu", "softmax:2"]


@pytest.fixture
def of_kind(folder):
    """Trains for a moment on images (40, 2, 4) of any kind; returns them."""

    def train(kind):
        rng = np.random.default_rng(3)
        images = (rng.normal(0, 1, (40, 2, 4)) * [1, 2, 3, 4]).astype(np.float32)
        if kind == "nrelu":
            images = np.abs(images)
        if kind == "binomial:3":
            images = rng.integers(4, size=(40, 2, 4)).astype(np.uint8)
        if kind == "softmax:2":
            images = np.eye(2, dtype=np.uint8)[rng.integers(2, size=(40, 4))].reshape(40, 2, 4)
        np.save("images.npy", images)
        options = ["--visible-kind", kind, "--hidden", "3", "--epochs", "2", "--lr", "0.001"]
        chains = ["--algorithm", "pt", "--temperatures", "3", "--threads", "1", "--quiet"]
        assert rbm(["train", "images.npy", "-o", "run.h5", "--force", *options, *chains]) == 0
        return images

    return train


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_sampled_in_the_terms_of_the_data(of_kind, kind):
    images = of_kind(kind)
    drawn, means = samples("-k", 0, "-n", 60)
    assert drawn.shape == means.shape == (60, 2, 4)
    flat = images.reshape(len(images), -1)
    gaps = np.abs(drawn.reshape(60, 1, -1) - flat).max(axis=2).min(axis=1)
    assert gaps.max() < 1e-5
    for options in (
        ["--start", "random"],
        ["--start", "chains"],
        ["--temperatures", 3],
        ["--clamp", "left"],
    ):
        drawn, means = samples("-k", 3, *options)
        assert np.isfinite(drawn).all()
        assert np.isfinite(means).all()
        if kind == "binomial:3":
            assert set(np.unique(drawn)) <= {0, 1, 2, 3}
        if kind == "softmax:2":
            assert (drawn.reshape(-1, 4, 2).sum(axis=2) == 1).all()


def test_deviations_come_back(of_kind):
    """States of learned deviations are in units of the data, not of the machine's inside."""
    images = of_kind("gaussian:learned")
    drawn, _ = samples("-k", 20, "-n", 2000)
    ratio = drawn.std(axis=(0, 1)) / images.std(axis=(0, 1))
    assert (np.abs(ratio - 1) < 0.35).all(), ratio
    assert images.std(axis=(0, 1)).max() > 2.5


@pytest.mark.parametrize("start", ["data", "random"])
@pytest.mark.parametrize("kind", KINDS)
def test_greys_span_the_range(of_kind, kind, start):
    of_kind(kind)
    options = ["--start", start, "-k", 2, "-n", 6, "--scale", 1, "--columns", 6]
    images, _ = samples("-k", 0, "-n", 6)
    _, means = samples(*options)
    assert sample("a.png", *options, "--force") == 0
    with Image.open("a.png") as picture:
        shown = np.asarray(picture.convert("L"), int)
    low, high = {"binomial:3": (0, 3), "softmax:2": (0, 1)}.get(kind, (None, None))
    if low is None:
        seen = images if start == "data" else means
        low, high = seen.min(), seen.max()
    expected = np.clip(np.rint(255 * (means - low) / (high - low)), 0, 255)
    for number in range(6):
        tile = shown[1:3, 5 * number + 1 : 5 * number + 5]
        assert np.abs(tile - expected[number]).max() <= 1


@pytest.mark.parametrize("output", ["x.png", "x.gif", "x.npz"])
@pytest.mark.parametrize("options", [[], ["--temperatures", "3"]], ids=["gibbs", "tempered"])
@pytest.mark.filterwarnings("error")
def test_chains_that_run_away_are_told(tmp_path, monkeypatch, capfd, output, options):
    monkeypatch.chdir(tmp_path)
    np.savez("w.npz", weights=1e5 * np.eye(4), visible_bias=np.ones(4), hidden_bias=np.ones(4))
    kinds = ["--visible-kind", "gaussian", "--hidden-kind", "gaussian", "--quiet"]
    assert rbm(["import", "w.npz", "-o", "run.h5", *kinds]) == 0
    assert sample(output, "--start", "random", "-k", 20, *options) == 1
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert "the chains have run away" in told
    assert "--max-spectral-norm 0.8, or filters that move over images with a smaller --max" in told
    assert output not in names(tmp_path)


# Stacks ------------------------------------------------------------------------------------------


@pytest.fixture
def of_stack(monkeypatch):
    """Makes `run.h5` be read as a stack of these machines."""

    def use(*machines):
        monkeypatch.setattr("rbmcli.cli.models.load_stack", lambda run: Stack(machines))
        return Stack(machines)

    return use


def random_machine(below, above, weight=0.5, labels=0):
    rng = np.random.default_rng(5)
    shape = (SIDE, SIDE) if below == SIDE**2 else (below,)
    model = Rbm.dense(shape, above, labels=labels)
    model.load({name: rng.normal(0, weight, x.shape) for name, x in model.parameters().items()})
    return model


def copying(units):
    """A machine whose units are what those across from them are, for certain."""
    model = Rbm.dense((SIDE, SIDE) if units == SIDE**2 else (units,), units)
    model.load(
        {
            "weights": 80 * np.eye(units),
            "visible_bias": np.full(units, -40.0),
            "hidden_bias": np.full(units, -40.0),
        }
    )
    return model


PATTERNS = np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], np.float32)


def by_class():
    """A machine with 3 classes, of which each wants the columns of its pattern to be on."""
    patterns = np.tile(PATTERNS, SIDE)
    model = Rbm.dense((SIDE**2,), 3, labels=3)
    weights = np.concatenate([80 * patterns.T, 6000 * np.eye(3)])
    bias = np.concatenate([np.full(SIDE**2, -40.0), np.zeros(3)])
    model.load({"weights": weights, "visible_bias": bias, "hidden_bias": np.full(3, -3000.0)})
    return model


def test_images_go_up_and_come_down(folder, of_stack):
    images, _ = samples("-k", 0, "-n", 20)
    of_stack(copying(SIDE**2), copying(SIDE**2), copying(SIDE**2))
    for steps in (0, 3):
        drawn, means = samples("-k", steps, "-n", 20)
        assert drawn.shape == means.shape == (20, SIDE, SIDE)
        assert (drawn == images).all()
        np.testing.assert_allclose(means, images, atol=1e-6)
    np.testing.assert_array_equal(drawn, samples("-k", 3, "-n", 20, "--temperatures", 3)[0])


@pytest.mark.parametrize("start", ["data", "random"])
@pytest.mark.parametrize("options", [[], ["--temperatures", 3]], ids=["gibbs", "tempered"])
def test_images_of_a_stack(folder, of_stack, start, options):
    of_stack(random_machine(SIDE**2, 9), random_machine(9, 8), random_machine(8, 7))
    options = ["--start", start, "-k", 2, "-n", 5000, *options]
    drawn, means = samples(*options, "--threads", 1)
    again, _ = samples(*options, "--threads", 3)
    assert (drawn == again).all()
    assert set(np.unique(drawn)) == {0, 1}
    assert len(np.unique(means.reshape(5000, -1).round(5), axis=0)) > 100
    assert np.abs((drawn - means).mean(axis=0)).max() < 5 * 0.5 / np.sqrt(5000)


def test_images_have_the_distribution_of_the_stack(folder, of_stack):
    """The top machine's visible units by enumeration, through one directed level."""
    first, top = random_machine(SIDE**2, 5), random_machine(5, 3, 1.0)
    of_stack(first, top)
    _, means = samples("--start", "random", "-k", 60, "-n", 4000)
    states = layer_states(top.visible, 0, 32)
    log_p = -free_energy(top, top.visible.states_of(states))
    p = np.exp(log_p - np.logaddexp.reduce(log_p))
    total = states @ first.link.weights.T.astype(np.float64) + first.visible.bias[: SIDE**2]
    given = 1 / (1 + np.exp(-total))
    exact = p @ given
    error = np.sqrt((p @ np.square(given - exact)) / 4000)
    assert (np.abs(means.reshape(4000, -1).mean(axis=0) - exact) < 5 * error + 1e-6).all()


def test_stacks_as_pictures(folder, of_stack):
    of_stack(random_machine(SIDE**2, 9), random_machine(9, 8))
    options = ["-n", 9, "-k", 12, "--scale", 1]
    _, means = samples(*options)
    assert sample("grid.png", *options) == 0
    assert sample("chains.gif", *options) == 0
    with Image.open("grid.png") as grid, Image.open("chains.gif") as chains:
        assert chains.n_frames == 13
        assert chains.size == grid.size == (3 * SIDE + 4, 3 * SIDE + 4)
        shown = np.asarray(grid.convert("L"), int)
        chains.seek(12)
        assert np.abs(np.asarray(chains.convert("L"), int) - shown).max() <= 17  # greys
    assert (shown[1 : SIDE + 1, 1 : SIDE + 1] == np.rint(255 * means[0])).all()


@pytest.mark.parametrize("tempered", [[], ["--temperatures", 4]], ids=["gibbs", "tempered"])
@pytest.mark.parametrize("below", [0, 1], ids=["machine", "stack"])
def test_images_by_class(folder, of_stack, below, tempered):
    of_stack(*[copying(SIDE**2)] * below, by_class())
    for start in ("data", "random"):
        options = ["--class", 2, "--class", 0, "-n", 4, "-k", 2, "--start", start, *tempered]
        drawn, means = samples(*options)
        assert drawn.shape == means.shape == (8, SIDE, SIDE)
        expected = np.repeat(PATTERNS[[2, 0]], 4, axis=0)[:, np.newaxis]
        assert (drawn == expected).all()
    drawn, _ = samples("--class", 1)
    assert len(drawn) == 10
    assert sample("a.png", "--class", 2, "--class", 0, "-n", 4, "-k", 2, "--scale", 1) == 0
    with Image.open("a.png") as grid:
        assert grid.size == (4 * (SIDE + 1) + 1, 2 * (SIDE + 1) + 1)


def test_without_a_class_label_units_are_free(folder, of_stack):
    of_stack(by_class())
    drawn, means = samples("-n", 30, "-k", 3)
    assert drawn.shape == means.shape == (30, SIDE, SIDE)
    assert sample("a.png", "-n", 4, "-k", 2) == 0


def test_chains_of_the_top_machine(folder, persistent, monkeypatch):
    (folder / "run.h5").write_bytes(persistent.read_bytes())
    expected, _ = samples("--start", "chains", "-k", 2)
    monkeypatch.setattr(
        "rbmcli.cli.models.load_stack",
        lambda run: Stack([copying(SIDE**2), load_machine(run.layers[0], (SIDE, SIDE))]),
    )
    drawn, _ = samples("--start", "chains", "-k", 2)
    assert len(np.unique(drawn, axis=0)) > 3
    assert (drawn == expected).all()


def test_stacks_refuse_what_they_cannot(folder, of_stack, capfd):
    assert "run.h5: has no label units" in refused(
        capfd, "sample", "run.h5", "-o", "a.png", "--class", "1"
    )
    of_stack(copying(SIDE**2), by_class())
    told = refused(capfd, "sample", "run.h5", "-o", "a.png", "--class", "1", "--class", "3")
    assert "--class 3: run.h5 has 3 classes; name one from 0 to 2" in told
    told = refused(capfd, "sample", "run.h5", "-o", "a.png", "--walk", "all")
    assert "its layers cannot all walk at once: its top layer has label units" in told
    told = refused(
        capfd, "sample", "run.h5", "-o", "a.png", "--walk", "all", "--class", "1", status=2
    )
    assert "--class goes with --walk top" in told
    told = refused(
        capfd, "sample", "run.h5", "-o", "a.png", "--clamp", "upper", "--temperatures", "3"
    )
    assert "is a stack, and --temperatures goes with --walk top" in told


def test_a_stack_from_its_file(folder):
    """As `rbm stack` writes it: chains of the top machine, and images by class."""
    write_images(folder / "images.npy", 200, SIDE)
    np.savez("bars.npz", images=np.load("images.npy"), labels=np.arange(200) % 2)
    layers = ["--add-layer", "9", "--add-layer", "8", "--label-units", "--algorithm", "pcd"]
    usual = ["-o", "run.h5", "--force", "--quiet", "--epochs", "1", "--threads", "1"]
    assert rbm(["stack", "bars.npz:images", *layers, *usual]) == 0
    for options in (["-n", 5], ["--start", "chains", "-n", 5], ["--class", 0, "-n", 5]):
        drawn, means = samples(*options, "-k", 3)
        assert drawn.shape == means.shape == (5, SIDE, SIDE)
        assert set(np.unique(drawn)) == {0, 1}
        assert 0 < means.min() < means.max() < 1

"""Crops and flips: what is cut, how it is drawn, and that nothing else decides it."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
from commands import contents, write_images

from rbmcli.cli.main import run as rbm
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.augmentation import Augmentation
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.io.sizes import Size
from rbmcli.learning.batch import Images
from rbmcli.model.layer import Layer
from rbmcli.model.states import FloatStates
from rbmcli.model.units.bernoulli import Bernoulli
from rbmcli.model.units.gaussian import Gaussian

COUNT = 50
SHAPES = [(6, 8), (3, 6, 8)]
DRAWS = Draws(4)
LAYER = Layer(Bernoulli(), (6, 8))


def numbered(shape: tuple[int, ...], count: int = COUNT) -> np.ndarray:
    """Images (count, units) in which every pixel of the set is another number."""
    size = count * int(np.prod(shape))
    return np.arange(size, dtype=np.float32).reshape(count, -1)


def augmentation(
    shape: tuple[int, ...], crop: str | None = "4x5", *, flip: bool = True, seed: int = 4
) -> Augmentation:
    size = None if crop is None else Size.parse(crop)
    made = Augmentation.of(shape, size, flip, Draws(seed), "images")
    assert made is not None
    return made


def found(cut: np.ndarray, row: int, shape: tuple[int, ...], size: Size) -> tuple[int, int, bool]:
    """(top, left, flipped) of a crop of image `row`; AssertionError if it is none."""
    image = numbered(shape)[row].reshape(shape)
    cut = cut.reshape(*shape[:-2], size.height, size.width)
    flipped = bool(size.width > 1 and cut[..., 0, 0].flat[0] > cut[..., 0, -1].flat[0])
    if flipped:
        cut = cut[..., ::-1]
    place = int(cut.flat[0] - image.flat[0])
    top, left = divmod(place, shape[-1])
    window = image[..., top : top + size.height, left : left + size.width]
    np.testing.assert_array_equal(cut, window)
    return top, left, flipped


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_crop_is_a_window_of_its_image(shape, dtype):
    augment, rows = augmentation(shape), np.array([3, 3, 49, 0, 17])
    assert augment.shape == (*shape[:-2], 4, 5)
    places = [
        found(cut, row, shape, augment.size)
        for cut, row in zip(augment.drawn(numbered(shape), rows, 7), rows, strict=True)
    ]
    assert places[0] == places[1]  # one image, one step: one draw
    assert len(set(places)) > 2
    pixels = (numbered(shape) % 251).astype(dtype)
    cut = augment.drawn(pixels, rows, 7)
    assert cut.dtype == dtype
    assert cut.flags.c_contiguous
    np.testing.assert_array_equal(cut, augment.drawn(numbered(shape), rows, 7) % 251)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_central_crop(shape):
    augment = augmentation(shape)
    for row, cut in enumerate(augment.central(numbered(shape), np.arange(COUNT))):
        assert found(cut, row, shape, augment.size) == (1, 1, False)


def test_flips_alone():
    augment = augmentation((6, 8), None)
    cuts = augment.drawn(numbered((6, 8)), np.arange(COUNT), 0)
    places = {found(cut, row, (6, 8), augment.size) for row, cut in enumerate(cuts)}
    assert places == {(0, 0, False), (0, 0, True)}


def test_places_and_flips_are_uniform():
    """3 x 4 places, flipped or not, by chi-square: above 71 by chance in one of 10^6 cases."""
    augment = augmentation((6, 8))
    counts = np.zeros((3, 4, 2))
    for step in range(96):
        cuts = augment.drawn(numbered((6, 8)), np.arange(COUNT), step)
        for row, cut in enumerate(cuts):
            top, left, flipped = found(cut, row, (6, 8), augment.size)
            counts[top, left, int(flipped)] += 1
    expected = counts.sum() / counts.size
    assert expected == 200
    assert (np.square(counts - expected) / expected).sum() < 71


def test_a_draw_goes_by_image_and_step_alone(threads):
    augment, pixels = augmentation((6, 8)), numbered((6, 8))
    rows = np.random.default_rng(1).permutation(COUNT)
    together = augment.drawn(pixels, rows, 3)
    np.testing.assert_array_equal(together[::-1], augment.drawn(pixels, rows[::-1], 3))
    np.testing.assert_array_equal(together[10:13], augment.drawn(pixels, rows[10:13], 3))
    others = [
        augment.drawn(pixels, rows, 4),
        augment.drawn(pixels, rows, 3, Purpose.PREPROCESS),
        augmentation((6, 8), seed=5).drawn(pixels, rows, 3),
    ]
    for other in others:
        assert (other != together).any(axis=1).mean() > 0.75  # 23/24 expected


# --- as images of a run ------------------------------------------------------------------------


def images(binarize: str = "none", augment: Augmentation | None = None) -> Images:
    pixels = (numbered((6, 8)) % 251).astype(np.uint8)
    return Images(pixels, 255.0, np.arange(5, COUNT), binarize, augment)


def test_images_without_it_are_used_in_place():
    plain, rows = images(), np.array([9, 8])
    pixels, index, scale = plain.gather(rows, 3)
    assert pixels is plain.pixels
    assert index is rows
    assert scale == 255.0


@pytest.mark.parametrize("binarize", ["sample", "threshold", "none"])
def test_states_are_those_of_the_cut_images(binarize):
    augment, rows = augmentation((6, 8)), np.array([9, 8, 41])
    cropped, draw = images(binarize, augment), DRAWS.at(Purpose.BINARIZE, 1)
    cuts = {
        None: augment.central(cropped.pixels, rows),
        6: augment.drawn(cropped.pixels, rows, 6),
    }
    assert (cuts[None] != cuts[6]).any()
    for step, cut in cuts.items():
        expected = Images(cut, 255.0, np.arange(3), binarize)
        expected = expected.states(np.arange(3), LAYER, draw)
        states = cropped.states(rows, LAYER, draw, step)
        np.testing.assert_array_equal(states.to_array(), expected.to_array())


def test_the_mean_is_that_of_the_central_crops():
    augment = augmentation((6, 8))
    cropped = images(augment=augment)
    cut = augment.central(cropped.pixels, cropped.rows)
    np.testing.assert_allclose(cropped.mean, cut.mean(axis=0) / 255, rtol=1e-12)


def test_preprocessing_comes_after():
    augment, rows = augmentation((6, 8)), np.array([9, 8, 41])
    plain = images(augment=augment)
    fitted_to = plain.for_fitting()
    once = augment.drawn(plain.pixels, plain.rows, 0, Purpose.PREPROCESS)
    np.testing.assert_array_equal(fitted_to, once / np.float32(255))
    steps = Preprocessing.fit(["contrast", "zca"], fitted_to.copy(), DRAWS)
    done = plain.preprocessed(steps)
    assert done.pixels is plain.pixels
    expected = steps.apply(augment.drawn(plain.pixels, rows, 2) / np.float32(255))
    layer = Layer(Gaussian(), (6, 8))
    states = done.states(rows, layer, DRAWS.at(Purpose.BINARIZE, 2), 2)
    assert isinstance(states, FloatStates)
    np.testing.assert_array_equal(states.to_array(), expected)
    with pytest.raises(RbmError, match=r"^here: values from -\S+ to \S+, but bernoulli units"):
        done.for_kind(Bernoulli(), "here")


SMALL = ["--hidden", "6", "--batch-size", "20", "--threads", "1", "--quiet"]
BOTH = ["--crop", "6x5", "--flip"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npy", 110)
    return tmp_path


def train(output: str, *options: str) -> int:
    return rbm(["train", "images.npy", "-o", output, *SMALL, "--epochs", "3", *options])


def test_the_machine_has_the_shape_of_a_crop(folder):
    assert train("run.h5", *BOTH, "--validation", "0.2") == 0
    with h5py.File("run.h5") as run:
        assert run.attrs["image_shape"].tolist() == [6, 5]
        assert run["filters"].shape == (4, 6, 6, 5)
        assert run["model/weights"].shape == (30, 6)
    assert rbm(["sample", "run.h5", "-o", "x.npz", "-k", "0", "-n", "7", "--quiet"]) == 0
    central = np.load("images.npy")[:, 1:7, 1:6].reshape(110, 30)
    with np.load("x.npz") as arrays:
        assert arrays["samples"].shape == (7, 6, 5)
        for sample in arrays["samples"].reshape(7, 30):
            assert (central[:, sample == 1] > 0).all(axis=1).any()


def test_a_crop_itself_is_a_start_for_chains(folder):
    assert train("run.h5", *BOTH) == 0
    np.save("cropped.npy", np.load("images.npy")[:, :6, :5])
    sample = ["sample", "run.h5", "--quiet", "-n", "3"]
    assert rbm([*sample, "--source", "cropped.npy", "-o", "x.png"]) == 0


@pytest.mark.parametrize("more", [[], ["--preprocess", "contrast,standardize,zca"]])
def test_neither_threads_nor_interruptions_show(folder, monkeypatch, more):
    options = [*BOTH, "--validation", "0.2"]
    if more:
        monkeypatch.setattr(Bernoulli, "valid_range", (-np.inf, np.inf))
        options += ["--binarize", "none", "--reconstruction", "mean", "--lr", "0.001", *more]
    assert train("whole.h5", *options) == 0
    assert train("threads.h5", *options, "--threads", "3") == 0
    assert contents(folder / "threads.h5") == contents(folder / "whole.h5")
    assert train("run.h5", *options, "--epochs", "1") == 0
    assert train("run.h5", *options, "--resume") == 0
    assert contents(folder / "run.h5") == contents(folder / "whole.h5")


def test_what_is_drawn_shows_in_training_and_not_in_measurements(folder):
    first = {}
    for name, options in {"crop": ["--crop", "8x5"], "both": ["--crop", "8x5", "--flip"]}.items():
        assert train(f"{name}.h5", *options) == 0
        with h5py.File(f"{name}.h5") as run:
            first[name] = run["metrics"][0].tobytes()
    np.save("images.npy", np.load("images.npy")[:, :, 1:6])
    assert train("central.h5") == 0
    with h5py.File("central.h5") as run:
        assert run["metrics"][0].tobytes() == first["crop"] == first["both"]
    weights = [contents(folder / f"{name}.h5")["model/weights"] for name in (*first, "central")]
    assert len(set(weights)) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--crop", "9x4"], "images.npy: images of 8x8 (height x width) are smaller than --crop"),
        (["--crop", "4x9"], "images.npy: images of 8x8 (height x width) are smaller than --crop"),
        (["--crop", "6x6", "--validation", "flat.npy"], "flat.npy: images of shape (64,) have no"),
        (["--validation", "small.npy", "--flip"], "small.npy: images of shape (7, 8), but those"),
        (["--crop", "8x7", "--validation", "small.npy"], "small.npy: images of 7x8 (height"),
    ],
)
def test_images_that_do_not_fit(folder, capfd, options, says):
    np.save("flat.npy", np.load("images.npy").reshape(110, 64))
    np.save("small.npy", np.load("images.npy")[:, 1:])
    assert train("run.h5", *options) == 1
    err = capfd.readouterr().err
    assert err.startswith(f"rbm: error: {says}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("option", ["--crop", "--flip"])
def test_images_without_rows_and_columns(folder, capfd, option):
    np.save("images.npy", np.load("images.npy").reshape(110, 64))
    assert train("run.h5", option, *(["4x4"] if option == "--crop" else [])) == 1
    err = capfd.readouterr().err
    assert f"images of shape (64,) have no rows and columns for {option};" in err
    assert err.count("\n") == 1


def test_validation_images_may_be_of_another_size(folder):
    np.save("small.npy", np.load("images.npy")[:, 1:])
    assert train("run.h5", *BOTH, "--validation", "small.npy") == 0


@pytest.mark.parametrize("size", ["6", "6x", "0x6", "6x0", "-6x6", "6x6x6", "axb"])
def test_what_is_no_size(capfd, size):
    assert rbm(["train", "-o", "run.h5", "--crop", size]) == 2
    assert f"'{size}' is not a size: write 24x32" in " ".join(capfd.readouterr().err.split())


def test_the_options_come_back_from_a_file(folder, monkeypatch, capfd):
    monkeypatch.setattr(Bernoulli, "valid_range", (-np.inf, np.inf))
    options = ["--patches", "60:7x8", "--preprocess", "zca", "--binarize", "none", "--lr", "1e-3"]
    assert train("run.h5", *BOTH, *options) == 0
    assert rbm(["info", "run.h5", "--config"]) == 0
    (folder / "options.toml").write_text(capfd.readouterr().out)
    assert rbm(["train", "images.npy", "--config", "options.toml", "-q", "-o", "again.h5"]) == 0
    assert contents(folder / "again.h5") == contents(folder / "run.h5")


def test_resume_with_another_crop_is_refused(folder, capfd):
    assert train("run.h5", *BOTH) == 0
    assert train("run.h5", "--crop", "6x5", "--resume") == 0  # --flip is taken from the run
    assert train("run.h5", "--crop", "5x5", "--resume") == 1
    assert re.search(r"cannot resume: crop was 6x5, now 5x5;", capfd.readouterr().err)

"""Crops of photographs of different sizes: where they come from, and whole runs on them."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from commands import contents, refused
from PIL import Image

from rbmcli.cli import datasets
from rbmcli.cli.main import run as rbm
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.augmentation import Augmentation
from rbmcli.io.sizes import Size
from rbmcli.io.sources import open_source
from rbmcli.io.sources.whitening import whiten

SIZES = [(5, 9), (12, 4), (7, 7), (8, 4), (6, 6)]
CROP = Size(4, 3)
PER_IMAGE = 6


def photo(index: int) -> np.ndarray:
    """A picture in which every pixel is another number, and few numbers are in two pictures."""
    height, width = SIZES[index]
    return (np.arange(height * width).reshape(height, width) + 49 * index).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for index in range(len(SIZES)):
        Image.fromarray(photo(index)).save(tmp_path / "photos" / f"{index}.png")
    return tmp_path


def augmentation(flip: bool = False, per_image: int = PER_IMAGE) -> Augmentation:
    made = Augmentation.of((5, 4), CROP, flip, Draws(4), "photos", per_image)
    assert made is not None
    return made


def place(crop: np.ndarray, index: int) -> tuple[int, int, bool]:
    """(top, left, flipped) of a crop of a photo; AssertionError if it is none."""
    crop = crop.reshape(CROP.height, CROP.width)
    flipped = bool(crop[0, 0] > crop[0, -1])
    crop = crop[:, ::-1] if flipped else crop
    top, left = divmod(int(crop[0, 0]) - 49 * index, SIZES[index][1])
    np.testing.assert_array_equal(crop, photo(index)[top : top + 4, left : left + 3])
    return top, left, flipped


def central(picture: np.ndarray) -> np.ndarray:
    top, left = ((side - size) // 2 for side, size in zip(picture.shape, (4, 3), strict=True))
    return picture[top : top + 4, left : left + 3]


def test_pictures_stay_as_they_are(folder):
    data = open_source("photos", crop=CROP)
    assert (data.image_shape, data.scale) == ((5, 4), 255.0)
    for index, image in enumerate(data.images):
        np.testing.assert_array_equal(image, photo(index))
    facts = data.provenance()
    assert facts["shape"] == [5, 5, 4]
    assert facts["largest"] == [12, 9]
    Image.fromarray(photo(0).reshape(9, 5)).save("photos/0.png")
    other = open_source("photos", crop=CROP).provenance()
    assert other["sha256"] != facts["sha256"]  # the same bytes, of another size


def test_pictures_of_one_size_are_rows(folder):
    data = open_source("photos", crop=CROP, limit=1)
    assert isinstance(data.images, np.ndarray)
    assert data.provenance() == open_source("photos", limit=1).provenance()


def test_places_are_uniform():
    """Each place of a picture alike, flipped or not, by chi-square at one of 10^6."""
    augment, pixels = augmentation(flip=True), [photo(index) for index in range(5)]
    rows = augment.rows(np.arange(5))
    assert rows.tolist() == list(range(30))
    counts = [np.zeros((height - 3, width - 2, 2)) for height, width in SIZES]
    for step in range(200):
        for row, crop in zip(rows, augment.drawn(pixels, rows, step), strict=True):
            top, left, flipped = place(crop, row // PER_IMAGE)
            counts[row // PER_IMAGE][top, left, int(flipped)] += 1
    for count, bound in zip(counts, (72, 87, 94, 60, 72), strict=True):
        assert count.sum() == 1200  # 28, 36, 40, 20 and 24 places, one less degrees of freedom
        expected = 1200 / count.size
        assert (np.square(count - expected) / expected).sum() < bound


def test_a_crop_goes_by_its_row_and_step_alone():
    augment, pixels = augmentation(flip=True), [photo(index) for index in range(5)]
    rows = np.random.default_rng(1).permutation(30)
    together = augment.drawn(pixels, rows, 3)
    np.testing.assert_array_equal(together[::-1], augment.drawn(pixels, rows[::-1], 3))
    np.testing.assert_array_equal(together[10:13], augment.drawn(pixels, rows[10:13], 3))
    assert (together != augment.drawn(pixels, rows, 4)).any(axis=1).mean() > 0.5
    of_one = [crop.tobytes() for row, crop in zip(rows, together, strict=True) if row < PER_IMAGE]
    assert len(set(of_one)) > 2


@pytest.mark.parametrize("flip", [False, True])
def test_pictures_of_one_size_have_the_same_crops_either_way(flip):
    images = np.random.default_rng(2).integers(0, 256, (5, 6, 8), np.uint8)
    augment = Augmentation.of((6, 8), CROP, flip, Draws(4), "images")
    assert augment is not None
    rows, flat = np.array([3, 0, 4, 4]), images.reshape(5, -1)
    for mixed, alike in (
        (augment.drawn(list(images), rows, 2), augment.drawn(flat, rows, 2)),
        (augment.fixed(list(images), rows), augment.fixed(flat, rows)),
    ):
        np.testing.assert_array_equal(mixed, alike)


def test_what_is_measured():
    """Central crops; of several crops, each as preprocessing is fitted to it."""
    pixels = [photo(index) for index in range(5)]
    crops = augmentation(per_image=1).fixed(pixels, np.arange(5))
    np.testing.assert_array_equal(crops, [central(picture).ravel() for picture in pixels])
    augment, rows = augmentation(), np.arange(30)
    drawn = augment.drawn(pixels, rows, 0, Purpose.PREPROCESS)
    np.testing.assert_array_equal(augment.fixed(pixels, rows), drawn)


def test_a_picture_too_small_is_named(folder):
    with pytest.raises(RbmError, match=r"^photos/1\.png: 12x4 pixels .* smaller than --crop 4x5;"):
        open_source("photos", crop=Size(4, 5))


# --- whole runs --------------------------------------------------------------------------------

SMALL = ["--hidden", "5", "--batch-size", "7", "--threads", "1", "--quiet"]
CROPS = ["--crop", "4x3", "--crops-per-image", "6", "--flip"]
PLAIN = [*CROPS, "--binarize", "none"]
WHITE = [*CROPS, "--whiten", "--visible-kind", "gaussian", "--lr", "0.001"]
BOTH = [*WHITE, "--preprocess", "contrast,zca"]


def train(output: str, *options: str) -> int:
    return rbm(["train", "photos", "-o", output, *SMALL, "--epochs", "3", *options])


@pytest.mark.parametrize("options", [PLAIN, WHITE, BOTH], ids=["plain", "whiten", "zca"])
def test_neither_threads_nor_interruptions_show(folder, options):
    held_out = ["--validation", "0.4"]
    assert train("whole.h5", *options, *held_out) == 0
    assert train("threads.h5", *options, *held_out, "--threads", "3") == 0
    assert contents(folder / "threads.h5") == contents(folder / "whole.h5")
    assert train("run.h5", *options, *held_out, "--max-time", "1e-9") == 75
    resume = ["train", "--resume", "--quiet", "-o", "run.h5", "--max-time"]
    assert rbm([*resume, "1e-9"]) == 75
    with h5py.File("run.h5") as run:
        assert run["trainer/step"][()] == 1  # of three in an epoch
    assert rbm([*resume, "1h"]) == 0
    assert contents(folder / "run.h5") == contents(folder / "whole.h5")


def test_an_epoch_holds_several_crops_of_each(folder, monkeypatch):
    """And pictures that are held out are so with all their crops; crops have labels."""
    seen, read = [], datasets.read
    monkeypatch.setattr(datasets, "read", lambda *args: seen.append(read(*args)) or seen[0])
    np.save("labels.npy", np.array([3, 1, 4, 1, 5]))
    assert train("run.h5", *PLAIN, "--validation", "0.4", "--labels", "labels.npy") == 0
    [data] = seen
    assert data.validation is not None
    assert data.labels is not None
    learned, held_out = data.training.rows, data.validation.rows
    assert sorted([*learned, *held_out]) == list(range(30))
    assert (len(learned), len(held_out)) == (18, 12)
    assert not {*(learned // 6)} & {*(held_out // 6)}
    assert data.labels.tolist() == np.repeat([3, 1, 4, 1, 5], 6).tolist()
    with h5py.File("run.h5") as run:
        assert run.attrs["image_shape"].tolist() == [4, 3]
        assert run["trainer/step"][()] == 9  # three epochs of 18 crops, 7 at a time


def features(source: str, output: str) -> np.ndarray:
    assert rbm(["features", "run.h5", source, "-o", output, "--quiet"]) == 0
    with np.load(output) as arrays:
        return arrays["features"]


def test_other_commands_use_central_crops(folder):
    assert train("run.h5", *PLAIN) == 0
    np.save("central.npy", np.stack([central(photo(index)) for index in range(5)]))
    found = features("photos", "mixed.npz")
    assert found.shape == (5, 5)
    np.testing.assert_array_equal(found, features("central.npy", "central.npz"))
    assert rbm(["sample", "run.h5", "-k", "0", "-n", "9", "--quiet", "-o", "x.npz"]) == 0
    crops = np.load("central.npy").reshape(5, 12)
    with np.load("x.npz") as arrays:
        for image in arrays["means"].reshape(9, 12):
            assert (np.rint(image * 255) == crops).all(axis=1).any()


def test_other_commands_whiten(folder, capfd):
    assert train("run.h5", *WHITE) == 0
    images = np.stack([central(whiten(photo(index))).ravel() for index in range(5)])
    with h5py.File("run.h5") as run:
        weights, bias = run["model/weights"][()], run["model/hidden_bias"][()]
        assert json.loads(run.attrs["config"])["whiten"] is True
    expected = 1 / (1 + np.exp(-(images.astype(np.float64) @ weights + bias)))
    np.testing.assert_allclose(features("photos", "x.npz"), expected, atol=1e-6)
    assert rbm(["sample", "run.h5", "-k", "0", "-n", "9", "--quiet", "-o", "y.npz"]) == 0
    with np.load("y.npz") as arrays:
        for image in arrays["means"].reshape(9, 12):
            assert (image == images).all(axis=1).any()
    capfd.readouterr()
    assert rbm(["evaluate", "run.h5", "photos", "--json", "--raise-images", "0", "--quiet"]) == 0
    facts = json.loads(capfd.readouterr().out)
    assert facts["images"] == 5
    np.save("white.npy", images)  # whitened already, but no picture
    err = refused(capfd, "evaluate", "run.h5", "white.npy")
    assert "images of 12 values have no rows and columns to whiten" in err


def test_a_stack(folder):
    layers = ["--add-layer", "5", "--add-layer", "4"]
    options = [*layers, *SMALL[2:], *WHITE, "--epochs", "2", "-o"]
    assert rbm(["stack", "photos", *options, "run.h5"]) == 0
    assert rbm(["stack", "photos", *options, "threads.h5", "--threads", "3"]) == 0
    assert contents(folder / "run.h5") == contents(folder / "threads.h5")
    assert features("photos", "x.npz").shape == (5, 4)


def test_the_options_come_back_from_a_file(folder, capfd):
    assert train("run.h5", *BOTH) == 0
    assert rbm(["info", "run.h5", "--config"]) == 0
    (folder / "options.toml").write_text(capfd.readouterr().out)
    assert rbm(["train", "photos", "--config", "options.toml", "-q", "-o", "again.h5"]) == 0
    assert contents(folder / "again.h5") == contents(folder / "run.h5")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--crops-per-image", "7"], "crops-per-image was 6, now 7"),
        (["--whiten", "--visible-kind", "gaussian"], "whiten was False, now True"),
    ],
)
def test_what_must_stay(folder, capfd, options, says):
    assert train("run.h5", *PLAIN) == 0
    assert says in refused(capfd, "train", "photos", *options, "--resume", "-o", "run.h5", "-q")


def test_other_pictures(folder, capfd):
    assert train("run.h5", *PLAIN) == 0
    Image.fromarray(photo(0)[:, ::-1]).save("photos/0.png")
    err = refused(capfd, "train", "--resume", "--epochs", "4", "-o", "run.h5", "-q")
    assert "cannot resume: data were photos (" in err


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (
            [],
            1,
            "1.png: 4 x 12 pixels, but 0.png has 9 x 5; make all pictures of one size, or learn",
        ),
        (["--flip"], 1, "make all pictures of one size, or learn --patches or a --crop of them"),
        (
            ["--crop", "6x3"],
            1,
            "photos/0.png: 5x9 pixels (height x width), smaller than --crop 6x3",
        ),
        (["--crops-per-image", "3"], 2, "--crops-per-image needs --crop"),
        (["--crop", "4x3", "--crops-per-image", "0"], 2, "0 is not in the range"),
    ],
)
def test_what_is_refused(folder, capfd, options, status, says):
    err = refused(capfd, "train", "photos", *SMALL, "-o", "run.h5", *options, status=status)
    assert says in err

"""Whitening of natural images: what the filter does, and to what."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from commands import refused
from PIL import Image

from rbmcli.errors import RbmError
from rbmcli.io.sizes import Patches, Size
from rbmcli.io.sources import open_source
from rbmcli.io.sources.whitening import CUTOFF, whiten

#: What values are rounded to.
STEP = 2.0**-14


def response(frequency: float | np.ndarray) -> float | np.ndarray:
    """R(f) of the paper, f in cycles a pixel."""
    return frequency * np.exp(-((frequency / 0.4) ** 4))


def natural(size: int, seed: int) -> np.ndarray:
    """A picture whose amplitudes fall as 1/f, and whose opposite edges do not fit together."""
    whole = 3 * size
    frequency = np.hypot(np.fft.fftfreq(whole)[:, None], np.fft.rfftfreq(whole))
    frequency[0, 0] = np.inf
    noise = np.random.default_rng(seed).normal(size=(whole, whole))
    picture = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(whole, whole))
    return picture[size // 2 : size // 2 + size, :size]


def wave(shape: tuple[int, int], down: int, along: int) -> tuple[np.ndarray, float]:
    """A product of cosines that its mirror images continue, and its frequency."""
    height, width = shape
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    values = np.cos(np.pi * down * y / height) * np.cos(np.pi * along * x / width)
    return values, float(np.hypot(down / (2 * height), along / (2 * width)))


def power(picture: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean power, number of coefficients) between frequencies."""
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in picture.shape)))
    values = np.abs(np.fft.fft2(picture)) ** 2
    inside = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    return np.array([values[each].mean() for each in inside]), np.array([x.sum() for x in inside])


def test_the_spectrum_of_natural_images_becomes_flat():
    """As R(f) / f says, within five standard deviations of a mean of exponential draws."""
    edges = np.linspace(0.02, 0.38, 10)
    pictures = [natural(128, seed) for seed in range(8)]
    before = np.mean([power(picture, edges)[0] for picture in pictures], axis=0)
    assert before[0] / before[-1] > 30
    found = [power(whiten(picture), edges) for picture in pictures]
    after, count = np.mean([each for each, _ in found], axis=0), found[0][1]
    middles = (edges[1:] + edges[:-1]) / 2
    ratio = after / (response(middles) / middles) ** 2
    # Each coefficient stands there twice, conjugated.
    bound = 5 * np.sqrt(2 / (count * len(pictures)))
    assert (np.abs(ratio / np.average(ratio, weights=count) - 1) < bound + 0.03).all()
    assert CUTOFF == 0.4


@pytest.mark.parametrize("shape", [(16, 24), (13, 7), (1, 30)])
def test_waves_are_scaled_by_the_response(shape):
    """Exactly so, to the edges: a picture's mirror images continue it without seams."""
    waves = [wave(shape, down % shape[0], along) for down, along in ((1, 2), (0, 5), (3, 1))]
    picture = sum(values for values, _ in waves) + 7
    expected = sum(values * response(frequency) for values, frequency in waves)
    assert isinstance(expected, np.ndarray)
    np.testing.assert_allclose(whiten(picture), expected / expected.std(), atol=0.6 * STEP)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_mean_and_deviation(dtype):
    picture = (40 * natural(50, 1)).clip(0, 255).astype(dtype)
    white = whiten(picture)
    assert (white.shape, white.dtype, white.flags.c_contiguous) == ((50, 50), np.float32, True)
    assert abs(white.mean(dtype=np.float64)) < STEP
    assert abs(white.std(dtype=np.float64) - 1) < STEP
    assert (white / STEP == np.rint(white / STEP)).all()
    np.testing.assert_allclose(whiten(picture / np.float32(9) + 5), white, atol=1e-3)


def test_one_grey_becomes_zero():
    assert (whiten(np.full((9, 7), 77, np.uint8)) == 0).all()
    assert (whiten(np.full((2, 9, 7), 1 / 3, np.float32)) == 0).all()


def test_one_colour_becomes_zero():
    """What the transform rounds is not made as large as if it were a picture."""
    colour = np.array([3, 141, 59], np.uint8)[:, np.newaxis, np.newaxis]
    assert (whiten(np.broadcast_to(colour, (3, 20, 20))) == 0).all()


def test_channels_have_one_deviation():
    pictures = np.stack([natural(30, 1), natural(30, 2), np.full((30, 30), 4.0)])
    white = whiten(pictures)
    assert abs(white.std(dtype=np.float64) - 1) < STEP
    for channel in (0, 1):
        alone = whiten(pictures[channel])
        np.testing.assert_allclose(
            white[channel] / white[channel].std(), alone / alone.std(), atol=4 * STEP
        )
    assert (white[2] == 0).all()


# --- as a source -------------------------------------------------------------------------------

SIZES = [(17, 20), (12, 30), (25, 12)]


def photo(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, SIZES[index], np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.fromarray(photo(index)).save(tmp_path / "photos" / f"{index}.png")
    return tmp_path


def test_each_picture_is_whitened_by_itself(folder):
    data = open_source("photos", whiten=True, crop=Size(8, 8))
    assert data.scale == 1.0
    assert isinstance(data.images, list)
    for index, image in enumerate(data.images):
        np.testing.assert_array_equal(image, whiten(photo(index)))
    images = np.random.default_rng(5).integers(0, 256, (6, 3, 9, 8), np.uint8)
    np.save("images.npy", images)
    np.save("labels.npy", np.array([0, 1, 0, 1, 0, 1]))
    data = open_source("images.npy", labels="labels.npy", only=[1], limit=2, whiten=True)
    assert (data.image_shape, data.scale) == ((3, 9, 8), 1.0)
    assert data.labels is not None
    assert data.labels.tolist() == [1, 1]
    expected = [whiten(images[row]).ravel() for row in (1, 3)]
    np.testing.assert_array_equal(data.images, expected)


def test_patches_are_cut_from_whitened_pictures(folder):
    data = open_source("photos", whiten=True, patches=Patches.parse("40:6x5"))
    assert data.scale == 1.0
    white = [whiten(photo(index)) for index in range(3)]
    windows = [np.lib.stride_tricks.sliding_window_view(each, (6, 5)) for each in white]
    everything = np.concatenate([each.reshape(-1, 30) for each in windows])
    for patch in data.images:
        assert (patch == everything).all(axis=1).any()


def test_images_without_rows_and_columns(folder):
    np.save("flat.npy", np.zeros((3, 20), np.uint8))
    with pytest.raises(RbmError, match=r"^flat\.npy: images of 20 values have no rows .* whiten;"):
        open_source("flat.npy", whiten=True)


@pytest.mark.parametrize("kind", ["bernoulli", "binomial:9", "nrelu"])
def test_units_that_take_no_such_values(folder, capfd, kind):
    options = ["--crop", "6x6", "--whiten", "--visible-kind", kind, "--hidden", "3", "--quiet"]
    err = refused(capfd, "train", "photos", *options, "-o", "run.h5")
    assert "error: photos after whitening: values from -" in err
    assert "or train gaussian visible units" in err
    err = refused(capfd, "train", "photos", *options, "--preprocess", "contrast", "-o", "run.h5")
    assert "error: photos after whitening after contrast: values from -" in err

"""Patches: cut at random from pictures of any sizes, and the same ones whenever they are read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from PIL import Image

from rbmcli.cli.main import run as rbm
from rbmcli.errors import RbmError
from rbmcli.io.sizes import Patches, Size
from rbmcli.io.sources import open_source

SIZES = [(5, 9), (12, 4), (7, 7)]
ASKED = Patches.parse("900:4x3")


def photo(index: int) -> np.ndarray:
    """A picture in which every pixel is another number, and no number is in two pictures."""
    height, width = SIZES[index]
    return (np.arange(height * width).reshape(height, width) + 60 * index).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.fromarray(photo(index)).save(tmp_path / "photos" / f"{index}.png")
    return tmp_path


def place(patch: np.ndarray) -> tuple[int, int, int]:
    """(picture, top, left) of a patch 4 x 3 of the photos; AssertionError if it is none."""
    corner = int(patch.flat[0])
    index = min(corner // 60, 2)
    top, left = divmod(corner - 60 * index, SIZES[index][1])
    expected = photo(index)[top : top + 4, left : left + 3]
    np.testing.assert_array_equal(patch.reshape(4, 3), expected)
    return index, top, left


def test_patches_of_photos_of_different_sizes(folder):
    """All pictures alike, and all places in each, by chi-square at one of 10^6."""
    data = open_source("photos", patches=ASKED)
    assert data.images.shape == (900, 12)
    assert data.images.dtype == np.uint8
    assert data.images.flags.c_contiguous
    assert (data.image_shape, data.scale, data.labels) == ((4, 3), 255.0, None)
    counts = [np.zeros((height - 3, width - 2)) for height, width in SIZES]
    for patch in data.images:
        index, top, left = place(patch)
        counts[index][top, left] += 1
    of_pictures = np.array([count.sum() for count in counts])
    assert (np.square(of_pictures - 300) / 300).sum() < 27.7  # 2 degrees of freedom
    for count, bound in zip(counts, (56, 64, 67), strict=True):  # 13, 17 and 19 degrees
        expected = count.sum() / count.size
        assert (np.square(count - expected) / expected).sum() < bound


def test_the_seed_decides(folder):
    first, again, other = (
        open_source("photos", patches=ASKED, seed=seed).images for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=1).mean() > 0.5


def test_patches_have_the_labels_of_their_pictures(folder):
    for index, label in enumerate((4, 2, 2)):
        (folder / "photos" / str(label)).mkdir(exist_ok=True)
        (folder / "photos" / f"{index}.png").rename(f"photos/{label}/{index}.png")
    data = open_source("photos", patches=ASKED)
    assert data.labels is not None
    assert [(4, 2, 2)[place(patch)[0]] for patch in data.images] == data.labels.tolist()
    data = open_source("photos", patches=ASKED, only=[2], limit=1)  # of the pictures
    assert data.images.shape == (900, 12)
    assert {place(patch)[0] for patch in data.images} == {1}
    assert data.labels is not None
    assert set(data.labels.tolist()) == {2}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_patches_of_an_array_in_colour(folder, dtype):
    images = np.arange(2 * 3 * 5 * 8).reshape(2, 3, 5, 8).astype(dtype)
    np.save("images.npy", images)
    data = open_source("images.npy", patches=Patches.parse("50:5x2"))
    assert data.image_shape == (3, 5, 2)
    assert data.images.dtype == dtype
    for patch in data.images:
        row, left = divmod(int(patch[0]), 120)
        np.testing.assert_array_equal(patch.reshape(3, 5, 2), images[row, ..., left : left + 2])


def test_the_scale_is_that_of_all_images(folder):
    """0/1 data stay so; and patches of a dark corner do not become 0/1 data."""
    images = np.ones((1, 4, 50), np.uint8)
    np.save("ones.npy", images)
    images[0, 0, 0] = 255
    np.save("dark.npy", images)
    few = Patches.parse("3:2x2")
    assert open_source("ones.npy", patches=few).scale == 1.0
    dark = open_source("dark.npy", patches=few)
    assert (dark.images.max(), dark.scale) == (1, 255.0)


@pytest.mark.parametrize("size", ["6x3", "4x5"])
def test_a_picture_too_small_is_named(folder, size):
    small = {"6x3": "0.png: 5x9", "4x5": "1.png: 12x4"}[size]
    asked = Patches.parse(f"1:{size}")
    with pytest.raises(
        RbmError, match=rf"^photos/{small} pixels .* smaller than a patch of {size}"
    ):
        open_source("photos", patches=asked)


def test_images_without_rows_and_columns(folder):
    np.save("flat.npy", np.zeros((3, 20), np.uint8))
    with pytest.raises(RbmError, match=r"^flat\.npy: images of 20 values have no rows"):
        open_source("flat.npy", patches=ASKED)


def test_a_damaged_picture_is_named(folder):
    (folder / "photos" / "1.png").write_bytes(b"no picture")
    with pytest.raises(RbmError, match=r"^photos/1\.png: not a readable picture"):
        open_source("photos", patches=ASKED)


def test_without_patches_one_size_is_asked_for(folder):
    with pytest.raises(
        RbmError, match=r"1\.png: 4 x 12 .* or learn --patches or a --crop of them$"
    ):
        open_source("photos")


@pytest.mark.parametrize(("most", "fits"), [(134, False), (141, False), (142, True)])
def test_pictures_that_memory_does_not_hold_are_refused(folder, monkeypatch, most, fits):
    """Small files unpack to large pictures: the system would end the process without a word."""
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": most, "SC_PAGE_SIZE": 1}.__getitem__)
    if fits:
        assert len(open_source("photos", crop=Size(4, 4)).images) == 3
        return
    with pytest.raises(RbmError, match=r"^photos/0\.png and the other pictures, 3 .* --limit"):
        open_source("photos", crop=Size(4, 4))


@pytest.mark.parametrize("text", ["8x8", "0:8x8", ":8x8", "5:8", "5:8x0", "1e3:8x8"])
def test_what_are_no_patches(capfd, text):
    assert rbm(["train", "-o", "run.h5", "--patches", text]) == 2
    assert "is not a" in capfd.readouterr().err


def test_a_run_on_patches(folder):
    """Trained, measured, resumed and sampled on the same patches, whatever the command's seed."""
    train = ["train", "photos", "--patches", "200:4x3", "--validation", "photos", "--seed", "3"]
    more = ["--hidden", "5", "--binarize", "none", "--threads", "1", "--quiet", "-o", "run.h5"]
    assert rbm([*train, *more, "--epochs", "1"]) == 0
    assert rbm(["train", "--resume", "--epochs", "2", "--quiet", "-o", "run.h5"]) == 0
    with h5py.File("run.h5") as run:
        assert run.attrs["image_shape"].tolist() == [4, 3]
        assert run["filters"].shape == (3, 5, 4, 3)
    patches = open_source("photos", patches=Patches.parse("200:4x3"), seed=3).images
    sample = ["sample", "run.h5", "-k", "0", "-n", "9", "--seed", "8", "--quiet", "-o", "x.npz"]
    assert rbm(sample) == 0
    with np.load("x.npz") as arrays:
        for image in arrays["means"].reshape(9, 12):
            assert (np.rint(image * 255) == patches).all(axis=1).any()
    assert rbm([*train[:3], "100:4x3", "--resume", "--quiet", "-o", "run.h5"]) == 1

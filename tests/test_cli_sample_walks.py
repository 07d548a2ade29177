"""`rbm sample` of stacks whose layers all walk, of filters that move over images."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from commands import refused
from numpy.typing import NDArray
from PIL import Image
from stacks import Filters, write_stack

from rbmcli.cli.main import run as rbm

SHAPE = (8, 9)
WALKS = ["top", "up-down", "all"]
HALVES = {"upper": np.s_[:, :4], "left": np.s_[:, :, :4]}
Arrays = tuple[NDArray[np.float32], NDArray[np.float32]]
each_walk = pytest.mark.parametrize("walk", WALKS)
each_whole_walk = pytest.mark.parametrize("walk", WALKS[1:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions and a dense layer, without and with label units, and such a layer alone."""
    path = tmp_path_factory.mktemp("stacks")
    with chdir(path):
        pooled, plain = Filters(3, 2, 4, 2), Filters(4, 2, 2, 1)
        write_stack("maps.h5", SHAPE, ["bernoulli"] * 4, [pooled, plain, 5])
        write_stack("labels.h5", SHAPE, ["bernoulli"] * 4, [pooled, plain, 5], 3)
        write_stack("one.h5", SHAPE, ["bernoulli"] * 2, [5], 3)
        images = np.random.default_rng(0).integers(0, 2, (30, *SHAPE), np.uint8)
        np.save("images.npy", images * np.uint8(255))
    return path


@pytest.fixture(autouse=True)
def _in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def sample(run: str, output: str, *options: object) -> int:
    arguments = ["sample", run, "-o", output, "--source", "images.npy", "--quiet", "--force"]
    return rbm([*arguments, *map(str, options)])


def samples(run: str, *options: object) -> Arrays:
    assert sample(run, "particles.npz", *options) == 0
    with np.load("particles.npz") as arrays:
        return arrays["samples"], arrays["means"]


@each_walk
def test_images_of_every_walk(walk: str) -> None:
    options = ["--walk", walk, "-n", 3000, "-k", 2]
    drawn, means = samples("maps.h5", *options, "--threads", 1)
    again, _ = samples("maps.h5", *options, "--threads", 3)
    other, _ = samples("maps.h5", *options, "--seed", 1)
    assert drawn.shape == means.shape == (3000, *SHAPE)
    assert (drawn == again).all()
    assert (drawn != other).any()
    assert set(np.unique(drawn)) == {0, 1}
    assert 0 < means.min() < means.max() < 1
    assert np.abs((drawn - means).mean(axis=0)).max() < 5 * 0.5 / np.sqrt(3000)


def test_walks_are_different_ones() -> None:
    found = [samples("maps.h5", "--walk", walk, "-n", 50, "-k", 2)[0] for walk in WALKS]
    usual, _ = samples("maps.h5", "-n", 50, "-k", 2)
    assert (found[0] == usual).all()
    assert (found[0] != found[1]).any()
    assert (found[1] != found[2]).any()


@each_whole_walk
def test_walks_of_whole_stacks_start_at_the_images(walk: str) -> None:
    drawn, means = samples("maps.h5", "--walk", walk, "-n", 40, "-k", 0)
    assert (drawn == means).all()
    images = np.load("images.npy") // 255
    chosen = (drawn[:, np.newaxis] == images).all(axis=(2, 3))
    assert chosen.any(axis=1).all()
    assert chosen.any(axis=0).sum() > 10


@each_whole_walk
@pytest.mark.parametrize("half", HALVES)
def test_halves_are_kept(walk: str, half: str) -> None:
    images, _ = samples("maps.h5", "-k", 0, "-n", 50, "--walk", walk)
    drawn, means = samples("maps.h5", "--clamp", half, "-k", 4, "-n", 50, "--walk", walk)
    free = np.ones(images.shape, bool)
    free[HALVES[half]] = False
    assert (drawn[~free] == images[~free]).all()
    assert (means[~free] == images[~free]).all()
    assert (means[free] % 1 != 0).all()
    assert (drawn[free] != images[free]).any()


@pytest.mark.parametrize("run", ["maps.h5", "labels.h5", "one.h5"])
def test_stacks_are_completed_by_turns(run: str) -> None:
    """Those with label units too, of which pictures show means."""
    usual, means = samples(run, "--clamp", "upper", "-k", 3, "-n", 20)
    by_turns, _ = samples(run, "--clamp", "upper", "-k", 3, "-n", 20, "--walk", "up-down")
    assert (usual == by_turns).all()
    assert usual.shape == means.shape == (20, *SHAPE)
    assert (means[:, 4:] % 1 != 0).all()


@each_walk
def test_frames_of_every_walk(walk: str) -> None:
    options = ["--walk", walk, "-n", 4, "-k", 6, "--scale", 1, "--columns", 2]
    assert sample("maps.h5", "chains.gif", *options) == 0
    assert sample("maps.h5", "grid.png", *options) == 0
    with Image.open("chains.gif") as animation, Image.open("grid.png") as grid:
        assert animation.n_frames == 7
        assert animation.size == grid.size == (2 * (9 + 1) + 1, 2 * (8 + 1) + 1)
        animation.seek(6)
        shown = np.asarray(animation.convert("L"), int)
        assert np.abs(shown - np.asarray(grid.convert("L"), int)).max() <= 17  # one of 16 greys


@each_whole_walk
def test_completions_animated(walk: str) -> None:
    assert sample("maps.h5", "a.gif", "--walk", walk, "--clamp", "left", "-k", 5, "-n", 3) == 0
    with Image.open("a.gif") as animation:
        assert animation.n_frames == 6


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        ("maps.h5 --walk top --clamp left", 2, "--clamp holds images, so all layers walk"),
        ("maps.h5 --walk up-down --temperatures 3", 2, "--temperatures goes with --walk top"),
        ("maps.h5 --walk all --temperatures 3", 2, "--temperatures goes with --walk top"),
        ("maps.h5 --walk up-down --start random", 2, "--walk up-down goes with --start data"),
        ("maps.h5 --walk all --start chains", 2, "--walk all goes with --start data"),
        ("labels.h5 --walk up-down --class 1", 2, "--class goes with --walk top"),
        ("labels.h5 --class 1 --clamp left", 2, "--class holds label units, and --clamp images"),
        ("maps.h5 --class 1", 1, "maps.h5: has no label units"),
        ("maps.h5 --walk all", 1, "maps.h5: was imported without data"),
        ("maps.h5 --clamp left --temperatures 3", 1, "maps.h5: is a stack, and --temperatures"),
        ("labels.h5 --walk all", 1, "its layers cannot all walk at once: its top layer has label"),
    ],
)
def test_what_does_not_go_together(
    options: str, status: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    told = refused(capfd, "sample", *options.split(), "-o", "a.png", status=status)
    assert says in told

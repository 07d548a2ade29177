"""`rbm features`: what images make of hidden units."""

from __future__ import annotations

import resource
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import RBM, names, refused
from stacks import Filters, write_stack

from rbmcli.cli.main import run as rbm
from rbmcli.draws import Draws
from rbmcli.inference import features as in_blocks
from rbmcli.io.outputs import Rows, save_arrays
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.learning.batch import Images

SHAPE = (4, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (50, *SHAPE), np.uint8)
LABELS = np.random.default_rng(1).integers(0, 4, 50)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", images=IMAGES, labels=LABELS)
    np.save("bare.npy", IMAGES)
    return tmp_path


def features(*options: str, run: str = "run.h5", source: str = "images.npz") -> dict[str, Any]:
    """The arrays that the command writes."""
    assert rbm(["features", run, source, "-o", "out.npz", "--force", "--quiet", *options]) == 0
    with np.load("out.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def raised(arrays: dict[str, Any], values: np.ndarray) -> list[np.ndarray]:
    """What values of the images' units make of each layer, in plain float64."""
    levels = []
    machines = sum(name.endswith("/weights") for name in arrays)
    for number in range(machines):
        own = {name[2:]: x for name, x in arrays.items() if name.startswith(f"{number}/")}
        sigma = np.exp(own.get("visible_log_sigma", np.zeros(1)).astype(np.float64))
        weights = own["weights"][: values.shape[1]].astype(np.float64)  # label units are off
        total = (values / sigma) @ weights
        kind = str(own["hidden_kind"])
        if kind == "gaussian:learned":
            values = own["hidden_bias"] + np.exp(own["hidden_log_sigma"]) * total
        else:
            total += own["hidden_bias"]
            groups = np.exp(total.reshape(len(total), -1, 2))
            values = {
                "bernoulli": sigmoid(total),
                "binomial:3": 3 * sigmoid(total),
                "gaussian": total,
                "nrelu": np.maximum(total, 0),
                "softmax:2": (groups / groups.sum(axis=2, keepdims=True)).reshape(total.shape),
            }[kind]
        levels.append(values)
    return levels


@pytest.mark.parametrize(
    ("kinds", "unit", "classes"),
    [
        (["bernoulli", "bernoulli", "bernoulli", "bernoulli"], 1, 0),
        (["bernoulli", "bernoulli", "bernoulli", "bernoulli"], 1, 5),
        (["gaussian:learned", "nrelu", "gaussian:learned", "gaussian:learned"], 1, 0),
        (["binomial:3", "softmax:2", "softmax:2", "nrelu"], 3, 2),
        (["bernoulli", "binomial:3", "binomial:3", "gaussian"], 1, 0),
    ],
    ids=str,
)  # fmt: skip
def test_features_are_those_of_plain_numpy(folder, kinds, unit, classes):
    arrays = write_stack("run.h5", SHAPE, kinds, (70, 8, 6), classes)
    expected = raised(arrays, IMAGES.reshape(50, -1) / 255 * unit)
    for layer, levels in (
        ([], expected[2:]),
        (["--layer", "0"], expected[:1]),
        (["--layer", "1"], expected[1:2]),
        (["--layer", "all"], expected),
    ):
        found = features(*layer)
        assert set(found) == {"features", "labels"}
        assert found["features"].dtype == np.float32
        np.testing.assert_allclose(found["features"], np.hstack(levels), rtol=2e-5, atol=2e-6)
        assert found["labels"].dtype == np.int64
        assert (found["labels"] == LABELS).all()


def convolved(maps: np.ndarray, arrays: dict[str, Any], number: int) -> np.ndarray:
    """How probable the pooled units of a layer are on maps (n, height, width, channels)."""
    own = {name[2:]: x for name, x in arrays.items() if name.startswith(f"{number}/")}
    weights, pool = own["weights"].astype(np.float64), int(own["pool"])
    _, _, height, width = weights.shape
    tall, wide = (
        (n - m + 1) // pool for n, m in zip(maps.shape[1:3], (height, width), strict=True)
    )
    found = np.empty((len(maps), tall, wide, len(weights)))
    for py, px, k in np.ndindex(found.shape[1:]):
        total = []
        for y in range(py * pool, (py + 1) * pool):
            for x in range(px * pool, (px + 1) * pool):
                seen = maps[:, y : y + height, x : x + width]
                total.append(np.einsum("nyxc,cyx->n", seen, weights[k]) + own["hidden_bias"][k])
        on = np.exp(total).sum(axis=0)
        found[:, py, px, k] = on / (1 + on)
    return found


@pytest.mark.parametrize(
    "layers",
    [
        (Filters(3, 3, 2, 2), 5),
        (Filters(3, 2, 2, 1), Filters(2, 2, 1, 2), 5),
        (Filters(3, 3, 2, 1), Filters(2, 2, 1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 2])
def test_features_of_convolutions_are_those_of_plain_numpy(folder, layers, channels):
    """Of each layer the pooled units, filters last; the convolutions here use all of the images."""
    shape = (4, 3) if channels == 1 else (2, 4, 3)
    images = np.random.default_rng(2).integers(0, 256, (50, *shape), np.uint8)
    np.save("some.npy", images)
    arrays = write_stack("run.h5", shape, ["bernoulli"] * (len(layers) + 1), layers)
    maps = np.moveaxis(images.reshape(50, channels, 4, 3), 1, -1) / 255
    expected = []
    for number, layer in enumerate(layers):
        if isinstance(layer, Filters):
            maps = convolved(maps, arrays, number)
        else:
            total = maps.reshape(50, -1) @ arrays[f"{number}/weights"].astype(np.float64)
            maps = sigmoid(total + arrays[f"{number}/hidden_bias"])
        expected.append(maps.reshape(50, -1))
    for number, level in enumerate(expected):
        found = features("--layer", str(number), source="some.npy")["features"]
        np.testing.assert_allclose(found, level, rtol=2e-5, atol=2e-6)
    found = features("--layer", "all", source="some.npy")["features"]
    np.testing.assert_allclose(found, np.hstack(expected), rtol=2e-5, atol=2e-6)


def test_a_single_machine_is_a_stack_of_one(folder):
    train = ["train", "images.npz", "-o", "run.h5", "--hidden", "5", "--epochs", "2", "--quiet"]
    assert rbm([*train, "--threads", "1"]) == 0
    with h5py.File("run.h5") as run:
        weights, bias = run["model/weights"][()], run["model/hidden_bias"][()]
    expected = sigmoid(IMAGES.reshape(50, -1) / 255 @ weights.astype(np.float64) + bias)
    for layer in ([], ["--layer", "0"], ["--layer", "all"]):
        np.testing.assert_allclose(features(*layer)["features"], expected, rtol=1e-5, atol=1e-6)


def test_both_formats_hold_the_same(folder):
    write_stack("run.h5", SHAPE, ["bernoulli"] * 3, (7, 5))
    expected = features()
    assert rbm(["features", "run.h5", "images.npz", "-o", "out.h5", "--quiet"]) == 0
    with h5py.File("out.h5") as file:
        assert set(file) == set(expected)
        for name, values in expected.items():
            assert file[name].dtype == values.dtype
            assert (file[name][()] == values).all()


def test_labels_come_along(folder):
    write_stack("run.h5", SHAPE, ["bernoulli"] * 3, (7, 5))
    assert set(features(source="bare.npy")) == {"features"}
    np.save("other.npy", 9 - LABELS)
    found = features("--labels", "other.npy", "--limit", "20")
    assert found["features"].shape == (20, 5)
    assert (found["labels"] == 9 - LABELS[:20]).all()


@pytest.mark.parametrize("options", [["--preprocess", "standardize"], ["--crop", "3x2"]], ids=str)
def test_images_are_those_that_the_run_saw(folder, options):
    kinds = ["--visible-kind", "gaussian", "--hidden", "5", "--lr", "0.01"]
    train = ["train", "images.npz", "-o", "run.h5", "--epochs", "1", "--threads", "1", "--quiet"]
    assert rbm([*train, *kinds, *options]) == 0
    values = IMAGES / 255
    if "--crop" in options:
        seen = values[:, :3, :2].reshape(50, -1)
    else:
        seen = ((values - values.mean(axis=0)) / values.std(axis=0)).reshape(50, -1)
    with h5py.File("run.h5") as run:
        weights, bias = run["model/weights"][()], run["model/hidden_bias"][()]
    found = features()
    expected = sigmoid(seen @ weights.astype(np.float64) + bias)
    np.testing.assert_allclose(found["features"], expected, rtol=1e-4, atol=1e-5)
    assert (found["labels"] == LABELS).all()


def test_labels_stay_with_their_images_where_some_are_preprocessed():
    rows = np.array([7, 3, 11])
    images = Images(IMAGES.reshape(50, -1), 255.0, rows, labels=LABELS)
    steps = Preprocessing.fit(["standardize"], images.for_fitting(), Draws(0))
    seen = images.preprocessed(steps)
    assert (seen.labels[seen.rows] == LABELS[rows]).all()


def test_binarize(folder):
    write_stack("run.h5", SHAPE, ["bernoulli"] * 3, (7, 5))
    np.save("cut.npy", (IMAGES > 127).astype(np.uint8))
    grey = features()["features"]
    cut = features("--binarize", "threshold")["features"]
    wanted = features(source="cut.npy")["features"]
    np.testing.assert_allclose(cut, wanted, rtol=1e-5)  # sums of bits run in another order
    drawn = features("--binarize", "sample")["features"]
    again = features("--binarize", "sample", "--seed", "1")["features"]
    assert (drawn != again).any(axis=1).mean() > 0.9  # images that small may be drawn alike
    assert np.abs(grey - cut).max() > 0.01
    np.save("many.npy", np.repeat(IMAGES[:1], 4000, axis=0))
    arrays = np.load("stack.npz")
    many = features("--binarize", "sample", "--layer", "0", source="many.npy")["features"]
    # Means of the drawn pixels, found again from the total inputs.
    total = np.log(many.astype(np.float64)) - np.log1p(-many.astype(np.float64))
    expected = arrays["0/hidden_bias"] + IMAGES[0].ravel() / 255 @ arrays["0/weights"]
    assert np.abs(total.mean(axis=0) - expected).max() < 5 * 0.6 / 4000**0.5


def test_samples_are_drawn_from_the_means(folder):
    write_stack("run.h5", SHAPE, ["bernoulli"] * 3, (7, 5))
    np.save("many.npy", np.repeat(IMAGES[:1], 4000, axis=0))
    means = features("--layer", "0", source="many.npy")["features"]
    drawn = features("--samples", "--layer", "0", source="many.npy")["features"]
    assert set(np.unique(drawn)) == {0, 1}
    error = drawn.mean(axis=0) - means[0]
    assert np.abs(error).max() < 4.5 * 0.5 / 4000**0.5
    everything = features("--samples", "--layer", "all", source="many.npy")["features"]
    assert (everything[:, :7] == drawn).all()
    assert (drawn != features("--samples", "--layer", "0", "--seed", "1")["features"][:1]).any()
    # What a layer above is drawn from are the drawn states below it.
    arrays = np.load("stack.npz")
    expected = sigmoid(drawn @ arrays["1/weights"].astype(np.float64) + arrays["1/hidden_bias"])
    error = (everything[:, 7:] - expected).mean(axis=0)
    assert np.abs(error).max() < 4.5 * 0.5 / 4000**0.5


@pytest.mark.parametrize("options", [[], ["--samples", "--binarize", "sample"]], ids=str)
def test_threads_and_blocks_do_not_show(folder, monkeypatch, options):
    write_stack("run.h5", SHAPE, ["bernoulli"] * 3, (200, 5))
    expected = features("--layer", "all", "--threads", "1", *options)["features"]
    for threads in ("2", "3"):
        found = features("--layer", "all", "--threads", threads, *options)["features"]
        assert found.tobytes() == expected.tobytes()
    monkeypatch.setattr(in_blocks, "_BLOCK", 217 * 7)
    found = features("--layer", "all", *options)["features"]
    assert np.allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_memory_does_not_grow_with_the_features(folder, suffix):
    write_stack("run.h5", SHAPE, ["bernoulli"] * 3, (20_000, 4))
    np.save("many.npy", np.repeat(IMAGES, 20, axis=0))
    words = ["features", "run.h5", "many.npy", "--layer", "0", "-o", f"out.{suffix}", "--quiet"]
    tracemalloc.start()
    try:
        assert rbm([*words, "--threads", "1"]) == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (folder / f"out.{suffix}").stat().st_size > 80e6
    assert peak < 40e6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--layer", "2"], "run.h5: holds no layer 2: choose from its layers 0 to 1"),
        (["--labels", "few.npy"], "few.npy: 3 labels for 50 images"),
        (["--labels", "nowhere.npy"], "nowhere.npy: no such file"),
    ],
    ids=str,
)
def test_refused(folder, capfd, options, says):
    write_stack("run.h5", SHAPE, ["bernoulli"] * 3, (7, 5))
    np.save("few.npy", np.arange(3))
    assert says in refused(capfd, "features", "run.h5", "images.npz", "-o", "out.h5", *options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-o", "out.txt"], "'.txt' is not one of .h5, .npz"),
        (["-o", "out.h5", "--layer", "top"], "'top' is no layer: write 0, 1, ..., or all"),
        (["-o", "out.h5", "--layer", "-1"], "'-1' is no layer"),
        ([], "Missing option '-o'"),
    ],
    ids=str,
)
def test_wrong_usage(folder, capfd, options, says):
    assert says in refused(capfd, "features", "run.h5", "images.npz", *options, status=2)


def test_images_of_another_size(folder, capfd):
    write_stack("run.h5", (5, 5), ["bernoulli"] * 3, (7, 5))
    line = refused(capfd, "features", "run.h5", "images.npz", "-o", "out.h5")
    assert "images.npz: images of 12 values, but the machine has 25 visible units" in line


def test_outputs_that_exist_are_kept(folder, capfd):
    write_stack("run.h5", SHAPE, ["bernoulli"] * 3, (7, 5))
    (folder / "out.h5").write_text("precious")
    assert "exists already" in refused(capfd, "features", "run.h5", "images.npz", "-o", "out.h5")


def test_a_single_machine_with_label_units(folder):
    arrays = write_stack("run.h5", SHAPE, ["bernoulli"] * 2, (6,), 3)
    expected = raised(arrays, IMAGES.reshape(50, -1) / 255)[0]
    np.testing.assert_allclose(features()["features"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_an_output_that_is_not_finished_is_not_there(folder, suffix):
    def blocks():
        yield np.ones((2, 3), np.float32)
        raise RuntimeError

    path = Path(f"out.{suffix}")
    path.write_text("precious")
    rows = Rows((4, 3), np.dtype(np.float32), blocks())
    before = names(folder)
    with pytest.raises(RuntimeError):
        save_arrays(path, {"features": rows}, force=True)
    assert names(folder) == before
    assert path.read_text() == "precious"


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_a_full_disk_is_one_line(folder, suffix):
    write_stack("run.h5", SHAPE, ["bernoulli"] * 3, (2000, 4))
    before = names(folder)
    words = ["features", "run.h5", "images.npz", "--layer", "0", "-o", f"out.{suffix}", "-q"]
    done = subprocess.run(
        [*RBM, *words],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"rbm: error: out.{suffix}: cannot be written (File too large)")
    assert done.stderr.count("\n") == 1
    assert names(folder) == before


def test_files_of_arrays_are_those_of_numpy(folder):
    arrays = {"a": IMAGES, "b": np.array("text"), "c": np.array(3), "d": IMAGES[:, :, ::2] * 0.5}
    save_arrays(Path("own.npz"), arrays, force=False)
    np.savez("numpys.npz", **arrays)
    assert Path("own.npz").read_bytes() == Path("numpys.npz").read_bytes()

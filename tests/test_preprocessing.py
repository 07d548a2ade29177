"""Preprocessing: what each step does to images, its inverse, and its way through a run."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from changing import changing
from commands import contents, write_images

from rbmcli.cli.main import run as rbm
from rbmcli.draws import Draws
from rbmcli.errors import RbmError
from rbmcli.io import preprocessing as module
from rbmcli.io.batches import split
from rbmcli.io.preprocessing import STEPS, Contrast, Preprocessing, Zca
from rbmcli.model.units import Bernoulli

DRAWS = Draws(5)
COUNT, UNITS = 1500, 13  # more than one block, and no whole number of them


def correlated(count: int = COUNT) -> np.ndarray:
    """Images whose covariance has eigenvalues from about 0.1 to 4."""
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(UNITS, UNITS)) / 6 + np.eye(UNITS)
    return (rng.normal(size=(count, UNITS)) @ mixing + 3).astype(np.float32)


def fitted(*names: str, values: np.ndarray | None = None) -> Preprocessing:
    values = correlated() if values is None else values
    return Preprocessing.fit(names, values.copy(), DRAWS)


def test_standardize():
    values = correlated()
    values[:, 4] = 1 / 3  # never changes
    done = fitted("standardize", values=values).apply(values).astype(np.float64)
    assert (done[:, 4] == 0).all()
    changing = np.delete(done, 4, axis=1)
    np.testing.assert_allclose(changing.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(changing.std(axis=0), 1, atol=1e-6)


def test_standardize_does_not_blow_up_what_hardly_changes():
    values = correlated()
    values[:, 4] = 0
    values[7, 4] = 0.01
    deviation = values.std(axis=0, dtype=np.float64)
    done = fitted("standardize", values=values).apply(values)
    floor = 0.01 * np.sqrt(np.square(deviation).mean())
    assert deviation[4] < floor / 10
    np.testing.assert_allclose(done[7, 4], 0.01 / floor, rtol=1e-3)


def test_contrast():
    values = correlated()
    values[3] = 0.7  # one grey
    step = Contrast.fit(values, DRAWS)
    done = step.apply(values).astype(np.float64)
    deviation = values.std(axis=1, dtype=np.float64)
    assert step.floor == pytest.approx(0.05 * deviation.mean(), rel=1e-6)
    np.testing.assert_allclose(done.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(done.std(axis=1), deviation / (deviation + step.floor), atol=1e-6)
    np.testing.assert_allclose(done[3], 0, atol=1e-6)


def test_contrast_comes_back_with_the_average_mean_and_deviation():
    values = correlated()
    means = values.mean(axis=1, dtype=np.float64)
    deviations = values.std(axis=1, dtype=np.float64)
    floor = 0.05 * deviations.mean()
    steps = fitted("contrast")
    back = steps.invert(steps.apply(values))
    own = (values - means[:, None]) / (deviations + floor)[:, None]
    expected = own * (deviations.mean() + floor) + means.mean()
    np.testing.assert_allclose(back, expected, atol=1e-5)


def test_zca_whitens():
    values = correlated()
    step = Zca.fit(values, DRAWS)
    done = step.apply(values).astype(np.float64)
    covariance = np.cov(done.T, bias=True)
    eigenvalues = np.linalg.eigvalsh(np.cov(values.T.astype(np.float64), bias=True))
    epsilon = 0.01 * eigenvalues.mean()
    np.testing.assert_allclose(done.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(covariance), np.sort(eigenvalues / (eigenvalues + epsilon)), atol=1e-4
    )
    most = epsilon / (eigenvalues[0] + epsilon)  # how far an eigenvalue may be from 1
    assert most < 0.2
    assert np.abs(covariance - np.eye(UNITS)).max() <= most + 1e-4
    np.testing.assert_allclose(step.whitening, step.whitening.T, atol=1e-6)


def test_zca_leaves_white_images_nearly_alone():
    """Of all whitenings, it is the one that changes images least: no rotation."""
    white = np.random.default_rng(3).normal(size=(COUNT, UNITS)).astype(np.float32)
    np.testing.assert_allclose(Zca.fit(white, DRAWS).whitening, np.eye(UNITS), atol=0.12)


@pytest.mark.parametrize("names", [["standardize"], ["zca"], ["standardize", "zca"]])
def test_the_inverse_gives_the_images_back(names):
    values = correlated()
    values[:, 4] = values[:, 5]  # the covariance has no inverse
    steps = fitted(*names, values=values)
    done = steps.apply(values)
    assert np.abs(done - values).max() > 1
    np.testing.assert_allclose(steps.invert(done), values, atol=2e-5)


@pytest.mark.parametrize("names", [[name] for name in STEPS] + [["contrast", "zca"]])
def test_the_linear_part_is_the_inverse_of_differences(names):
    steps = fitted(*names)
    first, second = np.random.default_rng(1).normal(size=(2, 4, UNITS)).astype(np.float32)
    np.testing.assert_allclose(
        steps.invert_linear(first - second), steps.invert(first) - steps.invert(second), atol=1e-5
    )


def test_steps_are_fitted_to_what_the_steps_before_make():
    values = correlated()
    both = fitted("contrast", "zca")
    first = Contrast.fit(values, DRAWS)
    second = Zca.fit(first.apply(values), DRAWS)
    np.testing.assert_array_equal(both.apply(values), second.apply(first.apply(values)))


@pytest.mark.parametrize("name", STEPS)
def test_images_all_alike_become_zeros(name):
    values = np.full((20, UNITS), 0.3, np.float32)
    np.testing.assert_allclose(fitted(name, values=values).apply(values), 0, atol=1e-6)


@pytest.mark.parametrize("names", [[name] for name in STEPS] + [["contrast", "zca"]])
def test_an_image_has_the_same_bits_in_every_batch(names, threads):
    values = np.random.default_rng(4).random((301, 67), np.float32)
    steps = fitted(*names, values=values)
    alone = np.concatenate([steps.apply(values[row : row + 1]) for row in range(len(values))])
    assert steps.apply(values).tobytes() == alone.tobytes()
    every_third = steps.apply(values[::3])
    assert every_third.tobytes() == alone[::3].tobytes()


def test_zca_needs_some_images_only(monkeypatch):
    values = correlated()
    everything = Zca.fit(values, DRAWS).whitening
    monkeypatch.setattr(module, "_ZCA_IMAGES", 1000)
    some, again = Zca.fit(values, DRAWS).whitening, Zca.fit(values, DRAWS).whitening
    others = Zca.fit(values, Draws(6)).whitening
    assert some.tobytes() == again.tobytes()
    assert not np.allclose(some, everything, atol=1e-3)
    assert not np.allclose(some, others, atol=1e-3)


def test_too_large_to_whiten(monkeypatch):
    monkeypatch.setattr(module, "_ZCA_UNITS", UNITS - 1)
    with pytest.raises(RbmError, match=r"^--preprocess zca: images of 13 values .* \(at most 12\)"):
        fitted("zca")


def test_restored_from_its_parts():
    steps = fitted("contrast", "standardize", "zca")
    parts = steps.parts()
    assert set(parts) == {
        "contrast/mean", "contrast/deviation", "contrast/floor", "standardize/mean",
        "standardize/deviation", "zca/mean", "zca/whitening", "zca/inverse",
    }  # fmt: skip
    names = ["contrast", "standardize", "zca"]
    again = Preprocessing.restore(names, parts, UNITS)
    values = correlated(5)
    assert again.apply(values).tobytes() == steps.apply(values).tobytes()
    assert again.invert(values).tobytes() == steps.invert(values).tobytes()
    with pytest.raises(ValueError, match=r"preprocessing/standardize/mean has shape \(13,\)"):
        Preprocessing.restore(names, parts, UNITS + 1)
    tiny = {**parts, "standardize/deviation": np.full(UNITS, 1e-40, np.float32)}
    with pytest.raises(ValueError, match="not above 0"):
        Preprocessing.restore(names, tiny, UNITS)
    halves = {name: np.asarray(part).astype(np.float16) for name, part in parts.items()}
    with pytest.raises(ValueError, match="absurd"):
        Preprocessing.restore(names, halves, UNITS)
    del parts["zca/mean"]
    with pytest.raises(KeyError, match="zca/mean"):
        Preprocessing.restore(names, parts, UNITS)


# --- in a run ----------------------------------------------------------------------------------

SMALL = ["--hidden", "6", "--batch-size", "20", "--lr", "0.001", "--threads", "1", "--quiet"]
REAL = ["--binarize", "none", "--reconstruction", "mean", *SMALL]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with images, and visible units that take any value."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Bernoulli, "valid_range", (-np.inf, np.inf))
    write_images(tmp_path / "images.npy", 120)
    return tmp_path


def train(output: str, *options: str) -> int:
    return rbm(["train", "images.npy", "-o", output, *REAL, *options])


def images() -> np.ndarray:
    return np.load("images.npy").reshape(120, 64).astype(np.float32) / np.float32(255)


def test_fitted_to_the_training_images_alone(folder):
    options = ["--preprocess", "standardize", "--validation", "0.25", "--epochs", "0"]
    assert train("run.h5", *options) == 0
    rows, held_out = split(120, 0.25, Draws(0))
    with h5py.File("run.h5") as run:
        mean = run["preprocessing/standardize/mean"][:]
    np.testing.assert_allclose(mean, images()[rows].mean(axis=0, dtype=np.float64), atol=1e-6)
    assert np.abs(mean - images()[held_out].mean(axis=0)).max() > 0.01


def test_validation_images_go_through_it_too(folder):
    """The same images to train and to measure: without a gap."""
    options = ["--preprocess", "contrast,zca", "--validation", "images.npy", "--epochs", "1"]
    assert train("run.h5", *options) == 0
    with h5py.File("run.h5") as run:
        assert (run["metrics"]["free_energy_gap"] == 0).all()


def test_filters_are_shown_in_pixels(folder):
    assert train("run.h5", "--preprocess", "standardize,zca", "--epochs", "2") == 0
    with h5py.File("run.h5") as run:
        weights, filters = run["model/weights"][:], run["filters"][-1]
        inverse = run["preprocessing/zca/inverse"][:].astype(np.float64)
        deviation = run["preprocessing/standardize/deviation"][:]
    assert filters.shape == (6, 8, 8)
    expected = (weights.T @ inverse * deviation).reshape(6, 8, 8)
    np.testing.assert_allclose(filters, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("source", [[], ["--source", "images.npy"]])
def test_samples_come_out_in_pixels(folder, source):
    """Chains that have not moved stand at images, in pixels again."""
    assert train("run.h5", "--preprocess", "standardize,zca", "--epochs", "1") == 0
    sample = ["sample", "run.h5", "--threads", "1", "--quiet", "-n", "5", "-k", "0", *source]
    assert rbm([*sample, "-o", "start.npz"]) == 0
    with np.load("start.npz") as arrays:
        for name in ("samples", "means"):
            assert arrays[name].shape == (5, 8, 8)
            for row in arrays[name].reshape(5, 64):
                assert np.abs(images() - row).max(axis=1).min() < 1e-4
    assert rbm([*sample, "-o", "start.png"]) == 0


def test_resumed_with_what_was_fitted(folder, monkeypatch):
    """A resumed run takes the stored steps, to the bit, and fits nothing."""
    steps = ["--preprocess", "standardize,zca"]
    assert train("whole.h5", *steps, "--epochs", "4") == 0
    assert train("run.h5", *steps, "--epochs", "4", "--max-time", "1e-4s") == 75
    monkeypatch.setattr(Preprocessing, "fit", None)
    assert rbm(["train", "-o", "run.h5", "--resume", "--quiet", "--max-time", "1h"]) == 0
    assert contents(folder / "run.h5") == contents(folder / "whole.h5")


def test_resume_with_other_steps_is_refused(folder, capfd):
    assert train("run.h5", "--preprocess", "standardize", "--epochs", "1") == 0
    assert train("run.h5", "--preprocess", "contrast", "--epochs", "1", "--resume") == 1
    assert "preprocess was standardize, now contrast" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda run: run.__delitem__("preprocessing/zca/inverse"), "zca/inverse"),
        (lambda run: run.move("preprocessing/standardize/mean", "x"), "standardize/mean"),
    ],
)
def test_damaged_parts(folder, capfd, change, says):
    assert train("run.h5", "--preprocess", "standardize,zca", "--epochs", "1") == 0
    with changing("run.h5") as run:
        change(run)
    for command in (["sample", "run.h5", "-o", "x.npz"], ["train", "-o", "run.h5", "--resume"]):
        assert rbm([*command, "--quiet"]) == 1
        err = capfd.readouterr().err
        assert err.startswith("rbm: error: run.h5: a damaged run file")
        assert says in err
        assert err.count("\n") == 1


def test_binary_units_refuse_what_comes_out(tmp_path, capfd):
    source = str(write_images(tmp_path / "images.npy", 20))
    for more in ([], ["--crop", "6x6"]):
        output = str(tmp_path / "run.h5")
        assert rbm(["train", source, "-o", output, "--preprocess", "contrast", *SMALL, *more]) == 1
        err = capfd.readouterr().err
        assert "images.npy after contrast: values from -" in err
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("whiten", "'whiten' is not a step; there are standardize, contrast, zca"),
        ("", "'' is not a step"),
        ("zca,contrast,zca", "zca stands there twice"),
    ],
)
def test_steps_that_are_none(capfd, steps, says):
    assert rbm(["train", "-o", "run.h5", "--preprocess", steps]) == 2
    assert says in " ".join(capfd.readouterr().err.split())


def test_spaces_between_steps_do_not_matter(folder):
    assert train("run.h5", "--preprocess", "standardize, zca", "--epochs", "0") == 0
    assert train("run.h5", "--preprocess", "standardize,zca", "--epochs", "0", "--resume") == 0

"""Options that say nothing together, and data that a kind of unit cannot take, are refused."""

from __future__ import annotations

import numpy as np
import pytest
from changing import changing
from commands import refused

from rbmcli.cli.main import run as rbm

SMALL = ["--hidden", "6", "--batch-size", "20", "--epochs", "1", "--threads", "1", "--quiet"]
LEAST, MOST = -1.5, 20.0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images of 16 values: bytes, reals, counts, and one-hot columns in groups of 4, some wrong."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    np.save("images.npy", random.integers(0, 256, (40, 4, 4), np.uint8))
    np.save("real.npy", np.linspace(LEAST, 1, 40 * 16, dtype=np.float32).reshape(40, 16))
    np.save("counts.npy", np.linspace(0, MOST, 40 * 16, dtype=np.float32).round().reshape(40, 16))
    one_hot = np.eye(4, dtype=np.uint8)[random.integers(0, 4, (40, 4))]
    np.save("one-hot.npy", one_hot.reshape(40, 16))
    for name, group in (
        ("two.npy", [1, 1, 0, 0]),
        ("none.npy", [0, 0, 0, 0]),
        ("half.npy", [0.5, 0.5, 0, 0]),
    ):
        wrong = one_hot.astype(np.float32)
        wrong[7, 2] = group
        np.save(name, wrong.reshape(40, 16))
    return tmp_path


def fails(capfd, options: str, status: int = 1) -> str:
    source, *rest = options.split()
    return refused(capfd, "train", source, "-o", "run.h5", *SMALL, *rest, status=status)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--patience 3", "--patience needs --validation"),
        ("--chains 5", "--chains needs --algorithm pcd, fpcd or pt"),
        ("--chains 5 --algorithm cd", "--chains needs --algorithm pcd, fpcd or pt"),
        ("--temperatures 5 --algorithm pcd", "--temperatures needs --algorithm pt"),
        ("--adaptive-ladder --algorithm fpcd", "-ladder/--fixed-ladder needs --algorithm pt"),
        ("--fixed-ladder --algorithm cd", "--fixed-ladder needs --algorithm pt"),
        ("--fast-learning-rate 1 --algorithm pcd", "--fast-learning-rate needs --algorithm fpcd"),
        ("--sparsity-cost 1", "--sparsity-cost needs --sparsity-target"),
        ("--sparsity-on both", "--sparsity-on needs --sparsity-target"),
        ("--binarize none --visible-kind gaussian", "--binarize needs visible units of kind"),
        ("--binarize sample --visible-kind nrelu", "--binarize needs visible units of kind"),
        ("--binarize threshold --visible-kind softmax:4", "--binarize needs visible units of kind"),
        ("--normalize-hidden --algorithm pcd", "--normalize-hidden needs --algorithm cd"),
        ("--normalize-hidden --algorithm pt", "--normalize-hidden needs --algorithm cd"),
        ("--normalize-hidden --hidden-kind nrelu", "--normalize-hidden needs --algorithm cd and b"),
        ("--normalize-hidden --hidden-kind softmax:2", "--normalize-hidden needs --algorithm cd"),
        ("--reconstruction mean --algorithm pt", "--reconstruction mean: parallel tempering swaps"),
        ("--sparsity-target 1", "the mean activity of bernoulli hidden units stays below 1"),
        (
            "--sparsity-target 8 --hidden-kind binomial:8",
            "--sparsity-target 8: the mean activity of binomial:8 hidden units stays below 8",
        ),
        ("--pool 2", "--pool needs --conv"),
        ("--conv 3x2x2", "--hidden needs a machine without --conv, which itself says how many"),
    ],
)
def test_options_that_say_nothing_together(folder, capfd, options, says):
    assert says in fails(capfd, f"images.npy {options}", status=2)


@pytest.mark.parametrize(
    "options",
    [
        "--algorithm pt --chains 5 --temperatures 3 --fixed-ladder",
        "--algorithm fpcd --chains 5 --fast-learning-rate 0.1",
        "--normalize-hidden",
        "--reconstruction mean --algorithm pcd",
        "--sparsity-target 2 --sparsity-cost 1 --sparsity-on both --hidden-kind nrelu --lr 0.001",
        "--visible-kind binomial:8 --binarize threshold",
    ],
)
def test_options_that_belong_together(folder, options):
    """What is refused above is refused for its company."""
    assert rbm(["train", "images.npy", "-o", "run.h5", *SMALL, *options.split()]) == 0


def test_files_of_options_hold_all_of_them(folder):
    (folder / "all.toml").write_text("chains = 5\ntemperatures = 3\nsparsity-cost = 1.0\n")
    assert rbm(["train", "images.npy", "-o", "run.h5", *SMALL, "--config", "all.toml"]) == 0


@pytest.mark.parametrize("side", ["visible", "hidden"])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("foo", "'foo' is not a kind of unit; there are bernoulli, binomial:N, gaussian"),
        ("binomial", "'binomial' is not a kind of unit"),
        ("binomial:x", "'binomial:x' is not a kind of unit"),
        ("binomial:0", "'binomial:0': the number must be from 1 to 255"),
        ("binomial:256", "'binomial:256': the number must be from 1 to 255"),
        ("binomial:-1", "'binomial:-1' is not a kind of unit"),
        ("softmax:1", "'softmax:1': the number must be from 2 to 1024"),
        ("softmax:1025", "'softmax:1025': the number must be from 2 to 1024"),
        ("gaussian:x", "'gaussian:x' is not a kind of unit"),
        ("gaussian:0", "'gaussian:0': the number must be from 0.05 to 20"),
        ("bernoulli:2", "'bernoulli:2' is not a kind of unit"),
    ],
)
def test_unknown_kinds(folder, capfd, side, kind, says):
    error = fails(capfd, f"images.npy --{side}-kind {kind}", status=2)
    assert f"Invalid value for '--{side}-kind': {says}" in error


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        ("real", "bernoulli", "values from -1.5 to 1, but bernoulli units take 0 to 1; scale"),
        (
            "counts",
            "bernoulli",
            "values from 0 to 20, but bernoulli units take 0 to 1; divide them by 20",
        ),
        ("real", "binomial:8", "-1.5 to 1, but binomial:8 units take 0 to 1, or counts from 0 to"),
        ("counts", "binomial:19", "0 to 20, but binomial:19 units take 0 to 1, or counts from 0"),
        ("real", "nrelu", "values from -1.5 to 1, but nrelu units take 0 and above; scale"),
        ("real", "nrelu:exact", "-1.5 to 1, but nrelu:exact units take 0 and above; scale"),
        ("real", "softmax:4", "values from -1.5 to 1, but softmax:4 units take 0 to 1; scale"),
        ("two", "softmax:4", "image 7, columns 8 to 11: softmax:4 units need exactly one 1 among"),
        ("none", "softmax:4", "image 7, columns 8 to 11: softmax:4 units need exactly one 1"),
        ("half", "softmax:4", "image 7, columns 8 to 11: softmax:4 units need exactly one 1"),
        ("one-hot", "softmax:3", "images of 16 values are not whole groups of 3, which softmax:3"),
        ("one-hot", "softmax:32", "images of 16 values are not whole groups of 32, which softmax"),
    ],
)
def test_data_that_a_kind_cannot_take(folder, capfd, source, kind, says):
    error = fails(capfd, f"{source}.npy --visible-kind {kind}")
    assert error.startswith(f"rbm: error: {source}.npy: ")
    assert says in error


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("counts", "binomial:20"),
        ("counts", "nrelu"),
        ("counts", "nrelu:exact"),
        ("real", "gaussian"),
        ("real", "gaussian:learned"),
        ("one-hot", "softmax:4"),
        ("one-hot", "softmax:4 --validation 0.1"),
    ],
)
def test_data_that_a_kind_takes(folder, source, kind):
    options = ["--lr", "0.001", "--visible-kind", *kind.split()]
    assert rbm(["train", f"{source}.npy", "-o", "run.h5", *SMALL, *options]) == 0


@pytest.mark.parametrize("kind", ["bernoulli", "nrelu", "softmax:4"])
def test_preprocessed_data_need_units_of_any_value(folder, capfd, kind):
    error = fails(capfd, f"images.npy --preprocess contrast,zca --visible-kind {kind}")
    assert error.startswith("rbm: error: images.npy after contrast,zca: values from -")
    assert "train gaussian visible units" in error


def test_validation_images_must_fit_the_kind(folder, capfd):
    error = fails(capfd, "one-hot.npy --visible-kind softmax:4 --validation none.npy")
    assert error.startswith("rbm: error: none.npy: image 7, columns 8 to 11: ")


class TestConvolution:
    """What cannot be had together with filters that move over the image, and what can."""

    def fails(self, capfd, options: str, source: str = "images", status: int = 1) -> str:
        rest = [*SMALL[2:], *options.split()]  # without --hidden
        return refused(capfd, "train", f"{source}.npy", "-o", "run.h5", *rest, status=status)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ("--conv 3x2", "Invalid value for '--conv': '3x2' is not a number and size of filters"),
            ("--conv 0x2x2", "'0x2x2' is not a number and size of filters: write 40x11x11, height"),
            ("--conv 3x2x2 --pool 0", "Invalid value for '--pool': 0 is not in the range 1<=x<=16"),
            ("--conv 3x2x2 --hidden-kind nrelu", "--pool 2: nrelu hidden units cannot be pooled;"),
            ("--conv 3x2x2 --visible-kind softmax:4", "softmax:4 units have no rows and columns;"),
            ("--conv 3x2x2 --pool 1 --hidden-kind softmax:4", "choose another --hidden-kind"),
            ("--conv 3x2x2 --max-spectral-norm 1", "--max-spectral-norm is for machines without"),
            ("--conv 3x2x2 --normalize-hidden", "--conv: --normalize-hidden is for machines with"),
            (
                "--conv 3x2x2 --sparsity-target 0.25",
                "--sparsity-target 0.25: the mean activity of pooled bernoulli hidden units stays"
                " below 0.25",
            ),
        ],
    )
    def test_options_that_say_nothing_together(self, folder, capfd, options, says):
        assert says in self.fails(capfd, options, status=2)

    @pytest.mark.parametrize(
        ("options", "source", "says"),
        [
            ("--conv 3x5x2", "images", "images.npy: filters of 5x2 (height x width) are larger th"),
            ("--conv 3x2x5", "images", "images.npy: filters of 2x5 (height x width) are larger th"),
            ("--conv 3x4x2", "images", "filters of 4x2 have 1x3 places on 4x4, fewer than a block"),
            ("--conv 3x3x3 --crop 2x4", "images", "filters of 3x3 (height x width) are larger"),
            ("--conv 3x2x2", "counts", "counts.npy: a convolution needs rows and columns, and wha"),
            ("--conv 3x2x2 --validation 0.1", "counts", "store images as (n, height, width) or (n"),
            ("--conv 3x3x3 --validation color.npy", "images", "color.npy: images of shape (3, 4"),
            ("--conv 3x3x3 --validation images.npy", "color", "images.npy: images of shape (4, 4)"),
        ],
    )
    def test_images_that_filters_do_not_fit(self, folder, capfd, options, source, says):
        np.save("color.npy", np.zeros((9, 3, 4, 4), np.uint8))
        assert says in self.fails(capfd, options, source)

    @pytest.mark.parametrize(
        "options",
        [
            "--pool 1 --hidden-kind nrelu --lr 0.001",
            "--visible-kind gaussian:learned --lr 0.001",
            "--visible-kind binomial:8 --binarize threshold",
            "--sparsity-target 0.24 --sparsity-on both --max-norm 1 --l1 0.01",
            "--algorithm pt --chains 5 --temperatures 3",
            "--preprocess contrast,zca --visible-kind gaussian --lr 0.001",
            "--crop 3x4 --flip --validation 0.2",
        ],
    )
    @pytest.mark.parametrize("source", ["images", "color"])
    def test_options_that_belong_together(self, folder, source, options):
        np.save("color.npy", np.random.default_rng(1).integers(0, 256, (40, 3, 4, 4), np.uint8))
        command = ["train", f"{source}.npy", "-o", "run.h5", *SMALL[2:], "--conv", "3x2x2"]
        assert rbm([*command, *options.split()]) == 0

    @pytest.mark.parametrize(
        ("shape", "says"),
        [
            ((9, 5, 5), "images of 25 values, but the machine has 16 visible units"),
            ((9, 2, 8), "other.npy: filters of 3x2 (height x width) are larger than"),
            ((9, 8, 2), "images of shape (8, 2), but the machine was trained on (4, 4)"),
            ((9, 16), "other.npy: a convolution needs rows and columns"),
            ((9, 4, 2, 2), "other.npy: filters of 3x2 (height x width) are larger than"),
        ],
    )
    @pytest.mark.parametrize("command", ["evaluate", "features"])
    def test_images_of_another_shape(self, folder, capfd, command, shape, says):
        np.save("other.npy", np.zeros(shape, np.uint8))
        options = [*SMALL[2:], "--conv", "3x3x2", "--pool", "1"]
        assert rbm(["train", "images.npy", "-o", "run.h5", *options]) == 0
        output = ["-o", "out.npz"] if command == "features" else []
        assert says in refused(capfd, command, "run.h5", "other.npy", *output, "--quiet")


class TestEvaluate:
    """Images that a trained machine cannot take, and likelihoods that there are not."""

    def trained(self, source: str, *options: str) -> None:
        assert rbm(["train", source, "-o", "run.h5", *SMALL, *options]) == 0

    def test_images_of_another_size(self, folder, capfd):
        np.save("large.npy", np.zeros((9, 5, 5), np.uint8))
        self.trained("images.npy")
        error = refused(capfd, "evaluate", "run.h5", "large.npy", "--quiet")
        assert "large.npy: images of 25 values, but the machine has 16 visible units; " in error

    @pytest.mark.parametrize(
        ("trained_on", "kind", "shown", "says"),
        [
            ("images", "bernoulli", "real", "values from -1.5 to 1, but bernoulli units take"),
            ("counts", "binomial:20", "real", "values from -1.5 to 1, but binomial:20 units take"),
            ("counts", "nrelu", "real", "values from -1.5 to 1, but nrelu units take"),
            ("one-hot", "softmax:4", "half", "image 7, columns 8 to 11: softmax:4 units need"),
        ],
    )
    def test_images_that_the_kind_cannot_take(self, folder, capfd, trained_on, kind, shown, says):
        self.trained(f"{trained_on}.npy", "--visible-kind", kind, "--lr", "0.001")
        error = refused(capfd, "evaluate", "run.h5", f"{shown}.npy", "--quiet")
        assert error.startswith(f"rbm: error: {shown}.npy: ")
        assert says in error

    def test_nothing_to_sum_over(self, folder, capfd):
        kinds = ["--visible-kind", "gaussian", "--hidden-kind", "nrelu", "--lr", "0.001"]
        self.trained("real.npy", *kinds)
        error = refused(capfd, "evaluate", "run.h5", "real.npy", "--exact", "--quiet")
        assert "16 visible and 6 hidden units have too many states to sum over" in error
        assert "without --exact" in error

    @pytest.mark.parametrize("hidden", ["gaussian", "nrelu"])
    def test_weights_too_large_for_a_density(self, folder, capfd, hidden):
        self.trained(
            "real.npy", "--visible-kind", "gaussian", "--hidden-kind", hidden, "--lr", "0.001"
        )
        with changing("run.h5") as run:
            run["model/weights"][:] = 0.5  # of 16 x 6: the norm is 0.5 sqrt(96)
        capfd.readouterr()
        assert rbm(["evaluate", "run.h5", "real.npy", "--quiet"]) == 0
        out, err = capfd.readouterr()
        assert err.count("\n") == 1
        assert err.startswith(f"no likelihood: gaussian and {hidden} units have a density for sure")
        assert "below 1, and it is 4.899; train with --max-spectral-norm 0.7" in err
        assert "log_likelihood         -\n" in out

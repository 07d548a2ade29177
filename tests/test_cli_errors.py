"""Bad input to `rbm train`: one clear line, nothing overwritten, nothing left behind."""

from __future__ import annotations

import gzip
import json
import os
import struct

import h5py
import numpy as np
import pytest
from changing import changing
from commands import contents, names, refused, write_images
from crash import toy

from rbmcli.cli.main import run as rbm
from rbmcli.io.runfile import RunReader

SMALL = ["--hidden", "6", "--batch-size", "20", "--epochs", "2", "--threads", "1", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npy", 60)
    np.save("labels.npy", np.arange(60) % 3)
    return tmp_path


def idx(images: np.ndarray, *, magic: int = 0x803, count: int | None = None) -> bytes:
    count = len(images) if count is None else count
    return struct.pack(">4I", magic, count, *images.shape[1:]) + images.tobytes()


def fails(capfd, *arguments: str, status: int = 1) -> str:
    """What `rbm train` says when it refuses."""
    return refused(capfd, "train", *arguments, status=status)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cut.gz", lambda x: gzip.compress(idx(x))[:-400], "cut.gz: truncated"),
        ("magic", lambda x: idx(x, magic=0x01020304), "magic: is of a format that is not known"),
        ("type", lambda x: idx(x, magic=0x1003), "type: IDX element type 0x10 is unknown"),
        ("count", lambda x: idx(x, count=61), "count: the header says 61 items but the file holds"),
        ("huge", lambda x: idx(x, count=2**32 - 1), "huge: the header says 4294967295 items"),
        ("empty", lambda x: b"", "empty: is empty"),
        ("text.npy", lambda x: b"1 2 3\n4 5 6\n", "text.npy: is a table as text"),
        ("cut.npy", lambda x: b"\x93NUMPY\x01\x00", "cut.npy: damaged"),
    ],
)
def test_damaged_files(folder, capfd, name, content, says):
    (folder / name).write_bytes(content(np.load("images.npy")))
    assert says in fails(capfd, name, "-o", "run.h5", *SMALL)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.full((5, 4, 4), np.nan, np.float32), "bad.npy: NaN or infinite values: 80"),
        (np.full((5, 4, 4), -np.inf), "bad.npy: NaN or infinite values"),
        (np.linspace(0, 1.5, 80).reshape(5, 16), "bad.npy: values from 0 to 1.5"),
        (np.linspace(-0.25, 1, 80).reshape(5, 16), "bad.npy: values from -0.25 to 1"),
        (np.arange(80).reshape(5, 16) * 10, "bad.npy: values from 0 to 790"),
        (np.zeros((0, 4, 4), np.uint8), "bad.npy: has shape (0, 4, 4), so holds no images"),
        (np.zeros(5), "bad.npy: has shape (5,)"),
        (np.array([["a", "b"]]), "bad.npy: holds <U1 values"),
        (np.array([[1j, 2]]), "bad.npy: holds complex128 values"),
    ],
    ids=str,
)
def test_unfit_values(folder, capfd, images, says):
    np.save("bad.npy", images)
    assert says in fails(capfd, "bad.npy", "-o", "run.h5", *SMALL)
    if images.ndim > 1:  # and what is measured on must fit as well
        options = ["images.npy", "--validation", "bad.npy"]
        assert "bad.npy: " in fails(capfd, *options, "-o", "run.h5", *SMALL)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("nowhere.npy", "nowhere.npy: no such file or folder"),
        ("images.npy --labels nowhere", "nowhere: no such file or folder"),
        ("images.npy --labels short.npy", "short.npy: 59 labels for 60 images"),
        ("images.npy --labels labels.npy --only 7", "no image has label 7; choose from 0, 1, 2"),
        ("images.npy --only 1", "choosing by label needs labels"),
        ("images.npy --validation nowhere", "nowhere: no such file or folder"),
        ("images.npy --validation small.npy", "images of shape (4, 4)"),
        (
            "images.npy --validation 0.001",
            "--validation 0.001: 60 images leave none to train on or",
        ),
        (
            "images.npy --validation 0.999",
            "--validation 0.999: 60 images leave none to train on or",
        ),
        ("images.npy --metrics nowhere/log", "--metrics nowhere/log: there is no folder"),
    ],
)
def test_unfit_options(folder, capfd, options, says):
    np.save("short.npy", np.arange(59))
    np.save("small.npy", np.zeros((9, 4, 4)))
    assert says in fails(capfd, *options.split(), "-o", "run.h5", *SMALL)


@pytest.mark.parametrize(
    "options",
    [
        "--lr fast",
        "--lr -1",
        "--lr 0.1@1",
        "--lr 0.1@0,0.2@0",
        "--lr 1:2:3",
        "--lr nan",
        "--lr inf",
        "--momentum 1.5",
        "--gibbs-steps 0",
        "--gibbs-steps 1.5",
        "--weight-decay -1",
        "--weight-decay nan",
        "--weight-decay inf",
        "--snapshot-every 5",
        "--snapshot-every 0steps",
        "--checkpoint-every often",
        "--max-time 0",
        "--max-time 5x",
        "--max-time nan",
        "--hidden 0",
        "--epochs -1",
        "--batch-size 0",
        "--limit 0",
        "--seed -1",
        "--threads 0",
        "--threads 1025",
        "--binarize maybe",
        "--visible-kind gauss",
        "--patience 3",
        "--patience 0 --validation 0.1",
        "--validation 1.5",
        "--validation 0",
        "--config nowhere.toml",
        "--resume --force",
        "--bogus",
        "surplus",
    ],
)
def test_wrong_usage(folder, capfd, options):
    fails(capfd, "images.npy", "-o", "run.h5", *SMALL, *options.split(), status=2)


def test_output_is_needed(folder, capfd):
    assert "Missing option '-o' / '--output'" in fails(capfd, "images.npy", status=2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hidden =", "bad.toml: Invalid value"),
        ("hiden = 5", "bad.toml: 'hiden' is not an option; did you mean 'hidden'?"),
        ("output = 'x'", "bad.toml: 'output' is not an option"),
        ("threads = 2", "bad.toml: 'threads' is not an option"),
        ("[model]\nhidden = 5", "bad.toml: 'model' is not an option"),
        ("hidden = {units = 5}", "bad.toml: 'hidden' must be a single value"),
        ("hidden = [5]", "bad.toml: 'hidden' must be a single value"),
        ("only = 5", "bad.toml: 'only' must be a list"),
        ("only = ['x']", "'x' is not a valid integer"),
        ("hidden = 5.5", "'5.5' is not a valid integer"),
        ("hidden = true", "'True' is not a valid integer"),
        ("normalize-hidden = 3", "'3' is not a valid boolean"),
        ("learning-rate = 1979-05-27", "'1979-05-27' is not a schedule"),
        ("hidden = '\xe4'", "'\xe4' is not a valid integer"),
        ("only = " + "[" * 2000, "bad.toml: nested too deep"),
        ("hidden = " + "9" * 5000, "bad.toml: a number of too many digits"),
        ("hidden = 0x" + "f" * 5000, "bad.toml: 'hidden' is too long"),
        ('labels = "a\\u0000b"', "bad.toml: 'labels' holds a NUL character"),
        ("# " + "x" * (1 << 20), "bad.toml is too large for a file of options"),
    ],
)
def test_bad_configuration(folder, capfd, text, says):
    (folder / "bad.toml").write_text(text)
    options = ["images.npy", "-o", "run.h5", "--config", "bad.toml"]
    assert says in fails(capfd, *options, status=2)


def test_configuration_that_is_no_text(folder, capfd):
    (folder / "bad.toml").write_bytes(b"\xff\xfe\x00")
    options = ["images.npy", "-o", "run.h5", "--config", "bad.toml"]
    assert "bad.toml is not a text file" in fails(capfd, *options, status=2)


def test_configuration_that_is_no_file(folder, capfd):
    """Neither is waited for, nor read without end."""
    os.mkfifo("pipe")
    for name, what in (("pipe", "a pipe"), ("/dev/zero", "a device"), (".", "a folder")):
        options = ["images.npy", "-o", "run.h5", "--config", name]
        assert f"{name}: is {what}" in fails(capfd, *options, status=2)


def test_output_exists(folder, capfd):
    (folder / "run.h5").write_text("precious")
    error = fails(capfd, "images.npy", "-o", "run.h5", *SMALL)
    assert error.startswith("rbm: error: run.h5: ")
    assert "--force" in error
    assert (folder / "run.h5").read_text() == "precious"


def test_output_folder_is_missing(folder, capfd):
    assert "nowhere" in fails(capfd, "images.npy", "-o", "nowhere/run.h5", *SMALL)
    assert not (folder / "nowhere").exists()


def test_output_is_a_folder(folder, capfd):
    (folder / "runs").mkdir()
    for option in ([], ["--force"], ["--resume"]):
        fails(capfd, "images.npy", "-o", "runs", *SMALL, *option, status=2)
    assert names(folder / "runs") == set()


def test_output_is_no_file(folder, capfd):
    os.mkfifo("pipe")
    says = fails(capfd, "images.npy", "-o", "pipe", "--force", *SMALL)
    assert "pipe: a device or the like" in says


def test_output_is_looked_at_before_the_data(folder, capfd):
    (folder / "run.h5").write_text("precious")
    assert "run.h5: exists already" in fails(capfd, "nowhere.npy", "-o", "run.h5", *SMALL)


def test_divergence(folder, capfd):
    """It is noticed at once, and the last good checkpoint is kept, whole and in one file."""
    quiet = ["train", "images.npy", "-o", "run.h5", *SMALL, "--snapshot-every", "1steps"]
    quiet += ["--checkpoint-every", "1epochs"]
    assert rbm([*quiet, "--epochs", "9", "--lr", "0.1@0,1e39@4"]) == 1
    error = capfd.readouterr().err
    assert error.startswith("rbm: error: run.h5: training diverged at step 13 (epoch 4.33): ")
    assert error.count("\n") == 1
    assert names(folder) == {"images.npy", "labels.npy", "run.h5"}
    with RunReader("run.h5") as run:
        assert not run.finished
        assert run.state["trainer/step"] == 12
        assert len(run.filters) == 13
        assert run.metrics["epoch"].tolist() == [0, 1, 2, 3, 4]
        assert all(np.isfinite(run.state[name]).all() for name in run.state)
    assert "diverged at step 13" in fails_again(capfd, "-o", "run.h5", "--resume", "--quiet")


def fails_again(capfd, *options: str) -> str:
    assert rbm(["train", *options]) == 1
    return capfd.readouterr().err


def test_divergence_by_and_by(folder, capfd):
    options = [
        "--lr",
        "1e9",
        "--weight-decay",
        "1",
        "--epochs",
        "100",
        "--snapshot-every",
        "9epochs",
    ]
    assert rbm(["train", "images.npy", "-o", "run.h5", *SMALL, *options]) == 1
    assert "diverged" in capfd.readouterr().err
    with RunReader("run.h5") as run:
        assert np.isfinite(run.state["model/weights"]).all()


def test_a_stack_is_not_for_train(folder, capfd):
    toy.run(folder / "run.h5", toy.stack(1, 1), "stop")
    assert rbm(["train", "images.npy", "-o", "run.h5", "--resume"]) == 1
    error = capfd.readouterr().err
    assert "run.h5: was begun by `rbm stack`: resume it with that" in error
    assert error.count("\n") == 1


class TestResume:
    @pytest.fixture
    def run(self, folder):
        assert rbm(["train", "images.npy", "-o", "run.h5", *SMALL, "--validation", "0.1"]) == 0
        return folder / "run.h5"

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ("--seed 1", "seed was 0, now 1"),
            ("--hidden 7", "hidden was 6, now 7"),
            ("--lr 0.1", "learning-rate was 0.05, now 0.1"),
            ("--batch-size 10", "batch-size was 20, now 10"),
            ("--momentum 0.5:0.9", "momentum was 0.5@0,0.9@5, now 0.5:0.9"),
            ("--reconstruction mean", "reconstruction was sample, now mean"),
            ("--normalize-hidden", "normalize-hidden was False, now True"),
            ("--limit 50", "limit was not given, now 50"),
            ("--validation 0.5", "validation data were 0.1 of the images, now 0.5 of the images"),
            ("--validation images.npy", "now images.npy ("),
            ("--epochs 1", "epochs were 2, now 1"),
            ("--seed 1 --hidden 7", "hidden was 6, now 7; seed was 0, now 1"),
        ],
    )
    def test_other_options_are_refused(self, run, capfd, options, says):
        resume = ["images.npy", "-o", "run.h5", "--resume", *options.split()]
        error = fails(capfd, *resume)
        assert error.startswith("rbm: error: run.h5: cannot resume: ")
        assert says in error

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ("--conv 4x3x3", "conv was 5x3x3, now 4x3x3"),
            ("--conv 5x5x3", "conv was 5x3x3, now 5x5x3"),
            ("--pool 1", "pool was 2, now 1"),
        ],
    )
    def test_other_filters_are_refused(self, folder, capfd, options, says):
        conv = [*SMALL[SMALL.index("--hidden") + 2 :], "--conv", "5x3x3"]
        assert rbm(["train", "images.npy", "-o", "run.h5", *conv]) == 0
        error = fails(capfd, "-o", "run.h5", "--resume", *options.split())
        assert error.startswith("rbm: error: run.h5: cannot resume: ")
        assert says in error

    def test_a_dense_machine_gets_no_filters(self, run, capfd):
        error = fails(capfd, "-o", "run.h5", "--resume", "--conv", "5x3x3")
        assert "conv was not given, now 5x3x3; hidden was 6, now not given" in error

    def test_other_data_are_refused(self, run, capfd):
        images = np.load("images.npy")
        images[0, 0, 0] ^= 1
        np.save("other.npy", images)
        error = fails(capfd, "other.npy", "-o", "run.h5", "--resume")
        assert "data were images.npy (" in error
        assert "), now other.npy (" in error

    def test_data_changed_in_place_are_refused(self, run, capfd):
        images = np.load("images.npy")
        images[0, 0, 0] ^= 1
        np.save("images.npy", images)
        assert "data were images.npy (" in fails(capfd, "-o", "run.h5", "--resume")

    def test_epochs_may_not_grow_under_a_ramp(self, folder, capfd):
        ramp = ["train", "images.npy", *SMALL, "--lr", "0.1:0.01", "-o", "ramp.h5"]
        assert rbm(ramp) == 0
        error = fails(capfd, "-o", "ramp.h5", "--resume", "--epochs", "3")
        assert "epochs may not change while learning-rate is a ramp" in error

    def test_unknown_version(self, run, capfd):
        with changing(run) as file:
            file.attrs["version"] = 99
        assert "run.h5: a run file of version 99" in fails(capfd, "-o", "run.h5", "--resume")

    def test_not_a_run_file(self, folder, capfd):
        (folder / "text").write_text("no run")
        with h5py.File("other.h5", "w") as file:
            file["model/weights"] = np.zeros((3, 3))
        assert "text: not an HDF5 file" in fails(capfd, "-o", "text", "--resume")
        assert "other.h5: not a run file" in fails(capfd, "-o", "other.h5", "--resume")

    def test_damaged_run_file(self, run, capfd):
        run.write_bytes(run.read_bytes()[:3000])
        assert "run.h5: a damaged " in fails(capfd, "-o", "run.h5", "--resume")

    @pytest.mark.parametrize("name", ["model/weights", "trainer/step", "metrics", "filters"])
    def test_run_file_with_something_missing(self, run, capfd, name):
        with changing(run) as file:
            del file[name]
        assert "run.h5: " in fails(capfd, "-o", "run.h5", "--resume", "--epochs", "3")

    def test_without_a_file_it_starts_afresh(self, folder):
        command = ["train", "images.npy", *SMALL]
        assert rbm([*command, "-o", "a.h5", "--resume"]) == 0
        assert rbm([*command, "-o", "b.h5"]) == 0
        assert contents(folder / "a.h5") == contents(folder / "b.h5")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"conv": 5}, "config has conv 5"),
        ({"conv": "3x9x9"}, "with filters 3x9x9"),
        ({"pool": 0}, "config has pool 0"),
        ({"pool": -1}, "config has pool -1"),
        ({"pool": "2"}, "config has pool '2'"),
        ({"pool": 2.0}, "config has pool 2.0"),
        ({"pool": 17}, "fewer than a block of 17x17"),
        ({"hidden-kind": "nrelu"}, "nrelu hidden units cannot be pooled"),
    ],
)
def test_damaged_convolutions(folder, capfd, changed, says):
    command = ["train", "images.npy", "--conv", "3x3x3", "--epochs", "0", "--quiet"]
    assert rbm([*command, "-o", "run.h5"]) == 0
    with changing("run.h5") as file:
        file.attrs["config"] = json.dumps(json.loads(file.attrs["config"]) | changed)
    assert rbm(["features", "run.h5", "images.npy", "-o", "features.npz"]) == 1
    err = capfd.readouterr().err
    assert err.startswith("rbm: error: run.h5: a damaged run file")
    assert says in err
    assert err.count("\n") == 1
    assert "features.npz" not in names(folder)

"""`rbm train` from the outside: what its run file holds, and what it says on the way."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from commands import RBM, contents, names, refused, running, write_images

from rbmcli.cli.main import run as rbm
from rbmcli.cli.train import command as train_command
from rbmcli.io.runfile import RunReader

METRICS = (
    "epoch",
    "step",
    "reconstruction_error",
    "pseudo_log_likelihood",
    "free_energy_train",
    "free_energy_validation",
    "free_energy_gap",
    "hidden_activation",
    "weight_rms",
    "learning_rate",
    "momentum",
    "gibbs_steps",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder, entered, with 205 images of 8 x 8 in it: the last of 11 batches of 20 is short."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npy", 205)
    return tmp_path


def train(*options, output="run.h5", source="images.npy"):
    """Train a small machine for 3 epochs of 11 steps and return its run, open."""
    hidden = [] if "--conv" in options else ["--hidden", 10]
    small = [*hidden, "--batch-size", 20, "--epochs", 3, "--threads", 1, "--quiet"]
    status = rbm([*map(str, ["train", source, "-o", output, *small, *options])])
    assert status == 0
    return RunReader(output)


def column(run, name):
    return run.metrics[name].tolist()


def test_blank_borders_are_seen_by_every_command(folder, capfd):
    """--pad is part of the run: other commands pad their images alike."""
    images = np.load(write_images(folder / "images.npy", 40, 8))
    np.save("wide.npy", np.pad(images, ((0, 0), (2, 2), (2, 2))))
    usual = ["--hidden", "5", "--epochs", "1", "--quiet", "-o"]
    assert rbm(["train", "images.npy", "--pad", "2", *usual, "padded.h5"]) == 0
    assert rbm(["train", "wide.npy", *usual, "wide.h5"]) == 0
    padded, wide = (contents(folder / name) for name in ("padded.h5", "wide.h5"))
    assert {name: padded[name] for name in wide} == wide
    assert rbm(["features", "padded.h5", "images.npy", "-o", "padded.npz", "--quiet"]) == 0
    assert rbm(["features", "wide.h5", "wide.npy", "-o", "wide.npz", "--quiet"]) == 0
    with np.load("padded.npz") as one, np.load("wide.npz") as other:
        np.testing.assert_array_equal(one["features"], other["features"])
    np.save("flat.npy", images.reshape(40, -1))
    told = refused(capfd, "train", "flat.npy", "--pad", "2", "-o", "flat.h5")
    assert "flat.npy: --pad needs images of one size with rows and columns" in told


def test_digits_with_defaults(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    options = ["--limit", "600", "--hidden", "20", "--epochs", "3"]
    assert rbm(["train", "digits", *options, "-o", "x.h5"]) == 0
    with h5py.File("x.h5") as file:
        assert file.attrs["finished"]
        assert file["model/weights"].shape == (784, 20)
        assert file["model/visible_bias"].shape == (784,)
        assert file["model/hidden_bias"].shape == (20,)
        assert file["filters"].shape == (4, 20, 28, 28)
        assert not file["filters"].is_virtual
        assert file["filters_epoch"][()].tolist() == [0, 1, 2, 3]
        last = file["filters"][3].reshape(20, 784)
        assert (last == file["model/weights"][()].T).all()
        metrics = file["metrics"][()]
        assert metrics.dtype.names == METRICS
        assert metrics["epoch"].tolist() == [0, 1, 2, 3]
        assert metrics["step"].tolist() == [0, 6, 12, 18]
        assert np.isfinite(metrics["pseudo_log_likelihood"]).all()
        assert np.isnan(metrics["free_energy_gap"]).all()
        assert (np.diff(file["metrics_wall_clock"]["seconds"]) > 0).all()
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 4
    assert lines[0] == (
        "digits: 600 images of 28x28, bytes 0 to 255 taken as 0 to 1, labels from digits"
    )
    assert names(tmp_path) == {"x.h5"}


@pytest.mark.parametrize("machine", ["--hidden 30", "--conv 10x5x5 --pool 2"])
def test_it_learns(folder, machine):
    with train("--epochs", 60, "--lr", 0.1, *machine.split()) as run:
        error, pseudo = column(run, "reconstruction_error"), column(run, "pseudo_log_likelihood")
    assert error[-1] < 0.7 * error[0]
    assert pseudo[-1] > 0.8 * pseudo[0]


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8)])
@pytest.mark.parametrize("pool", [1, 2])
def test_what_is_kept_of_a_convolution(folder, shape, pool):
    """Filters of 3 x 4 have 6 x 5 places on 8 x 8; in blocks of 2 they use 8 x 7 of it."""
    np.save("some.npy", np.random.default_rng(1).integers(0, 256, (205, *shape), np.uint8))
    with train("--conv", "6x3x4", "--pool", pool, source="some.npy") as run:
        channels = shape[0] if len(shape) == 3 else 1
        places = (6, 5) if pool == 1 else (6, 4)
        visible = (*shape[:-2], places[0] + 2, places[1] + 3)
        units = int(np.prod(visible))
        state = run.state
        assert state["model/weights"].shape == (6, channels, 3, 4)
        assert state["model/visible_bias"].shape == (channels,)
        assert state["model/hidden_bias"].shape == (6,)
        assert state["trainer/velocity/weights"].shape == (6, channels, 3, 4)
        assert state["trainer/offset/visible"][:units].shape == (units,)
        assert run.filters.shape == (4, 6, *shape[:-2], 3, 4)
        assert (run.filters[3].ravel() == state["model/weights"].ravel()).all()
        assert run.image_shape == visible
        assert column(run, "step") == [0, 11, 22, 33]
        assert np.isfinite(column(run, "pseudo_log_likelihood")).all()
        assert run.config["conv"] == "6x3x4"
        assert run.config["pool"] == pool
        assert "hidden" not in run.config


def test_images_are_trimmed_to_what_filters_and_blocks_use(folder, capfd):
    """The central part is used, as if nothing else were there; nothing is cut where all is used."""
    images = np.load("images.npy")
    np.save("central.npy", images[:, :, :-1])
    command = ["train", "--conv", "6x3x4", "--epochs", "0", "-o"]
    assert rbm([*command, "a.h5", "images.npy"]) == 0
    assert "note: images.npy: images of 8x8 (height x width) are trimmed to 8x7, which" in (
        capfd.readouterr().err
    )
    assert rbm([*command, "b.h5", "central.npy"]) == 0
    assert "trimmed" not in capfd.readouterr().err
    assert rbm([*command, "d.h5", "images.npy", "--crop", "7x8"]) == 0
    assert "note: images.npy: crops of 7x8 (height x width) are trimmed to 6x7, which" in (
        capfd.readouterr().err
    )
    assert rbm([*command, "e.h5", "images.npy", "--crop", "6x7"]) == 0
    assert "trimmed" not in capfd.readouterr().err
    with (
        train("--conv", "6x3x4") as run,
        train("--conv", "6x3x4", output="c.h5", source="central.npy") as wanted,
    ):
        assert (run.state["model/weights"] == wanted.state["model/weights"]).all()


def test_quiet_is_silent(folder, capfd):
    train().close()
    assert capfd.readouterr() == ("", "")


def test_snapshots_by_steps(folder):
    with train("--snapshot-every", "2steps") as run:
        assert np.allclose(run.filters_epoch, np.arange(0, 34, 2) / 11)
        assert len(np.unique(run.filters[:].reshape(17, -1), axis=0)) == 17


def test_snapshots_by_epochs(folder):
    with train("--snapshot-every", "2epochs") as run:
        assert run.filters_epoch.tolist() == [0, 2]


def test_how_often_is_written_changes_nothing_else(folder):
    plain = train()
    often = train("--checkpoint-every", "3steps", output="often.h5")
    with plain, often:
        found, wanted = contents(often.path), contents(plain.path)
    assert found == wanted


def test_metrics_as_json_lines(folder, capfd):
    with train("--metrics", "-") as run:
        rows = run.metrics
    out, err = capfd.readouterr()
    assert err == ""
    lines = [json.loads(line) for line in out.splitlines()]
    assert [tuple(line) for line in lines] == [METRICS] * 4
    assert all(line["free_energy_gap"] is None for line in lines)
    for name in ("epoch", "reconstruction_error", "weight_rms"):
        assert [line[name] for line in lines] == rows[name].tolist()
    train("--metrics", "log.jsonl", "--force").close()
    assert (folder / "log.jsonl").read_text() == out


def test_validation_fraction(folder):
    with train("--validation", 0.25, "--batch-size", 10) as run:
        assert column(run, "step") == [0, 16, 32, 48]  # 154 of the 205 images are left
        gap = run.metrics["free_energy_gap"]
        held_out, trained = (run.metrics[f"free_energy_{x}"] for x in ("validation", "train"))
    assert np.isfinite(gap).all()
    assert np.allclose(gap, held_out - trained)


def test_validation_file(folder):
    write_images(folder / "other.npy", 30)
    with train() as plain, train("--validation", "other.npy", output="other.h5") as run:
        assert np.isfinite(run.metrics["free_energy_gap"]).all()
        assert run.data["validation"]["shape"] == [30, 8, 8]
        # Measuring on other images has no influence on training.
        assert (run.state["model/weights"] == plain.state["model/weights"]).all()


def test_patience(folder):
    """Measured on the training images the gap is 0 for ever: never a new low."""
    options = ["--validation", "images.npy", "--patience", 2, "--epochs", 50]
    with train(*options) as run:
        assert column(run, "epoch") == [0, 1, 2, 3]
        assert column(run, "free_energy_gap") == [0, 0, 0, 0]
        assert run.finished
    with train(*options, "--resume") as run:
        assert column(run, "epoch") == [0, 1, 2, 3]


def test_schedules(folder):
    schedules = ["--lr", "0.4:0.2", "--momentum", "0.5@0,0.9@2", "--gibbs-steps", "1@0,3@1"]
    with train(*schedules) as run:
        assert np.allclose(column(run, "learning_rate"), [0.4, 0.4, 0.3, 0.2])
        assert column(run, "momentum") == [0.5, 0.5, 0.5, 0.9]
        assert column(run, "gibbs_steps") == [1, 1, 3, 3]


def test_no_epochs_give_the_machine_before_training(folder):
    with train("--epochs", 0) as run:
        assert run.finished
        assert column(run, "epoch") == [0]
        weights = run.state["model/weights"]
        assert 0.005 < weights.std() < 0.02
        assert (run.state["model/hidden_bias"] == 0).all()
        # Runs of a time when there was no such option can be resumed.
        assert "hidden-bias" not in run.config
    with train("--epochs", 0, "--hidden-bias", -2.5, output="b.h5") as run:
        assert (run.state["model/hidden_bias"] == -2.5).all()
        assert run.config["hidden-bias"] == -2.5


def test_batch_larger_than_the_data(folder):
    with (
        train("--batch-size", 1_000_000) as large,
        train("--batch-size", 205, output="b.h5") as run,
    ):
        assert column(large, "step") == [0, 1, 2, 3]
        assert (large.state["model/weights"] == run.state["model/weights"]).all()


@pytest.mark.parametrize(
    "options",
    [
        "--reconstruction mean",
        "--binarize threshold",
        "--binarize none",
        "--normalize-hidden",
        "--gibbs-steps 3",
        "--momentum 0",
        "--weight-decay 0.1",
        "--hidden-bias -2",
        "--learning-rate 0.2",
        "--seed 1",
        "--limit 200",
    ],
)
def test_options_change_the_outcome(folder, options):
    with train() as plain, train(*options.split(), output="other.h5") as run:
        assert np.isfinite(run.state["model/weights"]).all()
        assert (run.state["model/weights"] != plain.state["model/weights"]).any()
        name = options.split()[0].removeprefix("--")
        assert run.config[name] != plain.config.get(name)


def test_departures_go_together(folder):
    """As programs do that learn from means alone, and normalise them."""
    with train("--normalize-hidden", "--reconstruction", "mean", "--binarize", "none") as run:
        assert np.isfinite(run.state["model/weights"]).all()


def test_threshold_and_sample_agree_on_binary_data(folder):
    images = (np.load("images.npy") > 0).astype(np.uint8)
    np.save("binary.npy", images)
    for how in ("sample", "threshold"):
        train("--binarize", how, source="binary.npy", output=f"{how}.h5").close()
    assert contents(folder / "sample.h5") == contents(folder / "threshold.h5")


def test_pseudo_likelihood_is_of_binary_data_only(folder):
    with train("--binarize", "none") as run:
        assert np.isnan(column(run, "pseudo_log_likelihood")).all()


def test_only(folder):
    labels = np.arange(205) % 3
    np.save("labels.npy", labels)
    np.save("ones.npy", np.load("images.npy")[labels > 0])
    with (
        train("--labels", "labels.npy", "--only", 1, "--only", 2) as run,
        train(source="ones.npy", output="ones.h5") as wanted,
    ):
        assert run.data["shape"] == [136, 8, 8]
        assert run.config["only"] == [1, 2]
        assert (run.state["model/weights"] == wanted.state["model/weights"]).all()


def test_notices_are_told(folder, capfd):
    np.save("binary.npy", (np.load("images.npy") > 0).astype(np.uint8))
    command = ["train", "binary.npy", "--epochs", "0", "--hidden", "2", "-o"]
    assert rbm([*command, "a.h5"]) == 0
    assert "note: binary.npy: the largest value is 1" in capfd.readouterr().err
    assert rbm([*command, "b.h5", "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")


def test_force(folder):
    train("--seed", 1).close()
    with train("--force") as run, train(output="other.h5") as wanted:
        assert contents(run.path) == contents(wanted.path)
    assert names(folder) == {"images.npy", "run.h5", "other.h5"}


def test_output_behind_a_link(folder):
    (folder / "else").mkdir()
    (folder / "run.h5").symlink_to("else/real.h5")
    train().close()
    assert (folder / "run.h5").is_symlink()
    assert names(folder / "else") == {"real.h5"}


@pytest.mark.parametrize(
    ("images", "machine"),
    [
        ((205, 8, 8), "--hidden 10"),
        ((230, 28, 28), "--hidden 500 --batch-size 100"),
        ((205, 8, 8), "--conv 6x3x3"),
        ((205, 3, 9, 8), "--conv 6x4x3 --pool 1 --sparsity-target 0.1 --binarize none"),
        ((230, 28, 28), "--conv 20x11x11 --batch-size 100"),
    ],
)
def test_threads_do_not_change_a_byte(folder, images, machine):
    np.save("images.npy", np.random.default_rng(0).integers(0, 256, images, np.uint8))
    found = []
    for threads in (1, 2, 3):
        options = [*machine.split(), "--threads", threads, "--gibbs-steps", 2]
        with train(*options, output=f"{threads}.h5") as run:
            found.append(contents(run.path))
    assert found[0] == found[1] == found[2]


def test_lines_without_a_terminal_are_few_and_plain(folder, capfd):
    command = ["train", "images.npy", "-o", "run.h5", "--hidden", "5", "--epochs", "200"]
    assert rbm([*command, "--threads", "1", "--checkpoint-every", "50epochs"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert 4 <= len(lines) <= 7  # what was read, the first, the last, the file; one each 10 seconds
    assert lines[0].startswith("images.npy: 205 images of 8x8, ")
    assert lines[1].startswith("epoch 0/200  error ")
    assert lines[-2].startswith("epoch 200/200  error ")
    assert lines[-2].endswith(" images/s")
    assert lines[-1] == "run.h5: done"
    assert err.replace("\n", "").isprintable()


def test_a_line_every_ten_seconds(folder, capfd, monkeypatch):
    monkeypatch.setattr("rbmcli.cli.progress._LINE_EVERY", 0)
    monkeypatch.setattr("rbmcli.learning.loop._TOGETHER", 0)
    assert rbm(["train", "images.npy", "-o", "run.h5", "--hidden", "5", "--epochs", "2"]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines[1:-1]] == [
        *("0/2", "0.3/2", "0.7/2", "1/2", "1.3/2", "1.7/2", "2/2")
    ]


def on_terminal(kind: str, *arguments: object) -> tuple[int, str]:
    """Run `rbm` with stderr on a terminal; return its status and what was shown there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*RBM, *map(str, arguments)], stderr=theirs, env=os.environ | {"TERM": kind}
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += (piece := os.read(ours, 4096))
        except OSError:  # how Linux says that the other end was closed
            break
        if not piece:
            break
    os.close(ours)
    return process.wait(), shown.decode()


def test_a_bar_on_a_terminal(folder):
    command = ["train", "images.npy", "-o", "run.h5", "--hidden", 5, "--epochs", 400]
    options = ["--threads", 1, "--checkpoint-every", "400epochs", "--snapshot-every", "400epochs"]
    status, shown = on_terminal("xterm-256color", *command, *options)
    assert status == 0
    assert "\x1b[" in shown
    assert shown.count("images/s") > 2  # it was drawn more than once
    assert "error 8." in shown
    assert "epoch 400/400" in shown
    assert shown.splitlines()[-1].endswith("run.h5: done")


def test_lines_on_a_terminal_without_capabilities(folder):
    command = ["train", "images.npy", "-o", "run.h5", "--hidden", 5, "--epochs", 2]
    status, shown = on_terminal("dumb", *command)
    assert status == 0
    assert [line.split()[0] for line in shown.splitlines()] == [
        *("images.npy:", "epoch", "epoch", "run.h5:")
    ]
    assert shown.replace("\r\n", "").isprintable()


def test_closed_streams(folder):
    """A run whose standard streams are closed does its work, and writes nothing into its files."""
    command = " ".join([*RBM, "train images.npy -o run.h5 --hidden 5 --epochs 2 --metrics -"])
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(f"{command} --force {closed}", shell=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        assert rbm(["info", "run.h5"]) == 0


def test_a_reader_that_goes_away(folder):
    """Who asked for the answer is gone, and nobody is to be told; training goes on for itself."""
    train().close()
    commands = (["info", "run.h5"], ["train", "images.npy", "-o", "other.h5", "--metrics", "-"])
    for command, status in zip(commands, (1, 0), strict=True):
        reading, writing = os.pipe()
        os.close(reading)
        with running(*command, stdout=writing) as process:
            os.close(writing)
            error = process.communicate()[1]
            assert process.returncode == status
        notes = [line for line in error.splitlines() if "metrics can no longer" in line]
        assert len(notes) == (command[0] == "train")
        assert "Traceback" not in error
    assert names(folder) == {"images.npy", "run.h5", "other.h5"}
    with RunReader("other.h5") as run:
        assert run.finished


def test_full_output(folder):
    train().close()
    with open("/dev/full", "w") as full, running("info", "run.h5", stdout=full) as process:
        error = process.communicate()[1]
        assert process.returncode == 1
    assert error == (
        "rbm: error: standard output: cannot be written (No space left on device); free some"
        " space\n"
    )


@pytest.mark.parametrize("command", [[], ["train"]])
def test_help_is_quick_and_imports_little(command):
    code = """if True:
        import resource, sys
        from rbmcli.cli.main import run
        assert run([*sys.argv[1:], "--help"]) == 0
        loaded = {"h5py", "imageio", "PIL", "rich"} & set(sys.modules)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime + used.ru_stime, *loaded)
    """
    program = [sys.executable, "-c", code, *command]
    found = [
        subprocess.run(program, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1].split()
        for _ in range(3)
    ]
    assert all(len(line) == 1 for line in found), found
    assert min(float(seconds) for (seconds,) in found) < (0.6 if command else 0.3)


def test_memory(folder):
    """A set of the size of MNIST, trained at 500 hidden units: its bytes and 150 MB at most."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux")
    digits = np.zeros((60_000, 28, 28), np.uint8)
    digits[:, 4:24, 8:16] = np.random.default_rng(0).integers(0, 256, (60_000, 20, 8), np.uint8)
    np.save("mnist.npy", digits)
    code = """if True:
        import sys
        from rbmcli.cli.main import run
        assert run(sys.argv[1:]) in (0, 75)
        print(*[line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line])
    """
    command = ["train", "mnist.npy", "-o", "run.h5", "--hidden", "500", "--max-time", "2s"]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, check=True)
    assert int(done.stdout) * 1024 < digits.nbytes + 150e6


def test_help_lists_every_option_once():
    """Under headings; none is lost between them."""
    ctx = click.Context(train_command)
    text = train_command.get_help(ctx)
    headings = re.findall(r"^(\w[\w ]*)(?: \(.*\))?:$", text, re.MULTILINE)
    assert headings[:3] == ["Files", "Machine", "Data"]
    assert headings[-1] == "Other"
    shown = re.findall(r"^  (-[^ ].*?)(?:  |$)", text, re.MULTILINE)
    options = [x for x in train_command.get_params(ctx) if isinstance(x, click.Option)]
    assert len(shown) == len(options)
    for option in options:
        assert sum(option.opts[-1] in line.replace(",", " ").split() for line in shown) == 1
    assert "--seed" in text.split("\nOther:\n")[1]
    assert "--force" in text.split("\nMachine:\n")[0]

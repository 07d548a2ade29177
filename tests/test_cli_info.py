"""`rbm info`: a readable summary, JSON, and options that `rbm train` takes back."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import h5py
import numpy as np
import pytest

from rbmcli.cli.main import run
from rbmcli.io.runwriter import RunWriter

CONFIG = {
    "hidden": 3,
    "learning-rate": "0.5@0,0.9@5",
    "only": [7, 1],
    "epochs": 5,
    "weight-decay": 1e-4,
    "normalize-hidden": False,
    "validation": 'it\'s "new".npy',
}
DATA = {"source": "digits", "shape": [10, 2, 4], "sha256": 32 * "0f", "validation": {"source": "x"}}


@pytest.fixture
def writer(tmp_path):
    """The writer of a run that has done two epochs of five."""
    with RunWriter.create(
        tmp_path / "run.h5",
        config=CONFIG,
        data=DATA,
        image_shape=(2, 4),
    ) as writer:
        machine = writer.begin("", snapshot_shape=(3, 2, 4))
        for epoch in range(3):
            machine.snapshot(epoch, np.zeros((3, 2, 4), np.float32))
            machine.record({"epoch": epoch, "error": 1 / 3, "gap": np.nan}, {"seconds": 1.0})
        machine.checkpoint({"model/weights": np.zeros((8, 3), np.float32), "trainer/step": 200})
        yield writer


def summary(capsys, path: Path) -> list[str]:
    assert run(["info", str(path)]) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_summary(writer, capsys):
    lines = summary(capsys, writer.path)
    assert lines[0].startswith(f"{writer.path}: run file, version 2, by rbmcli ")
    for expected in (
        "status in progress",
        "epochs 2 of 5",
        "filters 3 snapshots, epoch 0 to 2; in run.h5.filters.0 until the run ends",
        "shape 10, 2, 4",
        "validation source x",
        "model/weights 8 x 3 float32",
        "learning-rate 0.5@0,0.9@5",
        "normalize-hidden no",
        "only 7, 1",
        "error 0.333333",
        "gap -",
    ):
        assert expected in lines
    assert "trainer/step 200" not in lines


def test_status(writer, capsys):
    writer.stop()
    lines = summary(capsys, writer.path)
    assert "status stopped (--resume goes on with it)" in lines
    assert "filters 3 snapshots, epoch 0 to 2" in lines
    RunWriter.resume(writer.path).finish()
    assert "status finished" in summary(capsys, writer.path)


def test_json(writer, capsys):
    assert run(["info", "--json", str(writer.path)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["status"] == "in progress"
    assert facts["epochs"] == 2
    assert facts["data"] == DATA
    assert facts["config"] == CONFIG
    assert facts["arrays"] == {"model/weights": {"shape": [8, 3], "dtype": "float32"}}
    assert facts["filters"]["epochs"] == [0, 1, 2]
    assert facts["metrics"] == {"epoch": 2, "error": 1 / 3, "gap": None}


def test_config(writer, capsys):
    assert run(["info", "--config", str(writer.path)]) == 0
    assert tomllib.loads(capsys.readouterr().out) == CONFIG


@pytest.mark.parametrize("machine", ["--hidden 4", "--conv 4x9x5", "--conv 4x9x5 --pool 1"])
def test_config_goes_into_train(tmp_path, capsys, machine):
    first, again, toml = tmp_path / "first.h5", tmp_path / "again.h5", tmp_path / "run.toml"
    options = [
        *machine.split(),
        "--epochs",
        "1",
        "--limit",
        "200",
        "--seed",
        "3",
        "--lr",
        "0.2:0.1",
    ]
    assert run(["train", "digits", "-o", str(first), "--quiet", *options]) == 0
    capsys.readouterr()
    assert run(["info", "--config", str(first)]) == 0
    toml.write_text(capsys.readouterr().out)
    assert run(["train", "digits", "-o", str(again), "--quiet", "--config", str(toml)]) == 0
    with h5py.File(first) as one, h5py.File(again) as other:
        assert one.attrs["config"] == other.attrs["config"]
        assert np.array_equal(one["model/weights"], other["model/weights"])


def test_before_the_first_epoch(tmp_path, capsys):
    path = tmp_path / "run.h5"
    with RunWriter.create(path, config={}, data={}, image_shape=(4,)) as new:
        new.begin("", snapshot_shape=(1, 4)).checkpoint({})
    assert "epochs 0" in summary(capsys, path)
    assert "filters 0 snapshots" in summary(capsys, path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), (b"text", "not an HDF5 file"), (b"\x89HDF\r\n\x1a\n", "damaged")],
)
def test_no_run_file(tmp_path, capsys, content, message):
    path = tmp_path / "run.h5"
    if content is not None:
        path.write_bytes(content)
    assert run(["info", str(path)]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert str(path) in captured.err
    assert captured.err.count("\n") == 1
    assert not captured.out


def test_both_formats(writer):
    assert run(["info", "--json", "--config", str(writer.path)]) == 2

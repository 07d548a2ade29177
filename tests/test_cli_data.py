"""`rbm data`: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rbmcli.cli.main import run
from rbmcli.io.sources import named


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("RBM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RBM_DATA_URL", "http://127.0.0.1:9")
    return tmp_path


def put(folder: Path) -> None:
    folder.mkdir()
    for file in named.FILES:
        (folder / file).write_bytes(b"")


def test_list_as_json(cache, capsys):
    put(cache / "mnist")
    assert run(["data", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["digits", "mnist", "fashion-mnist", "kmnist"]
    assert rows["mnist"] == {
        "name": "mnist",
        "images": {"train": 60000, "test": 10000},
        "image_shape": [28, 28],
        "present": True,
        "folder": str(cache / "mnist"),
        "from": "127.0.0.1:9",
    }
    assert not rows["kmnist"]["present"]
    assert rows["digits"]["present"]
    assert rows["digits"]["folder"] is None
    assert rows["digits"]["from"] == "generated"


def test_list_as_a_table(capsys, monkeypatch):
    monkeypatch.delenv("RBM_DATA_URL")
    assert run(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(named.SETS)
    kmnist = " ".join(lines[-1].split())
    assert kmnist == "kmnist train 60000, test 10000 28x28 no codh.rois.ac.jp"


def test_where(cache, capsys):
    assert run(["data", "where", "kmnist"]) == 0
    assert capsys.readouterr().out == f"{cache / 'kmnist'}\n"


def test_fetch_of_what_is_present_prints_the_folders(cache, capsys):
    put(cache / "mnist")
    put(cache / "kmnist")
    assert run(["data", "fetch", "mnist", "kmnist"]) == 0
    assert capsys.readouterr() == (f"{cache / 'mnist'}\n{cache / 'kmnist'}\n", "")


def test_fetch_without_network_is_one_line(cache, capsys):
    assert run(["data", "fetch", "mnist"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"put the file into {cache / 'mnist'} by hand" in err


@pytest.mark.parametrize("action", ["fetch", "where"])
def test_names_that_are_unknown_or_have_no_files(action, capsys):
    assert run(["data", action, "nmist"]) == 2
    assert "mnist, fashion-mnist, kmnist" in capsys.readouterr().err
    assert run(["data", action, "digits"]) == 1
    assert "generated" in capsys.readouterr().err


def test_fetch_needs_a_name():
    assert run(["data", "fetch"]) == 2


@pytest.mark.parametrize("action", [[], ["list"], ["fetch"], ["where"]])
def test_help_has_an_example(action, capsys):
    assert run(["data", *action, "--help"]) == 0
    assert "Example:" in capsys.readouterr().out

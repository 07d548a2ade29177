"""Run files that are damaged, or made to do harm: refused in a line, whoever reads them.

A file that another program changed has lost its seal. So that what lies behind it is tried too,
each is given as one of version 1, which has none, and sealed anew, as an attacker would.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from changing import sealed_anew

from rbmcli.cli.main import run as rbm
from rbmcli.errors import RbmError
from rbmcli.io import probe as probing
from rbmcli.io.probe import Unreadable, probe
from rbmcli.io.runfile import RunReader
from rbmcli.io.seal import read_seal

TRAIN = "train images.npy --batch-size 20 --limit 40 --threads 1 -q -o run.h5".split()  # noqa: SIM905
SECRET = b"the secret of another file, which nobody is to see"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run of PCD, one of parallel tempering, and a stack."""
    folder = tmp_path_factory.mktemp("made")
    before = Path.cwd()
    os.chdir(folder)
    rng = np.random.default_rng(0)
    np.save("images.npy", (rng.random((100, 8, 8)) < 0.3).astype(np.uint8))
    Path("secret").write_bytes(SECRET * 40)
    chains = ["--chains", "4", "--hidden", "6", "--epochs", "2"]
    assert rbm([*TRAIN[:-1], "pcd.h5", "--algorithm", "pcd", *chains]) == 0
    tempered = ["--algorithm", "pt", "--temperatures", "3"]
    assert rbm([*TRAIN[:-1], "pt.h5", *tempered, *chains]) == 0
    stack = ["stack", *TRAIN[1:-1], "stack.h5", "--epochs", "1"]
    assert rbm([*stack, "--add-layer", "6", "--add-layer", "5"]) == 0
    os.chdir(before)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    for path in made.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_version_1(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 1


def put(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def option(attribute: str, **values: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        config = json.loads(file.attrs[attribute])
        for name, value in values.items():
            config[name.replace("_", "-")] = value
        file.attrs[attribute] = json.dumps(config)

    return change


def first(name: str, value: float) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        dataset = file[name]
        dataset[(0,) * dataset.ndim] = value

    return change


def external(file: h5py.File) -> None:
    shape = file["model/weights"].shape
    del file["model/weights"]
    where = [("secret", 0, 4 * shape[0] * shape[1])]
    file["model"].create_dataset("weights", shape, "f4", external=where)


def virtual(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        shape = file["filters"].shape
        layout = h5py.VirtualLayout(shape, "f4")
        layout[:] = h5py.VirtualSource(name, "filters", shape, "f4")
        del file["filters"]
        file.create_virtual_dataset("filters", layout)

    return change


def packed(file: h5py.File) -> None:
    del file["model/weights"]
    file["model"].create_dataset("weights", (2**27, 6), "f4", chunks=(2**16, 6), compression="gzip")


def many_names(file: h5py.File) -> None:
    for number in range(50):
        file[f"trainer/again{number}"] = file["model/weights"]


def circle(file: h5py.File) -> None:
    file["model/again"] = file["model"]


#: What is done to a file, and what is said of it by some command.
DAMAGE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "external storage": (external, "is in the file secret"),
    "external link": (put("model/weights", h5py.ExternalLink("pt.h5", "/model/weights")), "link"),
    "soft link": (put("model/weights", h5py.SoftLink("/model/hidden_bias")), "a soft link"),
    "dangling link": (put("metrics", h5py.SoftLink("/nowhere")), "a soft link"),
    "virtual, elsewhere": (virtual("/etc/passwd"), "is in the file /etc/passwd"),
    "virtual, above": (virtual("../pt.h5.filters.0"), "is in the file ../pt"),
    "virtual, by a link": (virtual("link.filters.0"), "no regular file"),
    "virtual, by a format": (virtual("%%b.filters.0"), "damaged"),
    "packed": (packed, "not stored in one piece"),
    "circle": (circle, "two of its names are one data set|leads to itself"),
    "many names": (many_names, "two of its names are one data set"),
    "version list": (attribute("version", [1, 1]), "no whole number"),
    "config null": (attribute("config", "null"), "no JSON object"),
    "config deep": (attribute("config", "[" * 100_000), "no JSON"),
    "config digits": (attribute("config", '{"seed": ' + "9" * 5000 + "}"), "no JSON"),
    "config number": (attribute("config", 3), "no text"),
    "data list": (attribute("data", "[]"), "no JSON object"),
    "data NaN": (attribute("data", '{"source": NaN}'), "NaN is no value"),
    "image shape": (attribute("image_shape", [-8, -8]), "image_shape is"),
    "image shape, huge": (attribute("image_shape", [2**31, 2**31]), "image_shape is"),
    "image shape, other": (attribute("image_shape", [8, 9]), "weights have shape"),
    "finished": (attribute("finished", "yes"), "neither true nor false"),
    "weights, text": (put("model/weights", "x"), "model/weights has shape"),
    "weights, empty": (put("model/weights", h5py.Empty("f4")), "is empty"),
    "weights, transposed": (put("model/weights", np.zeros((6, 64), "f4")), "not for what"),
    "weights, double": (put("model/weights", np.zeros((64, 6))), "type float64"),
    "weights, NaN": (first("model/weights", np.nan), "NaN or infinite"),
    "weights, infinite": (first("model/weights", np.inf), "NaN or infinite"),
    "weights, compound": (put("model/weights", np.zeros(3, [("a", "f4")])), "is of type"),
    "bias, short": (put("model/hidden_bias", np.zeros(5, "f4")), "not for what"),
    "metrics, number": (put("metrics", 1.0), "no table"),
    "metrics, NaN": (lambda file: file["metrics"].__setitem__(
        slice(None), np.full(len(file["metrics"]), np.nan, file["metrics"].dtype)), "no numbers"),
    "filters, number": (put("filters", 1.0), "filters have shape"),
    "filters, rank": (lambda file: put("filters", file["filters"][:, 0])(file), "filters"),
    "filters, fewer": (lambda file: put("filters", file["filters"][1:])(file), "is not for"),
    "step": (put("trainer/step", -1), "no count"),
    "step, gone": (lambda file: file.__delitem__("trainer/step"), "it has no trainer/step"),
    "step, text": (put("trainer/step", "x"), "has shape|no count"),
    "step, beyond": (put("trainer/step", 2**40), "does not follow"),
    "chains, wide": (put("trainer/chains/hidden", np.zeros((4, 7), "f4")), "states have shape"),
    "chains, few": (put("trainer/chains/hidden", np.zeros((1, 6), "f4")), "has 1 rows"),
    "chains, values": (put("trainer/chains/hidden", np.full((4, 6), 7, "f4")), "not from 0 to 1"),
    "offset, one": (put("trainer/offset/hidden", np.zeros(1, "f4")), "offset/hidden has shape"),
    "velocity": (put("trainer/velocity/weights", np.zeros((1, 6), "f4")), "not for what"),
    "kind": (option("config", hidden_kind="nothing"), "no kind|is not a kind|nothing"),
    "kind, number": (option("config", visible_kind=7), "visible-kind"),
    "hidden": (option("config", hidden=10**6), "with 1000000 hidden units"),
    "patches": (option("config", patches="all"), "patches"),
    "rate": (option("config", learning_rate="fast"), "learning-rate"),
    "source": (option("data", source=7), "source"),
}  # fmt: skip

#: Of parallel tempering alone.
TEMPERED: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "beta, none": (put("trainer/chains/beta", np.zeros(0)), "beta has shape"),
    "beta, rising": (put("trainer/chains/beta", np.array([0, 0.5, 1])), "do not descend"),
    "beta, short": (put("trainer/chains/beta", np.array([1.0, 0])), "chains/beta has shape"),
    "rejection": (put("trainer/chains/rejection", np.array([2.0, 0])), "from 0 to 1"),
    "reference": (put("trainer/chains/reference", np.zeros(3, "f4")), "reference has shape"),
}

COMMANDS = [
    "info {}", "info {} --config", "info {} --json", "export {} -o x.npz",
    "render-gif {} -o x.gif -q", "features {} images.npy -o x.h5 -q",
    "evaluate {} images.npy --exact -q", "sample {} -k 1 -n 2 --start chains -o x.png -q",
    "train images.npy -o {} --resume --epochs 3 -q", "stack -o {} --grow --add-layer 3 -q",
]  # fmt: skip


def tried(path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """What all commands say of a file; each ends by itself, in a line where it fails."""
    said = []
    for command in COMMANDS:
        content = path.read_bytes()
        status = rbm([word.format(path) for word in command.split()])
        out, err = capfd.readouterr()
        assert status in (0, 1, 2)
        if status == 1:
            assert [line[:12] for line in err.splitlines()] == ["rbm: error: "], err
            assert path.read_bytes() == content
        assert SECRET.decode()[:10] not in out + err
        said.append(err)
        for made in path.parent.glob("x.*"):
            assert status == 0
            assert SECRET[:10] not in made.read_bytes()
            made.unlink()
        assert not list(path.parent.glob(f"{path.name}.*"))
        if status == 0 and ("--resume" in command or "--grow" in command):
            break
    return "".join(said)


@pytest.mark.parametrize("finish", [as_version_1, sealed_anew])
@pytest.mark.parametrize("name", [*DAMAGE, *TEMPERED])
def test_damage_is_told_in_a_line(folder, capfd, name, finish):
    path = Path("pt.h5" if name in TEMPERED else "pcd.h5")
    change, message = (DAMAGE | TEMPERED)[name]
    Path("link.filters.0").symlink_to("pt.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    if name != "version list" or finish is sealed_anew:
        finish(path)
    said = tried(path, capfd)
    assert any(part in said for part in message.split("|")), said


@pytest.mark.parametrize("name", ["pcd.h5", "stack.h5"])
def test_every_flipped_bit_is_seen_or_does_not_matter(folder, name):
    """A file with a flipped bit is refused when what it belongs to is read."""
    path = Path(name)
    whole = path.read_bytes()

    def read_all() -> None:
        with RunReader(path, own=True) as run:
            for section in run.sections.values():
                for value in section.state:
                    section.state[value]
                for number in range(len(section.filters)):
                    section.snapshot(number)

    read_all()
    rng = np.random.default_rng(3)
    for place in rng.choice(len(whole), 150, replace=False):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(RbmError):
            read_all()


def test_a_seal_is_read_as_written(folder):
    descriptor = os.open("pcd.h5", os.O_RDONLY)
    seal = read_seal(descriptor)
    assert seal is not None
    assert seal.size + len(seal.to_bytes()) == Path("pcd.h5").stat().st_size
    seal.check_structure(descriptor)
    assert [length for _, length in seal.elsewhere] == [3 * 6 * 64 * 4]
    os.close(descriptor)


def test_a_child_that_loops_crashes_or_swells_is_told(monkeypatch):
    monkeypatch.setattr(probing, "_SECONDS", 0.2)

    def loop() -> None:
        while True:
            pass

    with pytest.raises(Unreadable, match="does not come to an end"):
        probe(loop)
    with pytest.raises(Unreadable, match="SIGSEGV"):
        probe(lambda: os.kill(os.getpid(), 11))
    with pytest.raises(Unreadable, match="too much memory"):
        probe(lambda: np.ones(1 << 30))
    with pytest.raises(RbmError, match="told"):
        probe(lambda: (_ for _ in ()).throw(RbmError("told")))
    assert probe(lambda: None)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("re.fullmatch('(a|a)*', 'a' * 60 + 'b')", "reading it does not come to an end"),
        ("os.kill(os.getpid(), 11)", "reading it ends in SIGSEGV"),
        ("os.abort()", "reading it ends in SIGABRT"),
    ],
)
def test_a_guarded_reading_that_does_not_come_back_ends_in_a_line(what, says):
    """The first one loops where no handler of Python's is ever run."""
    program = f"""
import os, re
from rbmcli.io import probe
probe._SECONDS = 0.2
with probe.guarded(lambda why: f"run.h5: broken ({{why}}): mend it"):
    {what}
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == f"rbm: error: run.h5: broken ({says}): mend it\n"
    assert done.returncode == 1


def test_a_guarded_reading_has_limits_that_go_with_it(monkeypatch):
    monkeypatch.setattr(probing, "_SECONDS", 0.2)
    before = signal.getsignal(signal.SIGSEGV), resource.getrlimit(resource.RLIMIT_AS)
    with (
        pytest.raises(Unreadable, match="too much memory"),
        probing.guarded(str),
        probing.guarded(str),
    ):
        np.ones(1 << 30)
    assert before == (signal.getsignal(signal.SIGSEGV), resource.getrlimit(resource.RLIMIT_AS))
    until = time.process_time() + 0.4
    while time.process_time() < until:  # or the timer would end us
        pass
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)

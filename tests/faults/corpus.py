"""Valid files to be broken, what must not be reached from them, and broken files found before.

Everything is made by code, so there is nothing to be kept in step with the formats.
"""

from __future__ import annotations

import gzip
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from faults.children import Children
from faults.generators.arrays import dense_weights, idx, npy, npz, some_images
from faults.generators.case import Case, Place
from faults.generators.runs import as_version_1
from faults.problems import write_data

#: What the files outside hold, again and again: finite as float32, and found wherever it is copied.
MARK = b"CANARY-OUTSIDE-7"
VICTIM = b"nobody may change this\n"

_TINY = ("--batch-size", "20", "--threads", "1", "--limit", "40", "--quiet", "-o", "run.h5")
_TRAININGS = {
    "cd": "train images.npy --hidden 6 --epochs 2 --validation 0.2",
    "pcd": "train images.npy --hidden 6 --epochs 2 --algorithm pcd --chains 4 --lr 0.001"
    " --preprocess standardize,contrast,zca --visible-kind gaussian:learned --hidden-kind nrelu"
    " --sparsity-target 0.1",
    "pt": "train images.npy --hidden 3 --hidden-kind softmax:3 --visible-kind binomial:4 --lr 0.01"
    " --epochs 2 --algorithm pt --temperatures 3 --chains 4",
    "fpcd": "train images.npy --hidden 6 --epochs 2 --algorithm fpcd --chains 4",
    "conv": "train images.npy --conv 5x3x3 --pool 2 --crop 6x6 --epochs 2 --algorithm pcd"
    " --chains 3",
    "labelled": "stack images.npy --labels labels.npy --label-units --epochs 1 --add-layer 6"
    " --add-layer 5,algorithm=pcd,chains=3 --up-down 1",
    "maps": "stack images.npy --epochs 1 --add-layer conv=4x3x3 --add-layer 5",
    "stopped": "train images.npy --hidden 6 --epochs 2 --metrics log.jsonl",
}


def make(forking: Children, base: Path) -> tuple[Path, Path]:
    """Make the folder of valid files, and the one that is outside of all others."""
    folder, outside, work = base / "corpus", base / "outside", base / "making"
    for each in (folder, outside, work):
        each.mkdir()
    write_data(work, 40)
    for name, words in _TRAININGS.items():
        forking.must(*words.split(), *_TINY, cwd=work)
        (work / "run.h5").rename(folder / f"{name}.h5")
    (work / "log.jsonl").rename(folder / "stopped.jsonl")
    for name in ("images.npy", "labels.npy"):
        shutil.copy(work / name, folder)
    _make_killed(forking, work)
    for path in work.glob("run.h5*"):
        path.rename(folder / path.name.replace("run", "killed", 1))
    _make_outside(outside)
    return folder, outside


def _make_killed(forking: Children, work: Path) -> None:
    words = ("train", "images.npy", "--hidden", "6", "--epochs", "9", *_TINY)
    often = ("--checkpoint-every", "1steps", "--snapshot-every", "1steps")
    if forking.library is not None:
        forking.kill_at_replacement(11, *words, *often, cwd=work)
    else:
        pid = forking.start(["rbm", *words, *often], cwd=work)
        while not (work / "run.h5.filters.1").exists():
            time.sleep(0.001)
        os.kill(pid, 9)
        forking.wait()
    assert (work / "run.h5").exists()
    assert (work / "run.h5.filters.0").exists()


def _make_outside(outside: Path) -> None:
    (outside / "victim").write_bytes(VICTIM)
    (outside / "secret.bin").write_bytes(MARK * 1000)
    with h5py.File(outside / "secret.h5", "w") as file:
        for name, shape in {
            "model/weights": (64, 6),
            "model/visible_bias": (64,),
            "model/hidden_bias": (6,),
            "filters": (9, 6, 8, 8),
        }.items():
            content = MARK * (int(np.prod(shape)) // 4 + 1)
            file[name] = np.frombuffer(content, "f4")[: np.prod(shape)].reshape(shape)


# -- Found before: each was taken, or brought down a command, at some time. ------------------------


def _run(place: Place, run: str = "cd") -> Path:
    place.bring("images.npy")
    path = place.bring(f"{run}.h5", "run.h5")
    as_version_1(path)
    return path


_INFO = ["rbm", "info", "run.h5"]
_EXPORT = ["rbm", "export", "run.h5", "-o", "out.npz", "--quiet"]
_SAMPLE = ["rbm", "sample", "run.h5", "-o", "out.npz", "-n", "3", "-k", "2", "--quiet"]
_RESUME = ["rbm", "train", "--resume", "-o", "run.h5", "--quiet", "--threads", "1"]
_RENDER = ["rbm", "render-gif", "run.h5", "-o", "out.gif", "--quiet"]
_ALL = (_INFO, _EXPORT, [*_SAMPLE, "--force"], _RENDER, _RESUME)


def weights_stored_outside(place: Place) -> Case:
    """Parameters whose bytes are those of another file."""
    with h5py.File(_run(place), "r+") as file:
        shape = file["model/weights"].shape
        del file["model/weights"]
        storage = [(str(place.outside / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("model/weights", shape, "f4", external=storage)
    return Case("weights stored outside", _ALL)


def weights_linked_outside(place: Place) -> Case:
    """Parameters that are those of another file."""
    with h5py.File(_run(place), "r+") as file:
        del file["model/weights"]
        link = h5py.ExternalLink(str(place.outside / "secret.h5"), "/model/weights")
        file["model/weights"] = link
    return Case("weights linked outside", _ALL)


def filters_from_outside(place: Place) -> Case:
    """Filters that are those of another file."""
    with h5py.File(_run(place), "r+") as file:
        shape = file["filters"].shape
        del file["filters"]
        layout = h5py.VirtualLayout(shape, "f4")
        secret = os.path.relpath(place.outside / "secret.h5", place.folder)
        source = h5py.VirtualSource(secret, "filters", (9, *shape[1:]), "f4")
        layout[:] = source[: shape[0]]
        file.create_virtual_dataset("filters", layout)
    return Case("filters from outside", (_RENDER, _INFO, _EXPORT))


def weights_not_numbers(place: Place) -> Case:
    """A parameter that is NaN."""
    with h5py.File(_run(place), "r+") as file:
        file["model/weights"][3, 2] = np.nan
    return Case("weights not numbers", (_EXPORT, [*_SAMPLE, "--force"], _RESUME))


def metrics_elsewhere(place: Place) -> Case:
    """A metrics log that only the run file asks for."""
    with h5py.File(_run(place), "r+") as file:
        text = file.attrs["config"].rstrip("}")
        log = place.outside / "victim"
        file.attrs["config"] = f'{text}, "metrics": "{log}"}}'
    return Case("metrics elsewhere", ([*_RESUME, "--epochs", "4"],))


def lock_is_a_link(place: Place) -> Case:
    """A lock that is another file."""
    _run(place)
    (place.folder / "run.h5.lock").symlink_to(place.outside / "victim")
    return Case("lock is a link", ([*_RESUME, "--epochs", "4"], _INFO))


def run_is_a_pipe(place: Place) -> Case:
    """A run file that is a pipe, whose other end nobody opens."""
    os.mkfifo(place.folder / "run.h5")
    return Case("run is a pipe", (_INFO, _EXPORT, _RESUME))


def lock_is_a_pipe(place: Place) -> Case:
    """A lock that is a pipe."""
    _run(place)
    os.mkfifo(place.folder / "run.h5.lock")
    return Case("lock is a pipe", (_INFO, [*_RESUME, "--epochs", "4"]))


def source_is_a_pipe(place: Place) -> Case:
    """Images from a pipe, whose other end nobody opens."""
    os.mkfifo(place.folder / "images")
    return Case("source is a pipe", (["source", "images"], ["mask", "images"]))


def config_is_deep(place: Place) -> Case:
    """Options nested deeper than a parser bears."""
    place.bring("images.npy")
    (place.folder / "options.toml").write_text("hidden = " + "[" * 5000)
    words = ["train", "images.npy", "--config", "options.toml", "-o", "out.h5"]
    return Case("config is deep", (["rbm", *words],))


def config_has_a_long_number(place: Place) -> Case:
    """A number of more digits than Python converts."""
    place.bring("images.npy")
    (place.folder / "options.toml").write_text("hidden = " + "9" * 5000)
    words = ["train", "images.npy", "--config", "options.toml", "-o", "out.h5"]
    return Case("config has a long number", (["rbm", *words],))


def run_config_is_deep(place: Place) -> Case:
    """JSON nested deeper than a parser bears."""
    with h5py.File(_run(place), "r+") as file:
        file.attrs["config"] = "[" * 20_000
    return Case("run config is deep", _ALL)


def version_is_a_text(place: Place) -> Case:
    """A format version that is no number."""
    with h5py.File(_run(place), "r+") as file:
        file.attrs["version"] = "\x1b[31mred"
    return Case("version is a text", _ALL)


def filters_are_a_group(place: Place) -> Case:
    """A group in the place of the filters."""
    with h5py.File(_run(place), "r+") as file:
        del file["filters"]
        file.create_group("filters")
    return Case("filters are a group", _ALL)


def step_is_a_table(place: Place) -> Case:
    """An array in the place of a number."""
    with h5py.File(_run(place), "r+") as file:
        del file["trainer/step"]
        file["trainer/step"] = np.zeros((3, 3))
    return Case("step is a table", (_INFO, [*_RESUME, "--epochs", "4"]))


def weights_are_a_bomb(place: Place) -> Case:
    """Two gigabytes of weights in a few kilobytes."""
    with h5py.File(_run(place), "r+") as file:
        del file["model/weights"]
        options = {"chunks": (2**12, 64), "compression": "gzip", "fillvalue": 0.5}
        file.create_dataset("model/weights", (2**23, 64), "f4", **options)
    return Case("weights are a bomb", (_INFO, _EXPORT, [*_SAMPLE, "--force"]))


def picture_is_postscript(place: Place) -> Case:
    """A program called a picture."""
    folder = place.folder / "pictures"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png", "EPS")
    return Case("picture is postscript", (["source", "pictures"],))


def archive_lies(place: Place) -> Case:
    """A member of a .npz that is much larger than it says."""
    path = place.folder / "images.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy(some_images()))
    data = bytearray(path.read_bytes())
    start = data.find(b"PK\x01\x02")
    data[start + 24 : start + 28] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(data)
    return Case("archive lies", (["source", "images.npz"],))


def gzip_twice(place: Place) -> Case:
    """Something else behind the data of a gzip file."""
    content = gzip.compress(idx(some_images()), mtime=0) + gzip.compress(b"more", mtime=0)
    (place.folder / "images.gz").write_bytes(content)
    return Case("gzip twice", (["source", "images.gz"],))


def images_joined_from_another_rank(place: Place) -> Case:
    """Images joined from a data set of another rank than they say: HDF5 would divide by zero."""
    place.bring("cd.h5")
    layout = h5py.VirtualLayout((3, 8), "f4")
    layout[:] = h5py.VirtualSource("cd.h5", "filters", (4, 8), "f4")[:3]
    with h5py.File(place.folder / "images.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    return Case("images joined from another rank", (["source", "images.h5"],))


def part_of_another_rank(place: Place) -> Case:
    """Filters beside a run file that have more dimensions than it says: HDF5 would not end."""
    return _other_parts(place, (64, 6, 8, 8, 1))


def part_is_a_number(place: Place) -> Case:
    """The same with none."""
    return _other_parts(place, ())


def _other_parts(place: Place, shape: tuple[int, ...]) -> Case:
    _run(place, "killed")
    for beside in place.corpus.glob("killed.h5.filters.*"):
        with h5py.File(place.folder / beside.name.replace("killed", "run"), "w") as file:
            file["filters"] = np.zeros(shape, "f4")
    return Case(f"parts of shape {shape}", (_INFO, _RENDER, _EXPORT, _RESUME))


def heap_without_end(place: Place) -> Case:
    """A heap of texts in which an object of no size follows itself: HDF5 would read for ever."""
    path = _run(place)
    data = bytearray(path.read_bytes())
    heap = data.find(b"GCOL")
    at = heap + 16
    while int.from_bytes(data[at : at + 2], "little"):  # the last object has the index 0
        at += 16 + -(-int.from_bytes(data[at + 8 : at + 16], "little") // 8) * 8
    data[at + 8 : at + 16] = bytes(8)
    path.write_bytes(data)
    return Case("heap without end", (_INFO, _EXPORT, _RESUME))


def weights_for_millions_of_layers(place: Place) -> Case:
    """A number of a layer that a list of layers cannot have."""
    arrays = dense_weights()
    content = npz(arrays | {f"999999999/{name}": x for name, x in arrays.items()})
    (place.folder / "weights.npz").write_bytes(content)
    return Case("layers", (["rbm", "import", "weights.npz", "-o", "out.h5", "--quiet"],))


#: Each, and whether at least one of its commands must be refused.
FOUND: tuple[tuple[Callable[[Place], Case], bool], ...] = (
    (weights_stored_outside, True),
    (weights_linked_outside, True),
    (filters_from_outside, True),
    (weights_not_numbers, True),
    (metrics_elsewhere, False),
    (lock_is_a_link, True),
    (run_is_a_pipe, True),
    (lock_is_a_pipe, True),
    (source_is_a_pipe, True),
    (config_is_deep, True),
    (config_has_a_long_number, True),
    (run_config_is_deep, True),
    (version_is_a_text, True),
    (filters_are_a_group, True),
    (step_is_a_table, True),
    (weights_are_a_bomb, True),
    (picture_is_postscript, True),
    (archive_lies, False),
    (gzip_twice, True),
    (images_joined_from_another_rank, False),
    (part_of_another_rank, True),
    (part_is_a_number, True),
    (heap_without_end, True),
    (weights_for_millions_of_layers, True),
)

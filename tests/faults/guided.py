"""Fuzzing of one reader, guided by which lines of the package an input reaches.

`python -m tests.faults.guided READER --seconds N` needs atheris (`pip install atheris`), which is
there for Linux and some versions of Python only. Inputs begin as valid files and are changed byte
by byte; what the reader raises but for an RbmError, and what takes too long, ends the search, is
shown, and its input is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("needs atheris: pip install atheris")

# Before anything else imports the package: what is imported here is watched.
with atheris.instrument_imports(include=["rbmcli"]):
    import rbmcli.cli.importing
    import rbmcli.cli.models
    import rbmcli.cli.train
    import rbmcli.io.masks
    import rbmcli.io.runfile
    import rbmcli.io.sources
    import rbmcli.io.weights

from faults.generators import arrays, hdf5, pictures
from faults.generators.runs import as_version_1
from faults.problems import SMALL, write_data
from rbmcli.cli.main import run as rbm
from rbmcli.errors import RbmError

#: Bytes of an input, of memory in megabytes, and seconds for an input, at most.
_MOST_BYTES, _MOST_MEMORY, _MOST_SECONDS = 1 << 17, 1500, 10


def _source(path: Path) -> None:
    rbmcli.io.sources.open_source(str(path), quiet=True)


def _picture(path: Path) -> None:
    folder = path.parent / "pictures"
    folder.mkdir(exist_ok=True)
    path.replace(folder / "a.png")
    rbmcli.io.sources.open_source(str(folder), quiet=True)


def _mask(path: Path) -> None:
    rbmcli.io.masks.read_mask(str(path), (8, 8))


def _weights(path: Path) -> None:
    found = rbmcli.io.weights.read_weights(path)
    shape = rbmcli.cli.importing.shape_of_images(path, found, None)
    rbmcli.cli.importing.stack_of(path, found, None, None, shape)


def _run(path: Path) -> None:
    with rbmcli.io.runfile.RunReader(path) as run:
        for section in run.sections.values():
            dict(section.state)
            section.filters[-1:]
            section.filters_epoch, section.metrics, section.wall_clock  # noqa: B018 - reads them
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        rbm(["info", str(path), "--json"])


def _toml(path: Path) -> None:
    words = ["train", "missing.npy", "--config", str(path), "-o", str(path.parent / "out.h5")]
    with contextlib.redirect_stderr(io.StringIO()):
        rbm([*words, "--hidden", "2", "--quiet"])


def _seeds_of_run(folder: Path) -> list[bytes]:
    write_data(folder)
    with contextlib.chdir(folder):
        assert rbm(["train", "images.npy", "--hidden", "3", "--epochs", "1", *SMALL]) == 0
    # Of version 1, which has no checksums: else nearly every change ends at those.
    as_version_1(folder / "run.h5")
    return [(folder / "run.h5").read_bytes()]


def _images(_: Path) -> list[bytes]:
    images = arrays.some_images()
    return [arrays.npy(images), arrays.npy(images / 255), arrays.npz({"images": images})]


READERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], list[bytes]]]] = {
    "idx": (_source, lambda _: [arrays.idx(arrays.some_images(3))]),
    "numpy": (_source, _images),
    "hdf5": (_source, lambda _: [hdf5.hdf5(form) for form in hdf5.FORMS]),
    "picture": (_picture, lambda _: [pictures.picture(form) for form in range(pictures.COUNT)]),
    "mask": (_mask, lambda _: [arrays.npy(arrays.some_images(1)[0]), pictures.picture(0)]),
    "weights": (_weights, lambda _: [arrays.npz(arrays.dense_weights())]),
    "run": (_run, _seeds_of_run),
    "toml": (_toml, lambda _: [b'hidden = 5\nlr = "0.1:0.01"\nonly = [1, 2]\nflip = true\n']),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Try a reader for so many seconds; the process ends with 0 where nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.guided", description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for inputs, to go on with")
    options = parser.parse_args(arguments)
    read, seeds = READERS[options.reader]
    work = Path(tempfile.mkdtemp(prefix="rbm-guided-"))
    kept = options.keep or work / "inputs"
    kept.mkdir(parents=True, exist_ok=True)
    (work / "seeds").mkdir()
    for number, seed in enumerate(seeds(work / "seeds")):
        (kept / f"seed-{number}").write_bytes(seed)
    # Named sets are not to be fetched.
    os.environ |= {"RBM_DATA_DIR": str(work / "no-data"), "RBM_DATA_URL": "http://127.0.0.1:9"}
    path = work / "input"

    def try_one(content: bytes) -> None:
        path.write_bytes(content)
        with contextlib.suppress(RbmError, MemoryError):
            read(path)

    limits = [f"-max_len={_MOST_BYTES}", f"-rss_limit_mb={_MOST_MEMORY}"]
    limits += [f"-timeout={_MOST_SECONDS}", f"-max_total_time={options.seconds}"]
    output = [f"-artifact_prefix={kept}/", f"-seed={options.seed}", "-print_final_stats=1"]
    print(f"inputs are kept in {kept}", flush=True)
    atheris.Setup([sys.argv[0], *limits, *output, str(kept)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""What a child does: a command line, or a single reader of the library on a file.

Each act takes words, prints as `rbm` does, and returns an exit status.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from faults.problems import digest, logged
from rbmcli.cli.main import main
from rbmcli.errors import RbmError
from rbmcli.io.masks import read_mask
from rbmcli.io.sizes import Patches, Size
from rbmcli.io.sources import open_source
from rbmcli.terminal import say


class Nonsense(Exception):
    """A reader took a file and made something of it that it must not give."""


def command(words: Sequence[str]) -> int:
    """The command line `rbm`."""
    try:
        main([*words])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _reader(read: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], int]:
    def act(words: Sequence[str]) -> int:
        try:
            read(words)
        except (RbmError, MemoryError, OSError) as error:
            if isinstance(error, OSError) and error.errno is None:
                raise
            # The command line shows all of these as a line.
            say(f"rbm: error: {error}")
            return 1
        return 0

    return act


def _source(words: Sequence[str]) -> None:
    """Words: the source; then "whiten", "crop" or "patches" for what is done to images at once."""
    name, *more = words
    found = open_source(
        name,
        whiten="whiten" in more,
        crop=Size(4, 4) if "crop" in more else None,
        patches=Patches(5, Size(3, 3)) if "patches" in more else None,
        quiet=True,
    )
    images = found.images
    for array in images if isinstance(images, list) else [images]:
        if not isinstance(array, np.ndarray) or array.dtype not in (np.uint8, np.float32):
            raise Nonsense(f"images as {type(array).__name__} of {getattr(array, 'dtype', None)}")
        if not np.isfinite(array).all():
            raise Nonsense("images that are not finite")
    if len(images) < 1:
        raise Nonsense("no images")
    found.provenance()


def _mask(words: Sequence[str]) -> None:
    found = read_mask(str(Path(words[0])), (8, 8))
    if found.dtype != np.bool_ or found.shape != (64,):
        raise Nonsense(f"a mask of {found.dtype} {found.shape}")


def noting(words: Sequence[str]) -> int:
    """The command line `rbm`; each file that run.h5 becomes is noted in a file, the first word.

    A line of JSON for each: its digest, its last section, and how many lines the metrics log has.
    """
    notes, log, *rest = words
    replace = os.replace

    def watched(source: Any, target: Any, **options: Any) -> None:
        replace(source, target, **options)
        if Path(target).name == "run.h5":
            note(Path(target), Path(notes), Path(log))

    os.replace = watched  # type: ignore[assignment]
    return command(rest)


def note(run: Path, notes: Path, log: Path) -> None:
    """Note what a run file holds now."""
    with h5py.File(run) as file:
        layers = [f"layers/{number}" for number in range(len(file.get("layers", ())))]
        section = "up-down" if "up-down" in file else (["", *layers])[-1]
    told = {"digest": digest(run), "section": section, "lines": len(logged(log))}
    with notes.open("a") as file:
        print(json.dumps(told), file=file)


def inside(words: Sequence[str]) -> int:
    """Another act, in the folder that is the first word."""
    folder, act, *rest = words
    os.chdir(folder)
    return ACTS[act](rest)


ACTS: dict[str, Callable[[Sequence[str]], int]] = {
    "rbm": command,
    "noting": noting,
    "inside": inside,
    "source": _reader(_source),
    "mask": _reader(_mask),
}

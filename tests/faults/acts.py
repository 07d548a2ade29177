"""What a child does: a command line, or a single reader of the library on a file.

Each act takes words, prints as `rbm` does, and returns an exit status.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rbmcli.cli.main import main
from rbmcli.errors import RbmError
from rbmcli.io.masks import read_mask
from rbmcli.io.sizes import Patches, Size
from rbmcli.io.sources import open_source


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
        except RbmError as error:  # as the command line shows it
            print(f"rbm: error: {' '.join(str(error).split())}", file=sys.stderr)
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


ACTS: dict[str, Callable[[Sequence[str]], int]] = {
    "rbm": command,
    "source": _reader(_source),
    "mask": _reader(_mask),
}

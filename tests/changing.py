"""Run files changed through h5py, and sealed anew, so that what lies behind their seal is tried."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from rbmcli.io.seal import Seal


def sealed_anew(path: str | Path) -> None:
    """Give a file a seal that fits its bytes, all of them as structure."""
    content = Path(path).read_bytes()
    last = re.search(rb"\nrbm seal at (\d{20}) crc [0-9a-f]{8}\n\Z", content)
    if last is not None:  # what HDF5 left of an old one in the middle belongs to the file
        content = content[: int(last[1])]
    seal = Seal(len(content), zlib.crc32(content), [], [])
    Path(path).write_bytes(content + seal.to_bytes())


@contextmanager
def changing(path: str | Path) -> Iterator[h5py.File]:
    """Open a run file to be changed; afterwards its seal fits."""
    with h5py.File(path, "r+") as file:
        yield file
    sealed_anew(path)

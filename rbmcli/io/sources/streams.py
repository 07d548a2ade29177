"""Reading into memory what a header promises, as far as the file can hold it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from rbmcli.errors import RbmError

#: Deflate never packs tighter than this, so a size beyond it is a lie told before any reading.
MOST_PER_PACKED_BYTE = 1032
#: Packed data that unpack to more than `_LARGE` bytes, so many for each of theirs, are nearly all
#: one value: nothing to learn from, and a small file would take all memory.
_MOST_USEFUL = 250
_LARGE = 1 << 28
_CHUNK = 1 << 20


def check_unpacked(path: Path, packed: int, unpacked: int) -> None:
    """RbmError where a small file would take far more memory than its content is worth."""
    if unpacked > _LARGE and unpacked > _MOST_USEFUL * packed:
        raise RbmError(
            f"{path}: {packed} bytes that unpack to {unpacked}, so nearly all of one value; store"
            " fewer images, or store them unpacked"
        )


def fill(stream: BinaryIO, target: memoryview) -> int:
    """Read into `target` until it is full or the stream ends; return the bytes read."""
    filled = 0
    while filled < len(target):
        # Piecewise, for gzip and zip make a bytes object of whatever size is asked for.
        count = stream.readinto(target[filled : filled + _CHUNK])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled


def drain(stream: BinaryIO, most: int) -> int:
    """Read on, keeping nothing, until the end or beyond `most`; return the number of bytes."""
    count = 0
    while count <= most and (chunk := stream.read(_CHUNK)):
        count += len(chunk)
    return count

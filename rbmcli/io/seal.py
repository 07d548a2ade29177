"""The seal of a run file: checksums at its end, which tell whether its bytes are as written.

A seal is a line of JSON behind the bytes that HDF5 knows of, and a line of fixed length that says
where it begins. `structure` is the checksum of all bytes that belong to no large array: what HDF5
keeps of names and shapes, and the small data sets. `arrays` has a start, a length and a checksum
for each large one; `elsewhere` the place of the filters, whose checksums, one for each snapshot,
are a data set of the file. Checksums are CRC-32, that of zip and PNG.

The structure is compared before HDF5 sees the file: so a damaged file is refused by this reader,
and never tried on that one.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

#: The last line: where the seal begins, and its checksum.
_LAST = re.compile(rb"\nrbm seal at (\d{20}) crc ([0-9a-f]{8})\n")
_LAST_BYTES = len("\nrbm seal at  crc \n") + 20 + 8
#: Bytes that are read at a time, and the most that a seal takes.
_BLOCK = 1 << 20
_LONGEST = 16 << 20

#: Where bytes lie in a file: start and length.
Extent = tuple[int, int]


class Broken(ValueError):
    """The bytes of a file are not those that its seal is about."""


class Array(NamedTuple):
    """A large array: its place in the file, and the checksum of its bytes."""

    start: int
    length: int
    crc: int


class Seal(NamedTuple):
    """What the end of a file says of the bytes before it.

    size: bytes of the file before the seal. elsewhere: extents whose checksums are in the file.
    """

    size: int
    structure: int
    arrays: Sequence[Array]
    elsewhere: Sequence[Extent]

    def to_bytes(self) -> bytes:
        """As it stands at the end of a file."""
        text = json.dumps(
            {
                "arrays": [[x.start, x.length, x.crc] for x in self.arrays],
                "elsewhere": list(self.elsewhere),
                "structure": self.structure,
            }
        ).encode()
        return text + f"\nrbm seal at {self.size:020d} crc {zlib.crc32(text):08x}\n".encode()

    @property
    def loose(self) -> list[Extent]:
        """The extents that belong to the structure."""
        return between([(x.start, x.length) for x in self.arrays], self.elsewhere, self.size)

    def check_structure(self, descriptor: int) -> None:
        """Broken where the structure is not as it was written."""
        found = 0
        for start, length in self.loose:
            found = crc_of(descriptor, start, length, found)
        if found != self.structure:
            raise Broken("its structure has changed since it was written")

    def check_range(self, descriptor: int, start: int, length: int) -> None:
        """Broken where a large array within these bytes is not as it was written."""
        for array in self.arrays:
            meets = start < array.start + array.length and array.start < start + length
            if meets and crc_of(descriptor, array.start, array.length) != array.crc:
                raise Broken("some of its numbers have changed since it was written")


def between(arrays: Iterable[Extent], elsewhere: Iterable[Extent], size: int) -> list[Extent]:
    """What is left of `size` bytes between extents; Broken where those overlap or lie outside."""
    left, end = [], 0
    for start, length in sorted([*arrays, *elsewhere]):
        if start < end or length < 0:
            raise Broken("its seal is about bytes that overlap")
        if start > end:
            left.append((end, start - end))
        end = start + length
    if end > size:
        raise Broken("it is shorter than its seal says")
    return [*left, (end, size - end)] if size > end else left


def crc_of(descriptor: int, start: int, length: int, crc: int = 0) -> int:
    """The checksum of bytes of an open file, going on from that of others before."""
    while length:
        block = os.pread(descriptor, min(length, _BLOCK), start)
        if not block:
            raise Broken("it is cut short")
        crc = zlib.crc32(block, crc)
        start, length = start + len(block), length - len(block)
    return crc


def is_sealed(descriptor: int) -> bool:
    """Whether an open file ends as sealed ones do, whatever its seal says."""
    return _LAST.fullmatch(_end_of(descriptor)) is not None


def read_seal(descriptor: int) -> Seal | None:
    """The seal at the end of an open file; None where there is none. Broken where it is damaged."""
    if (found := _LAST.fullmatch(_end_of(descriptor))) is None:
        return None
    size, crc = int(found[1]), int(found[2], 16)
    length = os.fstat(descriptor).st_size - _LAST_BYTES - size
    if not 0 < length <= _LONGEST:
        raise Broken("its seal is not where it should be")
    text = os.pread(descriptor, length, size)
    if zlib.crc32(text) != crc:
        raise Broken("its seal is damaged")
    try:
        content = json.loads(text)
        seal = Seal(
            size,
            _count(content["structure"]),
            [Array(*map(_count, each)) for each in content["arrays"]],
            [(_count(start), _count(length)) for start, length in content["elsewhere"]],
        )
        seal.loose  # noqa: B018 - to see that they do not overlap
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise Broken(f"its seal makes no sense ({error})") from None
    return seal


def _end_of(descriptor: int) -> bytes:
    start = max(0, os.fstat(descriptor).st_size - _LAST_BYTES)
    return os.pread(descriptor, _LAST_BYTES, start)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Broken(f"{value!r} is no number of bytes")
    return value

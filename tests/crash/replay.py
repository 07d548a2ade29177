"""A folder of files in memory that recorded changes are applied to, one by one or in part."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("=cQqII")


@dataclass(frozen=True)
class Record:
    """A change to the folder, as record.c describes it."""

    operation: str
    inode: int
    offset: int
    first: bytes
    second: bytes

    def part(self, size: int) -> Record:
        """The first `size` bytes of a write."""
        return Record(self.operation, self.inode, self.offset, self.first[:size], b"")


def read_log(path: Path) -> list[Record]:
    log, at, records = path.read_bytes(), 0, []
    while at < len(log):
        operation, inode, offset, *lengths = _HEADER.unpack_from(log, at)
        middle = at + _HEADER.size + lengths[0]
        first, second = log[at + _HEADER.size : middle], log[middle : middle + lengths[1]]
        records.append(Record(operation.decode(), inode, offset, first, second))
        at = middle + lengths[1]
    return records


class Folder:
    """Files as a process sees them, and as much of them as a power cut would surely leave."""

    def __init__(self) -> None:
        self._serials: dict[int, int] = {}  # of inodes in use: a system gives them out again
        self.names: dict[bytes, int] = {}
        self.files: dict[int, bytearray] = {}  # by serial number
        self.synced_names: dict[bytes, int] = {}
        self.synced_files: dict[int, bytes] = {}

    def apply(self, record: Record) -> None:
        offset, serial = record.offset, self._serials.get(record.inode, -1)
        match record.operation:
            case "C":
                if serial < 0 or self.names.get(record.first) != serial:
                    serial = self._serials[record.inode] = len(self.files)
                    self.names[record.first] = serial
                    self.synced_files[serial] = b""
                self.files[serial] = bytearray()
            case "W":
                file = self.files[serial]
                file.extend(bytes(max(0, offset - len(file))))
                file[offset : offset + len(record.first)] = record.first
            case "T":
                file = self.files[serial]
                file.extend(bytes(max(0, offset - len(file))))
                del file[offset:]
            case "R":
                self.names[record.second] = self.names.pop(record.first)
            case "L":
                self.names[record.second] = self.names[record.first]
            case "U":
                del self.names[record.first]
            case "S":
                self.synced_files[serial] = bytes(self.files[serial])
            case "D":
                self.synced_names = dict(self.names)

    def now(self) -> dict[str, bytes]:
        """Content by name, as after a kill."""
        return {name.decode(): bytes(self.files[serial]) for name, serial in self.names.items()}

    def after_power_cut(self, names: dict[bytes, int]) -> dict[str, bytes]:
        """Content by name if no more of the files than was synced reached the disk.

        names: those that did; the system may bring any of them there early.
        """
        return {name.decode(): self.synced_files[serial] for name, serial in names.items()}

    def only_synced_but(self, name: bytes) -> dict[bytes, int]:
        """Names of which only this one may have reached the disk early."""
        early = {name: self.names[name]} if name in self.names else {}
        return self.synced_names | early


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Make `folder` hold exactly `files`."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)

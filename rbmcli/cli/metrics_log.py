"""The log of metrics: a line of JSON for each epoch, once, in a file or on standard output.

It goes beside a run and never ends one. Several runs may append to one file: a line is written at
once, and nobody else's is touched. What a killed run logged after its last checkpoint is trained
again when it is resumed, bit for bit, so that its lines are known by what they say.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import select
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from rbmcli.errors import RbmError
from rbmcli.files import remedy, take_lock
from rbmcli.io.runwriter import is_beside
from rbmcli.opening import why_not_regular
from rbmcli.terminal import say

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: Bytes that a pipe takes without waiting where it takes any.
_PIECE = 4096

#: How a line begins, by which a half one is known for what it is.
_BEGINNINGS = (b'{"epoch": ', b'{"layer": ', b'{"phase": ')

#: Bytes at the end of a file in which a half line is looked for.
_TAIL = 1 << 16

#: Milliseconds between looks whether somebody reads.
_LOOK = 100


class MetricsLog:
    """Metrics as lines of JSON, appended to a file, or written to standard output ("-").

    It is opened, and refused, before the work; a file that is not there is made when it is entered.
    From then on what cannot be written is told once, and tried again where that may help.

    path: None for no log. output: the run file, which it cannot be. resumed: whether lines that are
    there may be those of the run itself, before it was killed. give_up: whether lines that a slow
    reader has not taken are to be dropped in the end.
    """

    def __init__(
        self,
        path: str | None,
        output: Path,
        *,
        resumed: bool,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """RbmError where it cannot be written."""
        self._path = path
        self._resumed = resumed
        self._give_up = give_up
        self._descriptor: int | None = None
        self._regular = False
        self._pending = bytearray()
        self._told = False
        self._known: Counter[int] = Counter()
        self._copies = 1
        self._ours = False  # whether there are lines of the run in it
        if path not in (None, "-"):
            self._open_existing(output)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return "standard output" if self._path == "-" else f"--metrics {self._path}"

    def __enter__(self) -> Self:
        if self._path == "-":
            with suppress(io.UnsupportedOperation):  # what stands in for it in a test, say
                sys.stdout.flush()
                self._descriptor = os.dup(sys.stdout.fileno())
                self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        elif self._path is not None:
            if self._descriptor is None:
                self._descriptor = self._opened(os.O_CREAT)
                self._regular = True
            if self._regular:
                self._look()
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is None:
            return
        self._send()
        while self._pending and not self._regular and not self._give_up():
            self._poll(_LOOK)
            self._send()
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def begin(self, part: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> None:
        """Go on with a part of a run whose checkpoint has these rows of metrics.

        Rows that were not logged any more, when the run was killed or the disk was full, are logged
        now if those before them were.
        """
        if not self._resumed or not self._regular or self._path == "-":
            return
        lines = [_line({**part, **row}) for row in rows]
        there = [number for number, line in enumerate(lines) if self._known[hash(line)]]
        if there:
            # As many runs that are the same have logged to it: this one is among them.
            self._copies = self._known[hash(lines[there[-1]])]
            self._ours = True
        if self._ours or len(lines) == 1:
            for line in lines[there[-1] + 1 if there else 0 :]:
                self._append(line)

    def write(self, metrics: Mapping[str, Any]) -> None:
        """One line, unless it is there; what was not measured is null."""
        line = _line(metrics)
        if not self._resumed or self._known[hash(line)] < self._copies:
            self._append(line)

    def _append(self, line: bytes) -> None:
        if self._descriptor is not None:
            self._pending += line
            self._send()
        elif self._path == "-" and not self._told:
            sys.stdout.write(line.decode())

    def _send(self) -> None:
        """Write what is to be written, as far as that is possible without waiting."""
        while self._pending and self._descriptor is not None:
            if not self._regular and not self._poll(0):
                return
            piece = self._pending if self._regular else self._pending[:_PIECE]
            try:
                written = os.write(self._descriptor, piece)
            except BlockingIOError:
                return
            except OSError as error:
                self._failed(error)
                return
            del self._pending[:written]

    def _poll(self, milliseconds: int) -> bool:
        """Wait until something can be written; whether it can."""
        assert self._descriptor is not None
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(milliseconds))

    def _failed(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            say(
                f"note: {self.name}: metrics can no longer be written"
                f" ({os.strerror(error.errno or 0)}); training goes on without"
            )
        if self._regular:  # there may be room for them later
            return
        self._pending.clear()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open_existing(self, output: Path) -> None:
        """Open what is there; RbmError where it cannot be appended to, or is no log."""
        assert self._path is not None
        if is_beside(Path(self._path), output):
            raise RbmError(f"{self.name}: has the name of a file of the run itself: name another")
        try:
            self._descriptor = self._opened(0)
        except FileNotFoundError:
            folder = Path(os.path.realpath(self._path)).parent
            if not folder.is_dir():
                raise RbmError(f"{self.name}: there is no folder {folder}: make it first") from None
            if not os.access(folder, os.W_OK | os.X_OK):
                raise self._refused(PermissionError(errno.EACCES, "")) from None
            if os.path.realpath(self._path) == os.path.realpath(output):
                raise RbmError(f"{self.name}: is the run file: name another one") from None
            return
        status = os.fstat(self._descriptor)
        self._regular = stat.S_ISREG(status.st_mode)
        if not self._regular:
            return
        with suppress(FileNotFoundError):
            if os.path.samestat(status, os.stat(output)):
                raise RbmError(f"{self.name}: is the run file: name another one")
        with (
            suppress(OSError),
            open(self._path, "rb") as file,
        ):  # it may be there to be written only
            if file.read(1) not in (b"", b"{"):
                raise RbmError(f"{self.name}: is no log of metrics: name another file")

    def _opened(self, flags: int) -> int:
        """Open it for appending; FileNotFoundError, or RbmError for any other reason."""
        assert self._path is not None
        try:
            return os.open(self._path, _FLAGS | flags, 0o666)
        except FileNotFoundError:
            if flags:
                raise self._refused(FileNotFoundError(errno.ENOENT, "")) from None
            raise
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> RbmError:
        if error.errno == errno.ENXIO:
            with suppress(OSError):
                if stat.S_ISFIFO(os.stat(str(self._path)).st_mode):
                    return RbmError(
                        f"{self.name}: a pipe that nobody reads: start its reader first"
                    )
        if error.errno in (errno.EISDIR, errno.ENXIO):
            with suppress(OSError):
                why = why_not_regular(os.stat(str(self._path)).st_mode)
                return RbmError(f"{self.name}: is {why}")
        reason = os.strerror(error.errno or 0)
        return RbmError(f"{self.name}: cannot be written ({reason}); {remedy(error)}")

    def _look(self) -> None:
        """See what is in the file; cut off the half of a line at its end."""
        assert self._descriptor is not None
        alone = take_lock(self._descriptor, fcntl.LOCK_EX) is not False
        half = b""
        with suppress(OSError):
            for line in self._lines():
                if line.endswith(b"\n"):
                    self._known[hash(line)] += 1
                else:
                    half = line
        if half and alone and _is_half(half):
            end = os.fstat(self._descriptor).st_size
            with suppress(OSError):
                os.ftruncate(self._descriptor, end - len(half))
        elif half:  # whoever wrote it: the next line is one of its own
            self._known[hash(half + b"\n")] += 1
            self._pending += b"\n"
        take_lock(self._descriptor, fcntl.LOCK_SH)

    def _lines(self) -> Iterator[bytes]:
        """The lines of the file; where none of them can be the run's own, the last one."""
        with open(str(self._path), "rb") as file:
            if not self._resumed:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            yield from file


def _line(metrics: Mapping[str, Any]) -> bytes:
    """A line as it stands in the file."""
    values = {name: value if value == value else None for name, value in metrics.items()}
    return json.dumps(values).encode() + b"\n"


def _is_half(line: bytes) -> bool:
    """Whether it is one that `_line` made, cut off."""
    if not (line.startswith(_BEGINNINGS) or any(x.startswith(line) for x in _BEGINNINGS)):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False

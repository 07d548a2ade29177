"""Standard error, where what cannot be written is nobody's loss: no work ends for it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from rbmcli.text import printable

#: A message longer than this is cut in its middle; what to do stands at its end.
_LONGEST = 2000


class Stderr:
    """Standard error as a file whose writing never fails, for those who draw on it themselves.

    A full disk under a log, a reader that has left or a terminal that is gone raise nothing. What
    a full disk did not take is tried again with what follows.
    """

    def __init__(self) -> None:
        self._stream = sys.stderr  # rich puts one of its own in its place while it draws

    @property
    def encoding(self) -> str:
        """That of standard error."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write the text, if that is possible."""
        with suppress(OSError, ValueError, AttributeError):  # the last: there is no stderr
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Bring to the file what was written, if that is possible."""
        with suppress(OSError, ValueError, AttributeError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        try:
            return self._stream.isatty()
        except (ValueError, AttributeError):
            return False

    def fileno(self) -> int:
        """Its descriptor."""
        return self._stream.fileno()


def say(text: str) -> None:
    """Write a line to standard error, fit for a terminal, if that is possible.

    Whatever is said there goes this way: lines of progress, notes, and why a command failed.
    """
    line = "  ".join(printable(part) for part in text.split("  "))  # columns stay apart
    if len(line) > _LONGEST:
        half = _LONGEST // 2
        line = f"{line[:half]} ... {line[-half:]}"
    err = Stderr()
    err.write(line + "\n")
    err.flush()


def last_flush() -> OSError | None:
    """Write what is still to be written to standard output and error, as the process ends.

    What cannot be is dropped, or the interpreter would try it again and end with a status of its
    own. Returns why standard output was not written, if so.
    """
    failed = None
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError) as error:
            failed = error if stream is sys.stdout and isinstance(error, OSError) else None
            with suppress(OSError, ValueError, AttributeError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
    return failed

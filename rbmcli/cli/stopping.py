"""Reasons to stop early: a signal, or the time allowed."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any, Self

#: Exit status of a run that was stopped with a checkpoint written (EX_TEMPFAIL: try again).
STOPPED = 75

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopping:
    """While entered, catches stop signals; after the first one Ctrl-C ends the process at once.

    max_time: seconds from now, or None. `reason` says why to stop, or is None.
    """

    def __init__(self, max_time: float | None) -> None:
        self._deadline = None if max_time is None else time.monotonic() + max_time
        self._max_time = max_time
        self._caught: str | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def reason(self) -> str | None:
        """Why to stop, or None."""
        if self._caught is not None:
            return self._caught
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return f"after --max-time of {self._max_time:g} s"
        return None

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        self._caught = f"by {signal.Signals(number).name}"
        # The other signals stay caught: those who stop a job may well send one twice.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

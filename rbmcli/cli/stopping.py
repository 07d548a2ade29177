"""Reasons to stop training early: a signal, or the time allowed; and what is left meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

from rbmcli.cli import signals
from rbmcli.cli.signals import STOPPED
from rbmcli.text import printable

__all__ = ["STOPPED", "Stopping"]


class Stopping:
    """Says when to stop, and keeps in mind what is written so far.

    max_time: seconds from now, or None. output: the run file. resumed: whether the run in it goes
    on.

    At first a run is prepared: Ctrl-C ends it, and other signals are only noted. From `training` on
    all are, until Ctrl-C comes after another one: that ends the process at once.
    """

    def __init__(self, max_time: float | None, output: Path, *, resumed: bool) -> None:
        self._deadline = None if max_time is None else time.monotonic() + max_time
        self._max_time = max_time
        self._output = output
        self._there = output.exists()
        self._checkpoint: str | None = None
        if resumed:
            signals.resumes(str(output))

    @property
    def reason(self) -> str | None:
        """Why to stop, or None."""
        if (name := signals.noted()) is not None:
            return f"by {name}"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return f"after --max-time of {self._max_time:g} s"
        return None

    def training(self) -> None:
        """From now on a signal is to stop with a checkpoint: data are at hand."""
        signals.training(self._left)

    def checkpointed(self, where: str) -> None:
        """Note that the run file holds a checkpoint of a place in the run, such as "epoch 3"."""
        self._checkpoint = where

    def _left(self) -> str:
        if self._checkpoint is not None:
            left = f"{self._output} holds the checkpoint of {self._checkpoint}; go on with --resume"
        elif self._there:
            left = f"{self._output} is as it was"
        else:
            left = f"nothing was written to {self._output} yet"
        return printable(left)

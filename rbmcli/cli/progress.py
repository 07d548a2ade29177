"""How long work shows itself: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from rich.progress import Progress

#: Seconds between redraws of the bar, and between plain lines.
_DRAW_EVERY = 0.1
_LINE_EVERY = 10.0


class TrainingProgress:
    """Progress of training: epochs, the error last measured, images a second."""

    def __init__(self, epochs: int, steps_per_epoch: int, done: int, quiet: bool) -> None:
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._step = done
        self._quiet = quiet
        self._images = 0
        self._error: float | None = None
        self._bar: Progress | None = None
        if not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            self._bar = _bar(epochs * steps_per_epoch, done)
        self._every = _DRAW_EVERY if self._bar else _LINE_EVERY
        self._started = self._shown = time.monotonic()
        self._shown_step = done

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown_step != self._step:
            self._show()
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int, images: int) -> None:
        """A step was taken."""
        self._step = step
        self._images += images
        if time.monotonic() - self._shown >= self._every:
            self._show()

    def epoch(self, epoch: int, error: float) -> None:
        """An epoch was measured."""
        self._error = error
        if epoch == 0:
            self._show()

    def _show(self) -> None:
        self._shown, self._shown_step = time.monotonic(), self._step
        if self._quiet:
            return
        epoch = f"{round(self._step / self._steps_per_epoch, 1):g}/{self._epochs}"
        error = "-" if self._error is None else f"{self._error:.2f}"
        rate = f"{self._images / max(self._shown - self._started, 1e-9):,.0f} images/s"
        if self._bar is None:
            click.echo(f"epoch {epoch}  error {error}  {rate}", err=True)
        else:
            self._bar.update(
                self._bar.task_ids[0],
                completed=self._step,
                epoch=epoch,
                error=error,
                rate=rate,
                refresh=True,
            )


def _bar(total: int, done: int) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        TextColumn("error {task.fields[error]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
    )
    bar.add_task("", total=total, completed=done, epoch="-", error="-", rate="-")
    return bar

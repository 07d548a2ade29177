"""How long work shows itself: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from rich.progress import Progress

#: Seconds between plain lines, and between redraws of the bar.
_LINE_EVERY = 10.0
_DRAW_EVERY = 0.1


class TrainingProgress:
    """Progress of training: epochs, the error last measured, images a second."""

    def __init__(self, epochs: int, steps_per_epoch: int, done: int, quiet: bool) -> None:
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._step = done
        self._quiet = quiet
        self._images = 0
        self._error = float("nan")
        self._started = self._last = time.monotonic()
        self._bar: Progress | None = None
        if not quiet and sys.stderr.isatty():
            self._bar = _bar(epochs * steps_per_epoch, done)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._draw()
            self._bar.stop()

    def step(self, step: int, images: int) -> None:
        """A step was taken."""
        self._step = step
        self._images += images
        if self._bar is not None and time.monotonic() - self._last >= _DRAW_EVERY:
            self._last = time.monotonic()
            self._draw()

    def epoch(self, epoch: int, error: float) -> None:
        """An epoch was measured."""
        self._error = error
        if self._bar is not None or self._quiet:
            return
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY or epoch in (0, self._epochs):
            self._last = now
            click.echo(self._line(), err=True)

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        rate = f"{self._images / elapsed:,.0f} images/s" if self._images else "starting"
        epoch = self._step / self._steps_per_epoch
        return f"epoch {epoch:.0f}/{self._epochs}  error {self._error:.2f}  {rate}"

    def _draw(self) -> None:
        assert self._bar is not None
        elapsed = time.monotonic() - self._started
        self._bar.update(
            self._bar.task_ids[0],
            completed=self._step,
            epoch=f"{self._step / self._steps_per_epoch:.1f}/{self._epochs}",
            error=f"{self._error:.2f}",
            rate=f"{self._images / elapsed:,.0f}" if elapsed > 0 else "-",
        )


def _bar(total: int, done: int) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        TextColumn("error {task.fields[error]}"),
        TextColumn("{task.fields[rate]} images/s"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
    )
    bar.add_task("", total=total, completed=done, epoch="0", error="-", rate="-")
    return bar

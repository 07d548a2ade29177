"""How long work shows itself: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Self, TextIO, TypeVar, cast

from rbmcli.cli.saying import Stderr, say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

T = TypeVar("T")

#: Seconds between redraws of the bar, and between plain lines.
_DRAW_EVERY = 0.1
_LINE_EVERY = 10.0


class Progress:
    """Shows on stderr how much of `total` is done, with a line of text; where quiet, nothing.

    The bar goes away in the end.
    """

    def __init__(self, total: int, quiet: bool, done: int = 0) -> None:
        self._total = total
        self._quiet = quiet
        self._bar: Bar | None = None
        if not quiet and Stderr().isatty() and os.environ.get("TERM") != "dumb":
            self._bar = _bar(total, done)
        self._every = _DRAW_EVERY if self._bar else _LINE_EVERY
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @property
    def due(self) -> bool:
        """Whether it is time to show something."""
        return time.monotonic() - self._shown >= self._every

    def show(self, done: int, text: str) -> None:
        """Show it now."""
        self._shown = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, description=text, refresh=True)
        elif not self._quiet:
            say(text)

    def part(self, what: str, done: float) -> None:
        """Show what fraction is done, if it is time to; the total is 100, the text "AIS 30%"."""
        if self.due:
            self.show(round(100 * done), f"{what} {done:.0%}")

    def over(self, items: Iterable[T], what: str) -> Iterator[T]:
        """The items, while it shows how many there were: the text is like "3/10 frames"."""
        for number, item in enumerate(items, 1):
            yield item
            if self.due:
                self.show(number, f"{number}/{self._total} {what}")


class TrainingProgress(Progress):
    """Progress of training: epochs, the error last measured, images a second.

    what: stands before that; which part of a run it is.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, done: int, quiet: bool, what: str = ""
    ) -> None:
        super().__init__(epochs * steps_per_epoch, quiet, done)
        self._what = what
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._step = self._told = done
        self._images = 0
        self._error: float | None = None
        self._started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        unsaid = self._bar is not None or self._told != self._step
        super().__exit__()
        if unsaid:
            self._tell()

    def step(self, step: int, images: int) -> None:
        """Steps were taken, the last of this number."""
        self._step = step
        self._images += images
        if self.due:
            self._tell()

    def epoch(self, epoch: int, error: float) -> None:
        """An epoch was measured."""
        self._error = error
        if epoch == 0:
            self._tell()

    def _tell(self) -> None:
        self._told = self._step
        epoch = round(self._step / self._steps_per_epoch, 1)
        error = "-" if self._error is None else f"{self._error:.2f}"
        rate = self._images / max(time.monotonic() - self._started, 1e-9)
        text = f"{self._what}epoch {epoch:g}/{self._epochs}  error {error}  {rate:,.0f} images/s"
        self.show(self._step, text)


def _bar(total: int, done: int) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=Console(file=cast(TextIO, Stderr())),
        auto_refresh=False,
        transient=True,
    )
    bar.add_task("", total=total, completed=done)
    return bar

"""What a training run leaves behind: its events handed to the run file and the metrics log."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

from rbmcli.arrays import Floats
from rbmcli.errors import RbmError
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.io.runwriter import RunWriter
from rbmcli.io.sectionwriter import SectionWriter
from rbmcli.learning.schedules import Interval
from rbmcli.learning.trainer import EpochDone, Event, Trainer


class Journal:
    """Writes snapshots, checkpoints and metrics of a section to the run file as they fall due.

    Of a resumed section, `seconds` is the time that it took before. Of preprocessed images,
    `preprocessing` is kept in the run file, and snapshots show filters in pixels: what a hidden
    unit adds to an image, by the linear part of the inverse.
    """

    def __init__(
        self,
        trainer: Trainer,
        section: SectionWriter,
        snapshot_every: Interval,
        checkpoint_every: Interval,
        seconds: float | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self._trainer = trainer
        self._section = section
        self._snapshot_every = snapshot_every
        self._checkpoint_every = checkpoint_every
        self._started = time.monotonic() - (seconds or 0.0)
        self._checkpointed = None if seconds is None else trainer.step
        self._preprocessing = preprocessing

    def note(self, event: Event) -> None:
        """Write what is due after an event."""
        per_epoch = self._trainer.steps_per_epoch
        if isinstance(event, EpochDone):
            self._section.record(event.metrics, {"seconds": time.monotonic() - self._started})
        elif event.step % per_epoch == 0:
            return  # the epoch's own event follows, with its measurements
        if self._snapshot_every.due(event.step, per_epoch):
            self._section.snapshot(self._trainer.epoch, self._filters())
        if self._checkpoint_every.due(event.step, per_epoch):
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write a checkpoint, unless that of this very step is there."""
        trainer = self._trainer
        if self._checkpointed == trainer.step:
            return
        state: dict[str, Any] = {f"trainer/{name}": x for name, x in trainer.state().items()}
        state |= {f"model/{name}": x for name, x in trainer.model.parameters().items()}
        velocities = trainer.model.velocities()
        state |= {f"trainer/velocity/{name}": x for name, x in velocities.items()}
        if self._preprocessing is not None:
            parts = self._preprocessing.parts()
            state |= {f"preprocessing/{name}": x for name, x in parts.items()}
        self._section.checkpoint(state, finished=trainer.finished)
        self._checkpointed = trainer.step

    def _filters(self) -> Floats:
        filters = self._trainer.model.filters()
        if self._preprocessing is None:
            return filters
        flat = filters.reshape(len(filters), -1)
        return self._preprocessing.invert_linear(flat).reshape(filters.shape)


@contextmanager
def gathering(writer: RunWriter) -> Iterator[None]:
    """Close the writer after the block; if that fails, gather the run in its one file before."""
    with writer:
        try:
            yield
        except BaseException:
            with suppress(RbmError):  # a full disk, say; then the filters stay beside the file
                writer.stop()
            raise


def restore(trainer: Trainer, state: Mapping[str, Any], metrics: list[dict[str, float]]) -> None:
    """Put a trainer and its model where a checkpoint left them."""

    def group(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}

    trainer.model.load(group("model/"), group("trainer/velocity/"))
    trainer.restore(group("trainer/"), metrics)


class MetricsLog:
    """Metrics as JSON lines, appended to a file or written to stdout ("-")."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        if self._path == "-":
            self._file = sys.stdout
        elif self._path is not None:
            self._file = self._closing.enter_context(Path(self._path).open("a", encoding="utf-8"))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def write(self, metrics: Mapping[str, float]) -> None:
        """One line; what was not measured is null."""
        if self._file is not None:
            line = {name: value if value == value else None for name, value in metrics.items()}
            print(json.dumps(line), file=self._file, flush=True)

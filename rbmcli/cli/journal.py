"""What a training run leaves behind: its events handed to the run file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from rbmcli.arrays import Floats
from rbmcli.errors import RbmError
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.io.runwriter import RunWriter
from rbmcli.io.sectionwriter import SectionWriter
from rbmcli.learning.loop import EpochDone, Event, Loop
from rbmcli.learning.schedules import Interval

#: Of the time between two checkpoints, what the first may have taken.
_SHARE = 1 / 50
#: Seconds after which a sparing interval does not wait for the end of an epoch.
_LONG = 600.0


class Pace:
    """When checkpoints are due.

    Those of a sparing interval take no more than `_SHARE` of the time: what a kill costs is then
    about what they cost. They are written within an epoch too, where the last is `_LONG` ago.
    """

    def __init__(self, every: Interval) -> None:
        self._every = every
        self._took = 0.0
        self._ended = time.monotonic()

    def due(self, step: int, per_epoch: int) -> bool:
        """Whether a checkpoint is to be written after a step (from 1)."""
        at_its_place = self._every.due(step, per_epoch)
        if not self._every.sparing:
            return at_its_place
        ago = time.monotonic() - self._ended
        return ago > _LONG if not at_its_place else ago * _SHARE >= self._took

    def until_due(self, step: int, per_epoch: int) -> int:
        """How many steps after this one a checkpoint may be due, but for a long time."""
        return self._every.until_due(step, per_epoch)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around the writing of a checkpoint."""
        started = time.monotonic()
        yield
        self._ended = time.monotonic()
        self._took = self._ended - started


class Journal:
    """Writes snapshots, checkpoints and metrics of a section to the run file as they fall due.

    filters: what a snapshot is taken of. constants: what else every checkpoint holds, by name. Of a
    resumed section, `seconds` is the time that it took before.
    """

    def __init__(
        self,
        trainer: Loop,
        section: SectionWriter,
        snapshot_every: Interval,
        checkpoint_every: Interval,
        filters: Callable[[], Floats],
        constants: Mapping[str, Any],
        seconds: float | None = None,
    ) -> None:
        self._trainer = trainer
        self._section = section
        self._snapshot_every = snapshot_every
        self._pace = Pace(checkpoint_every)
        self._started = time.monotonic() - (seconds or 0.0)
        self._checkpointed = None if seconds is None else self._place
        self._filters = filters
        self._constants = dict(constants)

    def note(self, event: Event) -> None:
        """Write what is due after an event."""
        per_epoch = self._trainer.steps_per_epoch
        if isinstance(event, EpochDone):
            self._section.record(event.metrics, {"seconds": time.monotonic() - self._started})
        elif event.step % per_epoch == 0:
            return  # the epoch's own event follows, with its measurements
        if self._snapshot_every.due(event.step, per_epoch):
            self._section.snapshot(self._trainer.epoch, self._filters())
        if self._pace.due(event.step, per_epoch):
            self.checkpoint()

    def free(self, step: int) -> int:
        """How many steps after this one may be taken before there is something to write."""
        per_epoch = self._trainer.steps_per_epoch
        return min(each.until_due(step, per_epoch) for each in (self._snapshot_every, self._pace))

    @property
    def kept(self) -> float | None:
        """The epochs done at the last checkpoint, or None before there is one."""
        if self._checkpointed is None:
            return None
        return self._checkpointed[0] / self._trainer.steps_per_epoch

    def checkpoint(self) -> None:
        """Write a checkpoint, unless that of this very place is there."""
        trainer = self._trainer
        if self._checkpointed == self._place:
            return
        state: dict[str, Any] = {f"trainer/{name}": x for name, x in trainer.state().items()}
        state |= {f"model/{name}": x for name, x in trainer.model.parameters().items()}
        velocities = trainer.model.velocities()
        state |= {f"trainer/velocity/{name}": x for name, x in velocities.items()}
        with self._pace.timed():
            self._section.checkpoint(state | self._constants, finished=trainer.finished)
        self._checkpointed = self._place

    @property
    def _place(self) -> tuple[int, int]:
        """How far the run has come: its steps, and the epochs that were measured."""
        return self._trainer.step, len(self._trainer.metrics)


def preprocessing_state(preprocessing: Preprocessing | None) -> dict[str, Any]:
    """What a run file holds of how its images were preprocessed."""
    parts = {} if preprocessing is None else preprocessing.parts()
    return {f"preprocessing/{name}": values for name, values in parts.items()}


def in_pixels(
    filters: Floats, preprocessing: Preprocessing | None, image_shape: tuple[int, ...]
) -> Floats:
    """Filters (hidden, *shape) of preprocessed images as what they add to pixels.

    That is the linear part of the inverse. Filters that cover a part of an image only are left as
    they are: what was done to a pixel depends on its place.
    """
    if preprocessing is None or filters.shape[1:] != image_shape:
        return filters
    flat = filters.reshape(len(filters), -1)
    return preprocessing.invert_linear(flat).reshape(filters.shape)


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


def restore(
    trainer: Loop, state: Mapping[str, Any], metrics: Sequence[Mapping[str, float]]
) -> None:
    """Put a trainer and its model where a checkpoint left them."""

    def group(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}

    trainer.model.load(group("model/"), group("trainer/velocity/"))
    trainer.restore(group("trainer/"), metrics)

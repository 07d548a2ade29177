"""The training loop: it takes steps and emits events, and leaves what is done to its caller.

What a step is, and what is measured once an epoch, subclasses say.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.io.batches import Batches
from rbmcli.io.table import Table
from rbmcli.learning.schedules import Schedule
from rbmcli.model.links import Rule


@dataclass(frozen=True)
class LoopHyperparameters:
    """How long training goes on, in what steps.

    label_weight: see `rbmcli.learning.discrimination`; of a machine without label units, no matter.
    """

    epochs: int
    batch_size: int
    learning_rate: Schedule
    momentum: Schedule
    weight_decay: float
    gibbs_steps: Schedule
    label_weight: int = 0

    def rule(self, epoch: int) -> Rule:
        """The update rule during an epoch, counted from 0."""
        return Rule(
            self.learning_rate.at(epoch, self.epochs),
            self.momentum.at(epoch, self.epochs),
            self.weight_decay,
        )

    def gibbs_steps_in(self, epoch: int) -> int:
        """The number of Gibbs steps during an epoch, counted from 0."""
        return round(self.gibbs_steps.at(epoch, self.epochs))


@dataclass(frozen=True)
class StepDone:
    """Steps were taken, of so many images; the last was `step`, from 1 over the whole run."""

    step: int
    images: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over (or, with epoch 0, training begins) and has been measured."""

    epoch: int
    step: int
    metrics: dict[str, float]


Event = StepDone | EpochDone


class Diverged(RbmError):
    """A parameter is no longer a finite number."""


class Trained(Protocol):
    """What is trained, as those see it who write it down."""

    def parameters(self) -> dict[str, NDArray[Any]]:
        """The parameters by their names in files; views, not copies."""

    def velocities(self) -> dict[str, NDArray[Any]]:
        """The velocities of the same names; views, not copies."""

    def load(
        self,
        parameters: Mapping[str, NDArray[Any]],
        velocities: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Take over parameters, and velocities where given, by their names in files."""


#: Seconds of steps that are taken together, at most: signals wait for them.
_TOGETHER = 0.05

#: Keeps numpy from warning of what Diverged says.
_overflow_is_told = np.errstate(over="ignore", invalid="ignore")


class Loop(ABC):
    """Takes steps, epoch by epoch. `run` may be left after any event and taken up again by a new
    loop that was given the `state` (and the parameters and velocities) of this one.
    """

    model: Trained

    def __init__(self, hyperparameters: LoopHyperparameters, batches: Batches) -> None:
        self.step = 0
        self.metrics = Table()
        self._hyper = hyperparameters
        self._batches = batches
        #: An epoch, its rule and its Gibbs steps.
        self._of_epoch: tuple[int, Rule, int] | None = None
        #: Steps that take about as long as signals may wait for.
        self._together = 1

    @abstractmethod
    def _learn(self, batches: NDArray[np.int64], rule: Rule, gibbs_steps: int) -> tuple[int, bool]:
        """Steps from number `step` on, from these images: (how many, all parameters are finite).

        batches: row numbers (steps, images); the first step at least is taken.
        """

    @abstractmethod
    def _measurements(self) -> dict[str, float]:
        """What is measured once an epoch, "free_energy_train" among it."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return self._batches.steps_per_epoch

    @property
    def epoch(self) -> float:
        """Epochs done, with the fraction of the current one."""
        return self.step / self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.step >= self._hyper.epochs * self.steps_per_epoch

    def run(self, free: Callable[[int], int] = lambda step: 1) -> Iterator[Event]:
        """Train to the end, emitting an event after every epoch and after steps.

        free: how many steps after a given one may be taken before the next event; where they are
        short, so many are. Diverged where a parameter is no longer finite.
        """
        while True:
            if self.step % self.steps_per_epoch == 0 and not self._measured():
                yield self._measure()
            if self.finished:
                return
            yield self._take_steps(free(self.step))

    def state(self) -> dict[str, NDArray[Any] | int]:
        """What `restore` needs besides parameters, velocities and metrics."""
        return {"step": self.step}

    def restore(self, state: Mapping[str, Any], metrics: Sequence[Mapping[str, float]]) -> None:
        """Go on from the state and metrics of an earlier loop.

        KeyError or ValueError where they are not those of such a loop, here and in subclasses.
        """
        self.step = int(state["step"])
        last = metrics[-1]["step"] if metrics else 0.0
        if not 0 <= last <= self.step < last + self.steps_per_epoch + 1:
            raise ValueError(f"step {self.step} does not follow an epoch's end at step {last:g}")
        self.metrics = Table()
        for row in metrics:
            self.metrics.append(row)

    @_overflow_is_told
    def _take_steps(self, most: int) -> StepDone:
        epoch = self.step // self.steps_per_epoch
        batches = self._batches.at(self.step, min(most, self._together))
        if self._of_epoch is None or self._of_epoch[0] != epoch:
            self._of_epoch = epoch, self._hyper.rule(epoch), self._hyper.gibbs_steps_in(epoch)
        started = time.perf_counter()
        taken, finite = self._learn(batches, *self._of_epoch[1:])
        seconds = (time.perf_counter() - started) / taken
        self._together = max(1, int(_TOGETHER / max(seconds, 1e-6)))
        self.step += taken
        if not finite:
            raise Diverged(
                f"training diverged at step {self.step} (epoch {self.epoch:.2f}): a parameter is"
                " no longer a finite number; use a smaller --learning-rate"
            )
        return StepDone(self.step, taken * batches.shape[1])

    def _measured(self) -> bool:
        return bool(self.metrics) and self.metrics[-1]["step"] == self.step

    @_overflow_is_told
    def _measure(self) -> EpochDone:
        epoch = self.step // self.steps_per_epoch
        over = max(epoch - 1, 0)  # the epoch whose rule is noted
        measured = self._measurements()
        if not math.isfinite(measured["free_energy_train"]):
            raise Diverged(
                f"training diverged in epoch {epoch}: the free energy is no longer a finite"
                " number; use a smaller --learning-rate"
            )
        rule = self._hyper.rule(over)
        metrics = {
            "epoch": float(epoch),
            "step": float(self.step),
            **measured,
            "learning_rate": rule.rate,
            "momentum": rule.momentum,
            "gibbs_steps": float(self._hyper.gibbs_steps_in(over)),
        }
        self.metrics.append(metrics)
        return EpochDone(epoch, self.step, metrics)

"""The training loop: it takes steps and emits events, and leaves what is done to its caller."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.batches import Batches
from rbmcli.learning.algorithm import Method
from rbmcli.learning.algorithms import ALGORITHMS
from rbmcli.learning.centering import Centering
from rbmcli.learning.inputs import Inputs
from rbmcli.learning.monitor import Monitor
from rbmcli.learning.schedules import Schedule
from rbmcli.learning.update import Regularization, Update
from rbmcli.model.link import Rule
from rbmcli.model.rbm import Rbm


@dataclass(frozen=True)
class Hyperparameters:
    """What decides the course of training, besides the data, the machine and the seed."""

    epochs: int
    batch_size: int
    learning_rate: Schedule
    momentum: Schedule
    weight_decay: float
    gibbs_steps: Schedule
    method: Method = field(default_factory=Method)
    l1: float = 0.0
    nesterov: bool = False
    centering: bool = True
    regularization: Regularization = field(default_factory=Regularization)
    patience: int | None = None


@dataclass(frozen=True)
class StepDone:
    """A step was taken; `step` counts from 1 over the whole run."""

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


#: Keeps numpy from warning of what Diverged says.
_overflow_is_told = np.errstate(over="ignore", invalid="ignore")


class Trainer:
    """Trains a machine. `run` may be left after any event and taken up again by a new trainer that
    was given the `state` (and the parameters and velocities) of this one.

    layer: which one of a stack the machine is, from 0; every layer has draws of its own.
    """

    def __init__(
        self,
        model: Rbm,
        training: Inputs,
        validation: Inputs | None,
        hyperparameters: Hyperparameters,
        seed: int,
        layer: int = 0,
    ) -> None:
        self.model = model
        self.step = 0
        self.metrics: list[dict[str, float]] = []
        self._hyper = hyperparameters
        self._inputs = training
        self._draws = Draws(seed, layer)
        self._batches = Batches(training.rows, hyperparameters.batch_size, self._draws)
        self._monitor = Monitor(model, training, validation, self._draws)
        centering = Centering(model, training.mean) if hyperparameters.centering else None
        self._update = Update(model, centering, hyperparameters.regularization)
        method = hyperparameters.method
        batch_size = min(hyperparameters.batch_size, len(training.rows))
        self._algorithm = ALGORITHMS[method.algorithm](model, self._draws, method, batch_size)

    def initialize(self, below: Rbm | None = None) -> None:
        """Give the parameters the values that training starts from.

        below: a machine, fed from which this one begins as its transpose.
        """
        self.model.initialize(self._inputs.mean, self._inputs.deviation, self._draws)
        if below is not None:
            self.model.start_as_transpose(below)
        self._update.start(self._inputs.mean)

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
        return self.step >= self._hyper.epochs * self.steps_per_epoch or self._out_of_patience()

    def run(self) -> Iterator[Event]:
        """Train to the end, emitting an event after every step and every epoch.

        Diverged where a parameter is no longer finite.
        """
        while True:
            if self.step % self.steps_per_epoch == 0 and not self._measured():
                yield self._measure()
            if self.finished:
                return
            yield self._take_step()

    def state(self) -> dict[str, NDArray[Any] | int]:
        """What `restore` needs besides parameters, velocities and metrics."""
        return {"step": self.step, **self._update.state(), **self._algorithm.state()}

    def restore(self, state: Mapping[str, Any], metrics: list[dict[str, float]]) -> None:
        """Go on from the state and metrics of an earlier trainer."""
        self.step = int(state["step"])
        self.metrics = metrics
        self._update.restore(state)
        self._algorithm.restore(state)

    def _rule(self, epoch: int) -> tuple[Rule, int]:
        """The update rule and the number of Gibbs steps during an epoch, counted from 0."""
        hyper = self._hyper
        rule = Rule(
            hyper.learning_rate.at(epoch, hyper.epochs),
            hyper.momentum.at(epoch, hyper.epochs),
            hyper.weight_decay,
            hyper.l1,
            hyper.nesterov,
        )
        return rule, round(hyper.gibbs_steps.at(epoch, hyper.epochs))

    @_overflow_is_told
    def _take_step(self) -> StepDone:
        rule, gibbs_steps = self._rule(self.step // self.steps_per_epoch)
        rows = self._batches.at(self.step)
        draw = self._draws.at(Purpose.BINARIZE, self.step)
        visible = self._inputs.states(rows, self.model.visible, draw, self.step)
        positive = self._algorithm.positive(visible, self.step)
        negative = self._algorithm.negative(self.step, gibbs_steps)
        finite = self._update.step(positive, negative, rule)
        finite &= self._algorithm.follow(positive, negative, rule)
        self.step += 1
        if not finite:
            raise Diverged(
                f"training diverged at step {self.step} (epoch {self.epoch:.2f}): a parameter is"
                " no longer a finite number; use a smaller --learning-rate"
            )
        return StepDone(self.step, len(rows))

    def _measured(self) -> bool:
        return bool(self.metrics) and self.metrics[-1]["step"] == self.step

    @_overflow_is_told
    def _measure(self) -> EpochDone:
        epoch = self.step // self.steps_per_epoch
        rule, gibbs_steps = self._rule(max(epoch - 1, 0))  # those of the epoch that is over
        measured = self._monitor.measure()
        if not math.isfinite(measured["free_energy_train"]):
            raise Diverged(
                f"training diverged in epoch {epoch}: the free energy is no longer a finite"
                " number; use a smaller --learning-rate"
            )
        metrics = {
            "epoch": float(epoch),
            "step": float(self.step),
            **measured,
            "weight_rms": float(
                np.sqrt(np.square(self.model.link.weights, dtype=np.float64).mean())
            ),
            "learning_rate": rule.rate,
            "momentum": rule.momentum,
            "gibbs_steps": float(gibbs_steps),
        }
        self.metrics.append(metrics)
        return EpochDone(epoch, self.step, metrics)

    def _out_of_patience(self) -> bool:
        """Whether the free-energy gap has not reached a new low for `patience` epochs."""
        if self._hyper.patience is None:
            return False
        gaps = [row["free_energy_gap"] for row in self.metrics[1:]]
        return len(gaps) > self._hyper.patience and (
            min(gaps[: -self._hyper.patience]) <= min(gaps[-self._hyper.patience :])
        )

"""Trains one machine: a step of the algorithm, then the update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draws, Purpose
from rbmcli.io.batches import Batches
from rbmcli.learning.algorithm import Method
from rbmcli.learning.algorithms import ALGORITHMS
from rbmcli.learning.centering import Centering
from rbmcli.learning.discrimination import Discrimination
from rbmcli.learning.inputs import Inputs
from rbmcli.learning.loop import Loop, LoopHyperparameters
from rbmcli.learning.monitor import Monitor
from rbmcli.learning.replay import Replay
from rbmcli.learning.update import Regularization, Update
from rbmcli.model.links import Rule
from rbmcli.model.rbm import Rbm


@dataclass(frozen=True)
class Hyperparameters(LoopHyperparameters):
    """What decides the course of training, besides the data, the machine and the seed.

    hidden_bias: where hidden biases start.
    """

    method: Method = field(default_factory=Method)
    l1: float = 0.0
    nesterov: bool = False
    centering: bool = True
    regularization: Regularization = field(default_factory=Regularization)
    patience: int | None = None
    hidden_bias: float = 0.0

    def rule(self, epoch: int) -> Rule:
        """The update rule during an epoch, counted from 0."""
        return replace(super().rule(epoch), l1=self.l1, nesterov=self.nesterov)


class Trainer(Loop):
    """Trains a machine.

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
        self._draws = Draws(seed, layer)
        batches = Batches(training.rows, hyperparameters.batch_size, self._draws)
        super().__init__(hyperparameters, batches)
        self.model: Rbm = model
        self._patience = hyperparameters.patience
        self._hidden_bias = hyperparameters.hidden_bias
        self._inputs = training
        self._monitor = Monitor(model, training, validation, self._draws)
        centering = Centering(model, training.mean) if hyperparameters.centering else None
        self._update = Update(model, centering, hyperparameters.regularization)
        method = hyperparameters.method
        batch_size = min(hyperparameters.batch_size, len(training.rows))
        self._algorithm = ALGORITHMS[method.algorithm](model, self._draws, method, batch_size)
        weight = hyperparameters.label_weight
        self._discrimination = Discrimination(model, self._draws, weight)
        self._replay = Replay()

    def initialize(self, below: Rbm | None = None) -> None:
        """Give the parameters the values that training starts from.

        below: a machine, fed from which this one begins as its transpose.
        """
        inputs, bias = self._inputs, self._hidden_bias
        deviation = inputs.deviation if self.model.visible.learns_sigma else None
        self.model.initialize(inputs.mean, deviation, self._draws, bias)
        if below is not None:
            self.model.start_as_transpose(below)
        self._update.start(self._inputs.mean)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return super().finished or self._out_of_patience()

    def state(self) -> dict[str, NDArray[Any] | int]:
        """What `restore` needs besides parameters, velocities and metrics."""
        return {**super().state(), **self._update.state(), **self._algorithm.state()}

    def restore(self, state: Mapping[str, Any], metrics: Sequence[Mapping[str, float]]) -> None:
        """Go on from the state and metrics of an earlier trainer."""
        super().restore(state, metrics)
        if self._patience is not None and any("free_energy_gap" not in row for row in metrics[1:]):
            raise ValueError("metrics have no free_energy_gap")
        self._update.restore(state)
        self._algorithm.restore(state)

    def _learn(self, batches: NDArray[np.int64], rule: Rule, gibbs_steps: int) -> tuple[int, bool]:
        def one_by_one(rows: NDArray[np.int64]) -> bool:
            return self._one_by_one(rows, rule, gibbs_steps)

        memory = self._algorithm.memory
        if memory is None:
            return 1, one_by_one(batches[0])
        step = self.step, batches, gibbs_steps, rule
        return self._replay.take(*step, memory, self._update, one_by_one)

    def _one_by_one(self, rows: NDArray[np.int64], rule: Rule, gibbs_steps: int) -> bool:
        draw = self._draws.at(Purpose.BINARIZE, self.step)
        visible = self._inputs.states(rows, self.model.visible, draw, self.step)
        positive = self._algorithm.positive(visible, self.step)
        negative = self._algorithm.negative(self.step, gibbs_steps)
        widened = self._discrimination.widened(positive, negative, self.step)
        finite = self._update.step(*widened, rule)
        return self._algorithm.follow(positive, negative, rule) and finite

    def _measurements(self) -> dict[str, float]:
        weights = self.model.link.weights
        rms = np.sqrt(np.square(weights, dtype=np.float64).mean())
        return {**self._monitor.measure(), "weight_rms": float(rms)}

    def _out_of_patience(self) -> bool:
        """Whether the free-energy gap has not reached a new low for `patience` epochs."""
        if self._patience is None:
            return False
        gaps = self.metrics.rows["free_energy_gap"][1:]
        return len(gaps) > self._patience and bool(
            min(gaps[: -self._patience]) <= min(gaps[-self._patience :])
        )

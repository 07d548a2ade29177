"""Up-down: a whole stack learns together, its ways up and down apart.

Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets", section 5 and
appendix B: the contrastive form of the wake-sleep algorithm (Hinton, Dayan, Frey and Neal 1995,
"The wake-sleep algorithm for unsupervised neural networks").

A step has three parts, all taken with the parameters that it begins with:
    wake    states are drawn from the images upwards; each way down learns to expect each level,
            given the one above it;
    top     contrastive divergence from there, label units beside the features;
    sleep   states are drawn downwards from where the top machine's chains ended; each way up learns
            to expect each level, given the one below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Scratch
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.batches import Batches
from rbmcli.learning.algorithm import Method
from rbmcli.learning.cd import ContrastiveDivergence
from rbmcli.learning.discrimination import Discrimination
from rbmcli.learning.inputs import Examples
from rbmcli.learning.loop import Loop, LoopHyperparameters
from rbmcli.learning.stack_monitor import StackMonitor
from rbmcli.learning.update import Update
from rbmcli.model.layer import Layer
from rbmcli.model.links import Link, Phase, Rule
from rbmcli.model.stack import Stack
from rbmcli.model.states import FloatStates, States, one_hot

#: Stands for a layer in the names of draws: one that no stack has.
_LAYER = 2**31


class UpDown(Loop):
    """Trains an untied stack. `weight_decay` is for the top machine alone.

    The top machine's gradient is the plain one of the paper, not centred: centring is of most use
    where biases are still far from what the data ask for, and these have been learned.

    RbmError where the top machine has label units and the examples have no labels.
    """

    def __init__(
        self,
        stack: Stack,
        training: Examples,
        validation: Examples | None,
        hyperparameters: LoopHyperparameters,
        seed: int,
    ) -> None:
        for examples in (training, validation):
            if stack.top.classes and examples is not None and examples.labels is None:
                raise RbmError(
                    "the top layer has label units, which up-down trains too; give --labels"
                )
        draws = Draws(seed, _LAYER)
        batches = Batches(training.images.rows, hyperparameters.batch_size, draws)
        super().__init__(hyperparameters, batches)
        self.model: Stack = stack
        self._examples = training
        self._draws = draws
        self._monitor = StackMonitor(stack, training, validation, draws)
        batch_size = min(hyperparameters.batch_size, len(training.images.rows))
        self._algorithm = ContrastiveDivergence(stack.top, draws, Method(), batch_size)
        self._discrimination = Discrimination(stack.top, draws, hyperparameters.label_weight)
        self._update = Update(stack.top)
        self._scratch = Scratch()

    def _learn(self, batches: NDArray[np.int64], rule: Rule, gibbs_steps: int) -> tuple[int, bool]:
        rows = batches[0]
        levels = self._wake(rows)
        lessons = list(self._lessons_down(levels))
        positive = self._algorithm.positive(self._top_states(levels[-1], rows), self.step)
        negative = self._algorithm.negative(self.step, gibbs_steps)
        lessons += self._lessons_up(negative.visible)
        widened = self._discrimination.widened(positive, negative, self.step)
        finite = self._update.step(*widened, rule)
        delta = replace(rule, decay=0.0)
        learned = [lesson.learn(delta, self._scratch) for lesson in lessons]
        return 1, finite and all(learned)

    def _measurements(self) -> dict[str, float]:
        return self._monitor.measure()

    def _wake(self, rows: NDArray[np.int64]) -> list[States]:
        """States drawn from the images up to what the top machine stands on."""
        stack, draw = self.model, self._draws.at(Purpose.WAKE, self.step)
        images = self._examples.images.states(rows, stack.machines[0].visible, draw, self.step)
        return stack.raised(images, draw, sampled=True, machines=len(stack.ways_down))

    def _top_states(self, states: States, rows: NDArray[np.int64]) -> States:
        """The top machine's visible states: what it stands on, and the labels of some rows."""
        stack, labels = self.model, self._examples.labels
        given = None
        if labels is not None and stack.top.classes:
            given = one_hot(labels[rows], stack.top.classes)
        return stack.standing_on(states, len(stack.ways_down), given)

    def _lessons_down(self, levels: list[States]) -> Iterator[_Lesson]:
        """What the ways down make of each level given the one above."""
        for level, way in enumerate(self.model.ways_down):
            wanted = self.model.standing_on(levels[level], level)
            yield self._lesson(f"down {level}", way.link, way.visible, levels[level + 1], wanted)

    def _lessons_up(self, visible: States) -> Iterator[_Lesson]:
        """What the ways up make of each level given the one below, from the top states down."""
        draw = self._draws.at(Purpose.SLEEP, self.step)
        for descent in self.model.descents(visible, draw):
            level, machine = descent.level, self.model.machines[descent.level]
            yield self._lesson(
                f"up {level}", machine.link, machine.hidden, descent.visible, descent.hidden
            )

    def _lesson(
        self, name: str, link: Link[Any], layer: Layer, given: States, wanted: States
    ) -> _Lesson:
        total = self._scratch.rows(name, given.rows, layer.ld)
        expected = layer.mean(link.up(given, layer.bias, total))
        return _Lesson(link, layer, given, wanted, expected)


@dataclass(frozen=True)
class _Lesson:
    """What directed connections expected of a layer, and what they were to expect.

    The delta rule, W += rate <given (wanted - expected)'>, is the gradient of the log-probability
    of `wanted` given `given`.
    """

    link: Link[Any]
    layer: Layer
    given: States
    wanted: States
    expected: FloatStates

    def learn(self, rule: Rule, scratch: Scratch) -> bool:
        """One step of the rule, on weights and biases; True if all of them are finite."""
        wanted = Phase(self.given, self.wanted.floats())
        expected = Phase(self.given, self.expected.values)
        error = self.wanted.mean_by_unit() - self.expected.mean_by_unit()
        finite = self.link.update(wanted, expected, rule, scratch)
        return self.layer.step({"bias": error}, rule.rate, rule.momentum) and finite

"""Steps replayed: what a step does is recorded once, and later ones take it again without Python.

A step of the same number of images and Gibbs steps runs the same kernels on the same memory; only
the images, the draws' step and the rule differ. So a recorded plan is replayed, several steps in
one parallel region. Where a step does anything but run kernels that can be recorded, it is never
replayed (`rbmcli._kernels.Plan`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.learning.update import Update
from rbmcli.model.links import Rule

#: What a step does, given row numbers: True if all parameters are finite.
Step = Callable[[NDArray[np.int64]], bool]


class Replay:
    """Takes steps, by their plans where there are any."""

    def __init__(self) -> None:
        self._plans: dict[tuple[int, ...], _kernels.Plan | None] = {}

    def take(
        self,
        step: int,
        batches: NDArray[np.int64],
        gibbs_steps: int,
        rule: Rule,
        memory: tuple[NDArray[Any], ...],
        update: Update,
        one_by_one: Step,
    ) -> tuple[int, bool]:
        """Take steps from number `step` on: (how many, whether all parameters are finite).

        batches: row numbers (steps, images); one step at least is taken. memory: as an algorithm
        has it. one_by_one: a step itself, of which `update` is the last part.
        """
        if rule.l1:  # no kernel takes it
            return 1, one_by_one(batches[0])
        key = (batches.shape[1], gibbs_steps)
        if key not in self._plans:
            own = batches[0].copy()  # where the plan finds its images
            _kernels.record(step & 0xFFFFFFFF, own, memory)
            try:
                finite = one_by_one(own)
            finally:
                self._plans[key] = _kernels.recorded()
            return 1, finite
        plan = self._plans[key]
        if plan is None:
            return 1, one_by_one(batches[0])
        refreshes = update.refreshes(rule, len(batches))
        taken, finite = plan.run(step & 0xFFFFFFFF, batches, rule.as_tuple(), refreshes)
        update.count_steps(taken)
        return taken, finite

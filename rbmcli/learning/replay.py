"""Steps replayed: what a step does is recorded once, and later ones take it again without Python.

A step of the same number of images and Gibbs steps runs the same kernels on the same memory; only
the images, the draws' step and the rule differ. So a recorded plan is replayed, in one parallel
region. Where a step does anything but run kernels that can be recorded, it is never replayed
(`rbmcli._kernels.Plan`).
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
        self._plans: dict[tuple[int, ...], tuple[_kernels.Plan | None, NDArray[np.int64]]] = {}

    def take(
        self,
        step: int,
        rows: NDArray[np.int64],
        gibbs_steps: int,
        rule: Rule,
        memory: tuple[NDArray[Any], ...],
        update: Update,
        one_by_one: Step,
    ) -> bool:
        """Take step number `step`; True if all parameters are finite.

        memory: as an algorithm has it. one_by_one: the step itself, of which `update` is the last
        part.
        """
        if rule.l1:  # no kernel takes it
            return one_by_one(rows)
        key = (len(rows), gibbs_steps)
        if key not in self._plans:
            own = rows.copy()
            _kernels.record(step & 0xFFFFFFFF, own, memory)
            try:
                finite = one_by_one(own)
            finally:
                plan = _kernels.recorded()
            self._plans[key] = plan, own
            return finite
        plan, own = self._plans[key]
        if plan is None:
            return one_by_one(rows)
        own[:] = rows
        finite = plan.run(step & 0xFFFFFFFF, rule.as_tuple(), update.refreshes(rule))
        update.count_step()
        return finite

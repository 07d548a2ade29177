"""Binary units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.draws import Draw
from rbmcli.model.states import States, as_floats, binarized
from rbmcli.model.units.kind import THRESHOLD, KernelKind


class Bernoulli(KernelKind):
    """Binary units: on with probability sigmoid(x)."""

    name = "bernoulli"
    kernels = _kernels.Kind("bernoulli")
    activation = "sigmoid"
    is_drawn_from_data = True
    as_bits = True
    valid_range = (0.0, 1.0)
    group_states = np.array([[0.0], [1.0]], np.float32)

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.exp(-np.logaddexp(0, -total))

    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return (uniforms < self.define_mean(total)).astype(total.dtype)

    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.logaddexp(0, total)

    def define_log_base(self, states: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.zeros(states.shape)

    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        """The logit, of means kept away from 0 and 1 so that it stays finite."""
        kept = np.clip(mean, 0.001, 0.999)
        return np.log(kept / (1 - kept))

    def reading(  # noqa: D102
        self, largest: float, scale: float, binarize: str, counts: bool | None = None
    ) -> tuple[str, float]:
        return binarize, scale

    def from_data(  # noqa: D102
        self,
        images: NDArray[Any],
        index: NDArray[np.int64],
        scale: float,
        binarize: str,
        draw: Draw,
    ) -> States:
        if binarize == "none":
            return as_floats(images, index, scale)
        threshold = THRESHOLD if binarize == "threshold" else None
        return binarized(images, index, scale, threshold, draw)

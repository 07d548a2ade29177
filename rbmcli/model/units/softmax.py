"""Softmax units: groups of k neighbouring binary units of which exactly one is on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.draws import Draw
from rbmcli.model.states import States, binarized
from rbmcli.model.units.kind import THRESHOLD, KernelKind, middles


class Softmax(KernelKind):
    """Unit i of a group is the one that is on with probability exp(x_i) / sum of exp(x_j)."""

    kernels = _kernels.Kind("softmax")
    valid_range = (0.0, 1.0)
    as_bits = True

    def __init__(self, k: int) -> None:
        self.group = self.n = k
        self.name = f"softmax:{k}"
        self.activation = f"softmax over each {k} units"
        self.group_states = np.eye(k, dtype=np.float32)

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        groups = self._groups(total)
        shifted = np.exp(groups - groups.max(axis=-1, keepdims=True))
        return (shifted / shifted.sum(axis=-1, keepdims=True)).reshape(total.shape)

    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:
        """By inversion, with the uniform of a group's first unit."""
        cumulative = np.cumsum(self._groups(self.define_mean(total)), axis=-1)[..., :-1]
        chosen = (self._groups(middles(uniforms))[..., :1] >= cumulative).sum(axis=-1)
        return np.eye(self.group, dtype=total.dtype)[chosen].reshape(total.shape)

    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.logaddexp.reduce(self._groups(total), axis=-1)

    def define_log_base(self, states: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.zeros(states.shape)

    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return np.log(np.clip(mean, 0.001, 0.999))

    def from_data(  # noqa: D102
        self,
        images: NDArray[Any],
        index: NDArray[np.int64],
        scale: float,
        binarize: str,
        draw: Draw,
    ) -> States:
        return binarized(images, index, scale, THRESHOLD, draw)

    def _groups(self, values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(*values.shape[:-1], -1, self.group)

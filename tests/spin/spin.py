"""Spins, a kind of unit that only the tests have; pytest is told of it by `-p spin`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.model.units import KINDS
from rbmcli.model.units.kind import KernelKind


class Spin(KernelKind):
    """-1 or 1, this with probability sigmoid(2 x)."""

    name = "spin"
    kernels = _kernels.Kind("spin")
    activation = "tanh"
    valid_range = (-1.0, 1.0)
    group_states = np.array([[-1.0], [1.0]], np.float32)

    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:
        return np.tanh(total)

    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:
        return np.where(uniforms < (1 - np.tanh(total)) / 2, -1.0, 1.0).astype(total.dtype)

    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:
        return np.logaddexp(total, -total)

    def define_log_base(self, states: NDArray[Any]) -> NDArray[Any]:
        return np.zeros(states.shape)

    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        return np.arctanh(np.clip(mean, -0.999, 0.999))


KINDS["spin"] = Spin()

"""Memory for the kernels that shows when they leave it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from rbmcli.arrays import Floats, padded

# Under AddressSanitizer an array must end where its allocation ends, so that the sanitizer's own
# guards, which catch reads as well, begin there.
_GUARD = 0 if "asan" in os.environ.get("LD_PRELOAD", "") else 128
_PATTERN = 0xFF  # floats read from guard cells are NaN, indices far out of range


class Memory:
    """Hands out arrays with guard cells on both sides; `check` says whether they were respected."""

    def __init__(self) -> None:
        self._buffers: list[NDArray[np.uint8]] = []
        self._inputs: list[tuple[NDArray[Any], bytes]] = []

    def output(self, shape: tuple[int, ...] | int, dtype: DTypeLike, fill: Any) -> NDArray[Any]:
        """An array filled with one value, to be written to."""
        return self._allocate(np.full(shape, fill, dtype))

    def input(self, values: ArrayLike, dtype: DTypeLike | None = None) -> NDArray[Any]:
        """A copy of `values` that nobody is to change."""
        array = self._allocate(np.ascontiguousarray(values, dtype))
        self._inputs.append((array, array.tobytes()))
        return array

    def padded_input(self, values: NDArray[Any]) -> Floats:
        """A float32 copy of a vector or matrix, its rows padded with zeros."""
        return self.input(_pad(values))

    def padded_output(self, rows: int, width: int, fill: float | NDArray[Any]) -> Floats:
        """A matrix to be written to: `fill` where it counts, zero in the padding."""
        return self._allocate(_pad(np.broadcast_to(fill, (rows, width))))

    def check(self) -> None:
        """Fail if a kernel wrote outside the outputs, and forget the arrays."""
        for buffer in self._buffers:
            guards = np.concatenate([buffer[:_GUARD], buffer[len(buffer) - _GUARD :]])
            assert (guards == _PATTERN).all(), "a kernel wrote beyond an array"
        for array, before in self._inputs:
            assert array.tobytes() == before, "a kernel changed an input"
        self._buffers.clear()
        self._inputs.clear()

    def _allocate(self, values: NDArray[Any]) -> NDArray[Any]:
        buffer = np.empty(values.nbytes + 2 * _GUARD, np.uint8)
        buffer[:] = _PATTERN
        self._buffers.append(buffer)
        array = buffer[_GUARD : _GUARD + values.nbytes].view(values.dtype).reshape(values.shape)
        array[...] = values
        return array


def _pad(values: NDArray[Any]) -> Floats:
    width = values.shape[-1]
    result = np.zeros((*values.shape[:-1], padded(width)), np.float32)
    result[..., :width] = values
    return result

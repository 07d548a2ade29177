"""Arrays as the kernels want them: rows padded to whole cache lines, aligned, reused."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rbmcli._kernels import PAD

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Words = NDArray[np.uint64]

#: Images: one flattened a row; or, where they are of different sizes, each (..., height, width).
Pixels = NDArray[Any] | list[NDArray[Any]]

#: Largest magnitude of log sigma whose exponential and its inverse are ordinary float32 numbers.
LOG_SIGMA_LIMIT = 80.0

_LINE = 64


def padded(units: int) -> int:
    """Leading dimension for rows of `units` floats: an odd number of cache lines.

    A row stride that is a multiple of a large power of two would put the same column of all rows
    into few cache sets; an odd number of lines spreads them over all.
    """
    lines = -(-units // PAD)
    return (lines if lines == 1 else lines | 1) * PAD


def words_for(units: int) -> int:
    """64-bit words that hold a row of `units` bits."""
    return -(-units // 64)


def zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Zeros whose first element lies at the start of a cache line."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.zeros(size + _LINE, np.uint8)
    offset = -memory.__array_interface__["data"][0] % _LINE
    return memory[offset : offset + size].view(dtype).reshape(shape)


def to_padded(values: NDArray[Any]) -> Floats:
    """A padded float32 copy of a vector or matrix."""
    values = np.asarray(values)
    result = zeros((*values.shape[:-1], padded(values.shape[-1])))
    result[..., : values.shape[-1]] = values
    return result


def put(target: NDArray[Any], values: Any, name: str) -> None:
    """Copy stored values into an array; ValueError, with their name, where the shape is another."""
    if np.shape(values) != target.shape:
        raise ValueError(f"{name} has shape {np.shape(values)}, not {target.shape}")
    target[...] = values


class Scratch:
    """Working arrays kept from batch to batch, by name; their contents do not survive a call."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def rows(self, name: str, rows: int, width: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """An array (rows, width), the same memory for the same name while it is large enough."""
        return self.flat(name, rows * width, dtype).reshape(rows, width)

    def flat(self, name: str, size: int, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """An array (size,), the same memory for the same name while it is large enough."""
        array = self._arrays.get(name)
        if array is None or array.size < size or array.dtype != dtype:
            array = self._arrays[name] = zeros((size,), dtype)
        return array[:size]

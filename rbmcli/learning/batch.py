"""Images as the visible states that a machine learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draw
from rbmcli.errors import RbmError
from rbmcli.model.layer import Layer
from rbmcli.model.states import States
from rbmcli.model.units import UnitKind

_BLOCK = 1000


@dataclass(frozen=True)
class Images:
    """Some rows of a data set, and how they become visible states.

    pixels: (n, units) uint8 or float32, of which value x stands for x / scale.
    rows: int64, the row numbers that belong here.
    binarize: one of rbmcli.model.units.BINARIZE.
    """

    pixels: NDArray[Any]
    scale: float
    rows: NDArray[np.int64]
    binarize: str = "sample"

    def for_kind(self, kind: UnitKind, where: str) -> Images:
        """The images as units of this kind read them; RbmError where a value is out of range."""
        least, most = float(self.pixels.min()), float(self.pixels.max())
        binarize, scale = kind.reading(most, self.scale, self.binarize)
        low, high = kind.valid_range
        if least / scale < low or most / scale > high:
            raise RbmError(
                f"{where}: values from {least / scale:g} to {most / scale:g}, but {kind.name} units"
                f" take {low:g} to {high:g}; scale the data"
            )
        images = replace(self, scale=scale, binarize=binarize)
        if kind.group > 1:
            images._check_one_hot(kind, where)
        return images

    def states(self, rows: NDArray[np.int64], layer: Layer, draw: Draw) -> States:
        """Visible states of some rows."""
        return layer.from_data(self.pixels, rows, self.scale, self.binarize, draw)

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each value / scale, float64 (units,)."""
        total = np.zeros(self.pixels.shape[1])
        for block in self._blocks():
            total += block.sum(axis=0, dtype=np.float64)
        return total / (len(self.rows) * self.scale)

    @cached_property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of each value / scale, float64 (units,)."""
        squares = np.zeros(self.pixels.shape[1])
        for block in self._blocks():
            squares += np.square(block / self.scale - self.mean).sum(axis=0)
        return np.sqrt(squares / len(self.rows))

    def _blocks(self) -> Iterator[NDArray[Any]]:
        for start in range(0, len(self.rows), _BLOCK):
            yield self.pixels[self.rows[start : start + _BLOCK]]

    def _check_one_hot(self, kind: UnitKind, where: str) -> None:
        for number, block in enumerate(self._blocks()):
            groups = block.reshape(len(block), -1, kind.group) / self.scale
            wrong = ((groups != 0) & (groups != 1)).any(axis=-1) | (groups.sum(axis=-1) != 1)
            if wrong.any():
                row, group = np.argwhere(wrong)[0]
                raise RbmError(
                    f"{where}: image {self.rows[number * _BLOCK + row]}, columns"
                    f" {group * kind.group} to {(group + 1) * kind.group - 1}: {kind.name} units"
                    " need exactly one 1 among zeros in each group of columns"
                )

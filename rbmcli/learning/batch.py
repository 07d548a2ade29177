"""Images as the visible states that a machine learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draw
from rbmcli.errors import RbmError
from rbmcli.model.states import BitStates, FloatStates, as_floats, binarized
from rbmcli.model.units import UnitKind

#: --binarize: by draw, at one half, or not at all.
BINARIZE = ("sample", "threshold", "none")
THRESHOLD = 0.5


@dataclass(frozen=True)
class Images:
    """Some rows of a data set, and how they become visible states.

    pixels: (n, units) uint8 or float32, of which value x stands for x / scale.
    rows: int64, the row numbers that belong here.
    binarize: one of BINARIZE.
    """

    pixels: NDArray[Any]
    scale: float
    rows: NDArray[np.int64]
    binarize: str = "sample"

    def check_range(self, kind: UnitKind, where: str) -> None:
        """RbmError if a value lies outside what units of this kind may have."""
        low, high = kind.valid_range
        least, most = (float(x) / self.scale for x in (self.pixels.min(), self.pixels.max()))
        if least < low or most > high:
            raise RbmError(
                f"{where}: values from {least:g} to {most:g}, but {kind.name} units take"
                f" {low:g} to {high:g}; scale the data"
            )

    def states(self, rows: NDArray[np.int64], draw: Draw) -> BitStates | FloatStates:
        """Visible states of some rows."""
        if self.binarize == "none":
            return as_floats(self.pixels, rows, self.scale)
        threshold = THRESHOLD if self.binarize == "threshold" else None
        return binarized(self.pixels, rows, self.scale, threshold, draw)

    def mean(self) -> NDArray[np.float64]:
        """Mean image, value / scale, float64 (units,)."""
        total = np.zeros(self.pixels.shape[1])
        for start in range(0, len(self.rows), 1000):
            total += self.pixels[self.rows[start : start + 1000]].sum(axis=0, dtype=np.float64)
        return total / (len(self.rows) * self.scale)

"""Images as the visible states that a machine learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats
from rbmcli.draws import Draw, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.augmentation import Augmentation
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.model.states import BitStates, FloatStates, as_floats, binarized
from rbmcli.model.units import UnitKind

#: --binarize: by draw, at one half, or not at all.
BINARIZE = ("sample", "threshold", "none")
THRESHOLD = 0.5

_BLOCK = 1000


@dataclass(frozen=True)
class Images:
    """Some rows of a data set, and how they become visible states.

    pixels: (n, units) uint8 or float32, of which value x stands for x / scale.
    rows: int64, the row numbers that belong here.
    binarize: one of BINARIZE.
    augmentation: crops and flips, made anew each time an image is trained on.
    preprocessing: what is done to an image each time, after that.
    """

    pixels: NDArray[Any]
    scale: float
    rows: NDArray[np.int64]
    binarize: str = "sample"
    augmentation: Augmentation | None = None
    preprocessing: Preprocessing | None = None

    def check_range(self, kind: UnitKind, where: str) -> None:
        """RbmError if a value lies outside what units of this kind may have."""
        low, high = kind.valid_range
        if (low, high) == (-np.inf, np.inf):
            return
        if self.preprocessing is None:
            least, most = (float(x) / self.scale for x in (self.pixels.min(), self.pixels.max()))
        else:
            extremes = [(block.min(), block.max()) for block, _ in self._blocks()]
            least, most = min(extremes)[0], max(x for _, x in extremes)
        if least < low or most > high:
            raise RbmError(
                f"{where}: values from {least:g} to {most:g}, but {kind.name} units take"
                f" {low:g} to {high:g}; scale the data"
            )

    def states(
        self, rows: NDArray[np.int64], draw: Draw, step: int | None = None
    ) -> BitStates | FloatStates:
        """Visible states of some rows: in training, as augmented for `step`."""
        pixels, index, scale = self.gather(rows, step)
        if self.binarize == "none":
            return as_floats(pixels, index, scale)
        threshold = THRESHOLD if self.binarize == "threshold" else None
        return binarized(pixels, index, scale, threshold, draw)

    def gather(
        self, rows: NDArray[np.int64], step: int | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int64], float]:
        """(pixels, index, scale) such that the images of some rows are pixels[index] / scale.

        They are augmented as drawn for a training step; without one, cropped in the centre. Where
        nothing is done to images, these are the data in place.
        """
        if self.augmentation is None:
            return self.pixels, rows, self.scale
        if step is None:
            pixels = self.augmentation.central(self.pixels, rows)
        else:
            pixels = self.augmentation.drawn(self.pixels, rows, step)
        scale = self.scale
        if self.preprocessing is not None:
            pixels, scale = self.preprocessing.apply(_unscaled(pixels, scale)), 1.0
        return pixels, np.arange(len(rows)), scale

    def preprocessed(self, preprocessing: Preprocessing) -> Images:
        """These images preprocessed: here and now, unless they change each time."""
        if self.augmentation is not None:
            return replace(self, preprocessing=preprocessing)
        pixels = np.empty((len(self.rows), self.pixels.shape[1]), np.float32)
        for start in range(0, len(pixels), _BLOCK):
            block = self.pixels[self.rows[start : start + _BLOCK]]
            pixels[start : start + _BLOCK] = preprocessing.apply(_unscaled(block, self.scale))
        return replace(self, pixels=pixels, scale=1.0, rows=np.arange(len(pixels)))

    def for_fitting(self) -> Floats:
        """Each image once, what preprocessing is fitted to: of crops a drawn one; (rows, units)."""
        if self.augmentation is None:
            return _unscaled(self.pixels[self.rows], self.scale)
        drawn = self.augmentation.drawn(self.pixels, self.rows, 0, Purpose.PREPROCESS)
        return _unscaled(drawn, self.scale)

    def mean(self) -> NDArray[np.float64]:
        """Mean image, value / scale, float64 (units,)."""
        total, scale = np.zeros(1), self.scale
        for block, scale in self._blocks():  # noqa: B007 - the same for all
            total = total + block.sum(axis=0, dtype=np.float64)
        return total / (len(self.rows) * scale)

    def _blocks(self) -> Iterator[tuple[NDArray[Any], float]]:
        """(values, scale) of all the images, without augmentation, some at a time."""
        for start in range(0, len(self.rows), _BLOCK):
            pixels, index, scale = self.gather(self.rows[start : start + _BLOCK])
            yield pixels[index], scale


def _unscaled(pixels: NDArray[Any], scale: float) -> Floats:
    return np.divide(pixels, np.float32(scale), dtype=np.float32)

"""Images as the visible states that a machine learns from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats, Pixels
from rbmcli.draws import Draw, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.augmentation import Augmentation
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.io.sources.ranges import ROUNDING, rounded_into, shown
from rbmcli.model.layer import Layer
from rbmcli.model.states import States
from rbmcli.model.units import UnitKind

_BLOCK = 1000


@dataclass(frozen=True)
class Images:
    """Some rows of a data set, and how they become visible states.

    pixels: (n, units) uint8 or float32, of which value x stands for x / scale; with crops,
        they may be of different sizes.
    rows: int64, the row numbers that belong here, of crops where there are several of an image.
    binarize: one of rbmcli.model.units.BINARIZE.
    augmentation: crops and flips, made anew each time an image is trained on.
    preprocessing: what is done to an image each time, after that.
    unit: what a value x / scale is divided by for the units that it is for.
    labels: int64, by row number, where there are any.
    told: what the user may be told of them, lines.
    """

    pixels: Pixels
    scale: float
    rows: NDArray[np.int64]
    binarize: str = "sample"
    augmentation: Augmentation | None = None
    preprocessing: Preprocessing | None = None
    unit: float = 1.0
    labels: NDArray[np.int64] | None = None
    told: tuple[str, ...] = ()

    def for_kind(self, kind: UnitKind, where: str, counts: bool | None = None) -> Images:
        """The images as units of this kind read them; RbmError where a value is out of range.

        counts: whether values are counts, where that has been decided by other images.
        """
        units = self.gather(self.rows[:1])[0].shape[1]
        if units % kind.group:
            raise RbmError(
                f"{where}: images of {units} values are not whole groups of {kind.group}, which"
                f" {kind.name} units need; choose another --visible-kind"
            )
        if kind.takes_any_number:
            return replace(self, binarize="none")
        low, high = kind.valid_range
        scale = self.scale if self.preprocessing is None else 1.0
        arrays: Iterable[NDArray[Any]]
        if self.preprocessing is not None:
            arrays = (block for block, _ in self._blocks())
        else:
            arrays = [self.pixels] if isinstance(self.pixels, np.ndarray) else self.pixels
        extremes = [(float(array.min()), float(array.max())) for array in arrays]
        least, most = min(extremes)[0], max(x for _, x in extremes)
        near_one = 1 < most <= 1 + ROUNDING  # no count above 1
        binarize, unit_scale = kind.reading(1.0 if near_one else most, scale, self.binarize, counts)
        images = replace(self, unit=unit_scale / scale, binarize=binarize)
        # As float32, which units take: 255 / (255 / 29) is above 29 in float64.
        ends = np.float32(least / unit_scale), np.float32(most / unit_scale)
        if ends[0] < low or ends[1] > high:
            fits = all(rounded_into(float(end), low, high) for end in ends)
            if not fits or self.preprocessing is not None:
                raise RbmError(
                    f"{where}: values from {_beyond(least / scale, low)} to"
                    f" {_beyond(most / scale, 1.0, high)}, but {kind.name} units take"
                    f" {kind.takes}; {self._remedy(least, most)}"
                )
            images = images._clipped(low * unit_scale, high * unit_scale)
        if kind.group > 1:
            images._check_one_hot(kind, where)
        return images

    def _clipped(self, low: float, high: float) -> Images:
        """These images with no value beyond a range."""
        if isinstance(self.pixels, np.ndarray):
            return replace(self, pixels=self.pixels.clip(low, high))
        return replace(self, pixels=[picture.clip(low, high) for picture in self.pixels])

    def _remedy(self, least: float, most: float) -> str:
        """What to do about values that are beyond the range of units, of these extremes."""
        some = self.gather(self.rows[:_BLOCK])[0][:_BLOCK]
        whole = least >= 0 and most <= 255 and bool((some == np.rint(some)).all())
        if self.scale != 1 or self.preprocessing is not None or not whole:
            return "scale the data, or train gaussian visible units"
        if most > 127:
            return "if they are bytes, store them as uint8, whose 0 to 255 stand for 0 to 1"
        return f"divide them by {most:g}, or train binomial:{most:g} visible units"

    @property
    def are_counts(self) -> bool:
        """Whether units read the stored values as they are, neither scaled nor drawn."""
        scale = self.unit * (self.scale if self.preprocessing is None else 1.0)
        return self.binarize == "none" and scale == 1.0

    def states(
        self, rows: NDArray[np.int64], layer: Layer, draw: Draw, step: int | None = None
    ) -> States:
        """Visible states of some rows: in training, as augmented for `step`."""
        pixels, index, scale = self.gather(rows, step)
        return layer.from_data(pixels, index, scale * self.unit, self.binarize, draw)

    def gather(
        self, rows: NDArray[np.int64], step: int | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int64], float]:
        """(pixels, index, scale) such that the images of some rows are pixels[index] / scale.

        They are augmented as drawn for a training step; without one, cropped in the centre, or
        where several crops of an image are, as drawn once. Where nothing is done to images, these
        are the data in place.
        """
        if self.augmentation is None:
            return self._in_place, rows, self.scale
        if step is None:
            pixels = self.augmentation.fixed(self.pixels, rows)
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
        pixels = np.empty((len(self.rows), self._in_place.shape[1]), np.float32)
        for start in range(0, len(pixels), _BLOCK):
            block = self._in_place[self.rows[start : start + _BLOCK]]
            pixels[start : start + _BLOCK] = preprocessing.apply(_unscaled(block, self.scale))
        labels = None if self.labels is None else self.labels[self.rows]
        rows = np.arange(len(pixels))
        return replace(self, pixels=pixels, scale=1.0, rows=rows, labels=labels)

    def for_fitting(self) -> Floats:
        """Each image once, what preprocessing is fitted to: of crops a drawn one; (rows, units)."""
        if self.augmentation is None:
            return _unscaled(self._in_place[self.rows], self.scale)
        drawn = self.augmentation.drawn(self.pixels, self.rows, 0, Purpose.PREPROCESS)
        return _unscaled(drawn, self.scale)

    @property
    def _in_place(self) -> NDArray[Any]:
        assert isinstance(self.pixels, np.ndarray)  # of different sizes, only crops are used
        return self.pixels

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each value, as the units read it, float64 (units,)."""
        total, scale = np.zeros(1), self.scale
        for block, scale in self._blocks():  # noqa: B007 - the same for all
            # Sums of bytes are exact in either type, and take half the time as whole numbers.
            exact = np.uint32 if block.dtype == np.uint8 else np.float64
            total = total + block.sum(axis=0, dtype=exact)
        return total / (len(self.rows) * scale * self.unit)

    @cached_property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of each value, as the units read it, float64 (units,)."""
        squares = np.zeros(1)
        for block, scale in self._blocks():
            squares = squares + np.square(block / (scale * self.unit) - self.mean).sum(axis=0)
        return np.sqrt(squares / len(self.rows))

    def _blocks(self) -> Iterator[tuple[NDArray[Any], float]]:
        """(values, scale) of all the images, without augmentation, some at a time."""
        for start in range(0, len(self.rows), _BLOCK):
            pixels, index, scale = self.gather(self.rows[start : start + _BLOCK])
            yield pixels[index], scale

    def _check_one_hot(self, kind: UnitKind, where: str) -> None:
        for number, (block, scale) in enumerate(self._blocks()):
            groups = block.reshape(len(block), -1, kind.group) / scale
            wrong = ((groups != 0) & (groups != 1)).any(axis=-1) | (groups.sum(axis=-1) != 1)
            if wrong.any():
                row, group = np.argwhere(wrong)[0]
                raise RbmError(
                    f"{where}: image {self.rows[number * _BLOCK + row]}, columns"
                    f" {group * kind.group} to {(group + 1) * kind.group - 1}: {kind.name} units"
                    " need exactly one 1 among zeros in each group of columns"
                )


def _beyond(value: float, *ends: float) -> str:
    """A value that may be beyond one of these, with digits that tell it from the nearest."""
    return shown(value, min(ends, key=lambda end: abs(end - value)))


def _unscaled(pixels: NDArray[Any], scale: float) -> Floats:
    return np.divide(pixels, np.float32(scale), dtype=np.float32)

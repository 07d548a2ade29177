"""Crops and flips of images, drawn by name each time an image is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.sizes import Size

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Augmentation:
    """Crops of images of `image_shape` (..., height, width), flipped left to right or not.

    What is drawn for an image goes by its row number, so neither its place in a batch nor its
    neighbours matter.
    """

    image_shape: tuple[int, ...]
    size: Size
    flip: bool
    draws: Draws

    @staticmethod
    def of(
        image_shape: tuple[int, ...], crop: Size | None, flip: bool, draws: Draws, where: str
    ) -> Augmentation | None:
        """What --crop and --flip ask for on images of this shape; None if nothing.

        RbmError, naming the data as `where`, for images that are no pictures or too small.
        """
        if crop is None and not flip:
            return None
        asked = "--flip" if crop is None else "--crop"
        if len(image_shape) < 2:
            raise RbmError(
                f"{where}: images of shape {image_shape} have no rows and columns for {asked};"
                " store them as (n, height, width)"
            )
        whole = Size(*image_shape[-2:])
        size = crop or whole
        if size.height > whole.height or size.width > whole.width:
            raise RbmError(
                f"{where}: images of {whole.text} (height x width) are smaller than --crop"
                f" {size.text}; choose a smaller one"
            )
        return Augmentation(image_shape, size, flip, draws)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image that comes out."""
        return (*self.image_shape[:-2], self.size.height, self.size.width)

    def central(self, pixels: NDArray[Any], rows: Rows) -> NDArray[Any]:
        """The central crops of pixels[rows], a copy (rows, units) of the same type."""
        places = [np.full(len(rows), spare // 2) for spare in self._spare]
        return self._cut(pixels, rows, *places)

    def drawn(
        self, pixels: NDArray[Any], rows: Rows, step: int, purpose: Purpose = Purpose.AUGMENT
    ) -> NDArray[Any]:
        """Random crops and flips of pixels[rows], a copy (rows, units) of the same type."""
        words = np.empty((len(rows), 3), np.uint32)
        for row, out in zip(rows.tolist(), words, strict=True):
            draw = self.draws.at(purpose, step, first_row=row)
            _kernels.random_words(draw, out[np.newaxis])
        scaled = words.astype(np.uint64)
        places = [(scaled[:, i] * (spare + 1) >> 32) for i, spare in enumerate(self._spare)]
        images = self._cut(pixels, rows, *places)
        if self.flip:
            pictures = images.reshape(len(rows), *self.shape)
            flipped = words[:, 2] >> 31 == 1
            pictures[flipped] = pictures[flipped][..., ::-1]
        return images

    @property
    def _spare(self) -> tuple[int, int]:
        """Rows and columns that a crop leaves out."""
        height, width = self.image_shape[-2:]
        return height - self.size.height, width - self.size.width

    def _cut(
        self, pixels: NDArray[Any], rows: Rows, top: NDArray[Any], left: NDArray[Any]
    ) -> NDArray[Any]:
        pictures = pixels.reshape(len(pixels), *self.image_shape)
        windows = sliding_window_view(pictures, (self.size.height, self.size.width), axis=(-2, -1))
        cut = windows[rows, ..., top.astype(np.int64), left.astype(np.int64), :, :]
        return np.ascontiguousarray(cut).reshape(len(rows), -1)

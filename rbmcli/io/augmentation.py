"""Crops and flips of images, drawn by name each time an image is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Pixels
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.sizes import Size

Rows = NDArray[np.int64]

#: The word of a place in the middle, and of no flip.
_MIDDLE = (1 << 31) - 1


@dataclass(frozen=True)
class Augmentation:
    """Crops of images of `image_shape` (..., height, width), flipped left to right or not.

    The crops of image i are the rows from i * per_image, so many. What is drawn for a crop goes by
    its row number, so neither its place in a batch nor its neighbours matter. Images may be larger
    than `image_shape`, each in its own way.
    """

    image_shape: tuple[int, ...]
    size: Size
    flip: bool
    draws: Draws
    per_image: int = 1

    @staticmethod
    def of(
        image_shape: tuple[int, ...],
        crop: Size | None,
        flip: bool,
        draws: Draws,
        where: str,
        per_image: int = 1,
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
        return Augmentation(image_shape, size, flip, draws, per_image)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image that comes out."""
        return (*self.image_shape[:-2], self.size.height, self.size.width)

    def rows(self, images: Rows) -> Rows:
        """The row numbers of the crops of some images."""
        return (images[:, np.newaxis] * self.per_image + np.arange(self.per_image)).ravel()

    def fixed(self, pixels: Pixels, rows: Rows) -> NDArray[Any]:
        """What is measured: central crops; of several crops of an image, each as drawn once.

        pixels: images of `image_shape`, flattened, or of different sizes. A copy (rows, units) of
        the same type.
        """
        if self.per_image > 1:
            return self.drawn(pixels, rows, 0, Purpose.PREPROCESS)
        return self.central(pixels, rows)

    def central(self, pixels: Pixels, rows: Rows) -> NDArray[Any]:
        """The central crops, otherwise as `fixed`."""
        words = np.full((len(rows), 3), _MIDDLE, np.uint32)
        return self._cut(pixels, rows, words)

    def drawn(
        self, pixels: Pixels, rows: Rows, step: int, purpose: Purpose = Purpose.AUGMENT
    ) -> NDArray[Any]:
        """Random crops and flips, otherwise as `fixed`."""
        words = np.empty((len(rows), 3), np.uint32)
        for row, out in zip(rows.tolist(), words, strict=True):
            draw = self.draws.at(purpose, step, first_row=row)
            _kernels.random_words(draw, out[np.newaxis])
        return self._cut(pixels, rows, words)

    def _cut(self, pixels: Pixels, rows: Rows, words: NDArray[np.uint32]) -> NDArray[Any]:
        """Crops at the places, and flips, that the words (rows, 3) stand for."""
        if isinstance(pixels, np.ndarray):
            pictures: Pixels = pixels.reshape(len(pixels), *self.image_shape)
        else:
            pictures = pixels
        height, width = self.size.height, self.size.width
        images = np.empty((len(rows), *self.shape), pictures[0].dtype)
        of = (rows // self.per_image).tolist()
        for image, number, (down, along, side) in zip(images, of, words.tolist(), strict=True):
            picture = pictures[number]
            top = down * (picture.shape[-2] - height + 1) >> 32
            left = along * (picture.shape[-1] - width + 1) >> 32
            crop = picture[..., top : top + height, left : left + width]
            image[...] = crop[..., ::-1] if self.flip and side > _MIDDLE else crop
        return images.reshape(len(rows), -1)

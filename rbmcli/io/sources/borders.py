"""Borders of images: blank ones added, and those cut that a machine cannot use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rbmcli.errors import RbmError
from rbmcli.io.sizes import Size
from rbmcli.io.sources.dataset import Dataset


def padded(dataset: Dataset, width: int) -> Dataset:
    """Every image with so many blank rows and columns on each side; itself where there are none.

    RbmError for images without rows and columns.
    """
    if not width:
        return dataset
    if len(dataset.image_shape) < 2 or not isinstance(dataset.images, np.ndarray):
        raise RbmError(
            f"{dataset.source}: --pad needs images of one size with rows and columns; store them as"
            " (n, height, width)"
        )
    pictures = dataset.images.reshape(len(dataset.images), *dataset.image_shape)
    sides = [(0, 0)] * (pictures.ndim - 2) + [(width, width)] * 2
    wide = np.pad(pictures, sides)
    return replace(dataset, images=wide.reshape(len(wide), -1), image_shape=wide.shape[1:])


def trimmed(dataset: Dataset, size: Size) -> Dataset:
    """The central part of every image, with a notice; the data set itself where that is all of it.

    size: no larger than the images, which have rows and columns.
    """
    height, width = dataset.image_shape[-2:]
    if (height, width) == (size.height, size.width):
        return dataset
    top, left = (height - size.height) // 2, (width - size.width) // 2
    assert isinstance(dataset.images, np.ndarray)  # only crops are cut from other pictures
    pictures = dataset.images.reshape(len(dataset.images), *dataset.image_shape)
    cut = pictures[..., top : top + size.height, left : left + size.width]
    smaller = replace(
        dataset,
        images=np.ascontiguousarray(cut).reshape(len(cut), -1),
        image_shape=(*dataset.image_shape[:-2], size.height, size.width),
    )
    return noted(smaller, f"images of {height}x{width}", size)


def noted(dataset: Dataset, what: str, size: Size) -> Dataset:
    """The data set with the notice that `what`, of a size, is trimmed to this one."""
    notice = (
        f"{dataset.source}: {what} (height x width) are trimmed to {size.text}, which is what"
        " filters and pooling can use"
    )
    return replace(dataset, notices=(*dataset.notices, notice))

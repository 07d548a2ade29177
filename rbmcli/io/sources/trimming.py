"""Cutting the borders of images that a machine cannot use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rbmcli.io.sizes import Size
from rbmcli.io.sources.dataset import Dataset


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

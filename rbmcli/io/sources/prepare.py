"""From an array of any format to images and labels: types, checks, selection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rbmcli.errors import RbmError
from rbmcli.io.sources.pictures import Pictures

#: Elements looked at together when a large array is checked, so that the check stays small.
_CHECKED_TOGETHER = 1 << 20
#: Numbers of channels that pictures have: grey, colours, colours and transparency.
_CHANNELS = (1, 3, 4)


class Raw(NamedTuple):
    """What a format yields.

    images: (n, ...) of any type, or pictures still to be read. labels: those beside them, and
    labels_from: what these are called. notices: lines for the user. unlabelled: why there are no
    labels where the user might think so.
    """

    images: np.ndarray | Pictures
    labels: np.ndarray | None = None
    labels_from: str = ""
    notices: tuple[str, ...] = ()
    unlabelled: str | None = None


def channels_before(
    array: np.ndarray, channels: str | None, where: str
) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Return `array` as (n, channels, height, width) where it is of four dimensions, else itself.

    channels: "first" or "last", where they are in the array; None to tell by its shape. The second
    value is which it was ("first" where there are none), the third what to tell the user.
    """
    if array.ndim != 4 or channels == "first":
        return array, channels or "first", ()
    guessed = channels is None
    if guessed and (array.shape[1] in _CHANNELS or array.shape[3] not in _CHANNELS):
        return array, "first", ()
    moved = np.moveaxis(array, 3, 1)
    if not guessed:
        return moved, "last", ()
    height, width, count = array.shape[1:]
    notice = (
        f"{where}: images of {height}x{width}x{count} are taken to be height x width x channels"
        " (--channels last); say --channels first if they are not"
    )
    return moved, "last", (notice,)


def to_images(array: np.ndarray, where: str) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """Return `array` (n, ...) as C-contiguous uint8 or float32, its scale, and notices.

    uint8 is not copied. bool, and other integers that fit, become uint8; everything else float32.
    The scale of uint8 is 255, or 1 where the largest value is 1 (0/1 data). Raises RbmError for
    other types, fewer than two dimensions, no elements, and NaN or infinite values.
    """
    if array.ndim < 2:
        raise RbmError(
            f"{where}: has shape {array.shape}; images need two dimensions or more, "
            "the first counting them"
        )
    if array.size == 0:
        raise RbmError(f"{where}: has shape {array.shape}, so holds no images; name another source")
    if array.dtype.kind not in "buif":
        raise RbmError(f"{where}: holds {array.dtype} values; store integers, floats or booleans")
    if array.dtype.kind == "b":
        return np.ascontiguousarray(array).view(np.uint8), 1.0, ()
    if array.dtype.kind in "ui":
        lowest, highest = array.min(), array.max()
        if lowest >= 0 and highest <= 255:
            images = np.ascontiguousarray(array, np.uint8)
            if highest == 1:
                return (
                    images,
                    1.0,
                    (f"{where}: the largest value is 1, so the data are read as 0/1",),
                )
            return images, 255.0, ()
    with np.errstate(over="ignore", invalid="ignore"):  # What overflows is found below.
        images = np.ascontiguousarray(array, np.float32)
    _check_finite(images, where)
    return images, 1.0, ()


def _check_finite(images: np.ndarray, where: str) -> None:
    rows = max(1, _CHECKED_TOGETHER // images[0].size)
    first: tuple[int, ...] | None = None
    count = 0
    for start in range(0, len(images), rows):
        bad = np.argwhere(~np.isfinite(images[start : start + rows]))
        if len(bad) and first is None:
            first = (start + int(bad[0][0]), *map(int, bad[0][1:]))
        count += len(bad)
    if first is not None:
        place = ", ".join(map(str, first[1:]))
        raise RbmError(
            f"{where}: NaN or infinite values: {count}, the first in image {first[0]} at "
            f"position ({place}), counted from 0; replace them or leave those images out"
        )


def to_labels(array: np.ndarray, where: str, images: int) -> np.ndarray:
    """Return `array` as (images,) int64; RbmError unless it is 1-D, whole numbers, that long."""
    if array.ndim != 1:
        raise RbmError(f"{where}: labels of shape {array.shape}; store one number an image")
    if array.dtype.kind not in "bui":
        raise RbmError(f"{where}: labels are {array.dtype}; store them as integers")
    if len(array) != images:
        raise RbmError(
            f"{where}: {len(array)} labels for {images} images; give the labels of these images"
        )
    if array.dtype.kind == "u" and len(array) and array.max() > np.iinfo(np.int64).max:
        raise RbmError(f"{where}: labels above {np.iinfo(np.int64).max}; number the classes from 0")
    return np.ascontiguousarray(array, np.int64)


def select(
    images: np.ndarray,
    labels: np.ndarray | None,
    only: Sequence[int],
    limit: int | None,
    where: str,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Keep the images whose label is in `only` (empty: all), of these the first `limit`.

    What is kept is copied, so that the rest can be freed; without a selection nothing is.
    """
    if limit is not None and limit < 1:
        raise RbmError(f"{where}: a limit of {limit} keeps no images; give 1 or more")
    if only:
        if labels is None:
            raise RbmError(f"{where}: choosing by label needs labels; give a file of labels")
        _check_present(labels, only, where)
        kept = np.flatnonzero(np.isin(labels, only))[:limit]
        return images[kept], labels[kept]
    if limit is not None and limit < len(images):
        return images[:limit].copy(), None if labels is None else labels[:limit].copy()
    return images, labels


def _check_present(labels: np.ndarray, only: Sequence[int], where: str) -> None:
    present = np.unique(labels).tolist()
    if absent := sorted(set(only) - set(present)):
        listed = ", ".join(map(str, present[:20])) + (", ..." if len(present) > 20 else "")
        raise RbmError(f"{where}: no image has label {absent[0]}; choose from {listed}")

"""Arrays to tiles: a batch of filters or images becomes one picture, a grid with thin gaps.

A picture is a uint8 array, (height, width) in greys or (height, width, 3) in colour.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

#: Grey of gaps, margins and empty places: darker than the middle grey of a silent weight, lighter
#: than the black background of a digit, so that both kinds of tile stand out.
GAP = 51

#: Share of the weights that the common scale shows unclipped. A few extreme weights would
#: otherwise leave the strokes of all other filters pale.
_UNCLIPPED = 0.99


def stretch_each(filters: NDArray[np.float32]) -> Picture:
    """Map each filter's own minimum to black and its maximum to white.

    `filters` is (n, *shape); the answer has the same shape. A constant filter is mid-grey.
    """
    flat = filters.reshape(len(filters), -1)
    low = flat.min(axis=1, keepdims=True)
    span = flat.max(axis=1, keepdims=True) - low
    constant = span == 0
    unit = np.where(constant, 0.5, (flat - low) / np.where(constant, 1, span))
    return _to_uint8(unit).reshape(filters.shape)


def stretch_all(filters: NDArray[np.float32], limit: float) -> Picture:
    """Map -limit to black, 0 to mid-grey and +limit to white; what lies beyond is clipped."""
    return _to_uint8(np.clip(0.5 + filters / (2 * limit), 0, 1))


def common_limit(filters: NDArray[np.float32]) -> float:
    """Return the limit at which `stretch_all` shows these filters well; above 0."""
    return float(np.quantile(np.abs(filters), _UNCLIPPED)) or 1.0


def image_grid(
    images: NDArray[np.uint8] | NDArray[np.floating],
    columns: int | None = None,
    scale: int = 1,
    limits: tuple[float, float] | None = (0.0, 1.0),
) -> Picture:
    """Lay out images on the scale from `limits`, black and white, or as they are where uint8.

    `images` is (n, *shape), n at least 1; values outside the limits are clipped. Without limits,
    they are the least and the greatest value of the images. Layout as in `grid`.
    """
    if images.dtype == np.uint8:
        return grid(images.astype(np.uint8, copy=False), columns, scale)
    low, high = limits or (float(images.min()), float(images.max()))
    unit = (images - low) / ((high - low) or 1)
    return grid(_to_uint8(np.clip(unit, 0, 1)), columns, scale)


def completion_grid(
    originals: NDArray[Any],
    mask: NDArray[np.bool_],
    completed: NDArray[np.floating],
    columns: int | None = None,
    scale: int = 1,
    limits: tuple[float, float] | None = (0.0, 1.0),
) -> Picture:
    """Lay out each image three times side by side: as it was, what was kept of it, and completed.

    originals, completed: (n, *shape), n at least 1. mask: shape, True where kept; the rest is shown
    mid-grey. columns: of such triples. limits: as in `image_grid`.
    """
    if limits is None:
        both = np.stack([originals, completed])
        limits = float(both.min()), float(both.max())
    kept = np.where(mask, originals, (limits[0] + limits[1]) / 2)
    triples = np.stack([originals, kept, completed], axis=1).reshape(-1, *mask.shape)
    columns = columns or max(1, round(math.sqrt(len(originals) / 3)))
    return image_grid(triples, 3 * columns, scale, limits)


def grid(tiles: Picture, columns: int | None = None, scale: int = 1) -> Picture:
    """Lay out `tiles` row by row with gaps of one pixel, then enlarge every pixel `scale` times.

    `tiles` is (n, *shape), n at least 1, where shape is (height, width), (3, height, width) for
    colour, (channels, height, width), whose channels stand one below the other, or (length,),
    which is folded to a near-square tile. Without `columns` the grid is near-square.
    """
    tiles = _as_planes(tiles)
    count, height, width, *colour = tiles.shape
    columns = min(columns or near_square(count), count)
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + 1, width + 1, *colour), GAP, np.uint8)
    cells[:count, 1:, 1:] = tiles
    rows_of_cells = cells.reshape(rows, columns, height + 1, width + 1, *colour)
    inner = rows_of_cells.swapaxes(1, 2).reshape(
        rows * (height + 1), columns * (width + 1), *colour
    )
    return pad(inner, bottom=1, right=1).repeat(scale, axis=0).repeat(scale, axis=1)


def near_square(count: int) -> int:
    """Return how many columns hold `count` tiles in a near-square grid.

    A full rectangle up to twice as wide as high is preferred to one with empty places.
    """
    least = math.isqrt(count - 1) + 1
    widest = math.isqrt(2 * count)
    full = (columns for columns in range(least, widest + 1) if count % columns == 0)
    return next(full, least)


def pad(
    picture: Picture, *, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0
) -> Picture:
    """Add margins of the gap's grey, in pixels."""
    margins = [(top, bottom), (left, right), (0, 0)][: picture.ndim]
    return np.pad(picture, margins, constant_values=GAP)


def _to_uint8(unit: NDArray[np.floating]) -> Picture:
    return np.rint(unit * 255).astype(np.uint8)


def _as_planes(tiles: Picture) -> Picture:
    """(n, *shape) to (n, height, width) or (n, height, width, 3)."""
    match tiles.shape:
        case (_, _, _):
            return tiles
        case (_, 3, _, _):
            return np.moveaxis(tiles, 1, -1)
        case (count, channels, height, width):
            return tiles.reshape(count, channels * height, width)
    flat = tiles.reshape(len(tiles), -1)
    width = near_square(flat.shape[1])
    height = -(-flat.shape[1] // width)
    padding = height * width - flat.shape[1]
    return np.pad(flat, [(0, 0), (0, padding)], constant_values=GAP).reshape(-1, height, width)

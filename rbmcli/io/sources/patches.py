"""Patches cut from pictures, which may be of different sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draws, Purpose
from rbmcli.io.sizes import Patches
from rbmcli.io.sources.pictures import Pictures


def cut(
    pictures: Pictures, chosen: NDArray[np.int64], patches: Patches, draws: Draws
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """(patches, their pictures): (count, ..., height, width) and the row numbers of the pictures.

    Each patch comes from one of the `chosen` rows, all alike, and from any of its places, all
    alike. Pictures are looked at one at a time. RbmError where one has no two dimensions or is
    smaller than a patch.
    """
    generator = draws.generator(Purpose.PATCHES)
    of = chosen[generator.integers(len(chosen), size=patches.count)]
    places = generator.random((patches.count, 2))
    order = np.argsort(of, kind="stable")
    ends = np.searchsorted(of[order], chosen, "right")
    starts = np.searchsorted(of[order], chosen, "left")
    size = patches.size
    result: NDArray[Any] | None = None
    for row, start, end in zip(chosen.tolist(), starts, ends, strict=True):
        picture = pictures[row]
        pictures.check_planes(row, picture, "cut patches from")
        pictures.check_size(row, picture, size, "a patch of")
        height, width = picture.shape[-2:]
        if result is None:
            shape = (patches.count, *picture.shape[:-2], size.height, size.width)
            result = np.empty(shape, picture.dtype)
        for patch in order[start:end]:
            top = int(places[patch, 0] * (height - size.height + 1))
            left = int(places[patch, 1] * (width - size.width + 1))
            result[patch] = picture[..., top : top + size.height, left : left + size.width]
    assert result is not None  # there is no source without pictures
    return result, of

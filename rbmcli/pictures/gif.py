"""Grey animations as GIF, with one frame in memory at a time.

Pillow's `save_all` keeps every frame until the last; here its encoder compresses each frame as it
comes. The file stays small because a pixel keeps the grey it shows as long as that is within one
level of the picture, and because a frame holds only what changes: the rectangle around it, in
which the other pixels are transparent and compress to almost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image

from rbmcli.pictures.tiles import Picture

#: Disposal method of the format: leave the frame in place, so that the next is drawn upon it.
_KEEP = 1


def write_gif(file: BinaryIO, frames: Iterable[tuple[Picture, int]], greys: int) -> None:
    """Write an animation that loops for ever.

    `frames` are grey pictures of one shape, each with its duration in milliseconds. They are shown
    in `greys` evenly spaced greys (2 to 255), every pixel at most one step off its own grey.
    """
    posteriser = _Posteriser(greys)
    transparent = greys
    palette = posteriser.greys.repeat(3).tobytes() + bytes(3)
    first = True
    for picture, duration in frames:
        levels, changed = posteriser.update(picture)
        rows, columns = _bounding_box(changed)
        image = Image.fromarray(np.where(changed, levels, transparent)[rows, columns])
        image.putpalette(palette)
        control = {"duration": duration, "disposal": _KEEP}
        if first:
            header, _ = GifImagePlugin.getheader(image, info={"loop": 0})
            file.writelines(header)
            first = False
        else:
            control["transparency"] = transparent
        offset = (columns.start, rows.start)
        file.writelines(GifImagePlugin.getdata(image, offset, **control))
    file.write(b";")


class _Posteriser:
    """Shows pictures in few greys; a pixel changes only when its grey is no longer near enough."""

    def __init__(self, count: int) -> None:
        step = 255 / (count - 1)
        exact = np.arange(count) * step
        self.greys = np.rint(exact).astype(np.uint8)
        self._nearest = np.rint(np.arange(256) / step).astype(np.uint8)
        self._darkest = np.ceil(np.maximum(exact - step, 0)).astype(np.uint8)
        self._lightest = np.floor(np.minimum(exact + step, 255)).astype(np.uint8)
        self._shown: NDArray[np.uint8] | None = None

    def update(self, picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return the level of each pixel for this picture, and which pixels changed."""
        nearest = self._nearest[picture]
        if self._shown is None:
            self._shown = nearest
            return nearest, np.ones(picture.shape, np.bool_)
        too_dark = picture > self._lightest[self._shown]
        too_light = picture < self._darkest[self._shown]
        changed = too_dark | too_light
        self._shown = np.where(changed, nearest, self._shown)
        return self._shown, changed


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns around all that is set; one corner pixel where nothing is.

    A frame without change is written too, for its duration.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 1), slice(0, 1)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

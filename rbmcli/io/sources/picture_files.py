"""Files of pictures, read as greyscale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rbmcli.errors import RbmError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp"}


class Pictures:
    """Pictures of any sizes, each (height, width) uint8 and read when it is asked for."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Read one; RbmError if it cannot be read."""
        return read_picture(self.paths[index])


def stacked(pictures: Pictures) -> np.ndarray:
    """Return pictures of one size as (n, height, width) uint8; RbmError if their sizes differ."""
    first = pictures[0]
    result = np.empty((len(pictures), *first.shape), np.uint8)
    for index, path in enumerate(pictures.paths):
        picture = pictures[index]
        if picture.shape != first.shape:
            raise RbmError(
                f"{path}: {_size(picture)} pixels, but {pictures.paths[0].name} has "
                f"{_size(first)}; make all pictures of one size, or cut --patches from them"
            )
        result[index] = picture
    return result


def read_picture(path: Path) -> np.ndarray:
    """Return the greys of a picture, (height, width) uint8; RbmError if it cannot be read."""
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):  # Pillow would clip what lies above 255.
                raise RbmError(f"{path}: has more than 8 bits a pixel; save it with 8")
            return np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow names the file in some of its messages and not in others.
        reason = str(error).replace(f" {str(path)!r}", "")
        raise RbmError(f"{path}: not a readable picture ({reason}); mend or remove it") from None


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"

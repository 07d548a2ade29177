"""Files of pictures, read as greyscale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rbmcli.errors import RbmError
from rbmcli.io.sources.pictures import Pictures

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp"}


def read_later(paths: Sequence[Path]) -> Pictures:
    """Return the pictures in these files, each (height, width) uint8."""
    return Pictures([str(path) for path in paths], lambda number: read_picture(paths[number]))


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

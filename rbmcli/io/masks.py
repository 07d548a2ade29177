"""Masks: which values of an image are meant, by a word, a picture or an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.io.sources import numpy_files
from rbmcli.io.sources.picture_files import read_alone
from rbmcli.opening import opened

#: Words for a half of an image.
HALVES = ("upper", "lower", "left", "right")


def read_mask(mask: str, image_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask of that name for images of a shape, flattened: bool (units,).

    mask: one of HALVES, a picture, or a `.npy` or `.npz` file with one array; what is not 0 in it
    is meant. A mask (height, width) counts for every channel. RbmError where it has another shape.
    """
    array = _half(mask, image_shape) if mask in HALVES else _read(Path(mask)) != 0
    if array.shape not in (image_shape, image_shape[-2:]):
        raise RbmError(
            f"{mask}: a mask of {_text(array.shape)}, but the images are {_text(image_shape)}:"
            " give one of that shape"
        )
    return np.broadcast_to(array, image_shape).ravel()


def _half(word: str, image_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The middle row or column of an odd number goes to the lower or right half."""
    if len(image_shape) < 2:
        raise RbmError(
            f"{word}: the images are {_text(image_shape)} and have no sides: give a mask in a file"
        )
    height, width = image_shape[-2:]
    row, column = np.ogrid[:height, :width]
    halves = {"upper": row < height // 2, "left": column < width // 2}
    halves |= {"lower": ~halves["upper"], "right": ~halves["left"]}
    return np.broadcast_to(halves[word], (height, width))


def _read(path: Path) -> NDArray[np.generic]:
    if not path.exists():
        raise RbmError(f"{path}: no such file: give a mask, or one of {', '.join(HALVES)}")
    with opened(path) as file:
        magic = file.read(len(numpy_files.NPY_MAGIC))
    if magic == numpy_files.NPY_MAGIC:
        array = numpy_files.read_npy(path)
    elif magic.startswith(numpy_files.NPZ_MAGIC):
        names = numpy_files.array_names(path)
        if len(names) != 1:
            raise RbmError(f"{path}: holds {len(names)} arrays: store the mask alone")
        array = numpy_files.read_array(path, names[0])
    else:
        array = read_alone(path)
    if array.dtype.kind not in "buif" or np.isnan(array).any():
        raise RbmError(f"{path}: holds {array.dtype} values, not all of them numbers: store 0 or 1")
    return array


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single value"

"""A machine's parameters as a `.npz` file: to and from other programs.

`weights` (visible x hidden), `visible_bias` and `hidden_bias` are what every file has. What rbm
writes says more: `visible_log_sigma` and `hidden_log_sigma` where they are learned, and the texts
`visible_kind` and `hidden_kind` and the sizes `image_shape`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats
from rbmcli.errors import RbmError
from rbmcli.io.sources import numpy_files

_NEEDED = ("weights", "visible_bias", "hidden_bias")
_LOG_SIGMAS = ("visible_log_sigma", "hidden_log_sigma")
_KINDS = ("visible_kind", "hidden_kind")

#: Largest magnitude of log sigma whose exponential and its inverse are ordinary float32 numbers.
_LOG_SIGMA_LIMIT = 80.0


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds, checked by itself.

    parameters: float32 arrays by name, whose shapes fit together. kinds: "visible_kind" and
    "hidden_kind", as far as the file says. image_shape: as far as it says. sha256: of the file.
    """

    parameters: dict[str, Floats]
    kinds: dict[str, str]
    image_shape: tuple[int, ...] | None
    sha256: str


def weights_arrays(
    parameters: Mapping[str, NDArray[np.float32]],
    kinds: Mapping[str, str],
    image_shape: tuple[int, ...],
) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file of weights, by name."""
    texts = {name: np.array(kinds[name]) for name in _KINDS}
    return {**parameters, **texts, "image_shape": np.array(image_shape, np.int64)}


def read_weights(path: Path) -> WeightsFile:
    """Read a `.npz` file of weights.

    RbmError where it is damaged, where arrays are missing, of a wrong type or shape, and where
    values are not finite.
    """
    if not path.is_file():
        raise RbmError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}: give an .npz")
    with path.open("rb") as file:
        if file.read(2) != numpy_files.NPZ_MAGIC:
            raise RbmError(f"{path}: not an .npz file: write one with numpy.savez")
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    names = numpy_files.array_names(path)
    if missing := [name for name in _NEEDED if name not in names]:
        raise RbmError(
            f"{path}: holds no {' and no '.join(missing)}, but"
            f" {', '.join(sorted(names)) or 'nothing'}: give the arrays the names"
            f" {', '.join(_NEEDED)}"
        )
    found = (*_NEEDED, *(name for name in _LOG_SIGMAS if name in names))
    parameters = {name: _parameter(path, name) for name in found}
    _check_shapes(path, parameters)
    for name in _LOG_SIGMAS:
        if name in parameters and np.abs(parameters[name]).max() > _LOG_SIGMA_LIMIT:
            raise RbmError(f"{path}: {name} has values beyond {_LOG_SIGMA_LIMIT:g}: they are logs")
    kinds = {name: _text(path, name) for name in _KINDS if name in names}
    image_shape = None
    if "image_shape" in names:
        image_shape = _image_shape(path, parameters["visible_bias"].size)
    return WeightsFile(parameters, kinds, image_shape, sha256)


def _parameter(path: Path, name: str) -> Floats:
    array = numpy_files.read_array(path, name)
    if array.dtype.kind not in "iuf":
        raise RbmError(f"{path}: {name} holds {array.dtype} values: store real numbers")
    if array.size == 0:
        raise RbmError(f"{path}: {name} has shape {array.shape}, so holds nothing: store numbers")
    with np.errstate(over="ignore"):
        values: Floats = np.ascontiguousarray(array, np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = ", ".join(map(str, bad[0]))
        raise RbmError(
            f"{path}: {name} has values that are NaN, infinite or too large for float32:"
            f" {len(bad)}, the first at ({place}), counted from 0: train again or mend them"
        )
    return values.reshape(array.shape)


def _check_shapes(path: Path, parameters: Mapping[str, Floats]) -> None:
    for name, values in parameters.items():
        if values.ndim != (2 if name == "weights" else 1):
            raise RbmError(f"{path}: {name} has shape {values.shape}: store {_shape_of(name)}")
    sizes = {place: parameters[f"{place}_bias"].size for place in ("visible", "hidden")}
    expected = (sizes["visible"], sizes["hidden"])
    shape = parameters["weights"].shape
    if shape != expected:
        fault = "do not fit"
        if shape == expected[::-1]:
            fault = "are transposed, hidden x visible"
        raise RbmError(
            f"{path}: weights have shape {shape} and {fault}: {expected[0]} visible and"
            f" {expected[1]} hidden biases need {expected}"
        )
    for place, size in sizes.items():
        name = f"{place}_log_sigma"
        if name in parameters and parameters[name].size != size:
            raise RbmError(
                f"{path}: {name} has shape {parameters[name].shape}, but there are {size} {place}"
                " biases: store one for each"
            )


def _shape_of(name: str) -> str:
    return "a matrix, visible x hidden" if name == "weights" else "a vector, one for each unit"


def _text(path: Path, name: str) -> str:
    array = numpy_files.read_array(path, name)
    if array.dtype.kind != "U" or array.ndim:
        raise RbmError(f"{path}: {name} is not a text: store numpy.array('bernoulli') or the like")
    return str(array)


def _image_shape(path: Path, visible: int) -> tuple[int, ...]:
    array = numpy_files.read_array(path, "image_shape")
    if array.dtype.kind not in "iu" or array.ndim != 1 or (array < 1).any():
        raise RbmError(f"{path}: image_shape is not a list of sizes: store integers such as 28, 28")
    shape = tuple(int(size) for size in array)
    if math.prod(shape) != visible:
        raise RbmError(
            f"{path}: image_shape {' x '.join(map(str, shape))} is not that of {visible} visible"
            " units: mend it or leave it out"
        )
    return shape

"""Parameters of machines as a `.npz` file: to and from other programs.

`weights` (visible x hidden), `visible_bias` and `hidden_bias` are what a file of one machine has.
What rbm writes says more: `visible_log_sigma` and `hidden_log_sigma` where they are learned, the
texts `visible_kind` and `hidden_kind`, and the sizes `image_shape`.

Of a machine whose filters move over images, `weights` is (filters, channels, height, width), and
the parameters of visible units are those of channels, of hidden units those of filters. `pool` says
in blocks of how many rows and columns hidden units are pooled; where it is missing they are not.

In a file of a stack the names of machine i begin with `i/`, from `0/` at the bottom. Where ways up
and down were trained apart, machines have `generative_weights` (visible x hidden) and
`generative_bias` (visible) too, all but the top one. With label units, whose number is `classes`,
they are the last visible ones of the top machine.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import LOG_SIGMA_LIMIT, Floats
from rbmcli.errors import RbmError
from rbmcli.io.sources import numpy_files
from rbmcli.opening import opened

_NEEDED = ("weights", "visible_bias", "hidden_bias")
_LOG_SIGMAS = ("visible_log_sigma", "hidden_log_sigma")
_GENERATIVE = ("generative_weights", "generative_bias")
_KINDS = ("visible_kind", "hidden_kind")


@dataclass(frozen=True)
class MachineWeights:
    """What a file says of a machine.

    parameters: float32 arrays by name. kinds: "visible_kind", of units that are no label units, and
    "hidden_kind", as far as the file says. generative: "generative_weights" and "generative_bias",
    or nothing. pool: rows and columns of the blocks that a convolution is pooled in.
    """

    parameters: Mapping[str, NDArray[np.float32]]
    kinds: Mapping[str, str]
    generative: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    pool: int = 1

    @property
    def convolutional(self) -> bool:
        """Whether the weights are those of filters."""
        return self.parameters["weights"].ndim == 4


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds, checked by itself: shapes fit together.

    machines: from the bottom up. image_shape: as far as the file says. classes: number of label
    units. numbered: whether names in the file begin with the machine's number. sha256: of the file.
    """

    machines: list[MachineWeights]
    image_shape: tuple[int, ...] | None
    classes: int
    numbered: bool
    sha256: str

    @property
    def image_units(self) -> int | None:
        """Number of values that an image has; None where filters leave it open."""
        return _image_units(self.machines, self.classes)


def weights_arrays(
    machines: Sequence[MachineWeights], image_shape: tuple[int, ...], classes: int = 0
) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file of weights, by name: numbered unless it is one machine and no labels."""
    numbered = len(machines) > 1 or classes > 0
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, machine in enumerate(machines):
        said: dict[str, NDArray[np.generic]] = {
            name: np.array(machine.kinds[name]) for name in _KINDS
        }
        if machine.convolutional:
            said["pool"] = np.array(machine.pool, np.int64)
        for name, values in {**machine.parameters, **machine.generative, **said}.items():
            arrays[f"{number}/{name}" if numbered else name] = values
    arrays["image_shape"] = np.array(image_shape, np.int64)
    return arrays | ({"classes": np.array(classes, np.int64)} if classes else {})


def read_weights(path: Path) -> WeightsFile:
    """Read a `.npz` file of weights.

    RbmError where it is damaged, where arrays are missing, of a wrong type or shape, and where
    values are not finite.
    """
    if not path.exists():
        raise RbmError(f"{path}: no such file: give an .npz")
    with opened(path) as file:
        if file.read(2) != numpy_files.NPZ_MAGIC:
            raise RbmError(f"{path}: not an .npz file: write one with numpy.savez")
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    names = numpy_files.array_names(path)
    numbers = sorted({int(name.split("/")[0]) for name in names if re.match(r"\d{1,9}/", name)})
    if numbers != list(range(len(numbers))):
        missing = next(n for n in range(len(numbers)) if n not in numbers)
        raise RbmError(
            f"{path}: holds machine {numbers[-1]} and no machine {missing}: number them from 0"
        )
    prefixes = [f"{number}/" for number in numbers] or [""]
    machines = [_read_machine(path, names, prefix) for prefix in prefixes]
    classes = _count(path, "classes", 2, "label units") if numbers and "classes" in names else 0
    _check_stack(path, machines, classes)
    image_shape = None
    if "image_shape" in names:
        image_shape = _image_shape(path, _image_units(machines, classes))
    return WeightsFile(machines, image_shape, classes, bool(numbers), sha256)


def _read_machine(path: Path, names: Sequence[str], prefix: str) -> MachineWeights:
    """The machine whose names begin with a prefix."""
    if missing := [f"{prefix}{name}" for name in _NEEDED if f"{prefix}{name}" not in names]:
        raise RbmError(
            f"{path}: holds no {' and no '.join(missing)}, but"
            f" {', '.join(sorted(names)) or 'nothing'}: give the arrays the names"
            f" {', '.join(f'{prefix}{name}' for name in _NEEDED)}"
        )
    found = (*_NEEDED, *(name for name in _LOG_SIGMAS if f"{prefix}{name}" in names))
    parameters = {name: _parameter(path, f"{prefix}{name}") for name in found}
    _check_shapes(path, prefix, parameters)
    for name in _LOG_SIGMAS:
        if name in parameters and np.abs(parameters[name]).max() > LOG_SIGMA_LIMIT:
            raise RbmError(
                f"{path}: {prefix}{name} has values beyond {LOG_SIGMA_LIMIT:g}: they are logs"
            )
    generative = {
        name: _parameter(path, f"{prefix}{name}")
        for name in _GENERATIVE
        if f"{prefix}{name}" in names
    }
    for name, values in generative.items():
        like = "weights" if name == "generative_weights" else "visible_bias"
        if values.shape != parameters[like].shape:
            raise RbmError(
                f"{path}: {prefix}{name} has shape {values.shape}, but {prefix}{like}"
                f" {parameters[like].shape}: store one for each"
            )
    kinds = {name: _text(path, f"{prefix}{name}") for name in _KINDS if f"{prefix}{name}" in names}
    machine = MachineWeights(parameters, kinds, generative)
    if f"{prefix}pool" not in names:
        return machine
    if not machine.convolutional:
        raise RbmError(
            f"{path}: holds {prefix}pool, but {prefix}weights is a matrix, visible x hidden: only"
            " filters that move over images are pooled"
        )
    return replace(machine, pool=_count(path, f"{prefix}pool", 1, "rows and columns of a block"))


def _check_stack(path: Path, machines: Sequence[MachineWeights], classes: int) -> None:
    """RbmError unless ways down, and label units, belong to machines that may have them."""
    for number, machine in enumerate(machines):
        wanted = _GENERATIVE if number < len(machines) - 1 and machines[0].generative else ()
        if tuple(machine.generative) != wanted:
            raise RbmError(
                f"{path}: {_GENERATIVE[0]} and {_GENERATIVE[1]} belong to all machines but the top"
                f" one, or to none: mend those of machine {number}"
            )
        if machine.convolutional and machines[0].generative:
            raise RbmError(
                f"{path}: {_GENERATIVE[0]} and {_GENERATIVE[1]} belong to machines without filters:"
                f" machine {number} has some, so leave them out"
            )
    if classes and machines[-1].convolutional:
        raise RbmError(
            f"{path}: classes {classes}, but label units have no place in what the filters of the"
            " top machine move over: leave classes out"
        )
    if classes >= machines[-1].parameters["visible_bias"].size:
        raise RbmError(f"{path}: classes {classes} leaves the top machine no other visible units")


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


def _check_shapes(path: Path, prefix: str, parameters: Mapping[str, Floats]) -> None:
    for name, values in parameters.items():
        if values.ndim not in ((2, 4) if name == "weights" else (1,)):
            raise RbmError(
                f"{path}: {prefix}{name} has shape {values.shape}: store {_shape_of(name)}"
            )
    sizes = {place: parameters[f"{place}_bias"].size for place in ("visible", "hidden")}
    expected = (sizes["visible"], sizes["hidden"])
    shape = parameters["weights"].shape
    if len(shape) == 4 and shape[1::-1] != expected:
        raise RbmError(
            f"{path}: {prefix}weights have shape {shape}, filters x channels x height x width, and"
            f" do not fit: {expected[0]} visible and {expected[1]} hidden biases, but"
            f" {_counted(shape[1], 'channel')} and {_counted(shape[0], 'filter')}"
        )
    if len(shape) == 2 and shape != expected:
        fault = "do not fit"
        if shape == expected[::-1]:
            fault = "are transposed, hidden x visible"
        raise RbmError(
            f"{path}: {prefix}weights have shape {shape} and {fault}: {expected[0]} visible and"
            f" {expected[1]} hidden biases need {expected}"
        )
    for place, size in sizes.items():
        name = f"{place}_log_sigma"
        if name in parameters and parameters[name].size != size:
            raise RbmError(
                f"{path}: {prefix}{name} has shape {parameters[name].shape}, but there are {size}"
                f" {place} biases: store one for each"
            )


def _shape_of(name: str) -> str:
    if name == "weights":
        return "a matrix, visible x hidden, or filters x channels x height x width"
    return "a vector, one for each unit, or for each channel or filter of a convolution"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _text(path: Path, name: str) -> str:
    array = numpy_files.read_array(path, name)
    if array.dtype.kind != "U" or array.ndim:
        raise RbmError(f"{path}: {name} is not a text: store numpy.array('bernoulli') or the like")
    return str(array)


def _image_units(machines: Sequence[MachineWeights], classes: int) -> int | None:
    if machines[0].convolutional:
        return None
    units = machines[0].parameters["visible_bias"].size
    return units - (classes if len(machines) == 1 else 0)


def _count(path: Path, name: str, least: int, what: str) -> int:
    array = numpy_files.read_array(path, name)
    if array.dtype.kind not in "iu" or array.ndim or array < least:
        raise RbmError(f"{path}: {name} is not a number of {what}: store {least} or more")
    return int(array)


def _image_shape(path: Path, visible: int | None) -> tuple[int, ...]:
    array = numpy_files.read_array(path, "image_shape")
    if array.dtype.kind not in "iu" or array.ndim != 1 or (array < 1).any():
        raise RbmError(f"{path}: image_shape is not a list of sizes: store integers such as 28, 28")
    shape = tuple(int(size) for size in array)
    if visible is not None and math.prod(shape) != visible:
        raise RbmError(
            f"{path}: image_shape {' x '.join(map(str, shape))} is not that of {visible} visible"
            " units: mend it or leave it out"
        )
    return shape

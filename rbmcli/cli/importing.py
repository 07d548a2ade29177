"""The machines that a file of weights holds."""

from __future__ import annotations

import math
from pathlib import Path

from rbmcli.errors import RbmError
from rbmcli.io.weights import MachineWeights, WeightsFile
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack, check_joint
from rbmcli.model.units import unit_kind

#: Values of an image that filters may move over: a file of a few numbers must not take gigabytes.
_MOST_VALUES = 1 << 24


def shape_of_images(
    file: Path, found: WeightsFile, asked: tuple[int, ...] | None
) -> tuple[int, ...]:
    """The shape of an image: what was asked for, what the file says, a square, or flat.

    RbmError where it has another number of units, and where filters leave it open.
    """
    units = found.image_units
    if units is None:
        if shape := asked or found.image_shape:
            if math.prod(shape) > _MOST_VALUES:
                raise RbmError(
                    f"{file}: images of {'x'.join(map(str, shape))} are larger than the"
                    f" {_MOST_VALUES} values that filters may move over: give another --shape"
                )
            return shape
        raise RbmError(
            f"{file}: holds filters and no image_shape, so not how large images are: give --shape"
        )
    shape = asked or found.image_shape or _square(units)
    if math.prod(shape) != units:
        raise RbmError(
            f"{file}: {units} visible units are no images of"
            f" {'x'.join(map(str, shape))}: give another --shape"
        )
    return shape


def stack_of(
    file: Path,
    found: WeightsFile,
    visible_kind: str | None,
    hidden_kind: str | None,
    image_shape: tuple[int, ...],
) -> Stack:
    """The file's machines; RbmError where they are none, or do not fit on each other."""
    for option, kind in (("--visible-kind", visible_kind), ("--hidden-kind", hidden_kind)):
        if found.numbered and kind is not None:
            raise RbmError(
                f"{file}: numbers its machines, and says their kinds: leave {option} out"
            )
    top = len(found.machines) - 1
    machines: list[Rbm] = []
    for number, weights in enumerate(found.machines):
        where = f"{file}: machine {number}" if found.numbered else str(file)
        kinds = {
            "visible_kind": _kind(where, weights, "visible_kind", visible_kind),
            "hidden_kind": _kind(where, weights, "hidden_kind", hidden_kind),
        }
        below = machines[-1].hidden if machines else None
        classes = found.classes if number == top else 0
        machines.append(_machine(where, weights, kinds, below or image_shape, classes))
        if below is not None:
            try:
                check_joint(below.fed_kind, machines[-1].feature_kind)
            except RbmError as error:
                raise RbmError(f"{where}: {error}") from None
    return Stack(machines)


def trained_apart_of(file: Path, stack: Stack, found: WeightsFile) -> Stack | None:
    """A copy of the stack with the file's ways down, if it has any."""
    if not found.machines[0].generative:
        return None
    try:
        copy = stack.untied()
    except RbmError as error:
        raise RbmError(f"{file}: {error}") from None
    given = {
        f"generative/{level}/{own}": machine.generative[f"generative_{name}"]
        for level, machine in enumerate(found.machines[:-1])
        for own, name in (("weights", "weights"), ("visible_bias", "bias"))
    }
    copy.load(copy.parameters() | given)
    return copy


def _kind(where: str, found: MachineWeights, name: str, asked: str | None) -> str:
    """The name of a layer's kind: what was asked for, what the file says, or bernoulli."""
    said = found.kinds.get(name)
    if said is None:
        return asked or "bernoulli"
    try:
        kind = unit_kind(said).name
    except RbmError as error:
        raise RbmError(f"{where}: {name}: {error}") from None
    if asked not in (None, kind):
        option = name.replace("_", "-")
        raise RbmError(f"{where}: says {name} {kind}, not {asked}: leave --{option} out")
    return kind


def _machine(
    where: str,
    found: MachineWeights,
    kinds: dict[str, str],
    below: Layer | tuple[int, ...],
    classes: int,
) -> Rbm:
    """The machine with these parameters; RbmError where they are not those of its kinds.

    below: what it stands on, a hidden layer or images of a shape.
    """
    shape = below.fed_shape if isinstance(below, Layer) else below
    names = kinds["visible_kind"], kinds["hidden_kind"]
    try:
        if found.convolutional:
            model = _convolutional(found, names, shape, planar=not isinstance(below, Layer))
        else:
            model = _dense(found, names, shape, classes)
    except RbmError as error:
        raise RbmError(f"{where}: {error}") from None
    wanted = model.parameters()
    for name in sorted(wanted.keys() ^ found.parameters.keys()):
        place = name.split("_")[0]
        fault = "holds no" if name in wanted else "holds"
        verb = "has" if name in wanted else "has not"
        raise RbmError(
            f"{where}: {fault} {name}, which {kinds[f'{place}_kind']} {verb}: give another"
            f" --{place}-kind"
        )
    model.load(found.parameters)
    return model


def _convolutional(
    found: MachineWeights, kinds: tuple[str, str], shape: tuple[int, ...], *, planar: bool
) -> Rbm:
    filters, channels, height, width = found.parameters["weights"].shape
    model = Rbm.convolutional(shape, (filters, height, width), found.pool, *kinds, planar=planar)
    below = model.link.weights.shape[1]
    if channels != below:
        on = "an image" if planar else "a layer"
        raise RbmError(
            f"its filters are for {channels} channels, and it stands on {on} of {below}:"
            f" {'give another --shape' if planar else 'store machines that fit together'}"
        )
    return model


def _dense(
    found: MachineWeights, kinds: tuple[str, str], shape: tuple[int, ...], classes: int
) -> Rbm:
    units, kind = found.parameters["visible_bias"].size, unit_kind(kinds[1])
    if units != math.prod(shape) + classes:
        beside = f" and {classes} label units" if classes else ""
        raise RbmError(
            f"{units} visible units, but it stands on {math.prod(shape)} units{beside}: store"
            " machines that fit together"
        )
    hidden = found.parameters["hidden_bias"].size
    if hidden % kind.group:
        raise RbmError(
            f"{hidden} hidden units are not whole groups of {kind.group}, which {kind.name} needs"
        )
    return Rbm.dense(shape, hidden // kind.group, *kinds, classes)


def _square(units: int) -> tuple[int, ...]:
    side = math.isqrt(units)
    return (side, side) if side * side == units else (units,)

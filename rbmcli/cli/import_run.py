"""`rbm import`: a run file of parameters that come from elsewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbmcli.cli.options import Settings, common_options, force_option, output_option
from rbmcli.cli.parameters import ImageShapeType, UnitKindType
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.arrays import Floats
    from rbmcli.io.weights import MachineWeights, WeightsFile
    from rbmcli.model.rbm import Rbm
    from rbmcli.model.stack import Stack


@click.command()
@click.argument("file", metavar="FILE.npz", type=click.Path(path_type=Path))
@output_option("The run file to write.")
@click.option("--visible-kind", type=UnitKindType(), metavar="KIND",
              help="Visible units.  [default: what the file says, else bernoulli]")  # fmt: skip
@click.option("--hidden-kind", type=UnitKindType(), metavar="KIND",
              help="Hidden units.  [default: what the file says, else bernoulli]")  # fmt: skip
@click.option("--shape", type=ImageShapeType(), metavar="HxW",
              help="Shape of an image.  [default: what the file says, else a square if the visible"
              " units make one, else flat]")  # fmt: skip
@force_option
@common_options
def command(
    file: Path,
    output: Path,
    visible_kind: str | None,
    hidden_kind: str | None,
    shape: tuple[int, ...] | None,
    force: bool,
    settings: Settings,
) -> None:
    """Make a run file of the parameters in FILE.npz.

    FILE.npz is what `rbm export` writes, of a machine or of a stack, or the arrays `weights`
    (visible x hidden), `visible_bias` and `hidden_bias` alone. The run file serves every command
    but `rbm train --resume`.

    \b
    Examples:
      rbm import weights.npz -o run.h5
      rbm import published.npz --visible-kind gaussian --shape 28x28 -o published.h5
    """
    from rbmcli.files import check_free
    from rbmcli.io.runwriter import RunWriter
    from rbmcli.io.section import ROOT, UP_DOWN, layer_key
    from rbmcli.io.weights import read_weights

    check_free(output, force)
    found = read_weights(file)
    image_shape = _image_shape(file, found, shape)
    stack = _stack(file, found, visible_kind, hidden_kind, image_shape)
    lowest = stack.machines[0]
    trained_apart = _trained_apart(file, stack, found)
    single = len(stack.machines) == 1 and not found.classes
    config = (_config(lowest) if single else _stack_config(stack)) | {"binarize": "sample"}
    with RunWriter.create(
        output,
        config=config,
        data={"imported_from": str(file), "sha256": found.sha256},
        image_shape=image_shape,
        force=force,
    ) as writer:

        def write(key: str, model: Rbm | Stack, filters: Floats, config: dict[str, Any]) -> None:
            filters = filters.reshape(-1, *image_shape)
            section = writer.begin(key, snapshot_shape=filters.shape, config=config)
            section.snapshot(0.0, filters)
            state = {f"model/{name}": values for name, values in model.parameters().items()}
            section.checkpoint(state, finished=True)

        for number, machine in enumerate(stack.machines):
            key = ROOT if single else layer_key(number)
            write(key, machine, stack.filters(number), _config(machine))
        if trained_apart is not None:
            write(UP_DOWN, trained_apart, trained_apart.filters(0), {})
        writer.finish()
    if not settings.quiet:
        units = " x ".join(
            f"{units} {kind}"
            for units, kind in [
                (lowest.features, lowest.feature_kind.name),
                *((machine.hidden.units, machine.hidden.kind.name) for machine in stack.machines),
            ]
        )
        click.echo(
            f"{output}: {units} units, images of {' x '.join(map(str, image_shape))}",
            err=True,
        )


def _image_shape(file: Path, found: WeightsFile, asked: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of an image: what was asked for, what the file says, a square, or flat."""
    shape = asked or found.image_shape or _square(found.image_units)
    if math.prod(shape) != found.image_units:
        raise RbmError(
            f"{file}: {found.image_units} visible units are no images of"
            f" {'x'.join(map(str, shape))}: give another --shape"
        )
    return shape


def _config(machine: Rbm) -> dict[str, Any]:
    """The options that say what a machine is, as training would have kept them."""
    classes = {"classes": machine.classes} if machine.classes else {}
    return {
        "visible-kind": machine.feature_kind.name,
        "hidden-kind": machine.hidden.kind.name,
        "hidden": machine.hidden.units // machine.hidden.kind.group,
        **classes,
    }


def _stack_config(stack: Stack) -> dict[str, Any]:
    """The options that say what a stack is."""
    configs = [_config(machine) for machine in stack.machines]
    return {
        "visible-kind": stack.machines[0].feature_kind.name,
        "add-layer": [
            ",".join(f"{name}={value}" for name, value in config.items() if name != "classes")
            for config in configs
        ],
        "label-units": stack.top.classes > 0,
    }


def _stack(
    file: Path,
    found: WeightsFile,
    visible_kind: str | None,
    hidden_kind: str | None,
    image_shape: tuple[int, ...],
) -> Stack:
    """The file's machines; RbmError where they are none, or do not fit on each other."""
    from rbmcli.model.stack import Stack, check_joint

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
        shape = image_shape if below is None else below.shape
        classes = found.classes if number == top else 0
        machines.append(_model(where, weights, kinds, shape, classes))
        if below is not None:
            try:
                check_joint(below.kind, machines[-1].feature_kind)
            except RbmError as error:
                raise RbmError(f"{where}: {error}") from None
    return Stack(machines)


def _trained_apart(file: Path, stack: Stack, found: WeightsFile) -> Stack | None:
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
    from rbmcli.model.units import unit_kind

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


def _model(
    where: str,
    found: MachineWeights,
    kinds: dict[str, str],
    shape: tuple[int, ...],
    classes: int,
) -> Rbm:
    """The machine with these parameters; RbmError where they are not those of its kinds.

    shape: of its visible units without label units.
    """
    from rbmcli.model.rbm import Rbm
    from rbmcli.model.units import unit_kind

    kind, units = unit_kind(kinds["hidden_kind"]), found.parameters["hidden_bias"].size
    if units % kind.group:
        raise RbmError(
            f"{where}: {units} hidden units are not whole groups of {kind.group}, which"
            f" {kind.name} needs"
        )
    try:
        model = Rbm.dense(shape, units // kind.group, kinds["visible_kind"], kind.name, classes)
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


def _square(units: int) -> tuple[int, ...]:
    side = math.isqrt(units)
    return (side, side) if side * side == units else (units,)

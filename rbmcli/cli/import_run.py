"""`rbm import`: a run file of parameters that come from elsewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rbmcli.cli.options import Settings, common_options, force_option, output_option
from rbmcli.cli.parameters import ImageShapeType, UnitKindType
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.io.weights import WeightsFile
    from rbmcli.model.rbm import Rbm


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

    FILE.npz is what `rbm export` writes, or the arrays `weights` (visible x hidden), `visible_bias`
    and `hidden_bias` alone. The run file serves every command but `rbm train --resume`.

    \b
    Examples:
      rbm import weights.npz -o run.h5
      rbm import published.npz --visible-kind gaussian --shape 28x28 -o published.h5
    """
    from rbmcli.files import check_free
    from rbmcli.io.runwriter import RunWriter
    from rbmcli.io.section import ROOT
    from rbmcli.io.weights import read_weights

    check_free(output, force)
    found = read_weights(file)
    names = {
        "visible_kind": _kind(file, found, "visible_kind", visible_kind),
        "hidden_kind": _kind(file, found, "hidden_kind", hidden_kind),
    }
    visible = found.parameters["visible_bias"].size
    image_shape = shape or found.image_shape or _square(visible)
    if math.prod(image_shape) != visible:
        raise RbmError(
            f"{file}: {visible} visible units are no images of"
            f" {'x'.join(map(str, image_shape))}: give another --shape"
        )
    model = _model(file, found, names, image_shape)
    config = {
        "visible-kind": names["visible_kind"],
        "hidden-kind": names["hidden_kind"],
        "hidden": model.hidden.units // model.hidden.kind.group,
        "binarize": "sample",
    }
    filters = model.filters()
    with RunWriter.create(
        output,
        config=config,
        data={"imported_from": str(file), "sha256": found.sha256},
        image_shape=image_shape,
        force=force,
    ) as writer:
        machine = writer.begin(ROOT, snapshot_shape=filters.shape)
        machine.snapshot(0.0, filters)
        machine.checkpoint({f"model/{name}": x for name, x in model.parameters().items()})
        writer.finish()
    if not settings.quiet:
        click.echo(
            f"{output}: {visible} {names['visible_kind']} x {model.hidden.units}"
            f" {names['hidden_kind']} units, images of {' x '.join(map(str, image_shape))}",
            err=True,
        )


def _kind(file: Path, found: WeightsFile, name: str, asked: str | None) -> str:
    """The name of a layer's kind: what was asked for, what the file says, or bernoulli."""
    from rbmcli.model.units import unit_kind

    said = found.kinds.get(name)
    if said is None:
        return asked or "bernoulli"
    try:
        kind = unit_kind(said).name
    except RbmError as error:
        raise RbmError(f"{file}: {name}: {error}") from None
    if asked not in (None, kind):
        option = name.replace("_", "-")
        raise RbmError(f"{file}: says {name} {kind}, not {asked}: leave --{option} out")
    return kind


def _model(
    file: Path, found: WeightsFile, kinds: dict[str, str], image_shape: tuple[int, ...]
) -> Rbm:
    """The machine with the file's parameters; RbmError where these are not those of its kinds."""
    from rbmcli.model.rbm import Rbm
    from rbmcli.model.units import unit_kind

    kind, units = unit_kind(kinds["hidden_kind"]), found.parameters["hidden_bias"].size
    if units % kind.group:
        raise RbmError(
            f"{file}: {units} hidden units are not whole groups of {kind.group}, which"
            f" {kind.name} needs"
        )
    try:
        model = Rbm.dense(image_shape, units // kind.group, kinds["visible_kind"], kind.name)
    except RbmError as error:
        raise RbmError(f"{file}: {error}") from None
    wanted = model.parameters()
    for name in sorted(wanted.keys() ^ found.parameters.keys()):
        place = name.split("_")[0]
        fault = "holds no" if name in wanted else "holds"
        verb = "has" if name in wanted else "has not"
        raise RbmError(
            f"{file}: {fault} {name}, which {kinds[f'{place}_kind']} {verb}: give another"
            f" --{place}-kind"
        )
    model.load(found.parameters)
    return model


def _square(units: int) -> tuple[int, ...]:
    side = math.isqrt(units)
    return (side, side) if side * side == units else (units,)

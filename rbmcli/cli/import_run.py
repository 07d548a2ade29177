"""`rbm import`: a run file of parameters that come from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbmcli.cli.options import Settings, common_options, force_option, output_option
from rbmcli.cli.parameters import ImageShapeType, UnitKindType
from rbmcli.cli.saying import say

if TYPE_CHECKING:
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
              " units make one, else flat; filters need one]")  # fmt: skip
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
    (visible x hidden), `visible_bias` and `hidden_bias` alone. Weights of filters that move over
    images are filters x channels x height x width, with a visible bias for each channel and a
    hidden one for each filter; `pool` beside them is the side of the blocks that are pooled, 1 if
    it is missing. The run file serves every command but `rbm train --resume`.

    \b
    Examples:
      rbm import weights.npz -o run.h5
      rbm import published.npz --visible-kind gaussian --shape 28x28 -o published.h5
    """
    from rbmcli.cli.importing import shape_of_images, stack_of, trained_apart_of
    from rbmcli.files import REPLACE
    from rbmcli.io.runwriter import RunWriter, check_new
    from rbmcli.io.schema import ROOT, UP_DOWN, layer_key
    from rbmcli.io.weights import read_weights

    check_new(output, force, REPLACE)
    found = read_weights(file)
    image_shape = shape_of_images(file, found, shape)
    stack = stack_of(file, found, visible_kind, hidden_kind, image_shape)
    lowest = stack.machines[0]
    trained_apart = trained_apart_of(file, stack, found)
    single = len(stack.machines) == 1 and not found.classes
    config = (_config(lowest) if single else _stack_config(stack)) | {"binarize": "sample"}
    sections = [
        (
            ROOT if single else layer_key(number),
            _config(machine),
            _state(machine),
            stack.filters(number),
        )
        for number, machine in enumerate(stack.machines)
    ]
    if trained_apart is not None:
        sections.append((UP_DOWN, {}, _state(trained_apart), trained_apart.filters(0)))
    with RunWriter.create(
        output,
        config=config,
        data={"imported_from": str(file), "sha256": found.sha256},
        image_shape=image_shape,
        force=force,
    ) as writer:
        writer.write_finished(sections)
    if not settings.quiet:
        units = " x ".join(
            f"{units} {kind}"
            for units, kind in [
                (lowest.features, lowest.feature_kind.name),
                *((machine.hidden.units, machine.hidden.kind.name) for machine in stack.machines),
            ]
        )
        say(f"{output}: {units} units, images of {' x '.join(map(str, image_shape))}")


def _state(model: Rbm | Stack) -> dict[str, Any]:
    return {f"model/{name}": values for name, values in model.parameters().items()}


def _config(machine: Rbm) -> dict[str, Any]:
    """The options that say what a machine is, as training would have kept them."""
    from rbmcli.io.sizes import Filters, Size
    from rbmcli.model.links import ConvolutionalLink

    kinds = {
        "visible-kind": machine.feature_kind.name,
        "hidden-kind": machine.hidden.fed_kind.name,
    }
    if isinstance(machine.link, ConvolutionalLink):
        maps = machine.link.maps
        filters = Filters(maps.filters, Size(maps.filter_height, maps.filter_width))
        return {**kinds, "conv": filters.text, "pool": machine.hidden.kind.pool}
    classes = {"classes": machine.classes} if machine.classes else {}
    return {**kinds, "hidden": machine.hidden.units // machine.hidden.kind.group, **classes}


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

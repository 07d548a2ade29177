"""`rbm export`: the parameters of machines for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbmcli.cli.options import Settings, common_options, force_option, output_option
from rbmcli.cli.saying import say

if TYPE_CHECKING:
    from rbmcli.arrays import Floats
    from rbmcli.io.weights import MachineWeights
    from rbmcli.model.rbm import Rbm
    from rbmcli.model.stack import Stack

_SUFFIXES = (".npz", ".safetensors")


@click.command()
@click.argument("run_file", metavar="RUN.h5", type=click.Path(path_type=Path))
@output_option("The .npz or .safetensors file to write.")
@force_option
@common_options
def command(run_file: Path, output: Path, force: bool, settings: Settings) -> None:
    """Write the parameters of the machine, or stack of machines, in RUN.h5 for other programs.

    FILE.npz holds `weights` (visible x hidden), `visible_bias`, `hidden_bias` and, where they are
    learned, `visible_log_sigma` and `hidden_log_sigma`; and for `rbm import`, `visible_kind`,
    `hidden_kind` and `image_shape`. In a stack, names begin with the machine's number from below:
    `0/weights`. After up-down there are `0/generative_weights` (visible x hidden) and
    `0/generative_bias` too; with label units `classes`, their number: they are the last visible
    units of the top machine. Of a convolution, `weights` is filters x channels x height x width,
    the biases are those of channels and of filters, and `pool` is the side of a pooled block.

    FILE.safetensors holds float32 tensors for torch.nn.Linear: `encoder.0.weight` (hidden x
    visible) and `encoder.0.bias` lead up, `decoder.0.weight` (visible x hidden) and
    `decoder.0.bias` down; with label units `classifier.weight` and `classifier.bias` lead from the
    top to the classes. Of a convolution, they are for torch.nn.Conv2d and
    torch.nn.ConvTranspose2d. They take data values: learned deviations are part of them. The
    metadata `rbm` says in JSON which activation functions belong between them, and how maps are
    pooled and ordered.

    \b
    Examples:
      rbm export run.h5 -o weights.npz
      rbm export stack.h5 -o stack.safetensors
      python3 -c "import numpy; print(numpy.load('weights.npz')['weights'].shape)"
    """
    from rbmcli.cli.models import load_stack
    from rbmcli.files import check_output
    from rbmcli.io.outputs import check_tensors, save_arrays, save_tensors
    from rbmcli.io.runfile import RunReader
    from rbmcli.io.weights import weights_arrays

    suffix = output.suffix.lower()
    if suffix not in _SUFFIXES:
        raise click.BadParameter(
            f"'{output.suffix}' is not one of {', '.join(_SUFFIXES)}", param_hint="'--output'"
        )
    if suffix == ".safetensors":
        check_tensors(output)
    check_output(output, force)
    with RunReader(run_file) as run:
        stack, image_shape = load_stack(run), run.image_shape
        done = {name: run.config[name] for name in ("whiten", "preprocess") if run.config.get(name)}
    if suffix == ".npz":
        arrays = weights_arrays(machine_weights(stack), image_shape, stack.top.classes)
        save_arrays(output, arrays, force=force)
    else:
        about = _about(stack, image_shape) | done
        save_tensors(output, network_tensors(stack), about, force=force)
    if not settings.quiet:
        shapes = [" x ".join(map(str, x.link.weights.shape)) for x in stack.machines]
        say(f"{output}: {', '.join(shapes)} weights")
        if done:
            steps = " and ".join("whitening" if value is True else value for value in done.values())
            reading = ", and what `rbm import` makes," if suffix == ".npz" else ""
            say(
                f"note: the weights are for images after {steps}, which {output} does not hold:"
                f" give other programs{reading} images preprocessed alike"
            )


def machine_weights(stack: Stack) -> list[MachineWeights]:
    """The parameters of a stack as a file of weights has them."""
    from rbmcli.io.weights import MachineWeights

    result = []
    for level, machine in enumerate(stack.machines):
        kinds = {
            "visible_kind": machine.feature_kind.name,
            "hidden_kind": machine.hidden.fed_kind.name,
        }
        generative = {}
        if level < len(stack.ways_down):
            way = stack.ways_down[level]
            bias = way.visible.parameters["bias"][: way.visible.units]
            generative = {"generative_weights": way.link.weights.T, "generative_bias": bias}
        pool = machine.hidden.kind.pool
        result.append(MachineWeights(machine.parameters(), kinds, generative, pool))
    return result


def network_tensors(stack: Stack) -> dict[str, Floats]:
    """The weights and biases of a stack by the names that the layers of torch.nn give them."""
    from rbmcli.model.affine import classifier, decoders, encoders

    layers = {f"encoder.{level}": affine for level, affine in enumerate(encoders(stack))}
    layers |= {f"decoder.{level}": affine for level, affine in enumerate(decoders(stack))}
    if (last := classifier(stack)) is not None:
        layers["classifier"] = last
    return {
        f"{layer}.{name}": values
        for layer, affine in layers.items()
        for name, values in affine._asdict().items()
    }


def _about(stack: Stack, image_shape: tuple[int, ...]) -> dict[str, Any]:
    """What the tensors are, for readers of the file."""
    from rbmcli import __version__

    layers = [
        {
            "visible_kind": machine.feature_kind.name,
            "hidden_kind": machine.hidden.fed_kind.name,
            "encoder_activation": machine.hidden.kind.activation,
            "decoder_activation": machine.feature_kind.activation,
            **_about_maps(machine, level),
        }
        for level, machine in enumerate(stack.machines)
    ]
    about = {"program": f"rbmcli {__version__}", "image_shape": image_shape, "layers": layers}
    return about | ({"classes": stack.top.classes} if stack.top.classes else {})


def _about_maps(machine: Rbm, level: int) -> dict[str, Any]:
    """What else there is to say where rows and columns matter: shapes in the order of torch."""
    from rbmcli.model.links import ConvolutionalLink

    if isinstance(machine.link, ConvolutionalLink):
        maps, (height, width, filters) = machine.link.maps, machine.hidden.fed_shape
        return {
            "convolution": "valid",
            "input_shape": (maps.channels, maps.height, maps.width),
            "hidden_shape": (maps.filters, maps.hidden_height, maps.hidden_width),
            "pool": machine.hidden.kind.pool,
            "output_shape": (filters, height, width),
        }
    if level and len(machine.feature_shape) == 3:
        return {"input_shape": machine.feature_shape, "input_order": "height, width, maps"}
    return {}

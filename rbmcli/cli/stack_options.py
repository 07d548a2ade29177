"""What `rbm stack` can be asked for: its options, and what they come to for each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import click

from rbmcli.cli.combinations import check_typed, check_values, on_command_line
from rbmcli.cli.specs import Spec, SpecType, cast
from rbmcli.cli.training_options import LAYER_OPTIONS, TRAINING, Groups, TrainOptions
from rbmcli.errors import RbmError
from rbmcli.learning.loop import LoopHyperparameters
from rbmcli.learning.schedules import Interval, Schedule
from rbmcli.model.stack import check_joint
from rbmcli.model.units import unit_kind

#: What up-down does where it is not told else: Gibbs steps as in the paper.
_UP_DOWN = {"epochs": "10", "learning-rate": "0.05:0", "momentum": "0", "gibbs-steps": "3@0,6@5"}

STACKING: Groups = {
    **{name: group for name, group in TRAINING.items() if name == "Files"},
    "Stack": [
        click.option("--add-layer", type=SpecType("hidden", 500), multiple=True, metavar="SPEC",
                     help="A layer, from the bottom up: its hidden units, or options as in"
                     " hidden=500,kind=nrelu,lr=0.05. What is not said there is as the options"
                     " below say. May be repeated."),
        click.option("--input", type=click.Choice(["samples", "means"]),
                     default="samples", show_default=True,
                     help="What a layer learns from: drawn states of the layer below, drawn anew"
                     " each time, or their means (of nrelu units, total inputs cut at 0)."),
        click.option("--start", type=click.Choice(["random", "transpose"]), default="random",
                     show_default=True, help="Where an upper layer's weights start: at small random"
                     " numbers, or at those of the layer below, transposed."),
        click.option("--label-units", is_flag=True,
                     help="Let the top layer learn the images' labels beside its features: it then"
                     " classifies, and samples by class."),
        click.option("--label-weight", type=click.IntRange(0, 1000), default=5, show_default=True,
                     metavar="N", help="How many times more images count, with their features"
                     " held, whose label the machine mistakes; with 0 only the joint distribution"
                     " of features and labels is learned."),
        click.option("--up-down", type=SpecType("epochs", 20), metavar="SPEC",
                     help="In the end, train all layers together, the ways up and down apart: for"
                     " so many epochs, or options as in epochs=20,lr=0.01,gibbs-steps=3@0,6@10."
                     " What is not said: lr=0.05:0, momentum=0, gibbs-steps=3@0,6@5, else as the"
                     " options below say."),
        click.option("--grow", is_flag=True,
                     help="Add layers to the run in the output file."),
    ],
    **{name: group for name, group in TRAINING.items() if name != "Files"},
}  # fmt: skip


@dataclass(frozen=True)
class LayerOptions(TrainOptions):
    """Those of one layer, resolved. `input` and `start` are about upper layers."""

    input: str
    start: str


@dataclass(frozen=True)
class PhaseOptions:
    """Those of up-down, resolved."""

    epochs: int
    batch_size: int
    learning_rate: Schedule
    momentum: Schedule
    gibbs_steps: Schedule
    weight_decay: float
    snapshot_every: Interval
    checkpoint_every: Interval

    def config(self) -> dict[str, Any]:
        """The options by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name.replace("_", "-"): getattr(value, "text", value) for name, value in values.items()
        }

    def hyperparameters(self, label_weight: int) -> LoopHyperparameters:
        """Those of the loop."""
        return LoopHyperparameters(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.momentum,
            self.weight_decay,
            self.gibbs_steps,
            label_weight,
        )


@dataclass(frozen=True)
class StackOptions:
    """What the user asked for.

    defaults: of the layers. add_layer, up_down: as written. layers, phase: resolved, the layers
    from the bottom up.
    """

    defaults: LayerOptions
    add_layer: tuple[Spec, ...]
    label_units: bool
    label_weight: int
    up_down: Spec | None
    layers: tuple[LayerOptions, ...]
    phase: PhaseOptions | None

    @staticmethod
    def resolve(ctx: click.Context, values: Mapping[str, Any]) -> StackOptions:
        """From the values of the command's options; UsageError for what says nothing together."""
        defaults = LayerOptions(
            **{field.name: values[field.name] for field in fields(LayerOptions)}
        )
        specs, up_down = tuple(values["add_layer"]), values["up_down"]
        if not specs:
            raise click.UsageError("a stack needs layers: --add-layer 500, once for each")
        layers: list[LayerOptions] = []
        for number, spec in enumerate(specs):
            layers.append(_layer(ctx, number, spec, defaults, layers))
        check_typed(lambda name: name in LAYER_OPTIONS and on_command_line(ctx, name), layers)
        check_typed(
            lambda name: name not in LAYER_OPTIONS and on_command_line(ctx, name), layers[:1]
        )
        if values["label_units"]:
            _check_label_units(layers[-1], values["label_weight"])
        elif on_command_line(ctx, "label_weight"):
            raise click.UsageError("--label-weight needs --label-units")
        phase = None
        if up_down is not None:
            phase = _phase(ctx, up_down, defaults)
            _check_up_down(layers)
        return StackOptions(
            defaults,
            specs,
            values["label_units"],
            values["label_weight"],
            up_down,
            tuple(layers),
            phase,
        )

    def config(self, seed: int) -> dict[str, Any]:
        """The options as `--config` takes them, with the seed; None is left out."""
        up_down = {} if self.up_down is None else {"up-down": self.up_down.text}
        return {
            **self.defaults.config(seed),
            "add-layer": [spec.text for spec in self.add_layer],
            "label-units": self.label_units,
            "label-weight": self.label_weight,
            **up_down,
        }


def _layer(
    ctx: click.Context,
    number: int,
    spec: Spec,
    defaults: LayerOptions,
    below: Sequence[LayerOptions],
) -> LayerOptions:
    values = cast(ctx, "--add-layer", spec, LAYER_OPTIONS | {"input", "start"})
    if below:
        values = {"visible_kind": below[-1].hidden_kind} | values
    elif not {"input", "start"}.isdisjoint(values):
        raise click.UsageError(f"--add-layer '{spec.text}': nothing is below the first layer")
    if "hidden" in values and "conv" not in values:
        values["conv"] = None
    options = replace(defaults, **values)
    try:
        check_typed(lambda name: name in values and name != "visible_kind", [options])
        check_values(options)
        if below:
            check_joint(unit_kind(below[-1].hidden_kind), unit_kind(options.visible_kind))
    except (RbmError, click.UsageError) as error:
        message = error.message if isinstance(error, click.UsageError) else str(error)
        raise click.UsageError(f"layer {number}, '{spec.text}': {message}") from None
    return options


def _phase(ctx: click.Context, spec: Spec, defaults: LayerOptions) -> PhaseOptions:
    names = {field.name for field in fields(PhaseOptions)}
    completed = replace(spec, values=_UP_DOWN | spec.values)
    values = cast(ctx, "--up-down", completed, names)
    return PhaseOptions(**{name: getattr(defaults, name) for name in names} | values)


def _check_label_units(top: LayerOptions, weight: int) -> None:
    if top.conv is not None:
        raise click.UsageError(
            "--label-units: label units have no place in an image, over which the filters of the"
            " top layer move; add a layer without --conv on top"
        )
    if unit_kind(top.visible_kind).squared_energy:
        raise click.UsageError(
            f"--label-units: label units cannot stand beside {top.visible_kind} units; let the top"
            " layer stand on units of another kind"
        )
    if top.normalize_hidden and weight:
        raise click.UsageError(
            "--label-units: --normalize-hidden is no gradient, beside which that of labels means"
            " nothing; add --label-weight 0, or leave it out"
        )


def _check_up_down(layers: Sequence[LayerOptions]) -> None:
    if len(layers) < 2:
        raise click.UsageError("--up-down is for two layers or more")
    for number, options in enumerate(layers):
        if options.conv is not None:
            raise click.UsageError(
                f"--up-down: layer {number} has filters that move over its input, which up-down"
                " cannot train; leave it out"
            )
        for name in (options.visible_kind, options.hidden_kind):
            if unit_kind(name).has_sigma:
                raise click.UsageError(
                    f"--up-down: layer {number} has {name} units, whose deviations it cannot use;"
                    " use gaussian ones"
                )

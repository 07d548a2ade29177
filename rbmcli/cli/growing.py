"""Adding layers to a finished run: what its options were, and what the new layers have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rbmcli.cli.resuming import EARLIER, as_stored
from rbmcli.cli.specs import Spec
from rbmcli.cli.training_options import LAYER_OPTIONS
from rbmcli.errors import RbmError
from rbmcli.io.runfile import RunReader
from rbmcli.io.schema import UP_DOWN
from rbmcli.io.section import damage_of

#: Options of a stack that say what is added when it is grown.
_ADDED = ("add-layer", "label-units", "label-weight", "up-down")
#: Options of upper layers alone.
_OF_UPPER = ("input", "start")
#: Options of layers that only stacks have, as they were where a run of `rbm train` is grown.
_OF_STACKS = {"input": "samples", "start": "random"}


def as_stack(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run as those of a stack, of which one of `rbm train` is the only layer."""
    if "add-layer" in config:
        return dict(config)
    layer = str(config.get("hidden"))
    if "conv" in config:
        layer = f"conv={config['conv']},pool={config['pool']}"
    return {**config, **_OF_STACKS, "add-layer": [layer]}


def but_for_what_is_added(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a run that is grown, taking what is added to have been there.

    What another process has added since the run was looked at stays, so that it is seen to differ.
    """
    before = as_stack(stored)
    layers = before["add-layer"]
    added = {name for name in ("label-units", "up-down") if not before.get(name)}
    if asked["add-layer"][: len(layers)] == layers:
        added.add("add-layer")
    if "label-units" in added:
        added.add("label-weight")
    kept = {name: value for name, value in before.items() if name not in added}
    return kept | {name: asked[name] for name in added if name in asked}


def with_grown(
    ctx: click.Context, output: Path, source: str, seed: int, values: Mapping[str, Any]
) -> tuple[str, int, dict[str, Any]]:
    """(source, seed, option values) of a run in `output` that is grown by the layers asked for.

    Options of layers that are asked for now are those of the new layers; all others stay what they
    were in the run. RbmError for a run that cannot be grown.
    """
    with RunReader(output) as run, damage_of(output):
        _check_can_grow(run)
        stored, stored_source = EARLIER | as_stack(run.config), str(run.data["source"])
    parameters = {parameter.name: parameter for parameter in ctx.command.params}

    def asked(name: str) -> bool:
        return ctx.get_parameter_source(name) is not ParameterSource.DEFAULT

    new_specs: tuple[Spec, ...] = tuple(values["add_layer"])
    of_new = _of_new_layers(
        stored, {name: values[name] for name in (*sorted(LAYER_OPTIONS), *_OF_UPPER) if asked(name)}
    )
    if not new_specs:
        if values["up_down"] is None:
            raise click.UsageError("--grow adds what --add-layer or --up-down say: give one")
        if given := [*of_new, *(["label-units"] if values["label_units"] else [])]:
            raise click.UsageError(f"--grow: --{given[0]} is about new layers, and there are none")
    resolved: dict[str, Any] = {}
    with damage_of(output):
        for name, value in values.items():
            option = name.replace("_", "-")
            if option in _ADDED or option == "metrics":  # what is written to, no run file says
                resolved[name] = value
            elif name in LAYER_OPTIONS or name in _OF_UPPER or not asked(name):
                resolved[name] = as_stored(ctx, parameters[name], stored)
            else:
                resolved[name] = value
        before = as_stored(ctx, parameters["add_layer"], stored)
    resolved["add_layer"] = (*before, *(spec.with_defaults(of_new) for spec in new_specs))
    return (
        source if asked("source") else stored_source,
        seed if asked("seed") else int(stored["seed"]),
        resolved,
    )


def _of_new_layers(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, str]:
    """The options asked for by parameter, as a spec says them: those that the run has otherwise."""
    written = {name.replace("_", "-"): _as_written(value) for name, value in asked.items()}
    return {
        name: value for name, value in written.items() if value != _as_written(stored.get(name))
    }


def _check_can_grow(run: RunReader) -> None:
    begun = "stack" if "add-layer" in run.config else "train"
    why = None
    if "imported_from" in run.data:
        why = "it was imported, so it is not known what data its layers learned from"
    elif not all(section.finished for section in run.sections.values()):
        why = f"its training is not finished: go on with `rbm {begun} --resume` first"
    elif UP_DOWN in run.sections:
        why = "its layers were trained together by up-down: train a new stack"
    elif run.config.get("label-units"):
        why = "its top layer has label units, on which no layer can stand: train a new stack"
    if why is not None:
        raise RbmError(f"{run.path}: cannot grow: {why}")


def _as_written(value: Any) -> str:
    """An option's value as it would be typed."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(getattr(value, "text", value))

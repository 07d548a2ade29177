"""Going on with a run: what the stored options say, and what must not have changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rbmcli.cli.journal import restore
from rbmcli.errors import RbmError
from rbmcli.io.runfile import RunReader
from rbmcli.io.runwriter import RunWriter
from rbmcli.io.schema import ROOT
from rbmcli.io.section import damage_of
from rbmcli.io.table import Table
from rbmcli.learning.loop import Loop
from rbmcli.learning.schedules import Schedule

#: Options that may change: where the data are (they are compared by content), how long the run is,
#: and how often it is written.
_MAY_DIFFER = {
    "labels",
    "validation",
    "epochs",
    "snapshot-every",
    "checkpoint-every",
    "max-time",
    "metrics",  # run files of earlier programs have it
}
#: What options were in runs of versions that did not have them.
EARLIER = {"channels": "first"}
_SCHEDULES = ("learning-rate", "momentum", "gibbs-steps")


def with_stored(
    ctx: click.Context, output: Path, source: str, seed: int, values: Mapping[str, Any]
) -> tuple[str, int, dict[str, Any]]:
    """(source, seed, option values), those not asked for now being what they were in the run."""
    with RunReader(output) as run, damage_of(output):
        if "imported_from" in run.data:
            raise RbmError(
                f"{output}: cannot resume: it was imported, so there is no training to go on with;"
                " write to another file"
            )
        begun = "train" if ROOT in run.sections else "stack"
        if ctx.info_name != begun:
            raise RbmError(f"{output}: was begun by `rbm {begun}`: resume it with that")
        stored, stored_source = EARLIER | run.config, str(run.data["source"])

    def unasked(name: str) -> bool:
        return ctx.get_parameter_source(name) is ParameterSource.DEFAULT

    parameters = {parameter.name: parameter for parameter in ctx.command.params}
    with damage_of(output):
        resolved = {
            name: as_stored(ctx, parameters[name], stored) if unasked(name) else value
            for name, value in values.items()
        }
        resolved["metrics"] = values["metrics"]  # what is written to, no run file says
        return (
            stored_source if unasked("source") else source,
            int(stored["seed"]) if unasked("seed") else seed,
            resolved,
        )


def as_stored(ctx: click.Context, parameter: click.Parameter, stored: Mapping[str, Any]) -> Any:
    """The value of a parameter in a run; its default where the run says nothing of it.

    ValueError where the run says what the parameter cannot be.
    """
    name = str(parameter.name).replace("_", "-")
    written = stored.get(name)
    default = parameter.get_default(ctx)
    if written is None and isinstance(default, (str, int, float)):
        written = default
    try:
        return parameter.type_cast_value(ctx, written)
    except (click.ClickException, ValueError, TypeError, OverflowError) as error:
        reason = error.message if isinstance(error, click.ClickException) else error
        raise ValueError(f"option {name}: {reason}") from None


def take_up(
    output: Path,
    config: Mapping[str, Any],
    data: Mapping[str, Any],
    but_for: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]] | None = None,
) -> RunWriter:
    """Open a run file to go on with, its configuration and provenance being these from now on.

    RbmError where another process writes the file, and where the run had other options or data.
    but_for: makes of the stored configuration and this one what this one must be the same as.
    """
    with ExitStack() as on_failure:
        writer = on_failure.enter_context(RunWriter.resume(output))
        with RunReader(output) as run, damage_of(output):
            stored = run.config if but_for is None else but_for(run.config, config)
            action = "resume" if but_for is None else "grow"
            _check_same(output, stored, config, run.data, data, action)
        on_failure.pop_all()
    writer.config, writer.data = dict(config), dict(data)
    return writer


def restored(output: Path, key: str, trainer: Loop, filters: tuple[int, ...]) -> float:
    """Put a trainer where the last checkpoint of its section left it; return the seconds so far.

    filters: the shape of a snapshot that it will add.
    """
    with RunReader(output) as run, damage_of(output):
        section = run.sections[key]
        if section.dataset[1][1:] != filters:
            raise ValueError(f"filters have shape {section.dataset[1]}, for snapshots of {filters}")
        restore(trainer, section.state, Table(section.metrics))
        return float(section.wall_clock["seconds"][-1])


def _check_same(
    output: Path,
    stored: Mapping[str, Any],
    asked: Mapping[str, Any],
    stored_data: Mapping[str, Any],
    data: Mapping[str, Any],
    action: str,
) -> None:
    """RbmError, naming what differs, unless a run may go on with these options and data."""
    stored = {**EARLIER, **stored}
    different = [
        f"{name} was {_shown(stored, name)}, now {_shown(asked, name)}"
        for name in sorted({*stored, *asked} - _MAY_DIFFER)
        if stored.get(name) != asked.get(name)
    ]
    for name, were, now in [
        ("data", stored_data, data),
        ("validation data", stored_data.get("validation"), data.get("validation")),
    ]:
        if _content(were) != _content(now):
            different.append(f"{name} were {_described(were)}, now {_described(now)}")
    if action == "resume" and asked.get("label-units") and _labels(stored_data) != _labels(data):
        different.append("labels are others")
    if asked["epochs"] != stored["epochs"]:
        different += _wrong_epochs(stored["epochs"], asked)
    if different:
        raise RbmError(
            f"{output}: cannot {action}: {'; '.join(different)}; ask for the same, or write to"
            " another file"
        )


def _wrong_epochs(stored: int, asked: Mapping[str, Any]) -> list[str]:
    """Why a run that was to take `stored` epochs may not take others now, if so."""
    now = asked["epochs"]
    if "add-layer" in asked:
        return [f"epochs were {stored}, now {now}: of a stack, they stay"]
    if now < stored:
        return [f"epochs were {stored}, now {now}: they may grow"]
    ramps = [name for name in _SCHEDULES if Schedule.parse(asked[name]).is_ramp]
    return [f"epochs may not change while {ramps[0]} is a ramp over all of them"] if ramps else []


def _labels(data: Mapping[str, Any]) -> Any:
    return data.get("labels_sha256")


def _shown(options: Mapping[str, Any], name: str) -> str:
    return str(options.get(name, "not given"))


def _content(data: Mapping[str, Any] | None) -> dict[str, Any]:
    """What of a data set's provenance is about its own content, not its place."""
    other = ("source", "labels_sha256", "validation")
    return {name: value for name, value in (data or {}).items() if name not in other}


def _described(data: Mapping[str, Any] | None) -> str:
    if data is None:
        return "not given"
    if "fraction" in data:
        return f"{data['fraction']:g} of the images"
    return f"{data['source']} ({data['sha256'][:12]})"

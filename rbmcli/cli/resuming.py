"""Going on with a run: what the stored options say, and what must not have changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rbmcli.errors import RbmError
from rbmcli.io.runfile import RunReader
from rbmcli.learning.schedules import Schedule

#: Options that may change: where things are (the data are compared by content), how long the run
#: is, and how often it is written.
_MAY_DIFFER = {
    "labels",
    "validation",
    "epochs",
    "snapshot-every",
    "checkpoint-every",
    "max-time",
    "metrics",
}


def with_stored(
    ctx: click.Context, output: Path, source: str, seed: int, values: Mapping[str, Any]
) -> tuple[str, int, dict[str, Any]]:
    """(source, seed, option values), those not asked for now being what they were in the run."""
    with RunReader(output) as run:
        stored, stored_source = run.config, str(run.data["source"])

    def unasked(name: str) -> bool:
        return ctx.get_parameter_source(name) is ParameterSource.DEFAULT

    parameters = {parameter.name: parameter for parameter in ctx.command.params}
    resolved = {
        name: parameters[name].type_cast_value(ctx, stored.get(name.replace("_", "-")))
        if unasked(name)
        else value
        for name, value in values.items()
    }
    return (
        stored_source if unasked("source") else source,
        int(stored["seed"]) if unasked("seed") else seed,
        resolved,
    )


def check_same(
    output: Path,
    stored: Mapping[str, Any],
    asked: Mapping[str, Any],
    stored_data: Mapping[str, Any],
    data: Mapping[str, Any],
) -> None:
    """RbmError, naming what differs, unless a run may go on with these options and data."""
    different = [
        f"{name} was {_shown(stored, name)}, now {_shown(asked, name)}"
        for name in sorted({*stored, *asked} - _MAY_DIFFER)
        if stored.get(name) != asked.get(name)
    ]
    if _content(stored_data) != _content(data):
        different.append(
            f"data were {stored_data['source']} ({stored_data['sha256'][:12]}),"
            f" now {data['source']} ({data['sha256'][:12]})"
        )
    if asked["epochs"] < stored["epochs"]:
        different.append(f"epochs were {stored['epochs']}, now {asked['epochs']}: they may grow")
    ramps = [
        name
        for name, value in asked.items()
        if isinstance(value, str) and name in _SCHEDULES and Schedule.parse(value).is_ramp
    ]
    if ramps and asked["epochs"] != stored["epochs"]:
        different.append(f"epochs may not change while {ramps[0]} is a ramp over all of them")
    if different:
        raise RbmError(
            f"{output}: cannot resume: {'; '.join(different)}; ask for the same, or write to"
            " another file"
        )


_SCHEDULES = {"learning-rate", "momentum", "gibbs-steps"}


def _shown(options: Mapping[str, Any], name: str) -> str:
    return str(options.get(name, "not given"))


def _content(data: Mapping[str, Any]) -> dict[str, Any]:
    """What of a data set's provenance is about its content, not its place."""
    kept = {name: value for name, value in data.items() if name not in ("source", "labels_sha256")}
    if "validation" in kept:
        kept["validation"] = _content(kept["validation"])
    return kept

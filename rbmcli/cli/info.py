"""`rbm info`: what a run file holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbmcli.cli.options import Settings, common_options, json_option
from rbmcli.cli.saying import answer, printable, to_json
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.io.runfile import RunReader
    from rbmcli.io.section import Section


@click.command()
@click.argument("run_file", metavar="RUN.h5", type=click.Path(path_type=Path))
@click.option(
    "--config",
    "as_config",
    is_flag=True,
    help="Print the options of the run as TOML, for --config of the command that began it.",
)
@json_option
@common_options
def command(settings: Settings, run_file: Path, as_config: bool, as_json: bool) -> None:
    """Show what a run file holds.

    The run may be finished, stopped, killed or still under way: what is shown is its last
    checkpoint.

    \b
    Example:
      rbm info run.h5
      rbm info run.h5 --config > again.toml
    """
    from rbmcli.io.runfile import RunReader

    if as_config and as_json:
        raise click.UsageError("--config and --json exclude each other")
    with RunReader(run_file) as run:
        if as_config:
            answer(_toml(run))
        elif as_json:
            answer(to_json(_facts(run)))
        else:
            answer("\n".join(_lines(_facts(run))))


def _toml(run: RunReader) -> str:
    """The options of a run for `--config`; RbmError where one of them cannot be said there."""
    import tomli_w

    # Runs of earlier programs name the log of metrics, which a file from elsewhere is not to say.
    config = {name: value for name, value in run.config.items() if name != "metrics"}
    for name, value in config.items():
        try:
            str(value).encode()
        except UnicodeEncodeError:
            raise RbmError(
                f"{run.path}: its option '{printable(name)}' is not in UTF-8, as TOML must be: see"
                " it with --json"
            ) from None
    try:
        text = tomli_w.dumps(config)
    except (TypeError, ValueError) as error:
        raise RbmError(
            f"{run.path}: a damaged run file (its options are none: {error}): restore it from a"
            " copy, or train again"
        ) from None
    # TOML escapes some of what a terminal might obey, but not all.
    return "".join(c if c.isprintable() or c == "\n" else f"\\U{ord(c):08x}" for c in text.rstrip())


def _facts(run: RunReader) -> dict[str, Any]:
    """What there is to say of a run, as JSON can hold it; what was not measured is None."""
    facts = {
        "file": str(run.path),
        "version": run.version,
        "program": run.program,
        "status": _status(run),
        "image_shape": list(run.image_shape),
        "data": run.data,
        "config": run.config,
    }
    if "" in run.sections:
        return facts | _recorded(run.sections[""])
    return facts | {"sections": {key: _recorded(section) for key, section in run.sections.items()}}


def _recorded(section: Section) -> dict[str, Any]:
    """What is recorded of one machine, or of one phase of training."""
    rows = section.metrics
    last = dict(zip(rows.dtype.names or (), rows[-1].item(), strict=True)) if len(rows) else {}
    arrays = {name: section.state.shape_and_dtype(name) for name in section.state}
    return {
        "epochs": int(last.get("epoch", 0)),
        "planned_epochs": section.config.get("epochs"),
        "arrays": {
            name: {"shape": list(shape), "dtype": str(dtype)}
            for name, (shape, dtype) in arrays.items()
            if shape
        },
        "filters": {
            "snapshots": len(section.filters_epoch),
            "epochs": section.filters_epoch.tolist(),
            "beside": [part.name for part in section.parts],
        },
        "metrics": {name: value if math.isfinite(value) else None for name, value in last.items()},
    }


def _status(run: RunReader) -> str:
    if run.in_progress:
        return "in progress"
    return "finished" if run.finished else "stopped"


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """The facts for a reader: a heading and, indented, what belongs to it."""
    hint = {"stopped": " (--resume goes on with it)"}.get(facts["status"], "")
    yield (
        f"{printable(facts['file'])}: run file, version {facts['version']}, by"
        f" {printable(facts['program'])}"
    )
    parts = facts.get("sections", {"": facts})
    status = {"status": facts["status"] + hint}
    if "" in parts:
        yield from _section(status | _progress(facts))
    else:
        yield from _section(status)
        for name, part in parts.items():
            weights = part["arrays"].get("model/weights", part["arrays"].get("model/top/weights"))
            size = {"weights": " x ".join(map(str, weights["shape"]))} if weights else {}
            yield printable(name)
            yield from _section(size | _progress(part))
    yield "Data"
    yield from _section(facts["data"])
    if "" in parts:
        yield "Arrays"
        yield from _section(
            {
                name: f"{' x '.join(map(str, array['shape']))} {array['dtype']}"
                for name, array in facts["arrays"].items()
            }
        )
    yield "Options"
    yield from _section(facts["config"])
    for name, part in parts.items():
        if part["metrics"]:
            yield f"Last epoch{' of ' if name else ''}{printable(name)}"
            yield from _section(part["metrics"])


def _progress(part: dict[str, Any]) -> dict[str, Any]:
    """How far the training of a part has come, and the filters kept of it."""
    planned, filters = part["planned_epochs"], part["filters"]
    kept = f"{filters['snapshots']} snapshots"
    if filters["epochs"]:
        kept += f", epoch {filters['epochs'][0]:g} to {filters['epochs'][-1]:g}"
    if filters["beside"]:
        kept += f"; in {', '.join(filters['beside'])} until the run ends"
    return {
        "epochs": f"{part['epochs']} of {planned}" if planned else part["epochs"],
        "filters": kept,
    }


def _section(values: Mapping[str, Any]) -> list[str]:
    shown = {printable(name): printable(_text(value)) for name, value in values.items()}
    width = max(map(len, shown), default=0)
    return [f"  {name:<{width}}  {text}" for name, text in shown.items()]


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list():
            return ", ".join(map(str, value)) or "-"
        case dict():
            return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return str(value)

"""Options that several commands share, each written once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from rbmcli.cli.threads import MOST_THREADS

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Settings:
    """What every command takes: the seed, the threads asked for (None: all there are), silence."""

    seed: int
    threads: int | None
    quiet: bool


def common_options(function: F) -> F:
    """Add --seed, --threads and --quiet; the command receives them as `settings`."""

    @click.option(
        "--seed",
        type=click.IntRange(0, 2**63 - 1),
        default=0,
        show_default=True,
        help="Seed of every random draw.",
    )
    @click.option(
        "--threads",
        type=click.IntRange(1, MOST_THREADS),
        help="Threads to use.  [default: the CPUs this process may use]",
    )
    @click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
    @functools.wraps(function)
    def wrapper(*args: Any, seed: int, threads: int | None, quiet: bool, **kwargs: Any) -> Any:
        return function(*args, settings=Settings(seed, threads, quiet), **kwargs)

    return wrapper  # type: ignore[return-value]


def output_option(help_text: str) -> Callable[[F], F]:
    """Add -o/--output, the one file that a command writes."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path, dir_okay=False),
        required=True,
        help=help_text,
    )


def force_option(function: F) -> F:
    """Add --force, which allows an existing output file to be replaced."""
    return click.option("--force", is_flag=True, help="Replace the output file if it exists.")(
        function
    )


def channels_option(function: F) -> F:
    """Add --channels, for commands that read images."""
    return click.option(
        "--channels",
        type=click.Choice(["first", "last"]),
        help="Where the channels (colours) of images of an array of four dimensions are: before"
        " rows and columns, or behind them.  [default: as in the run; of a new one, last where the"
        " last dimension is 1, 3 or 4 and the second is not]",
    )(function)


def follow_links_option(function: F) -> F:
    """Add --follow-links, for commands that read images."""
    return click.option(
        "--follow-links",
        is_flag=True,
        help="Let an HDF5 source bring in files from other folders, by links in it, external"
        " storage or virtual data sets. For files that you trust.",
    )(function)


def json_option(function: F) -> F:
    """Add --json, for commands that print a table."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the table as JSON, for other programs."
    )(function)

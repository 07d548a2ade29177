"""`rbm data`: which data sets have a name, where they are, and fetching them."""

from __future__ import annotations

import difflib
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from rbmcli.cli.options import Settings, common_options, json_option
from rbmcli.cli.saying import answer, printable, to_json
from rbmcli.cli.suggesting import SuggestingGroup
from rbmcli.errors import RbmError


@click.group(
    cls=SuggestingGroup,
    synonyms={
        "list": ("ls", "show", "sets", "names", "info", "available"),
        "fetch": ("get", "download", "pull", "install", "add"),
        "where": ("path", "which", "find", "locate", "folder", "dir"),
    },
)
def command() -> None:
    """List, fetch and locate the named data sets.

    Where a command takes a SOURCE, a set's name stands for its training images (`mnist`), or for
    another part (`mnist:test`); the labels come with them. Sets are fetched when first used and
    kept in the user's cache folder, or in $RBM_DATA_DIR. $RBM_DATA_URL names another server to
    fetch from, with one folder a set.

    \b
    Example:
      rbm data list
      rbm data fetch mnist
    """


@command.command("list")
@json_option
@common_options
def list_command(settings: Settings, as_json: bool) -> None:
    """Print the named sets.

    For each: its images, their size, whether it is present, and where it comes from.

    \b
    Example:
      rbm data list --json
    """
    from rbmcli.io.sources import named

    rows = [_describe(name) for name in named.SETS]
    if as_json:
        answer(to_json(rows))
        return
    lines = [f"{'NAME':<15}{'IMAGES':<27}{'SIZE':<9}{'PRESENT':<9}FROM"]
    for row in rows:
        images = ", ".join(f"{part} {count}" for part, count in row["images"].items())
        size = "x".join(map(str, row["image_shape"]))
        present = "yes" if row["present"] else "no"
        where = printable(row["from"])
        lines.append(f"{row['name']:<15}{images:<27}{size:<9}{present:<9}{where}")
    answer("\n".join(lines))


@command.command("fetch")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@common_options
def fetch_command(settings: Settings, names: tuple[str, ...]) -> None:
    """Fetch sets that are not present.

    Prints the folder of each.

    \b
    Example:
      rbm data fetch mnist kmnist
    """
    from rbmcli.io.sources import named

    for name in names:
        _check_kept_in_files(name)
    for name in names:
        _print_path(named.fetch(name, quiet=settings.quiet))


@command.command("where")
@click.argument("name")
@common_options
def where_command(settings: Settings, name: str) -> None:
    """Print the folder of a set.

    If the set is not present, that is the folder its files can be put into by hand.

    \b
    Example:
      ls "$(rbm data where mnist)"
    """
    from rbmcli.io.sources import named

    _check_kept_in_files(name)
    _print_path(named.locate(name))


def _print_path(path: Path) -> None:
    """To a terminal what it can show, to programs the very bytes of the name."""
    answer(printable(str(path)) if sys.stdout.isatty() else os.fsencode(path))


def _describe(name: str) -> dict[str, Any]:
    from rbmcli.io.sources import named

    hosts = [urlsplit(mirror).netloc for mirror in named.mirrors(name)]
    return {
        "name": name,
        "images": named.SETS[name].counts,
        "image_shape": named.SETS[name].image_shape,
        "present": named.is_present(name),
        "folder": str(named.locate(name)) if hosts else None,
        "from": ", ".join(dict.fromkeys(hosts)) or "generated",
    }


def _check_kept_in_files(name: str) -> None:
    from rbmcli.io.sources import named

    fetched = [each for each, details in named.SETS.items() if details.sha256]
    if name not in named.SETS:
        close = difflib.get_close_matches(name.partition(":")[0], fetched, 1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise click.BadParameter(
            f"'{name}' is not one of {', '.join(fetched)}{hint}", param_hint="'NAME'"
        )
    if name not in fetched:
        raise RbmError(f"{name}: is generated when used, so there is nothing to fetch or to find")

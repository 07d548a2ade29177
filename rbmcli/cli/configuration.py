"""Options from files: --config FILE.toml and the recipes that come with the package.

Both hold option names and values, as `rbm info --config` prints them. What the command line says
goes before the file, the file before the recipe, the recipe before the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rbmcli.errors import RbmError
from rbmcli.opening import opened

#: A file of options is never larger.
_MOST_BYTES = 1 << 20

#: Options that make no sense in a file.
_COMMAND_LINE_ONLY = {
    *("output", "config", "recipe", "resume", "force", "grow", "help", "quiet", "threads"),
}


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    from importlib import resources

    folder = resources.files("rbmcli.recipes")
    return sorted(
        item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml")
    )


def read_recipe(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    """Callback of --recipe."""
    if name is None:
        return None
    from difflib import get_close_matches
    from importlib import resources

    if name not in recipe_names():
        close = get_close_matches(name, recipe_names(), 1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise click.BadParameter(
            f"there is no recipe '{name}'; there are {', '.join(recipe_names())}{hint}", ctx, param
        )
    text = resources.files("rbmcli.recipes").joinpath(f"{name}.toml").read_text("utf-8")
    options = _parameters(text, f"recipe {name}", ctx, param)
    ctx.default_map = {**options, **(ctx.default_map or {})}
    return name


def read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Callback of --config."""
    if path is None:
        return None
    try:
        with opened(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise click.BadParameter(f"{path} is too large for a file of options", ctx, param)
        text = content.decode()
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path} is not a text file in UTF-8", ctx, param) from None
    except RbmError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}", ctx, param) from None
    ctx.default_map = {**(ctx.default_map or {}), **_parameters(text, str(path), ctx, param)}
    return path


def _parameters(
    text: str, where: str, ctx: click.Context, param: click.Parameter
) -> Mapping[str, Any]:
    """The options in a TOML text by parameter name, as if typed; BadParameter for what is none."""
    import tomllib
    from difflib import get_close_matches

    try:
        options = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise click.BadParameter(f"{where}: {error}", ctx, param) from None
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        why = "nested too deep" if deep else "a number of too many digits"
        raise click.BadParameter(f"{where}: {why}", ctx, param) from None
    known = {
        name.lstrip("-"): option
        for option in ctx.command.params
        if isinstance(option, click.Option) and option.name not in _COMMAND_LINE_ONLY
        for name in option.opts
        if name.startswith("--")
    }
    result: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise click.BadParameter(f"{where}: '{name}' is not an option{hint}", ctx, param)
        option = known[name]
        if isinstance(value, dict) or isinstance(value, list) != option.multiple:
            form = "a list" if option.multiple else "a single value"
            raise click.BadParameter(f"{where}: '{name}' must be {form}", ctx, param)
        try:
            texts = [str(x) for x in value] if option.multiple else [str(value)]
        except (ValueError, RecursionError):
            raise click.BadParameter(f"{where}: '{name}' is too long", ctx, param) from None
        if any("\0" in text for text in texts):
            raise click.BadParameter(f"{where}: '{name}' holds a NUL character", ctx, param)
        result[str(option.name)] = texts if option.multiple else texts[0]
    return result

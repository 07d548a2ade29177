"""Options of one layer, or of one phase of training, in one word: `500`, `hidden=500,lr=0.1`.

A comma only separates where NAME= follows, so that schedules may hold commas.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import click

_NAME = "[a-z][a-z0-9-]*"
#: Short names, and the options' own: an option then has one name in a spec.
_ALIASES = {"kind": "hidden-kind", "lr": "learning-rate"}


@dataclass(frozen=True)
class Spec:
    """What was written: the text, and each option's text by name."""

    text: str
    values: dict[str, str]

    def with_defaults(self, values: dict[str, str]) -> Spec:
        """The same with further options, where it does not have them itself."""
        more = {name: value for name, value in values.items() if name not in self.values}
        text = ",".join([self.text, *(f"{name}={value}" for name, value in more.items())])
        return Spec(text, self.values | more)


class SpecType(click.ParamType[Spec]):
    """Options in one word; the first may be a number alone, such as `example`: that is `first`."""

    name = "spec"

    def __init__(self, first: str, example: int) -> None:
        self.first = first
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Spec:
        """Take the words apart; a spec passes through."""
        if isinstance(value, Spec):
            return value
        text = str(value).strip()
        values: dict[str, str] = {}
        for number, part in enumerate(re.split(rf",(?={_NAME}=)", text)):
            name, equals, written = part.partition("=")
            if number == 0 and not equals and part.isdecimal():
                name, written = self.first, part
            elif not equals or not written or not re.fullmatch(_NAME, name):
                example = f"{self.first}={self.example},lr=0.1"
                self.fail(f"'{part}' is not NAME=VALUE, as in {example}", param, ctx)
            name = _ALIASES.get(name, name)
            if name in values:
                self.fail(f"'{text}' says {name} twice", param, ctx)
            values[name] = written
        return Spec(text, values)


def cast(ctx: click.Context, option: str, spec: Spec, allowed: Collection[str]) -> dict[str, Any]:
    """The values of a spec by parameter, as the command's options of these names read them.

    option: in which it was written. allowed: parameters that it may set; BadParameter for others.
    """
    known = {
        name.lstrip("-"): parameter
        for parameter in ctx.command.params
        if parameter.name in allowed
        for name in parameter.opts
    }
    result: dict[str, Any] = {}
    for name, written in spec.values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise click.BadParameter(
                f"'{spec.text}': there is no option {name} here{hint}",
                ctx,
                param_hint=f"'{option}'",
            )
        parameter = known[name]
        try:
            value = parameter.type_cast_value(ctx, written)
        except click.BadParameter as error:
            raise click.BadParameter(
                f"'{spec.text}': {name}: {error.message}", ctx, param_hint=f"'{option}'"
            ) from None
        result[str(parameter.name)] = value
    return result

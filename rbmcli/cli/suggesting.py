"""A group of commands that says which one was meant where a name is none of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click


class SuggestingGroup(click.Group):
    """A group that knows what else its commands may be called.

    synonyms: by command, names that other programs have for what it does.
    """

    def __init__(
        self, *arguments: Any, synonyms: Mapping[str, Iterable[str]], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._synonyms = synonyms

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; UsageError where it names none."""
        word, names = args[0], self.list_commands(ctx)
        if word not in names and not word.startswith("-") and not ctx.resilient_parsing:
            near = [f"'{ctx.command_path} {name}'" for name in self._near(word.lower(), names)]
            hint = f"did you mean {' or '.join(near)}?"
            if not near:
                hint = f"there are {', '.join(names)}"
            raise click.UsageError(f"there is no command '{word}': {hint}", ctx)
        return super().resolve_command(ctx, args)

    def _near(self, word: str, names: list[str]) -> list[str]:
        """The commands that may have been meant, by meaning, or else by spelling."""
        import difflib

        meant = [name for name, others in self._synonyms.items() if word in others]
        if not meant:
            every = {x: name for name, others in self._synonyms.items() for x in others}
            every |= {name: name for name in names}
            close = difflib.get_close_matches(word, every, 1)
            meant = [every[x] for x in close]
        return list(dict.fromkeys(meant))

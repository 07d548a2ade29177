"""What commands say: lines on standard error, answers on standard output."""

from __future__ import annotations

import errno
import json
import math
import os
from typing import Any

import click

from rbmcli.errors import RbmError
from rbmcli.files import remedy
from rbmcli.terminal import Stderr, say
from rbmcli.text import printable

__all__ = ["Stderr", "answer", "printable", "say", "to_json"]


def answer(text: str | bytes) -> None:
    """Write what was asked for to standard output: lines, as they are.

    Text from elsewhere in it must be `printable`. RbmError where it cannot be written; a reader
    that went away raises BrokenPipeError, which the command line takes for no fault.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = "" if error.errno in (None, errno.EIO) else f"; {remedy(error)}"
        raise RbmError(f"standard output: cannot be written ({reason}){hint}") from error


def to_json(value: Any) -> str:
    """A value for other programs: strict JSON in ASCII, NaN and infinity as null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False).replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    """The same, with None for NaN and infinity, for which JSON has no words."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

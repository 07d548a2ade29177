"""Unit kinds, one file each, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rbmcli.errors import RbmError
from rbmcli.model.units import binomial, softmax
from rbmcli.model.units.bernoulli import Bernoulli
from rbmcli.model.units.binomial import Binomial
from rbmcli.model.units.gaussian import Gaussian
from rbmcli.model.units.joint import Joint
from rbmcli.model.units.kind import BINARIZE, UnitKind
from rbmcli.model.units.nrelu import Nrelu
from rbmcli.model.units.pooled import Pooled
from rbmcli.model.units.softmax import Softmax

__all__ = ["BINARIZE", "KINDS", "Joint", "Pooled", "UnitKind", "unit_kind"]


class _Numbered(NamedTuple):
    """A family of kinds told apart by a whole number."""

    make: Callable[[int], UnitKind]
    least: int
    most: int


#: Every kind by name; a name that ends in ":N" stands for one kind for each number.
KINDS: dict[str, UnitKind | _Numbered] = {
    "bernoulli": Bernoulli(),
    "binomial:N": _Numbered(Binomial, 1, binomial.MOST),
    "gaussian": Gaussian(),
    "gaussian:learned": Gaussian(learned=True),
    "nrelu": Nrelu(),
    "nrelu:exact": Nrelu(exact=True),
    "softmax:N": _Numbered(Softmax, 2, softmax.MOST),
}


def unit_kind(name: str) -> UnitKind:
    """The kind called `name`, such as "gaussian" or "binomial:8"; RbmError if there is none."""
    family, _, number = name.partition(":")
    entry = KINDS.get(name, KINDS.get(f"{family}:N"))
    if isinstance(entry, UnitKind):
        return entry
    if entry is None or not number.isdecimal():
        raise RbmError(f"'{name}' is not a kind of unit; there are {', '.join(KINDS)}")
    if not entry.least <= int(number) <= entry.most:
        raise RbmError(f"'{name}': N must be from {entry.least} to {entry.most}")
    return entry.make(int(number))

"""Unit kinds, one file each, and the table of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from rbmcli.errors import RbmError
from rbmcli.model.units.bernoulli import Bernoulli
from rbmcli.model.units.binomial import Binomial
from rbmcli.model.units.gaussian import SIGMA_RANGE, Gaussian
from rbmcli.model.units.joint import Joint
from rbmcli.model.units.kind import BINARIZE, UnitKind
from rbmcli.model.units.nrelu import Nrelu
from rbmcli.model.units.pooled import Pooled
from rbmcli.model.units.softmax import Softmax

__all__ = [
    "BINARIZE",
    "BINARIZED",
    "KINDS",
    "Joint",
    "Pooled",
    "Softmax",
    "UnitKind",
    "unit_kind",
]


class _Numbered(NamedTuple):
    """A family of kinds told apart by a number, a whole one unless `real`."""

    make: Callable[[Any], UnitKind]
    least: float
    most: float
    real: bool = False

    def parse(self, number: str) -> float | None:
        """The number, or None where it is none."""
        form = r"\d+(\.\d*)?|\.\d+" if self.real else r"\d+"
        if not re.fullmatch(form, number, re.ASCII):
            return None
        return float(number) if self.real else int(number)


#: Every kind by name; one that ends in ":N" or ":SIGMA" stands for one kind for each number.
KINDS: dict[str, UnitKind | _Numbered] = {
    "bernoulli": Bernoulli(),
    "binomial:N": _Numbered(Binomial, 1, Binomial.kernels.most),
    "gaussian": Gaussian(),
    "gaussian:SIGMA": _Numbered(Gaussian, *SIGMA_RANGE, real=True),
    "gaussian:learned": Gaussian(learned=True),
    "nrelu": Nrelu(),
    "nrelu:exact": Nrelu(exact=True),
    "softmax:N": _Numbered(Softmax, 2, Softmax.kernels.most),
}
#: The names of those that `--binarize` makes states for.
BINARIZED = tuple(
    name
    for name, entry in KINDS.items()
    if (entry if isinstance(entry, UnitKind) else entry.make(entry.least)).is_drawn_from_data
)
_FAMILIES = {
    name.partition(":")[0]: entry for name, entry in KINDS.items() if isinstance(entry, _Numbered)
}


def unit_kind(name: str) -> UnitKind:
    """The kind called `name`, such as "gaussian" or "binomial:8"; RbmError if there is none."""
    kind = KINDS.get(name)
    if isinstance(kind, UnitKind):
        return kind
    family, _, number = name.partition(":")
    entry = _FAMILIES.get(family)
    value = None if entry is None else entry.parse(number)
    if entry is None or value is None:
        raise RbmError(f"'{name}' is not a kind of unit; there are {', '.join(KINDS)}")
    if not entry.least <= value <= entry.most:
        raise RbmError(f"'{name}': the number must be from {entry.least:g} to {entry.most:g}")
    return entry.make(value)

"""Tables that grow by a row at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


class Table(Sequence[dict[str, float]]):
    """Rows of named float64 columns. The first row decides which columns there are.

    A sequence of rows, each a dict: thousands of them take no more than their numbers.
    """

    def __init__(self, rows: NDArray[Any] | None = None) -> None:
        """Go on after `rows`, a structured array, or start without any."""
        self._rows = np.empty(0, [("epoch", "<f8")]) if rows is None else rows
        self._count = len(self._rows)

    @property
    def rows(self) -> NDArray[Any]:
        """The rows so far, a structured array (not a copy)."""
        return self._rows[: self._count]

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._count

    @overload
    def __getitem__(self, which: int) -> dict[str, float]: ...
    @overload
    def __getitem__(self, which: slice) -> list[dict[str, float]]: ...
    def __getitem__(self, which: int | slice) -> dict[str, float] | list[dict[str, float]]:
        """Return a row, or a list of rows."""
        names = self._rows.dtype.names or ()
        found = self.rows[which].tolist()
        if isinstance(which, slice):
            return [dict(zip(names, row, strict=True)) for row in found]
        return dict(zip(names, found, strict=True))

    def append(self, row: Mapping[str, float]) -> None:
        """Add a row. Raises ValueError if its names are not those of the first."""
        if not self._count:
            self._rows = np.empty(16, [(name, "<f8") for name in row])
        names = self._rows.dtype.names or ()
        if set(names) != set(row):
            raise ValueError(f"columns {sorted(row)}, expected {sorted(names)}")
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = tuple(row[name] for name in names)
        self._count += 1

"""Tables that grow by a row at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Table:
    """Rows of named float64 columns. The first row decides which columns there are."""

    def __init__(self, rows: NDArray[Any] | None = None) -> None:
        """Go on after `rows`, a structured array, or start without any."""
        self._rows = np.empty(0, [("epoch", "<f8")]) if rows is None else rows
        self._count = len(self._rows)

    @property
    def rows(self) -> NDArray[Any]:
        """The rows so far, a structured array (not a copy)."""
        return self._rows[: self._count]

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

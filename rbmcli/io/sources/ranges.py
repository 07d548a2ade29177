"""Values and ranges of values as messages say them."""

from __future__ import annotations

import numpy as np

#: What sums and quotients of float32 numbers near 1 may be wrong by.
ROUNDING = 1e-6


def shown(value: float, beside: float | None = None) -> str:
    """A value with six digits, or with as many as tell it from another one `beside` it."""
    text = f"{value:g}"
    if beside is not None and value != beside and float(text) == float(f"{beside:g}"):
        for digits in range(7, 18):
            text = f"{value:.{digits}g}"
            if float(text) != beside:
                break
    return text


def rounded_into(value: float, low: float, high: float) -> bool:
    """Whether a value lies within a range, or beyond it by no more than rounding explains."""
    excess = max(low - value, value - high)
    return bool(excess <= ROUNDING * max(1.0, abs(high) if np.isfinite(high) else 0.0))

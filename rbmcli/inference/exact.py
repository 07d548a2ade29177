"""Exact results for machines small enough to enumerate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.inference.free_energy import free_energy
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, States

#: Largest number of binary visible units whose states are enumerated.
MOST_UNITS = 25
_BLOCK = 1 << 14


def all_states(units: int, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
    """Binary states number start..stop - 1 (default: all 2^units), uint8 (states, units)."""
    numbers = np.arange(start, 1 << units if stop is None else stop, dtype=np.int64)
    return (numbers[:, np.newaxis] >> np.arange(units) & 1).astype(np.uint8)


def log_partition(model: Rbm) -> float:
    """log Z, by summing exp(-F(v)) over every state of the binary visible units.

    RbmError for more than MOST_UNITS visible units.
    """
    units = model.visible.units
    if units > MOST_UNITS:
        raise RbmError(
            f"log Z: {units} visible units are too many to enumerate; at most {MOST_UNITS}"
        )
    result = -np.inf
    for start in range(0, 1 << units, _BLOCK):
        states = all_states(units, start, min(start + _BLOCK, 1 << units))
        energies = free_energy(model, BitStates.from_array(states))
        result = np.logaddexp(result, np.logaddexp.reduce(-energies))
    return float(result)


def log_likelihood(model: Rbm, visible: States) -> NDArray[np.float64]:
    """log p(v) = -F(v) - log Z, in nats, float64 (rows,)."""
    return -free_energy(model, visible) - log_partition(model)

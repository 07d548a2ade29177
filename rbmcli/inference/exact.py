"""Exact results for machines with a layer small enough to enumerate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles
from rbmcli.errors import RbmError
from rbmcli.inference.free_energy import free_energy
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States

#: Largest number of joint states of a layer that are enumerated: those of 25 binary units.
MOST_STATES = 1 << 25
#: Joint states looked at together.
_BLOCK = 1 << 12


def count_states(layer: Layer) -> int | None:
    """Number of joint states of a layer, None where they are infinitely many."""
    count = 1
    for kind, units in layer.kind.blocks(layer.units):
        if kind.group_states is None:
            return None
        count *= len(kind.group_states) ** (units // kind.group)
    return count


def layer_states(layer: Layer, start: int, stop: int) -> NDArray[np.float32]:
    """Joint states number start .. stop - 1 of a layer, float32 (states, units).

    The states of the groups are the digits of the number, those of the first group the lowest.
    """
    number = np.arange(start, stop)[:, np.newaxis]
    parts = []
    for kind, units in layer.kind.blocks(layer.units):
        of_group = kind.group_states
        assert of_group is not None
        powers = len(of_group) ** np.arange(units // kind.group + 1)
        digits = number // powers[:-1] % len(of_group)
        part = np.empty((stop - start, units), np.float32)
        part[:, kind.group_places(units)] = of_group[digits]
        parts.append(part)
        number = number // powers[-1]
    return np.concatenate(parts, axis=1)


def is_exact(model: Rbm) -> bool:
    """Whether `log_partition` can be had: a layer has at most MOST_STATES joint states."""
    counts = (count_states(layer) for layer in (model.visible, model.hidden))
    return any(count is not None and count <= MOST_STATES for count in counts)


def check_exact(model: Rbm) -> None:
    """RbmError where both layers have more than MOST_STATES joint states."""
    if not is_exact(model):
        sizes = f"{model.visible.units} visible and {model.hidden.units} hidden units"
        raise RbmError(
            f"log Z: {sizes} have too many states to sum over, more than {MOST_STATES};"
            " estimate it by AIS, without --exact"
        )


def log_partition(model: Rbm, progress: Callable[[float], None] = lambda _: None) -> float:
    """log Z, by summing over every state of one layer, the other being summed out.

    progress: told the fraction done. RbmError where both layers have more than MOST_STATES states.
    """
    check_exact(model)
    layers = {
        model.visible: lambda states: -free_energy(model, states),
        model.hidden: lambda states: _log_weight_of_hidden(model, states),
    }
    count, layer = min(
        ((count, layer) for layer in layers if (count := count_states(layer)) is not None),
        key=lambda pair: pair[0],
    )
    result = -np.inf
    for start in range(0, count, _BLOCK):
        values = layer_states(layer, start, min(start + _BLOCK, count))
        weights = layers[layer](layer.states_of(values))
        result = np.logaddexp(result, np.logaddexp.reduce(weights))
        progress(min(start + _BLOCK, count) / count)
    return float(result)


def log_likelihood(model: Rbm, visible: States) -> Doubles:
    """log p(v) = -F(v) - log Z, in nats, float64 (rows,)."""
    return -free_energy(model, visible) - log_partition(model)


def _log_weight_of_hidden(model: Rbm, hidden: States) -> Doubles:
    """log of the sum over visible states of exp(-E(v, h)), float64 (rows,)."""
    return model.hidden.log_weight(hidden) + model.visible.cumulant(model.visible_input(hidden))

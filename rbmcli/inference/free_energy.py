"""Free energies, and what follows from them without the partition function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles, Floats
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, States


def free_energy(model: Rbm, visible: States, total: Floats | None = None) -> Doubles:
    """F(v), with p(v) = exp(-F(v)) / Z; in nats, float64 (rows,).

    total: the total inputs of the hidden units, where they are known.

    F(v) = E_c(v) - the sum of the hidden units' cumulants at their total inputs (Hinton 2012, "A
    practical guide to training RBMs", section 16.1).
    """
    if total is None:
        total = model.hidden_input(visible)
    return -model.visible.log_weight(visible) - model.hidden.cumulant(total)


def are_states(layer: Layer, states: States) -> bool:
    """Whether the units can be in these states: real values, or whole numbers.

    Only then they have a likelihood.
    """
    if layer.kind.squared_energy or isinstance(states, BitStates):
        return True
    return bool((states.floats() % 1 == 0).all())


def has_pseudo_likelihood(model: Rbm, visible: States) -> bool:
    """Whether the visible units have finitely many states, and these are such states."""
    return model.visible.kind.group_states is not None and are_states(model.visible, visible)


def pseudo_log_likelihood(
    model: Rbm, visible: States, groups: NDArray[np.int64], total: Floats | None = None
) -> Doubles:
    """A stochastic estimate of log PL(v) = sum over i of log p(v_i | the others); float64 (rows,).

    i counts the visible units, or groups of units that are drawn together. Row r's estimate is
    their number times the term of i = groups[r] (Besag 1975; the estimate by one unit, Marlin et
    al. 2010). For visible units with finitely many states only. total: as in `free_energy`.
    """
    layer, kind = model.visible, model.visible.kind
    if kind.group_states is None:
        raise ValueError(f"{kind.name} units have infinitely many states")
    rows = np.arange(visible.rows)[:, np.newaxis]
    units = groups[:, np.newaxis] * kind.group + np.arange(kind.group)
    found: Floats = visible.floats()[rows, units]
    if total is None:
        total = model.hidden_input(visible)
    bias = layer.bias[units]
    alternatives = []
    for state in kind.group_states:
        shift = state - found
        own = (bias * shift).sum(axis=1, dtype=np.float64) + kind.define_log_base(state).sum()
        inputs = total + model.link.shift_up(units, shift)
        alternatives.append(own + model.hidden.cumulant(inputs))
    here = kind.define_log_base(found).sum(axis=1) + model.hidden.cumulant(total)
    return (layer.units // kind.group) * (here - np.logaddexp.reduce(alternatives, axis=0))

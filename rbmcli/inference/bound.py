"""The variational lower bound on the log-likelihood of a stack, a deep belief network.

Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets", equation 8;
Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks", section 4.
The way up is a distribution q of the hidden units given an image, each unit by itself, and
    log p(v) >= E_q[log p(v, h) - log q(h | v)],
    log p(v, h) = log p(v | h1) + log p(h1 | h2) + ... + log p*(top) - log Z,
p* being the top machine's unnormalised probability of its visible states, with its hidden units,
and label units where it has them, summed out.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles
from rbmcli.draws import Draw, apart
from rbmcli.inference.free_energy import free_energy
from rbmcli.inference.labels import class_energies, class_log_probabilities, features_energy
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import States


class Weighed(NamedTuple):
    """What one draw of the hidden units from q says of each image.

    log_weight: log p(v, h) + log Z - log q(h | v), in nats, float64 (rows,). top_mean: mean visible
    states of the top machine, label units as it expects them, float64 (visible units,).
    """

    log_weight: Doubles
    top_mean: NDArray[np.float64]


def why_no_bound(stack: Stack) -> str | None:
    """Why the bound is none, or None where it is one: both ends of a joint must be of one kind.

    Real-valued units on others give densities where q gives probabilities.
    """
    for number, (below, above) in enumerate(pairwise(stack.machines), 1):
        kinds = [
            kind.of_model.without_sigma for kind in (below.hidden.fed_kind, above.feature_kind)
        ]
        if kinds[0].name != kinds[1].name:
            return (
                f"layer {number} has {above.feature_kind.name} units where layer {number - 1} has"
                f" {below.hidden.kind.name} ones, so that the one's densities cannot be compared"
                " with the other's probabilities"
            )
    return None


def weigh(stack: Stack, images: States, draw: Draw) -> Weighed:
    """Draw the hidden units of the directed levels from q, by `apart(draw, level)`.

    The mean log weight, less log Z, is an unbiased estimate of the bound. Units whose sampler is an
    approximation are drawn exactly, as q and p are about. Of a stack of one machine, the log weight
    is minus the free energy. `why_no_bound` says of which stacks this can be asked.
    """
    stack = stack.of_model
    log_weight = np.zeros(images.rows)
    states = images
    for level, (machine, way) in enumerate(zip(stack.machines, stack.directed, strict=False), 1):
        below = stack.as_features(states, level - 1)
        total = machine.hidden_input(below)
        states = machine.hidden.sample(total, apart(draw, level))
        log_weight -= machine.hidden.log_conditional(states, total)
        seen = way.visible.adopted(below, machine.visible)
        log_weight += way.visible.log_conditional(seen, way.visible_input(states))
        log_weight += machine.hidden.kind.log_drawn_from_fed(states)
        states = machine.hidden.kind.fed_by(states)
    log_top, mean = _top(stack.top, stack.as_features(states, len(stack.machines) - 1))
    return Weighed(log_weight + log_top, mean)


def _top(top: Rbm, features: States) -> tuple[Doubles, NDArray[np.float64]]:
    """log p* of features, label units summed out, and the mean visible states."""
    mean = features.mean_by_unit().astype(np.float64)
    if not top.classes:
        return -free_energy(top, features), mean
    energies = class_energies(top, features)
    of_classes = np.exp(class_log_probabilities(energies)).mean(axis=0)
    return -features_energy(energies), np.concatenate([mean, of_classes])

"""How well a machine describes images: what can be measured on a pass over them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles, Floats
from rbmcli.draws import Draws, Purpose
from rbmcli.inference.bound import weigh
from rbmcli.inference.free_energy import (
    are_states,
    free_energy,
    has_pseudo_likelihood,
    pseudo_log_likelihood,
)
from rbmcli.inference.reconstruction import reconstruct, reconstruction_error
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import States

#: Terms of its pseudo-log-likelihood, evenly spread, that are computed of each image.
_TERMS = 20


@dataclass(frozen=True)
class Measurements:
    """Means over the images, in nats where they are logarithms.

    pseudo_log_likelihood: None where it is not defined. free_energies: of each image, float64
    (images,). mean: mean visible states, float64 (visible units,). are_states: whether all the
    images are states that the machine can be in, without which they have no likelihood. kept: the
    states of the rows that were to be kept, (rows, visible units).
    """

    reconstruction_error: float
    pseudo_log_likelihood: float | None
    free_energies: Doubles
    mean: NDArray[np.float64]
    are_states: bool
    kept: NDArray[Any]


@dataclass(frozen=True)
class StackMeasurements:
    """Means over the images.

    log_weights: the variational bound but for log Z, in nats, of each image, float64 (images,).
    top_mean: mean visible states of the top machine, float64 (visible units,). are_states: whether
    all the images are states that the images' units can be in.
    """

    reconstruction_error: float
    log_weights: Doubles
    top_mean: NDArray[np.float64]
    are_states: bool


def measure(
    model: Rbm, blocks: Iterable[States], draws: Draws, keep: NDArray[np.int64]
) -> Measurements:
    """Measure on images that come as blocks of visible states, one block at a time.

    keep: numbers, ascending, of the images whose states are wanted.
    """
    groups = model.visible.units // model.visible.kind.group
    generator = draws.generator(Purpose.MONITOR)
    errors, energies, pseudo, kept = [], [], [], []
    total = np.zeros(model.visible.units)
    rows, real, finite = 0, True, True
    for visible in blocks:
        inputs = model.hidden_input(visible)
        energies.append(free_energy(model, visible, inputs))
        finite = finite and has_pseudo_likelihood(model, visible)
        first = generator.integers(groups, size=visible.rows)
        if finite:
            pseudo.append(_pseudo_log_likelihood(model, visible, first, groups, inputs))
        draw = draws.at(Purpose.MONITOR, 0, 0, rows)
        errors.append(reconstruct(model, visible, draw, inputs).error)
        total += visible.mean_by_unit() * visible.rows
        kept.append(visible.to_array()[keep[(keep >= rows) & (keep < rows + visible.rows)] - rows])
        rows += visible.rows
        real = real and are_states(model.visible, visible)
    return Measurements(
        float(np.concatenate(errors).mean()),
        float(np.concatenate(pseudo).mean()) if finite else None,
        np.concatenate(energies),
        total / rows,
        real,
        np.concatenate(kept),
    )


def measure_stack(
    stack: Stack, blocks: Iterable[States], draws: Draws, samples: int
) -> StackMeasurements:
    """Measure on images that come as blocks of states, one block at a time.

    samples: draws of the hidden units of each image that its bound is averaged over.
    """
    errors, log_weights, total = [], [], np.zeros(stack.top.visible.units)
    rows, real = 0, True
    for images in blocks:
        up, down = (draws.at(Purpose.MONITOR, 0, substep, rows) for substep in (0, 1))
        errors.append(reconstruction_error(stack, images, up, down))
        names = (draws.at(Purpose.BOUND, 0, sample, rows) for sample in range(samples))
        weighed = [weigh(stack, images, draw) for draw in names]
        log_weights.append(np.mean([each.log_weight for each in weighed], axis=0))
        total += np.mean([each.top_mean for each in weighed], axis=0) * images.rows
        real = real and are_states(stack.image_layer, images)
        rows += images.rows
    return StackMeasurements(
        float(np.concatenate(errors).mean()), np.concatenate(log_weights), total / rows, real
    )


def _pseudo_log_likelihood(
    model: Rbm, visible: States, first: NDArray[np.int64], groups: int, inputs: Floats
) -> Doubles:
    """The mean of the estimates by several units, evenly spaced from a first one on.

    inputs: the total inputs of the hidden units.
    """
    terms = min(_TERMS, groups)
    total = np.zeros(visible.rows)
    for term in range(terms):
        chosen = (first + term * groups // terms) % groups
        total += pseudo_log_likelihood(model, visible, chosen, inputs)
    return total / terms

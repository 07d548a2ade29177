"""A stack as affine maps, y = weight x + bias, as networks have them.

x are values of units, in the data's terms, y the total inputs of the units that they lead to. Where
units have standard deviations, they are part of weights and biases: a state inside the machine is
a value divided by sigma, and y are then means of values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rbmcli.arrays import Floats
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack


class Affine(NamedTuple):
    """weight (outputs, inputs) and bias (outputs,), both float32."""

    weight: Floats
    bias: Floats


def encoders(stack: Stack) -> list[Affine]:
    """From the features below each machine to its hidden units, from the bottom up.

    Label units are taken to be off.
    """
    return [_encoder(machine) for machine in stack.machines]


def decoders(stack: Stack) -> list[Affine]:
    """From each machine's hidden units to the features below it, from the bottom up.

    Where the two ways were trained apart, the way down.
    """
    return [_decoder(stack, level) for level in range(len(stack.machines))]


def classifier(stack: Stack) -> Affine | None:
    """From the top machine's hidden units to its label units, if it has any."""
    top = stack.top
    if not top.classes:
        return None
    labels = slice(top.features, top.visible.units)
    weight = top.link.weights[labels] / top.hidden.sigma
    return Affine(weight, top.visible.parameters["bias"][labels])


def _encoder(machine: Rbm) -> Affine:
    hidden, features = machine.hidden, slice(machine.features)
    weight = machine.link.weights[features].T / machine.visible.sigma[features]
    return Affine(weight * hidden.sigma[:, np.newaxis], hidden.parameters["bias"][: hidden.units])


def _decoder(stack: Stack, level: int) -> Affine:
    machine = stack.machines[level]
    visible, weight = machine.visible, machine.link.weights
    if level < len(stack.ways_down):
        way = stack.ways_down[level]
        visible, weight = way.visible, way.link.weights.T
    features = slice(machine.features)
    weight = weight[features] * visible.sigma[features, np.newaxis]
    return Affine(weight / machine.hidden.sigma, visible.parameters["bias"][features])

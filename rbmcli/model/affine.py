"""A stack as affine maps, y = weight x + bias, as networks have them.

x are values of units, in the data's terms, y the total inputs of the units that they lead to. Where
units have standard deviations, they are part of weights and biases: a state inside the machine is
a value divided by sigma, and y are then means of values.

A convolution is one too, with a weight for each tap of a filter, and a bias for each filter up or
channel down: y are then maps, one for each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rbmcli.arrays import Floats
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack


class Affine(NamedTuple):
    """weight (outputs, inputs) and bias (outputs,), both float32.

    Of a convolution, weight is (filters, channels, height, width) in both directions.
    """

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
    hidden, weight = machine.hidden, _upward(machine)
    below, above = _sigmas(machine, machine.visible)
    return Affine(weight / below * above, hidden.parameters["bias"][: hidden.count])


def _decoder(stack: Stack, level: int) -> Affine:
    machine = stack.machines[level]
    visible, weight = machine.visible, _upward(machine)
    if level < len(stack.ways_down):
        way = stack.ways_down[level]
        visible, weight = way.visible, way.link.weights
    below, above = _sigmas(machine, visible)
    weight = weight * below / above
    bias = visible.parameters["bias"][: visible.count][: machine.features]
    return Affine(weight if weight.ndim == 4 else weight.T, bias)


def _upward(machine: Rbm) -> Floats:
    """Weights (hidden, features), or (filters, channels, height, width)."""
    weights = machine.link.weights
    return weights if weights.ndim == 4 else weights[: machine.features].T


def _sigmas(machine: Rbm, visible: Layer) -> tuple[Floats, Floats]:
    """Deviations of features and of hidden units, in the form to multiply such weights with."""
    alone = (1,) * (machine.link.weights.ndim - 2)
    below, above = _sigma(visible)[: machine.features], _sigma(machine.hidden)
    return below.reshape(1, -1, *alone), above.reshape(-1, 1, *alone)


def _sigma(layer: Layer) -> Floats:
    """Standard deviations, one for each bias, (layer.count,)."""
    if not layer.kind.has_sigma:
        return np.ones(layer.count, np.float32)
    return np.exp(layer.parameters["log_sigma"][: layer.count])

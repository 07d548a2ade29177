"""What a step up and down makes of visible states: in one machine, or through a stack."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rbmcli.arrays import Doubles, Floats
from rbmcli.draws import Draw, apart
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import FloatStates, States, columns


class Reconstruction(NamedTuple):
    """error: the sum over units of (v0 - E[v1])^2, in the data's terms, float64 (rows,).

    activation: the mean of the hidden units' means.
    """

    error: Doubles
    activation: float


def reconstruct(
    model: Rbm, visible: States, draw: Draw, total: Floats | None = None
) -> Reconstruction:
    """Draw hidden states by `draw`, and compare what they expect with what was there.

    total: the total inputs of the hidden units, where they are known; their means come into it.
    """
    if total is None:
        total = model.hidden_input(visible)
    hidden = model.hidden.sample(total, draw, mean_out=total)
    activation = total[:, : model.hidden.units].mean(dtype=np.float64)
    means = model.visible.mean(model.visible_input(hidden)).values
    return Reconstruction(_squared_error(model.visible, means, visible), float(activation))


def reconstruction_error(stack: Stack, images: States, up: Draw, down: Draw) -> Doubles:
    """The error of what a stack makes of images, in the data's terms, float64 (rows,).

    Hidden states are drawn upwards by `up` (those of the top machine by `up` itself, those of level
    i below by `apart(up, i)`), and downwards by `down`, but for the images' units, whose means
    are compared. Of a stack of one machine without label units, as of `reconstruct`.
    """
    return _squared_error(stack.image_layer, up_and_down(stack, images, up, down)[1], images)


def up_and_down(stack: Stack, images: States, up: Draw, down: Draw) -> tuple[States, Floats]:
    """Images taken up to the top machine, through a step of it, and down again; and their means.

    The draws are named as in `reconstruction_error`. Label units are off on the way up. The means
    are float32 (rows, ld of the images' units).
    """
    top, below = stack.top, len(stack.machines) - 1
    states = stack.raised(images, up, sampled=True, machines=below)[-1]
    total = top.hidden_input(stack.standing_on(states, below))
    total = top.visible_input(top.hidden.sample(total, up))
    drawn = top.visible.sample(total, apart(down, below), mean_out=total)
    if below:
        return stack.lowered(drawn, down)
    means = columns(FloatStates(total, top.visible.units), 0, top.features)
    return columns(drawn, 0, top.features), means.floats()


def _squared_error(layer: Layer, means: Floats, states: States) -> Doubles:
    """The sum over units of the squared difference in the data's terms, float64 (rows,)."""
    difference = layer.to_data((means - states.floats())[:, : layer.units])
    return np.einsum("ru,ru->r", difference, difference, dtype=np.float64)

"""Features: what images make of the hidden units of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rbmcli.arrays import Floats
from rbmcli.draws import Draw
from rbmcli.errors import RbmError
from rbmcli.model.stack import Stack
from rbmcli.model.states import States

#: Numbers that the levels of a block of images hold at most, where it is of more than one image.
_BLOCK = 1 << 21


def chosen_layers(where: Path, stack: Stack, layer: int | Literal["all"] | None) -> list[int]:
    """The layer asked for, None for the top one; or all of them, from the bottom up.

    where: the file that holds the stack. RbmError where there is no such layer.
    """
    count = len(stack.machines)
    if layer == "all":
        return list(range(count))
    if layer is not None and layer >= count:
        there = "one layer, 0" if count == 1 else f"layers 0 to {count - 1}"
        raise RbmError(f"{where}: holds no layer {layer}: choose from its {there}")
    return [count - 1 if layer is None else layer]


def width(stack: Stack, layers: Sequence[int]) -> int:
    """Number of features that an image has."""
    return sum(stack.machines[layer].hidden.fed_units for layer in layers)


def images_at_once(stack: Stack) -> int:
    """How many images to raise together, so that memory does not grow with the layers' widths."""
    machines = stack.machines
    units = machines[0].visible.units + sum(machine.hidden.units for machine in machines)
    return max(1, min(1000, _BLOCK // units))


def features(
    stack: Stack, images: States, draw: Draw, layers: Sequence[int], *, sampled: bool = False
) -> Floats:
    """What the hidden units of some layers, side by side, make of images: float32 (rows, units).

    In the data's terms. sampled: whether units are drawn on the way up, or each feeds its mean, as
    in `Stack.raised`.
    """
    levels = stack.raised(images, draw, sampled=sampled, machines=max(layers) + 1)
    parts = (stack.machines[layer].hidden.to_data(levels[layer + 1].to_array()) for layer in layers)
    return np.concatenate(list(parts), axis=1, dtype=np.float32)

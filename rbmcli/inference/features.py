"""What images make of hidden units: the features that classifiers are given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rbmcli.arrays import Floats
from rbmcli.draws import Draw
from rbmcli.model.stack import Stack
from rbmcli.model.states import States


def hidden_means(stack: Stack, images: States, layers: Sequence[int], draw: Draw) -> Floats:
    """Means of the hidden units of some layers side by side, in their own terms.

    float32 (rows, hidden units of these layers), each layer given the means of the one below.
    draw: names nothing, since nothing is drawn, but is what going up asks for.
    """
    levels = stack.raised(images, draw, sampled=False, machines=max(layers) + 1)
    parts = [stack.machines[i].hidden.to_data(levels[i + 1].to_array()) for i in layers]
    return np.concatenate(parts, axis=1, dtype=np.float32)

"""A target for how often hidden units are on.

Both forms pull a hidden unit's total input by cost (target - q), q being its mean activity: on its
bias only (Lee, Ekanadham and Ng 2008, "Sparse deep belief net model for visual area V2", with the
linear pull of Lee et al. 2009), or on bias and weights (Hinton 2012, "A practical guide to training
RBMs", section 11, where q decays over the batches). Here q decays in both. Weights are pulled by
the mean visible states, counted from their offsets where learning is centred: little is then left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rbmcli.arrays import Floats
from rbmcli.model.links import SparsityTerms

#: q becomes DECAY q + (1 - DECAY) mean of the batch.
DECAY = np.float32(0.9)


@dataclass(frozen=True)
class SparsityTarget:
    """What is asked for: `target` mean activity, `cost`, and `on`: "bias" or "both"."""

    target: float
    cost: float
    on: str = "bias"


class Sparsity:
    """The decayed mean activity of the hidden units, float32 (units,); state of the trainer."""

    def __init__(self, wanted: SparsityTarget, units: int) -> None:
        self.wanted = wanted
        self.activity: Floats = np.full(units, wanted.target, np.float32)

    def pull(self, hidden_mean: Floats) -> Floats:
        """What is added to the gradient of total inputs after a batch with these means (units,)."""
        self.activity *= DECAY
        self.activity += (1 - DECAY) * hidden_mean
        return np.float32(self.wanted.cost) * (np.float32(self.wanted.target) - self.activity)

    def terms(self) -> SparsityTerms | None:
        """What a kernel needs to pull biases; None where weights are pulled too."""
        if self.wanted.on != "bias":
            return None
        follow = float(1 - DECAY)
        return SparsityTerms(self.activity, follow, self.wanted.target, self.wanted.cost)

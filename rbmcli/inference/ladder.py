"""A ladder of inverse temperatures, from the machine itself at 1 to independent units at 0.

Chains at every rung swap with those of the neighbouring rungs (Geyer 1991), so that what walks
freely at the bottom comes to the top. Pairs of neighbours take turns, even and odd, and an
adaptive ladder makes all pairs reject equally often (Syed, Bouchard-Cote, Deligiannidis and
Doucet 2022, "Non-reversible parallel tempering", section 5).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles
from rbmcli.draws import Draw


class Ladder:
    """Inverse temperatures, and how often neighbours refused to swap of late.

    beta: descending from 1 to 0, float64 (rungs,). rejection: of each pair of neighbours, float64
    (rungs - 1,). weight: of a new measurement in the rejection's running mean.
    """

    def __init__(
        self, beta: Doubles, rejection: Doubles | None = None, *, weight: float = 0.02
    ) -> None:
        self.beta = beta
        self.rejection: Doubles = np.full(len(beta) - 1, 0.5) if rejection is None else rejection
        self._weight = weight

    @classmethod
    def even(cls, rungs: int, *, weight: float = 0.02) -> Ladder:
        """Evenly spaced inverse temperatures."""
        return cls(np.linspace(1.0, 0.0, rungs), weight=weight)

    def check(self) -> None:
        """ValueError where the temperatures or rejections are none."""
        if (self.beta[0], self.beta[-1]) != (1.0, 0.0) or (np.diff(self.beta) >= 0).any():
            raise ValueError("inverse temperatures do not descend from 1 to 0")
        if not ((self.rejection >= 0) & (self.rejection <= 1)).all():
            raise ValueError("rejections are not from 0 to 1")

    def swap(self, exponent: Doubles, draw: Draw, turn: int) -> NDArray[np.int64]:
        """The rows' new order after every second pair of neighbours tried to swap, int64 (rows,).

        Rows are all chains at the first rung, then at the next, .... exponent: u(v, h) of every
        row (`Tempered.exponent`). turn: its parity says which pairs. A swap of a and b is accepted
        with probability min(1, exp((beta_a - beta_b) (u_b - u_a))).
        """
        u = exponent.reshape(len(self.beta), -1)
        order = np.arange(u.size).reshape(u.shape)
        words = np.empty(u.shape, np.uint32)
        _kernels.random_words(draw, words)
        for upper in range(turn % 2, len(u) - 1, 2):
            gap = self.beta[upper] - self.beta[upper + 1]
            chance = np.exp(np.minimum(0.0, gap * (u[upper + 1] - u[upper])))
            swap = (words[upper] >> 8) * 2.0**-24 < chance
            pair = order[upper : upper + 2]
            pair[:, swap] = pair[::-1, swap]
            self.rejection[upper] += self._weight * (1 - chance.mean() - self.rejection[upper])
        return order.ravel()

    def adapt(self) -> None:
        """Space the rungs, between the same ends, so that the rejections come to be equal."""
        barrier = np.concatenate([[0.0], np.cumsum(np.maximum(self.rejection, 1e-3))])
        even = np.linspace(0.0, barrier[-1], len(self.beta))
        self.beta = np.interp(even, barrier, self.beta)

"""Names for random draws: every draw is a function of the seed and of what it is for.

The generator is Philox 4x32-10, counter-based: a draw needs no state beyond its name, so results do
not depend on the number of threads, and a resumed run needs only its seed and step.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np

#: (key, step, substep, first row): what the kernels take. Unit u of row r then draws word u % 4 of
#: the Philox block with counter (u // 4, first row + r, substep, step).
Draw = tuple[int, int, int, int]

_MASK = 2**64 - 1


class Purpose(IntEnum):
    """What a draw is for; draws for different purposes are independent."""

    WEIGHTS = 0
    SHUFFLE = 1
    VALIDATION = 2
    BINARIZE = 3
    HIDDEN = 4
    VISIBLE = 5
    MONITOR = 6
    SAMPLE = 7
    CHAINS = 8
    SWAP = 9
    AIS_VISIBLE = 10
    AIS_HIDDEN = 11
    RAISE_VISIBLE = 12
    RAISE_HIDDEN = 13
    PATCHES = 16
    AUGMENT = 17
    PREPROCESS = 18
    ACTIVATIONS = 19
    WAKE = 20
    SLEEP = 21
    BOUND = 22
    LABELS = 23
    REDRAW = 24


def _mix(word: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that scatters all bits."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _MASK
    return word ^ (word >> 31)


def apart(draw: Draw, number: int) -> Draw:
    """Draws as many as those of `draw`, independent of them and of other numbers'; 0: the same."""
    key, step, substep, first_row = draw
    if number:
        key = _mix(key + number * 0x9E3779B97F4A7C15 & _MASK)
    return (key, step, substep, first_row)


def later_rows(draw: Draw, number: int) -> Draw:
    """The draws of the same step and substep, of rows from row `number` of `draw` on."""
    key, step, substep, first_row = draw
    return (key, step, substep, first_row + number)


@cache
def _key(seed: int, layer: int, purpose: Purpose) -> int:
    place = _mix(layer * 2**32 + int(purpose) + 1)
    return _mix((seed + 0x9E3779B97F4A7C15) & _MASK ^ place)


@dataclass(frozen=True)
class Draws:
    """All draws of one layer of one run."""

    seed: int
    layer: int = 0

    def key(self, purpose: Purpose) -> int:
        """The 64-bit Philox key for a purpose."""
        return _key(self.seed, self.layer, purpose)

    def at(self, purpose: Purpose, step: int, substep: int = 0, first_row: int = 0) -> Draw:
        """The draws of one step and substep; rows count from `first_row`."""
        return (self.key(purpose), step & 0xFFFFFFFF, substep, first_row)

    def generator(self, purpose: Purpose, number: int = 0) -> np.random.Generator:
        """A numpy generator, for what is drawn outside the kernels (shuffles, initial weights)."""
        key = np.array([self.key(purpose), number], np.uint64)
        return np.random.Generator(np.random.Philox(key=key))

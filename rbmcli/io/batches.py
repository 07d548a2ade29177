"""Mini-batches as row numbers, a function of the seed and the step alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draws, Purpose

Rows = NDArray[np.int64]


class Batches:
    """Shuffled mini-batches over some rows of a data set; every epoch visits each row once.

    The last batch of an epoch is short where the batch size does not divide the rows.
    """

    def __init__(self, rows: Rows, batch_size: int, draws: Draws) -> None:
        self._rows = rows
        self._batch_size = min(batch_size, len(rows))
        self._draws = draws
        self._shuffled: tuple[int, Rows] | None = None
        #: Batches in an epoch.
        self.steps_per_epoch = -(-len(rows) // self._batch_size)

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return len(self._rows)

    def at(self, step: int, most: int = 1) -> Rows:
        """The row numbers of batch `step`, counted from the beginning of the run, and of the next.

        (batches, images): at most so many batches, alike in size and of one epoch.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        if self._shuffled is None or self._shuffled[0] != epoch:
            order = self._draws.generator(Purpose.SHUFFLE, epoch).permutation(self._rows)
            self._shuffled = (epoch, order)
        start, size = position * self._batch_size, self._batch_size
        batches = max(1, min(most, (len(self._rows) - start) // size))
        return self._shuffled[1][start : start + batches * size].reshape(batches, -1)


def split(count: int, fraction: float, draws: Draws) -> tuple[Rows, Rows]:
    """(training, validation) row numbers of `count` images, `fraction` of them held out."""
    order = draws.generator(Purpose.VALIDATION).permutation(count)
    held_out = round(count * fraction)
    return np.sort(order[held_out:]), np.sort(order[:held_out])

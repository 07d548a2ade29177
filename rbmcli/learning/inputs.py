"""What a machine learns from: visible states, whether of images or of the machines below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draw, Draws, Purpose
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import States, beside, one_hot

#: Images raised together, and numbers that the hidden units of so many hold at most.
_BLOCK = 1000
_NUMBERS = 1 << 26


class Inputs(Protocol):
    """Visible states of some rows of a data set, made when they are wanted."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row numbers that belong here."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each visible unit, in the data's terms, float64 (units,)."""

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of each visible unit, in the data's terms, float64 (units,)."""

    def states(
        self, rows: NDArray[np.int64], layer: Layer, draw: Draw, step: int | None = None
    ) -> States:
        """Visible states of some rows: in training, as augmented for `step`."""


@dataclass(frozen=True)
class Activations:
    """What images make of the hidden units of machines that learn no more.

    Nothing is kept: each batch goes up through the machines when it is wanted.

    sampled: whether units are drawn on the way up, or each feeds its mean.
    draws: of the layer that is fed.
    """

    images: Inputs
    below: Stack
    sampled: bool
    draws: Draws

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row numbers of the images."""
        return self.images.rows

    def states(
        self, rows: NDArray[np.int64], layer: Layer, draw: Draw, step: int | None = None
    ) -> States:
        """States for `layer`, which stands on the machines."""
        return layer.adopted(self._fed(rows, draw, step), self.below.top.hidden)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each unit that feeds the layer, in the data's terms, float64 (units,)."""
        return self._moments[0]

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of what is fed, float64 (units,)."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(mean, deviation) from one pass, each image drawn once."""
        hidden = self.below.top.hidden
        total, squares = np.zeros(hidden.fed_units), np.zeros(hidden.fed_units)
        together = max(1, min(_BLOCK, _NUMBERS // hidden.units))
        for start in range(0, len(self.rows), together):
            draw = self.draws.at(Purpose.ACTIVATIONS, 0, 0, start)
            fed = self._fed(self.rows[start : start + together], draw, None)
            values = hidden.to_data(fed.to_array()).astype(np.float64)
            total += values.sum(axis=0)
            squares += np.square(values).sum(axis=0)
        mean = total / len(self.rows)
        return mean, np.sqrt(np.maximum(squares / len(self.rows) - np.square(mean), 0))

    def _fed(self, rows: NDArray[np.int64], draw: Draw, step: int | None) -> States:
        visible = self.images.states(rows, self.below.machines[0].visible, draw, step)
        return self.below.raised(visible, draw, sampled=self.sampled)[-1]


def activations(images: Inputs, below: Sequence[Rbm], sampled: bool, draws: Draws) -> Inputs:
    """What a layer learns from that stands on these machines; the images where there are none."""
    return Activations(images, Stack(list(below)), sampled, draws) if below else images


@dataclass(frozen=True)
class Examples:
    """Images for a whole stack, with their labels where its top machine has label units.

    labels: int64, of every image of the data set, each below the number of label units.
    """

    images: Inputs
    labels: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Labelled:
    """Inputs with their labels beside them, one-hot: for a layer with label units.

    features: the layer as it would be without label units.
    labels: int64, of every image of the data set, each below `classes`.
    """

    inputs: Inputs
    features: Layer
    labels: NDArray[np.int64]
    classes: int

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row numbers of the images."""
        return self.inputs.rows

    def states(
        self, rows: NDArray[np.int64], layer: Layer, draw: Draw, step: int | None = None
    ) -> States:
        """Features, then labels."""
        features = self.inputs.states(rows, self.features, draw, step)
        return beside(features, one_hot(self.labels[rows], self.classes))

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Means of the features, then how frequent each label is, float64 (units,)."""
        counts = np.bincount(self.labels[self.rows], minlength=self.classes)
        return np.concatenate([self.inputs.mean, counts / len(self.rows)])

    @cached_property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviations of the same, float64 (units,)."""
        of_labels = self.mean[-self.classes :]
        return np.concatenate([self.inputs.deviation, np.sqrt(of_labels * (1 - of_labels))])

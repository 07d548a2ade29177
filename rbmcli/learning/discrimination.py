"""Learning to tell labels apart: the gradient of log p(label | features) beside the joint one.

Larochelle and Bengio 2008, "Classification using discriminative restricted Boltzmann machines",
section 5. The gradient is that of the joint distribution with the features held in the negative
phase too, where only the label is drawn anew: from p(label | features), which is known exactly.
Where it comes out right, both sides cancel; so only images whose label comes out wrong are seen
again. A step is the mean over all rows: while many labels come out wrong, the joint gradient has
the smaller part in it, and what follows the batch's means (centring, sparsity) sees such images
more often.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats, to_padded, zeros
from rbmcli.draws import Draws, Purpose
from rbmcli.inference.labels import class_energies
from rbmcli.model.links import Phase
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States, beside, columns, stacked
from rbmcli.model.units import unit_kind


class Discrimination:
    """Lets images with a wrong label, drawn given their features, count `weight` times more.

    With a weight of 0, or without label units, it does nothing.
    """

    def __init__(self, model: Rbm, draws: Draws, weight: int) -> None:
        self._model = model
        self._draws = draws
        self._weight = weight if model.classes else 0

    def widened(self, positive: Phase, negative: Phase, step: int) -> tuple[Phase, Phase]:
        """Both phases of a step with the rows of such images below them."""
        if not self._weight:
            return positive, negative
        model, visible = self._model, positive.visible
        features = columns(visible, 0, model.features)
        labels = columns(visible, model.features, visible.units)
        energies = class_energies(model, features)
        total = to_padded(energies.min(axis=1, keepdims=True) - energies)
        kind = unit_kind(f"softmax:{model.classes}")
        drawn = kind.sample(total, model.classes, self._draws.at(Purpose.REDRAW, step))
        wrong = np.flatnonzero((drawn.to_array() != labels.to_array()).any(axis=1))
        if not len(wrong):
            return positive, negative
        mistaken = beside(features.take(wrong), drawn.take(wrong))
        means = model.hidden.mean(model.hidden_input(mistaken)).values
        positive, negative, times = _of_as_many_rows(positive, negative)
        again = np.tile(np.arange(len(wrong)), times * self._weight)
        return (
            _extended(positive, positive.visible.take(wrong[again]), positive.hidden[wrong[again]]),
            _extended(negative, mistaken.take(again), means[again]),
        )


def _of_as_many_rows(positive: Phase, negative: Phase) -> tuple[Phase, Phase, int]:
    """Both phases with as many rows, each image `times` times, and the chains over and over.

    An update takes the mean of each phase: where chains are more or fewer than the images, rows
    that are added below would else weigh more in the one than in the other, and not cancel.
    """
    images, chains = positive.visible.rows, negative.visible.rows
    times = -(-chains // images)
    rows = np.arange(times * images)
    return _taken(positive, rows % images), _taken(negative, rows % chains), times


def _taken(phase: Phase, rows: NDArray[np.int64]) -> Phase:
    if len(rows) == phase.visible.rows:
        return phase
    return Phase(phase.visible.take(rows), phase.hidden[rows])


def _extended(phase: Phase, visible: States, hidden: Floats) -> Phase:
    rows = zeros((phase.hidden.shape[0] + len(hidden), phase.hidden.shape[1]))
    np.concatenate([phase.hidden, hidden], out=rows)
    return Phase(stacked(phase.visible, visible), rows)

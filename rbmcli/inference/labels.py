"""Label units beside the features of a machine: which class, how probable, and given classes.

Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets", section 6: an image
has the class whose label unit, turned on beside its features, gives the least free energy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles, zeros
from rbmcli.draws import Draw, apart
from rbmcli.inference.clamping import Clamp
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import BitStates, States, beside, one_hot


def class_energies(model: Rbm, features: States) -> Doubles:
    """Free energies of the features with each label, in nats, float64 (rows, classes).

    features: of the machine's feature units, as states or means. They are passed through the
    weights once, to which each label adds its own.
    """
    unlabelled = beside(features, BitStates.empty(features.rows, model.classes))
    own = model.visible.log_weight(unlabelled)
    without = model.hidden_input(unlabelled)
    total = zeros(without.shape)
    energies = np.empty((features.rows, model.classes))
    for label in range(model.classes):
        unit = model.features + label
        shift = model.link.shift_up(np.array([[unit]]), np.ones((1, 1), np.float32))
        np.add(without, shift, out=total)
        energies[:, label] = -own - model.visible.bias[unit] - model.hidden.cumulant(total)
    return energies


def classify(energies: Doubles) -> NDArray[np.int64]:
    """The most probable class given `class_energies`, int64 (rows,)."""
    return energies.argmin(axis=1)


def class_log_probabilities(energies: Doubles) -> Doubles:
    """log p(class | features) given `class_energies`, float64 (rows, classes)."""
    return features_energy(energies)[:, np.newaxis] - energies


def features_energy(energies: Doubles) -> Doubles:
    """Free energy of the features, labels summed out, given `class_energies`, float64 (rows,)."""
    return -np.asarray(np.logaddexp.reduce(-energies, axis=1))


def image_classes(stack: Stack, images: States, draw: Draw, samples: int = 0) -> Doubles:
    """log p(class | image) by the label units of the top machine, float64 (rows, classes).

    samples: ways up that are drawn, named after `draw`, over which the probabilities are
    averaged; with 0, the means go up instead.
    """
    below = len(stack.machines) - 1
    names = [apart(draw, number) for number in range(samples or 1)]
    found = []
    for name in names:
        states = stack.raised(images, name, sampled=samples > 0, machines=below)[-1]
        energies = class_energies(stack.top, stack.as_features(states, below))
        found.append(class_log_probabilities(energies))
    return np.asarray(np.logaddexp.reduce(found, axis=0) - np.log(len(found)))


def label_clamp(model: Rbm, labels: NDArray[np.int64]) -> Clamp:
    """Holds the label units of chains at these classes, int64 (chains,), the features being free.

    RbmError for a label that is no class.
    """
    held = one_hot(labels, model.classes)
    kept = beside(BitStates.empty(held.rows, model.features), held)
    return Clamp(kept, np.arange(model.visible.units) >= model.features)

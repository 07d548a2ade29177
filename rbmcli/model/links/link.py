"""What the rest of the house may ask of a link between a visible and a hidden layer.

Total inputs up and down, and learning. Nothing outside this folder knows how visible and hidden
units are connected. Arrays "by unit" have an entry for every unit of a layer; weights may be shared
by many pairs of units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles, Floats, Scratch
from rbmcli.model.states import States

#: Most steps of the power iteration for a spectral norm.
_POWER_STEPS = 200


@dataclass(frozen=True)
class Phase:
    """One side of the gradient: visible states, and the hidden means they are paired with.

    `hidden` is float32 (rows, ld), zero beyond the hidden units.
    """

    visible: States
    hidden: Floats


@dataclass(frozen=True)
class Rule:
    """The step of the update rule.

    step = rate (gradient - decay weight - l1 sign(weight)); velocity = momentum velocity + step;
    weight += velocity, or with nesterov, momentum velocity + step (Sutskever et al. 2013, "On the
    importance of initialization and momentum in deep learning", with the parameters stored where
    the gradient is taken; Bengio et al. 2013, "Advances in optimizing recurrent networks",
    equations 6 and 7).
    """

    rate: float
    momentum: float = 0.0
    decay: float = 0.0
    l1: float = 0.0
    nesterov: bool = False

    def as_tuple(self) -> tuple[float, float, float, float, bool]:
        """The fields in the order in which the kernels take them."""
        return self.rate, self.momentum, self.decay, self.l1, self.nesterov


class LayerTerms(NamedTuple):
    """What a kernel needs of a layer to learn its parameters, float32 (ld,), changed in place.

    natural, sigma: of units with standard deviations, what `bias` is divided by and the quotient;
    of units that share parameters, natural alone: the bias of each.
    log_sigma, log_sigma_velocity: of units that learn them. most_log_sigma: the largest magnitude
    that is learned. None where a layer has no such thing.
    """

    bias: Floats
    bias_velocity: Floats
    natural: Floats | None = None
    sigma: Floats | None = None
    log_sigma: Floats | None = None
    log_sigma_velocity: Floats | None = None
    most_log_sigma: float = 0.0


class CenteringTerms(NamedTuple):
    """What a kernel needs to centre a step, changed in place.

    visible, hidden: offsets, float32 (ld,). below, above: the products of the rule's penalties with
    them, (visible units,) and (hidden units,). slide: how fast offsets follow the data. follows:
    whether hidden ones do. refresh: whether the products are to be made anew.
    """

    visible: Floats
    hidden: Floats
    below: Floats
    above: Floats
    slide: float
    follows: bool
    refresh: bool


class SparsityTerms(NamedTuple):
    """What a kernel needs to pull hidden biases by cost (target - activity).

    activity: of each hidden unit, float32 (hidden units,), which follows the data's means by
    `follow`; changed in place.
    """

    activity: Floats
    follow: float
    target: float
    cost: float


class Correction(NamedTuple):
    """left' right, to be added to a gradient: left (rank, ld visible), right (rank, ld hidden)."""

    left: Floats
    right: Floats

    def plus(self, other: Correction) -> Correction:
        """Both together."""
        return Correction(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


#: What a link keeps of a gradient of its weights until it is stepped along.
Gradient = TypeVar("Gradient")

#: Addends of (D l, D' m), by visible and by hidden unit.
Products = Sequence[tuple[Floats, Floats]]


class Link(ABC, Generic[Gradient]):
    """Connections between `visible` and `hidden` units."""

    visible: int
    hidden: int
    #: Whether learning counts the states of hidden units from offsets, as it does visible ones.
    centers_hidden = True

    @property
    @abstractmethod
    def weights(self) -> Floats:
        """The weights as run files have them, float32; assign through `set_weights`."""

    @property
    @abstractmethod
    def velocities(self) -> Floats:
        """The velocities of `weights`; a view that may be assigned to."""

    @abstractmethod
    def set_weights(self, weights: NDArray[Any]) -> None:
        """Take over weights of the shape of `weights`."""

    @abstractmethod
    def like(self) -> Self:
        """A link of the same form, with all weights zero."""

    @abstractmethod
    def filters(self, visible_shape: tuple[int, ...]) -> Floats:
        """Weights as pictures, float32 (filters, *shape), for visible units of this shape."""

    @abstractmethod
    def patterns(self) -> Floats:
        """Each filter as values of visible units, at one place if it moves: (filters, visible)."""

    @property
    def reach(self) -> tuple[int, int] | None:
        """Rows and columns of visible units that a filter covers; None for all units."""
        return None

    @abstractmethod
    def up(self, visible: States, bias: Floats, out: Floats) -> Floats:
        """Total inputs of the hidden units, into `out` (rows, ld)."""

    @abstractmethod
    def down(self, hidden: States, bias: Floats, out: Floats) -> Floats:
        """Total inputs of the visible units, into `out` (rows, ld)."""

    @abstractmethod
    def shift_up(self, units: NDArray[np.int64], change: Floats) -> Floats:
        """By how much the hidden units' total inputs change with some visible states; (rows, ld).

        units: (rows, k), the visible units that change in each row; change: float32 (rows, k).
        """

    # Learning -----------------------------------------------------------------------------------

    @abstractmethod
    def gradient(self, positive: Phase, negative: Phase, scratch: Scratch) -> Gradient:
        """The mean of positive minus the mean of negative statistics.

        What is returned lasts until `scratch` is used again.
        """

    @abstractmethod
    def share(self, positive: Phase, negative: Phase, whole: tuple[int, int]) -> Floats:
        """The same as an array: what these rows add, of `whole` rows of both phases.

        The sum over all rows is a gradient that `corrected`, `step` and `products` take too.
        """

    @abstractmethod
    def corrected(self, gradient: Gradient, correction: Correction) -> Gradient:
        """A gradient with the correction, perhaps in place."""

    @abstractmethod
    def step(self, gradient: Gradient, rule: Rule, scratch: Scratch) -> bool:
        """One step of the rule along a gradient; True if the weights are finite."""

    def update(self, positive: Phase, negative: Phase, rule: Rule, scratch: Scratch) -> bool:
        """One step of the rule along the gradient; True if the weights are finite."""
        return self.step(self.gradient(positive, negative, scratch), rule, scratch)

    def learn(
        self,
        positive: Phase,
        negative: Phase,
        rule: Rule,
        below: LayerTerms,
        above: LayerTerms,
        centering: CenteringTerms | None,
        sparsity: SparsityTerms | None,
        scratch: Scratch,
    ) -> bool | None:
        """A whole step along the gradient, of both layers' parameters as well, in one kernel.

        below, above: of the visible and of the hidden layer. True if all is finite; None where no
        kernel does all that is asked for, and nothing was done.
        """
        return None

    @abstractmethod
    def products(self, gradient: Gradient, visible: Floats, hidden: Floats) -> Products:
        """Of a gradient D, the addends of D hidden and D' visible, (units,) each.

        visible, hidden: float32 (ld,), by unit; here and below, hidden ones are zero unless
        `centers_hidden`.
        """

    @abstractmethod
    def change_products(
        self, change: Floats, visible: Floats, hidden: Floats
    ) -> tuple[Floats, Floats]:
        """The same of D given as `weights` are."""

    @abstractmethod
    def penalty_products(
        self, rule: Rule, visible: Floats, hidden: Floats
    ) -> tuple[Doubles | float, Doubles | float]:
        """The same of the rule's penalties, D = decay W + l1 sign(W); or zeros."""

    # Norms --------------------------------------------------------------------------------------

    @abstractmethod
    def power_step(self, direction: Floats, most: float = np.inf) -> tuple[float, Floats]:
        """One step of the power iteration for the largest singular value of the connections.

        direction: float32 (ld of hidden,), of length 1. Returns a lower bound of the norm, and the
        next direction. Where the bound exceeds `most`, the weights are shrunk along the direction,
        to `most`, and lose what velocity they have along it.
        """

    @abstractmethod
    def limit_norms(self, most: float) -> None:
        """Scale down the weights of every filter whose norm exceeds `most`."""

    @abstractmethod
    def start_direction(self) -> Floats:
        """A direction of length 1 to begin a power iteration with, float32 (ld of hidden,)."""

    def spectral_norm(self) -> float:
        """The largest singular value of the connections, to about 1 in 1000."""
        direction = self.start_direction()
        norm, before = 0.0, -1.0
        for _ in range(_POWER_STEPS):
            norm, direction = self.power_step(direction)
            if norm <= before * (1 + 1e-6):
                break
            before = norm
        return norm

    def precise_spectral_norm(self) -> float:
        """The same as precisely as can be had in a reasonable time; rather too large than small."""
        return self.spectral_norm()

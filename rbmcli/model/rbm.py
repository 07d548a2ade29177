"""The machine: a visible layer, a hidden layer and the link between them.

Energy (Smolensky 1986; Hinton 2002), c visible and b hidden biases, s what a layer shows the other:
    E(v, h) = E_c(v) + E_b(h) - s(v)' W s(h)
For binary units E_c(v) = -c'v and s(v) = v; other kinds are in `rbmcli.model.units`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import LOG_SIGMA_LIMIT, Floats, put, zeros
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.model.layer import Layer, Sharing
from rbmcli.model.links import ConvolutionalLink, DenseLink, Link, Maps
from rbmcli.model.states import States
from rbmcli.model.units import Joint, Pooled, UnitKind, unit_kind

#: Standard deviation of the initial weights (Hinton 2012, "A practical guide to training RBMs",
#: section 8).
INITIAL_WEIGHT = 0.01


def check_transpose(
    below: tuple[UnitKind, UnitKind], visible: int, own: tuple[UnitKind, UnitKind], hidden: int
) -> None:
    """RbmError unless a machine can start as the transpose of the one it stands on.

    below, own: the kinds of visible and hidden units of either. visible: number of the visible
    units of the one below. hidden: of its own hidden units.
    """
    kind = own[1]
    if own[0].name != below[1].name:
        raise RbmError(
            f"to start as the transpose of the layer below, a layer needs its {below[1].name} units"
            f" as its visible ones, and it has {own[0].name}"
        )
    if kind.name != below[0].name or hidden < visible:
        raise RbmError(
            f"to start as the transpose of the layer below, a layer needs {visible} {below[0].name}"
            f" hidden units or more, and it has {hidden} of kind {kind.name}"
        )


class Rbm:
    """A Restricted Boltzmann Machine with all that training changes in it.

    feature_shape: shape of the visible units without label units.
    """

    def __init__(
        self,
        visible: Layer,
        hidden: Layer,
        link: Link[Any],
        feature_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.visible = visible
        self.hidden = hidden
        self.link = link
        self.feature_shape = visible.shape if feature_shape is None else feature_shape

    @staticmethod
    def dense(
        visible_shape: tuple[int, ...],
        hidden: int,
        visible_kind: str = "bernoulli",
        hidden_kind: str = "bernoulli",
        labels: int = 0,
    ) -> Rbm:
        """A machine with all parameters zero; `hidden` counts groups.

        With `labels`, a softmax group of so many label units stands in the visible layer, after
        the features, which are units of the visible kind; the layer's shape is then (units,).
        RbmError where the features are not whole groups, or cannot stand beside label units.
        """
        above_kind, below_kind = unit_kind(hidden_kind), unit_kind(visible_kind)
        features = math.prod(visible_shape)
        if features % below_kind.group:
            raise RbmError(
                f"{features} visible units are not whole groups of {below_kind.group}, which"
                f" {below_kind.name} needs"
            )
        below = Layer(below_kind, visible_shape)
        if labels:
            blocks = [(below_kind, features), (unit_kind(f"softmax:{labels}"), labels)]
            below = Layer(Joint(blocks), (features + labels,))
        above = Layer(above_kind, (hidden * above_kind.group,))
        return Rbm(below, above, DenseLink(below.units, above.units), visible_shape)

    @staticmethod
    def convolutional(
        visible_shape: tuple[int, ...],
        filters: tuple[int, int, int],
        pool: int = 1,
        visible_kind: str = "bernoulli",
        hidden_kind: str = "bernoulli",
        *,
        planar: bool = True,
    ) -> Rbm:
        """A machine of filters (number, height, width) that move over the visible units.

        All parameters are zero. Each map of bernoulli hidden units is pooled in blocks of `pool` x
        `pool`; other kinds are not pooled. A filter's hidden units share a bias, a channel's
        visible ones theirs. planar: whether channels come first in `visible_shape`, as in images,
        or last, as in what a convolutional layer feeds. RbmError where sizes or kinds do not fit.
        """
        maps = Maps.over(visible_shape, filters, pool, planar=planar)
        below_kind, above_kind = unit_kind(visible_kind), unit_kind(hidden_kind)
        if pool > 1 and above_kind.name != "bernoulli":
            raise RbmError(
                f"{above_kind.name} hidden units cannot be pooled; use bernoulli ones, or pool 1"
            )
        for kind in (below_kind, above_kind):
            if kind.group > 1:
                raise RbmError(f"{kind.name} units have no rows and columns to be convolved")
        if pool > 1:
            above_kind = Pooled(maps.hidden_shape, pool)
        of_channels = Sharing(maps.channel_of_visible(), maps.positions)
        of_filters = Sharing(maps.filter_of_hidden(), maps.positions)
        below = Layer(below_kind, visible_shape, of_channels)
        above = Layer(above_kind, maps.hidden_shape, of_filters)
        return Rbm(below, above, ConvolutionalLink(maps), visible_shape)

    def like(self) -> Rbm:
        """A machine of the same form with all parameters zero, that shares nothing with this."""
        layers = self.visible.like(), self.hidden.like()
        return Rbm(*layers, self.link.like(), self.feature_shape)

    def in_natural_terms(self) -> Rbm:
        """A machine of the same form, without standard deviations of its own, parameters zero."""
        below = self.visible.like(self.visible.kind.without_sigma)
        above = self.hidden.like(self.hidden.kind.without_sigma)
        return Rbm(below, above, self.link.like(), self.feature_shape)

    def copied(self) -> Rbm:
        """A machine with the same parameters and no velocities, that shares nothing with this."""
        twin = self.like()
        twin.load(self.parameters())
        return twin

    @property
    def feature_kind(self) -> UnitKind:
        """The kind of the visible units that are no label units."""
        return self.visible.kind.blocks(self.visible.units)[0][0]

    @property
    def features(self) -> int:
        """Number of visible units that are not label units; they come first."""
        return self.visible.kind.blocks(self.visible.units)[0][1]

    @property
    def classes(self) -> int:
        """Number of label units, 0 where there are none."""
        return self.visible.units - self.features

    @property
    def of_model(self) -> Rbm:
        """The same machine, its units drawn as the model says (`UnitKind.of_model`)."""
        exact = copy.copy(self)
        exact.visible, exact.hidden = self.visible.of_model, self.hidden.of_model
        return exact

    def initialize(
        self,
        data_mean: NDArray[Any],
        data_deviation: NDArray[Any] | None,
        draws: Draws,
        hidden_bias: float = 0.0,
    ) -> None:
        """Small random weights, and a visible layer that has the data's means and deviations.

        data_deviation: may be None where the visible layer does not learn it. hidden_bias: of all
        hidden units, their total input as long as weights are small.
        """
        generator = draws.generator(Purpose.WEIGHTS)
        normal = generator.standard_normal(self.link.weights.shape, np.float32)
        self.link.set_weights(np.float32(INITIAL_WEIGHT) * normal)
        self.visible.initialize(data_mean, data_deviation)
        self.hidden.parameters["bias"][: self.hidden.count] = hidden_bias
        self.hidden.refresh()

    def start_as_transpose(self, below: Rbm) -> None:
        """Begin where this machine tells of the hidden units of `below` what `below` itself does.

        The first hidden units are the visible ones of `below`, with its weights transposed (Hinton,
        Osindero and Teh 2006, section 4). Further ones are left as they are: random, and of no
        weight yet. RbmError where there are fewer, or kinds differ.
        """
        units = below.visible.units
        features = self.feature_kind
        check_transpose(
            (below.visible.kind, below.hidden.kind),
            units,
            (features, self.hidden.kind),
            self.hidden.units,
        )
        weights = self.link.weights.copy()
        weights[: self.features, :units] = below.link.weights.T
        self.link.set_weights(weights)
        for name, values in below.hidden.parameters.items():
            self.visible.parameters[name][: self.features] = values[: self.features]
        for name, values in below.visible.parameters.items():
            self.hidden.parameters[name][:units] = values[:units]
        self.visible.refresh()
        self.hidden.refresh()

    def hidden_input(self, visible: States, out: Floats | None = None) -> Floats:
        """Total inputs of the hidden units, float32 (rows, ld of hidden)."""
        if out is None:
            out = zeros((visible.rows, self.hidden.ld))
        return self.link.up(visible, self.hidden.bias, out)

    def visible_input(self, hidden: States, out: Floats | None = None) -> Floats:
        """Total inputs of the visible units, float32 (rows, ld of visible)."""
        if out is None:
            out = zeros((hidden.rows, self.visible.ld))
        return self.link.down(hidden, self.visible.bias, out)

    def filters(self) -> Floats:
        """Each filter as a picture, float32 (filters, *shape).

        Of a dense link, each hidden unit's weights, in the shape of the visible layer.
        """
        return self.link.filters(self.visible.shape)

    def patterns(self) -> Floats:
        """Each filter as values of visible units, at one place if it moves: (filters, units)."""
        return self.link.patterns()

    def projected(self, hidden: States) -> Floats:
        """What the link adds to the visible units' total inputs, float32 (rows, units)."""
        out = zeros((hidden.rows, self.visible.ld))
        self.link.down(hidden, zeros((self.visible.ld,)), out)
        return out[:, : self.visible.units]

    def reach(self, fed: tuple[int, int] | None) -> tuple[int, int] | None:
        """Rows and columns of visible units that lead to so many, from the first on, that are fed.

        None stands for all.
        """
        own = self.link.reach
        if fed is None or own is None:
            return None
        pool = self.hidden.kind.pool
        return fed[0] * pool + own[0] - 1, fed[1] * pool + own[1] - 1

    def parameters(self) -> dict[str, NDArray[Any]]:
        """The parameters by their names in files; views, not copies.

        "weights" (visible, hidden), or of a convolution (filters, channels, height, width),
        "visible_bias", "hidden_bias" and, where units have deviations, "visible_log_sigma" and
        "hidden_log_sigma".
        """
        return {"weights": self.link.weights, **self._of_layers("parameters")}

    def velocities(self) -> dict[str, NDArray[Any]]:
        """The velocities of the same names; views, not copies."""
        return {"weights": self.link.velocities, **self._of_layers("velocities")}

    def load(
        self,
        parameters: Mapping[str, NDArray[Any]],
        velocities: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Take over parameters, and velocities where given, by their names in files.

        KeyError for one that is missing, ValueError for one of another shape or of deviations that
        float32 has no numbers for.
        """
        weights = parameters["weights"]
        if np.shape(weights) != self.link.weights.shape:
            raise ValueError(f"weights have shape {np.shape(weights)}")
        self.link.set_weights(weights)
        for name, values in self._of_layers("parameters").items():
            put(values, parameters[name], name)
            if name.endswith("log_sigma") and np.abs(values).max() > LOG_SIGMA_LIMIT:
                raise ValueError(f"{name} has values beyond {LOG_SIGMA_LIMIT:g}: they are logs")
        self.visible.refresh()
        self.hidden.refresh()
        if velocities is not None:
            for name, values in self.velocities().items():
                put(values, velocities[name], f"velocity of {name}")

    def _of_layers(self, what: str) -> dict[str, NDArray[Any]]:
        layers = {"visible": self.visible, "hidden": self.hidden}
        return {
            f"{place}_{name}": values[: layer.count]
            for place, layer in layers.items()
            for name, values in getattr(layer, what).items()
        }

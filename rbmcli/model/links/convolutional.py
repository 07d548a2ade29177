"""Filters that move over an image: every position of a filter has the same weights.

Lee, Grosse, Ranganath and Ng 2009, "Convolutional deep belief networks for scalable unsupervised
learning of hierarchical representations", section 3.2. Upward a valid cross-correlation: with the
channels c of an image and the taps (fy, fx, c) of filter k,
    I[y, x, k] = b_k + sum of w[k, c, fy, fx] v[c, y + fy, x + fx].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats, Scratch, padded, to_padded, words_for, zeros
from rbmcli.errors import RbmError
from rbmcli.model.links.link import (
    CenteringTerms,
    Correction,
    LayerTerms,
    Link,
    Phase,
    Products,
    Rule,
    SparsityTerms,
)
from rbmcli.model.states import BitStates, FloatStates, States, array_of


@dataclass(frozen=True)
class Maps:
    """The sizes of a convolution.

    planar: whether the visible units are ordered (channels, height, width), as images are, rather
    than (height, width, channels), as hidden units are. hidden_height, hidden_width: positions of
    the filters, multiples of what is pooled; where that leaves out some, the last rows and columns
    of the image may be connected to nothing.
    """

    height: int
    width: int
    channels: int
    planar: bool
    filters: int
    filter_height: int
    filter_width: int
    hidden_height: int
    hidden_width: int

    @staticmethod
    def over(
        shape: tuple[int, ...], filters: tuple[int, int, int], pool: int, *, planar: bool
    ) -> Maps:
        """Filters (number, height, width) over visible units of this shape, their maps pooled.

        shape: (height, width), or with channels, first where `planar`, else last. RbmError where
        there are no rows and columns, or fewer than filters and pooling need.
        """
        number, filter_height, filter_width = filters
        if len(shape) not in (2, 3):
            instead = (
                "store images as (n, height, width) or (n, channels, height, width)"
                if planar
                else "put it below the layers that are connected to all units"
            )
            raise RbmError(
                "a convolution needs rows and columns, and what it stands on has the shape"
                f" {shape}; {instead}"
            )
        if len(shape) == 2:
            channels, (height, width) = 1, shape
        elif planar:
            channels, height, width = shape
        else:
            height, width, channels = shape
        places = height - filter_height + 1, width - filter_width + 1
        if min(places) < 1:
            raise RbmError(
                f"filters of {filter_height}x{filter_width} (height x width) are larger than what"
                f" they stand on, {height}x{width}; use smaller ones"
            )
        if min(places) < pool:
            raise RbmError(
                f"filters of {filter_height}x{filter_width} have {places[0]}x{places[1]} places on"
                f" {height}x{width}, fewer than a block of {pool}x{pool} that is pooled; use"
                " smaller filters or pool 1"
            )
        return Maps(
            height,
            width,
            channels,
            planar and channels > 1,
            number,
            filter_height,
            filter_width,
            places[0] // pool * pool,
            places[1] // pool * pool,
        )

    @property
    def visible(self) -> int:
        """Number of visible units."""
        return self.height * self.width * self.channels

    @property
    def positions(self) -> int:
        """Places of each filter that have a hidden unit."""
        return self.hidden_height * self.hidden_width

    @property
    def hidden_shape(self) -> tuple[int, int, int]:
        """(height, width, filters) of the hidden units."""
        return self.hidden_height, self.hidden_width, self.filters

    @property
    def hidden(self) -> int:
        """Number of hidden units."""
        return math.prod(self.hidden_shape)

    @property
    def connected(self) -> tuple[int, int]:
        """Rows and columns of the image that filters reach."""
        return (
            self.hidden_height + self.filter_height - 1,
            self.hidden_width + self.filter_width - 1,
        )

    @property
    def taps(self) -> int:
        """Weights of a filter."""
        return self.filter_height * self.filter_width * self.channels

    def channel_of_visible(self) -> NDArray[np.int64]:
        """The channel of each visible unit, int64 (visible,)."""
        if self.planar:
            return np.repeat(np.arange(self.channels), self.height * self.width)
        return np.tile(np.arange(self.channels), self.height * self.width)

    def filter_of_hidden(self) -> NDArray[np.int64]:
        """The filter of each hidden unit, int64 (hidden,)."""
        return np.tile(np.arange(self.filters), self.positions)

    def for_kernels(self) -> tuple[int, int, int, int, int, int, int, int]:
        """The sizes in the order in which the kernels take them."""
        return (
            self.height,
            self.width,
            self.channels,
            self.filter_height,
            self.filter_width,
            self.filters,
            self.hidden_height,
            self.hidden_width,
        )


class ConvolutionalLink(Link[Floats]):
    """Weights (filters, channels, height, width), as filters are displayed.

    `padded_weights` and `velocity` are float32 (taps, padded filters), taps in the order (fy, fx,
    c): the form in which the rule of the dense link works on them. A gradient is of that form, and
    divided by the number of positions, as `Sharing` divides those of biases.
    """

    centers_hidden = False

    def __init__(self, maps: Maps) -> None:
        self.maps = maps
        self.visible = maps.visible
        self.hidden = maps.hidden
        self._maps = maps.for_kernels()
        self.padded_weights: Floats = zeros((maps.taps, padded(maps.filters)))
        self.velocity: Floats = zeros((maps.taps, padded(maps.filters)))

    @property
    def weights(self) -> Floats:
        """The weights, float32 (filters, channels, height, width); a view, not to be assigned."""
        return self._displayed(self.padded_weights)

    @property
    def velocities(self) -> Floats:  # noqa: D102
        return self._displayed(self.velocity)

    def set_weights(self, weights: NDArray[Any]) -> None:
        """Take over weights (filters, channels, height, width)."""
        self._displayed(self.padded_weights)[...] = weights

    def like(self) -> Self:  # noqa: D102
        return type(self)(self.maps)

    def filters(self, visible_shape: tuple[int, ...]) -> Floats:
        """(filters, height, width), with the channels before these where there are several."""
        weights = self.weights
        return np.ascontiguousarray(weights[:, 0] if self.maps.channels == 1 else weights)

    def patterns(self) -> Floats:
        """The filters at the first rows and columns."""
        maps = self.maps
        shape = (maps.filters, maps.channels, maps.height, maps.width)
        planes = np.zeros(shape, np.float32)
        planes[..., : maps.filter_height, : maps.filter_width] = self.weights
        if not maps.planar:
            planes = planes.transpose(0, 2, 3, 1)
        return planes.reshape(maps.filters, self.visible)

    @property
    def reach(self) -> tuple[int, int] | None:  # noqa: D102
        return self.maps.filter_height, self.maps.filter_width

    def up(self, visible: States, bias: Floats, out: Floats) -> Floats:  # noqa: D102
        states = array_of(self._channels_last(visible))
        _kernels.convolve(self.padded_weights, self._maps, states, bias, out)
        return out

    def down(self, hidden: States, bias: Floats, out: Floats) -> Floats:  # noqa: D102
        channels_last = self._reordered(bias[np.newaxis], back=False)[0]
        states = array_of(hidden)
        _kernels.deconvolve(self.padded_weights, self._maps, states, channels_last, out)
        if self.maps.planar:
            out[:] = self._reordered(out, back=True)
        return out

    def shift_up(self, units: NDArray[np.int64], change: Floats) -> Floats:
        """By how much the hidden units' total inputs change: of a unit, what it adds when on."""
        rows, no_bias = np.arange(len(change)), zeros((padded(self.hidden),))
        result = zeros((len(change), padded(self.hidden)))
        for unit, by in zip(units.T, change.T, strict=True):
            alone = np.zeros((len(change), words_for(self.visible)), np.uint64)
            alone[rows, unit // 64] = np.uint64(1) << (unit % 64).astype(np.uint64)
            added = self.up(BitStates(alone, self.visible), no_bias, zeros(result.shape))
            result += by[:, np.newaxis] * added
        return result

    # Learning -----------------------------------------------------------------------------------

    def gradient(self, positive: Phase, negative: Phase, scratch: Scratch) -> Floats:  # noqa: D102
        total = scratch.rows("gradient", *self.padded_weights.shape)
        return self._mean(positive, negative, (positive.visible.rows, negative.visible.rows), total)

    def share(  # noqa: D102
        self, positive: Phase, negative: Phase, whole: tuple[int, int]
    ) -> Floats:
        return self._mean(positive, negative, whole, zeros(self.padded_weights.shape))

    def _mean(
        self, positive: Phase, negative: Phase, whole: tuple[int, int], total: Floats
    ) -> Floats:
        first, second = map(self._channels_last, (positive.visible, negative.visible))
        share = 1 / self.maps.positions
        scales = share / whole[0], -share / whole[1]
        sides = array_of(first), array_of(second)
        if type(first) is not type(second):
            sides = first.floats(), second.floats()
        hidden0, hidden1 = positive.hidden, negative.hidden
        _kernels.correlate(self._maps, sides[0], hidden0, sides[1], hidden1, *scales, total)
        return total

    def corrected(self, gradient: Floats, correction: Correction) -> Floats:  # noqa: D102
        left = self._channels_last(FloatStates(correction.left, self.visible)).floats()
        right, share = correction.right, 1 / self.maps.positions
        none = left[:0], right[:0]
        _kernels.correlate(self._maps, left, right, *none, share, 0.0, gradient, add=True)
        return gradient

    def learn(  # noqa: D102
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
        maps = self.maps
        if maps.planar or below.sigma is not None or above.sigma is not None:
            return None
        assert below.natural is not None
        assert above.natural is not None
        width = self.padded_weights.shape[1]
        below_width = -(-maps.channels // _kernels.PAD) * _kernels.PAD
        visible_sums, hidden_sums = [], []
        for name, phase in (("positive", positive), ("negative", negative)):
            rows = phase.visible.rows
            visible_sums.append(scratch.rows(f"{name} pixels", rows, below_width))
            hidden_sums.append(scratch.rows(f"{name} maps", rows, width))
            pixels = maps.height * maps.width
            _kernels.map_sums(array_of(phase.visible), pixels, maps.channels, visible_sums[-1])
            _kernels.map_sums(phase.hidden, maps.positions, maps.filters, hidden_sums[-1])
        return _kernels.learn_maps(
            self.padded_weights,
            self.velocity,
            self._maps,
            self.gradient(positive, negative, scratch),
            (visible_sums[0], visible_sums[1]),
            (hidden_sums[0], hidden_sums[1]),
            rule.as_tuple(),
            (below.bias, below.bias_velocity, below.natural),
            (above.bias, above.bias_velocity, above.natural),
            centering,
            sparsity,
            scratch.flat("vectors", 3 * width + 2 * below_width),
        )

    def step(self, gradient: Floats, rule: Rule, scratch: Scratch) -> bool:
        """One step of the rule; True if the weights are finite."""
        return _kernels.apply(
            self.padded_weights, self.velocity, self.maps.filters, gradient, rule.as_tuple()
        )

    def products(self, gradient: Floats, visible: Floats, hidden: Floats) -> Products:
        """Of visible offsets alone, which are those of channels."""
        return [self.change_products(self._displayed(gradient), visible, hidden)]

    def change_products(  # noqa: D102
        self, change: NDArray[Any], visible: Floats, hidden: Floats
    ) -> tuple[Floats, Floats]:
        down = np.einsum("kcyx,c->k", change, self._by_channel(visible))
        return np.zeros(self.visible, np.float32), self._by_position(down)

    def penalty_products(  # noqa: D102
        self, rule: Rule, visible: Floats, hidden: Floats
    ) -> tuple[Doubles | float, Doubles | float]:
        if not rule.decay and not rule.l1:
            return 0.0, 0.0
        weights = self.weights.astype(np.float64)
        pull = rule.decay * weights + rule.l1 * np.sign(weights)
        _, down = self.change_products(pull, visible, hidden)
        return 0.0, down.astype(np.float64)

    # Norms --------------------------------------------------------------------------------------

    def power_step(self, direction: Floats, most: float = np.inf) -> tuple[float, Floats]:
        """As for a dense link, but weights, which places share, are never shrunk."""
        below, above = zeros((1, padded(self.visible))), zeros((1, padded(self.hidden)))
        hidden = FloatStates(direction[np.newaxis], self.hidden)
        self.down(hidden, zeros((padded(self.visible),)), below)
        norm = float(np.sqrt(np.square(below, dtype=np.float64).sum()))
        self.up(FloatStates(below, self.visible), zeros((padded(self.hidden),)), above)
        length = float(np.sqrt(np.square(above, dtype=np.float64).sum()))
        return (norm, above[0] / np.float32(length)) if length else (0.0, direction)

    def start_direction(self) -> Floats:
        """An irregular one: the same value everywhere is nearly lost on filters that are edges."""
        direction = np.random.default_rng(0).standard_normal(self.hidden)
        return to_padded(direction / np.sqrt(np.square(direction).sum()))

    def precise_spectral_norm(self) -> float:
        """An upper bound that is the tighter the larger the image is beside the filters.

        Where filters also went over the borders, as on a torus, the Fourier transform would turn
        all connections into a matrix (filters, channels) for each frequency. Those that there are
        are some rows of these, whose norm is no larger. (The power iteration does not serve: it
        comes from below, and slowly, large singular values lying close together.)
        """
        weights = self.weights.astype(np.float64)
        by_frequency = np.fft.fft2(weights, (self.maps.height, self.maps.width))
        return float(np.linalg.norm(np.moveaxis(by_frequency, (0, 1), (2, 3)), 2, (2, 3)).max())

    def limit_norms(self, most: float) -> None:  # noqa: D102
        weights = self.weights
        squares = np.einsum("kcyx,kcyx->k", weights, weights, dtype=np.float64)
        scale = most / np.maximum(np.sqrt(squares), most)
        if scale.min() < 1:
            self.set_weights(
                weights * scale.astype(np.float32)[:, np.newaxis, np.newaxis, np.newaxis]
            )

    # Forms --------------------------------------------------------------------------------------

    def _displayed(self, matrix: Floats) -> Floats:
        """A view of (taps, ld) as (filters, channels, height, width)."""
        maps = self.maps
        taps = matrix[:, : maps.filters].reshape(
            maps.filter_height, maps.filter_width, maps.channels, maps.filters
        )
        return taps.transpose(3, 2, 0, 1)

    def _channels_last(self, visible: States) -> States:
        """Visible states in the order of the kernels."""
        if not self.maps.planar:
            return visible
        values = self._reordered(visible.floats(), back=False)
        if isinstance(visible, BitStates):
            return BitStates.from_array(values[:, : self.visible])
        return FloatStates(values, self.visible)

    def _reordered(self, values: Floats, *, back: bool) -> Floats:
        """Visible values (rows, ld) as (height, width, channels), or from there `back`."""
        maps = self.maps
        if not maps.planar:
            return values
        planes, pixels = maps.channels, maps.height * maps.width
        result = zeros(values.shape)
        shape, swapped = (planes, pixels), (pixels, planes)
        own = values[:, : self.visible].reshape(-1, *(swapped if back else shape))
        result[:, : self.visible] = own.swapaxes(1, 2).reshape(len(values), -1)
        return result

    def _by_channel(self, visible: Floats) -> Floats:
        """Visible values that are the same within a channel, (channels,)."""
        pixels = self.maps.height * self.maps.width
        return (
            visible[: self.visible : pixels] if self.maps.planar else visible[: self.maps.channels]
        )

    def _by_position(self, of_filters: NDArray[Any]) -> Floats:
        """Values of filters, (filters,), for each of their hidden units."""
        return np.tile(of_filters, self.maps.positions).astype(np.float32)

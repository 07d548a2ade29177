"""A layer: units of one kind, with their parameters.

Inside the machine everything is in natural terms (`rbmcli.model.units.kind`): a unit's total input
is its natural bias plus what the link adds. Only where units have standard deviations does that
differ from what is stored: a Gaussian unit with E = (v - c)^2 / (2 sigma^2) - (v / sigma) x has the
states s = v / sigma of unit variance, and the natural bias c / sigma.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats, padded, to_padded, zeros
from rbmcli.draws import Draw
from rbmcli.model.links.link import LayerTerms
from rbmcli.model.states import BitStates, FloatStates, States, as_floats
from rbmcli.model.units import UnitKind
from rbmcli.model.units.gaussian import SIGMA_RANGE

#: Largest magnitude of a logarithm of a deviation that is learned.
MOST_LOG_SIGMA = float(np.log(SIGMA_RANGE[1]))


@dataclass(frozen=True, eq=False)
class Sharing:
    """Which parameter each unit has: int64 (units,), numbers from 0 on.

    positions: what sums over the units of a parameter are divided by in gradients, the positions of
    a filter (Lee, Grosse, Ranganath and Ng 2009 divide by them): steps are then of the size that
    they have in a machine where every unit has parameters of its own.
    """

    parameter: NDArray[np.int64]
    positions: int

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """How many units each parameter has, int64 (parameters,)."""
        return np.bincount(self.parameter)

    def sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The sum of values (units,) over the units of each parameter."""
        return np.bincount(self.parameter, values).astype(np.float64, copy=False)

    def means(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The mean of values (units,) over the units of each parameter."""
        return self.sums(values) / self.units


class Layer:
    """Units of one kind and their parameters.

    `shape` is how a state is shown, such as (28, 28); `units` its number of units.
    `bias` is the natural bias, float32 (padded units,). `parameters` and `velocities` hold what is
    stored by name, "bias" and, where units have standard deviations, "log_sigma": each float32
    (padded `count`,), one for each unit, or fewer where there is `sharing`.
    """

    def __init__(
        self, kind: UnitKind, shape: tuple[int, ...], sharing: Sharing | None = None
    ) -> None:
        self.kind = kind
        self.shape = shape
        self.sharing = sharing
        self.units = math.prod(shape)
        self.ld = padded(self.units)
        self.count = self.units if sharing is None else len(sharing.units)
        names = ("bias", "log_sigma") if kind.has_sigma else ("bias",)
        size = padded(self.count)
        self.parameters: dict[str, Floats] = {name: zeros((size,)) for name in names}
        self.velocities: dict[str, Floats] = {name: zeros((size,)) for name in names}
        if kind.given_sigma is not None:
            self.parameters["log_sigma"][: self.count] = np.log(kind.given_sigma)
        own = kind.has_sigma or sharing is not None
        self.bias: Floats = zeros((self.ld,)) if own else self.parameters["bias"]
        self._sigma: Floats = np.ones(size, np.float32)

    def like(self, kind: UnitKind | None = None) -> Layer:
        """A layer of the same form as it begins, of another kind if one is given."""
        return Layer(kind or self.kind, self.shape, self.sharing)

    # States -------------------------------------------------------------------------------------

    def mean(self, total: Floats) -> FloatStates:
        """Expected states given total inputs (rows, ld), which are overwritten."""
        return self.kind.mean(total, self.units, total)

    def sample(self, total: Floats, draw: Draw, mean_out: Floats | None = None) -> States:
        """States drawn given total inputs (rows, ld); means as well where `mean_out` is given."""
        return self.kind.sample(total, self.units, draw, mean_out)

    def resampled(
        self, states: States, total: Floats, draw: Draw, mean_out: Floats | None = None
    ) -> States:
        """The same in place of states that are no longer needed."""
        if isinstance(states, BitStates) != self.kind.as_bits:
            return self.sample(total, draw, mean_out)
        if isinstance(states, BitStates):
            self.kind.run(total, self.units, mean_out, states.bits, draw)
            return BitStates(states.bits, self.units)
        self.kind.run(total, self.units, mean_out, states.values, draw)
        return FloatStates(states.values, self.units)

    def from_data(
        self,
        images: NDArray[Any],
        index: NDArray[np.int64],
        scale: float,
        binarize: str,
        draw: Draw,
    ) -> States:
        """States of the rows `index` of `images` (n, units), of which x stands for x / scale."""
        if not self.kind.has_sigma:
            return self.kind.from_data(images, index, scale, binarize, draw)
        return as_floats(images, index, scale, self.sigma)

    def to_data(self, states: NDArray[Any]) -> NDArray[Any]:
        """States (or means of states) (rows, units) in the data's own terms."""
        return states * self.sigma if self.kind.has_sigma else states

    def shown_range(self, data: States | None) -> tuple[float, float] | None:
        """The values in the data's own terms that pictures show as black and white.

        Of kinds whose valid range is finite, that range; of others, that of `data`, if given.
        """
        if all(map(math.isfinite, self.kind.valid_range)):
            return self.kind.valid_range
        if data is None:
            return None
        values = self.to_data(data.floats()[:, : self.units])
        return float(values.min()), float(values.max())

    def states_of(self, values: NDArray[Any]) -> States:
        """States from an array (rows, units) as `to_array` gives it.

        ValueError where it has another shape, or values that the units cannot have.
        """
        low, high = self.kind.valid_range
        if values.ndim != 2 or values.shape[1] != self.units:
            raise ValueError(f"states have shape {values.shape}, for {self.units} units")
        if values.size and not (low <= values.min() and values.max() <= high):
            raise ValueError(f"states are not from {low:g} to {high:g}")
        if self.kind.as_bits:
            return BitStates.from_array(values)
        return FloatStates(to_padded(values), self.units)

    def adopted(self, states: States, other: Layer) -> States:
        """States of another layer, unit by unit, as this layer's; moved into its range."""
        learned = self.kind.has_sigma or other.kind.has_sigma
        if self.kind.as_bits or (self.kind.name == other.kind.name and not learned):
            return states
        values = states.floats().copy()
        own = values[:, : states.units]
        np.clip(other.to_data(own), *self.kind.valid_range, out=own)
        if self.kind.has_sigma:
            own /= self.sigma
        return FloatStates(values, states.units)

    # What a layer above sees --------------------------------------------------------------------

    @property
    def fed_kind(self) -> UnitKind:
        """The kind of the units that a layer above sees: this layer's, or those that pool them."""
        return self.kind.fed_kind

    @property
    def fed_shape(self) -> tuple[int, ...]:
        """How their states are shown."""
        return self.kind.fed_shape(self.shape)

    @property
    def fed_units(self) -> int:
        """Their number."""
        return math.prod(self.fed_shape)

    # Energies -----------------------------------------------------------------------------------

    def log_weight(self, states: States) -> Doubles:
        """Minus the energy that states have by themselves, float64 (rows,)."""
        own = states.dot(self.bias) + self.kind.log_base(states)
        return own + self._energy_offset()

    def cumulant(self, total: Floats) -> Doubles:
        """log of the sum over this layer's states of exp(-E), given total inputs; float64 (rows,).

        What the states of the other layer have by themselves is left out.
        """
        out = np.full(total.shape[0], self.log_volume)
        self.kind.add_cumulant(total, self.units, out)
        return out

    def log_conditional(self, states: States, total: Floats) -> Doubles:
        """log p(states | total inputs), in nats, float64 (rows,).

        Of real-valued units a density, in the data's own terms.
        """
        out = np.einsum("ru,ru->r", states.floats(), total, dtype=np.float64)
        out += self.kind.log_base(states)
        self.kind.add_cumulant(total, self.units, out, weight=-1.0)
        return out - self._log_scale

    @property
    def of_model(self) -> Layer:
        """The layer, drawn as the model says and not as an approximation of it does."""
        exact = copy.copy(self)
        exact.kind = self.kind.of_model
        return exact

    @property
    def log_volume(self) -> float:
        """What the energies of this layer add to the sum of natural cumulants.

        A Gaussian's (v - c)^2 / (2 sigma^2) holds c^2 / (2 sigma^2), which natural terms leave out,
        and dv = sigma ds.
        """
        return self._energy_offset() + self._log_scale

    @property
    def _log_scale(self) -> float:
        if not self.kind.has_sigma:
            return 0.0
        return float(self._by_unit("log_sigma").sum(dtype=np.float64))

    def _energy_offset(self) -> float:
        if not self.kind.squared_energy:
            return 0.0
        return -0.5 * float(np.square(self.bias[: self.units], dtype=np.float64).sum())

    # Learning -----------------------------------------------------------------------------------

    @property
    def sigma(self) -> Floats:
        """Standard deviations, float32 (units,); of a kind that has none, ones."""
        sigma = self._sigma[: self.count]
        return sigma if self.sharing is None else sigma[self.sharing.parameter]

    @property
    def learns_sigma(self) -> bool:
        """Whether the units have standard deviations that are learned."""
        return self.kind.has_sigma and self.kind.given_sigma is None

    def initialize(self, mean: NDArray[Any], deviation: NDArray[Any] | None) -> None:
        """Parameters at which unconnected units have about this mean and standard deviation.

        deviation: may be None where the layer does not learn it.
        """
        if self.sharing is not None:
            if deviation is not None:
                squares = self.sharing.means(np.square(mean) + np.square(deviation))
                deviation = squares - np.square(self.sharing.means(mean))
                deviation = np.sqrt(np.maximum(deviation, 0))
            mean = self.sharing.means(mean)
        if self.learns_sigma:
            assert deviation is not None
            sigma = np.clip(deviation, *SIGMA_RANGE)
            self.parameters["log_sigma"][: self.count] = np.log(sigma)
        self.parameters["bias"][: self.count] = self.kind.bias_from_mean(mean)
        self.refresh()

    def refresh(self) -> None:
        """Make the natural bias that of the parameters, after these were changed."""
        if self.kind.has_sigma:
            _kernels.exponentials(self.parameters["log_sigma"], self._sigma)
            self.bias[: self.units] = self._by_unit("bias") / self.sigma
        elif self.sharing is not None:
            self.bias[: self.units] = self._by_unit("bias")

    def shared(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (units,), those of units that share parameters being replaced by their mean."""
        if self.sharing is None:
            return values
        return self.sharing.means(values).astype(np.float32)[self.sharing.parameter]

    def _by_unit(self, name: str) -> Floats:
        """A parameter of every unit, float32 (units,)."""
        values = self.parameters[name][: self.count]
        return values if self.sharing is None else values[self.sharing.parameter]

    def terms(self) -> LayerTerms | None:
        """What a kernel needs to learn the parameters; None where units share deviations."""
        terms = LayerTerms(self.parameters["bias"], self.velocities["bias"])
        if self.sharing is not None:
            return None if self.kind.has_sigma else terms._replace(natural=self.bias)
        if not self.kind.has_sigma:
            return terms
        terms = terms._replace(natural=self.bias, sigma=self._sigma)
        if not self.learns_sigma:
            return terms
        return terms._replace(
            log_sigma=self.parameters["log_sigma"],
            log_sigma_velocity=self.velocities["log_sigma"],
            most_log_sigma=MOST_LOG_SIGMA,
        )

    def gradient_for(self, step: NDArray[Any]) -> NDArray[Any]:
        """What `step` must be given as the gradient of "bias" to move natural biases by `step`."""
        return self.sigma**2 * step if self.kind.has_sigma else step

    def shift(self, bias: NDArray[Any], velocity: NDArray[Any]) -> None:
        """Add to the natural biases and to their velocities, (units,)."""
        scale = self.sigma if self.kind.has_sigma else np.float32(1)
        for arrays, change in ((self.parameters, bias), (self.velocities, velocity)):
            own, by_unit = arrays["bias"][: self.count], scale * change
            own += by_unit if self.sharing is None else self.sharing.means(by_unit)
        self.refresh()

    def step(
        self, gradients: dict[str, Floats], rate: float, momentum: float, *, nesterov: bool = False
    ) -> bool:
        """One step of the update rule, without decay; True if the parameters are finite.

        gradients: by name, (units,), as if every unit had parameters of its own; that of "bias" is
        with respect to the natural bias.
        """
        if self.kind.has_sigma:
            gradients["bias"] = gradients["bias"] / self.sigma
        finite = True
        for name, gradient in gradients.items():
            if self.sharing is not None:
                summed = self.sharing.sums(gradient) / self.sharing.positions
                gradient = summed.astype(np.float32)
            velocity = self.velocities[name][: self.count]
            parameter = self.parameters[name][: self.count]
            velocity *= np.float32(momentum)
            velocity += np.float32(rate) * gradient
            if nesterov:
                parameter += np.float32(momentum) * velocity + np.float32(rate) * gradient
            else:
                parameter += velocity
            finite &= bool(np.isfinite(parameter).all())
        if "log_sigma" in gradients:
            log_sigma = self.parameters["log_sigma"][: self.count]
            np.clip(log_sigma, -MOST_LOG_SIGMA, MOST_LOG_SIGMA, out=log_sigma)
        self.refresh()
        return finite


def natural_log_partition(layer: Layer, bias: NDArray[Any]) -> float:
    """Sum of the natural cumulants of a layer's units at the given natural biases (units,)."""
    out = np.zeros(1)
    layer.kind.add_cumulant(to_padded(np.asarray(bias)[np.newaxis]), layer.units, out)
    return float(out[0])

"""What the rest of the house may ask of a kind of unit.

The methods named `define_*` are a kind's definition, in plain numpy on arrays of any shape; the
tests hold the kernels to them. The others do the same by kernel on padded matrices (rows, ld): of
a `KernelKind`, which most are, by those that csrc/units/ has under a name.

All of it is said in natural terms: given its total input x from bias and connected units, a unit
has state s with probability (or density) proportional to base(s) exp(s x), whose normaliser's
logarithm is the cumulant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats, zeros
from rbmcli.draws import Draw
from rbmcli.model.states import BitStates, FloatStates, States, as_floats

#: A number, or an array float32 (1,) of it.
Scale = float | Floats

#: `--binarize`: how data become states: by draw, cut at one half, or as they are.
BINARIZE = ("sample", "threshold", "none")
THRESHOLD = 0.5


def middles(uniforms: NDArray[Any]) -> NDArray[np.float64]:
    """The middles of the steps of 2^-24 that uniforms stand for: what draws by inversion invert."""
    return uniforms.astype(np.float64) + 2.0**-25


class UnitKind(ABC):
    """A kind of stochastic unit, given its total input x from bias and connected units."""

    #: How the command line and run files call it, with its argument if any.
    name: str
    #: What makes of total inputs what a layer above is fed (`fed`), in the words of networks.
    activation: str
    #: Least and greatest value that a datum of this kind may have.
    valid_range: tuple[float, float]
    #: Neighbouring units that are drawn together: exactly one of them is on. Else 1.
    group: int = 1
    #: Rows and columns of units in a block of which a layer above sees one unit.
    pool: int = 1
    #: All states of a group, (states, group), where they can be listed.
    group_states: NDArray[np.float32] | None = None
    #: Whether data are drawn, cut or taken as they are, as `--binarize` says.
    is_drawn_from_data: ClassVar[bool] = False
    #: What `--binarize threshold` makes of data, in words.
    when_cut: ClassVar[str] = "cut at 0.5"
    #: Whether data may be counts as well as fractions.
    may_be_counts: ClassVar[bool] = False
    #: Whether drawn states are BitStates; else they are FloatStates.
    as_bits: bool = False
    #: Whether the cumulant grows like x^2, so that two such layers need small weights between them
    #: to have a density at all.
    quadratic: bool = False
    #: Whether the energy is written (s - bias)^2 / 2: with bias^2 / 2 beside the natural terms.
    squared_energy: ClassVar[bool] = False
    #: Whether the units of a layer of this kind have standard deviations, which states inside the
    #: machine are divided by.
    has_sigma: bool = False
    #: The standard deviation of all units, where they have one that is given and not learned.
    given_sigma: float | None = None

    @abstractmethod
    def define_mean(self, total: NDArray[Any]) -> NDArray[Any]:
        """Expected state given the total input."""

    @abstractmethod
    def define_sample(self, total: NDArray[Any], uniforms: NDArray[Any]) -> NDArray[Any]:
        """State drawn with uniforms of the same shape, multiples of 2^-24 in [0, 1)."""

    @abstractmethod
    def define_cumulant(self, total: NDArray[Any]) -> NDArray[Any]:
        """Log-partition function; its derivative is the mean. One value for each group."""

    @abstractmethod
    def define_log_base(self, states: NDArray[Any]) -> NDArray[Any]:
        """Logarithm of the base measure, for each unit."""

    @abstractmethod
    def bias_from_mean(self, mean: NDArray[Any]) -> NDArray[Any]:
        """The bias at which an unconnected unit has (about) this mean."""

    @abstractmethod
    def run(
        self,
        total: Floats,
        units: int,
        mean: Floats | None,
        states: NDArray[Any] | None,
        draw: Draw | None,
    ) -> None:
        """The kernel: means into `mean` (may be `total`), draws into `states`, where not None.

        states: bits, uint64 (rows, words), where `as_bits`; else float32 (rows, ld).
        """

    @abstractmethod
    def add_cumulant(
        self, total: Floats, units: int, out: Doubles, scale: Scale = 1.0, weight: float = 1.0
    ) -> None:
        """out (rows,) += weight times each row's cumulants at scale * total, summed.

        scale: a number, or an array of one, which a plan reads anew each time.
        """

    def mean(self, total: Floats, units: int, out: Floats) -> FloatStates:
        """Means into `out` (may be `total`)."""
        self.run(total, units, out, None, None)
        return FloatStates(out, units)

    def sample(
        self, total: Floats, units: int, draw: Draw, mean_out: Floats | None = None
    ) -> States:
        """Drawn states; the means as well where `mean_out` (may be `total`) is given."""
        if self.as_bits:
            bits = BitStates.empty(total.shape[0], units)
            self.run(total, units, mean_out, bits.bits, draw)
            return bits
        floats = FloatStates(zeros(total.shape), units)
        self.run(total, units, mean_out, floats.values, draw)
        return floats

    def add_cumulant_change(
        self,
        total: Floats,
        units: int,
        out: Doubles,
        beta: Floats,
        weight: float = 1.0,
    ) -> None:
        """out (rows,) += weight times what each row's cumulants change by, summed.

        The total inputs go from beta[0] * total to beta[1] * total. beta: float32 (2,), which a
        plan reads anew each time.
        """
        self.add_cumulant(total, units, out, beta[1:], weight)
        self.add_cumulant(total, units, out, beta[:1], -weight)

    def log_base(self, states: States) -> Doubles:
        """Logarithm of the base measure summed over the units, float64 (rows,)."""
        return np.zeros(states.rows)

    def group_places(self, units: int) -> NDArray[np.int64]:
        """The units of each group in a layer of `units` units, int64 (groups, group)."""
        return np.arange(units).reshape(-1, self.group)

    def blocks(self, units: int) -> list[tuple[UnitKind, int]]:
        """The kinds side by side in a layer of `units` units, each with its number of units."""
        return [(self, units)]

    @property
    def of_model(self) -> UnitKind:
        """The kind that likelihoods and stationarity are about: itself, or what it approximates."""
        return self

    @property
    def without_sigma(self) -> UnitKind:
        """The kind of the states inside the machine, which have no deviations of their own."""
        return self

    @property
    def takes_any_number(self) -> bool:
        """Whether every real number is a valid datum."""
        return self.valid_range == (-np.inf, np.inf)

    @property
    def takes(self) -> str:
        """The range of valid data in words."""
        low, high = self.valid_range
        return f"{low:g} and above" if high == np.inf else f"{low:g} to {high:g}"

    # Data ---------------------------------------------------------------------------------------

    def reading(
        self, largest: float, scale: float, binarize: str, counts: bool | None = None
    ) -> tuple[str, float]:
        """(binarize, scale) for data whose largest stored value is `largest`.

        value / scale is then what a unit's mean is compared with. counts: whether the values are
        counts, None where that is for the values to say.
        """
        return "none", scale

    def from_data(
        self,
        images: NDArray[Any],
        index: NDArray[np.int64],
        scale: float,
        binarize: str,
        draw: Draw,
    ) -> States:
        """States of the rows `index` of `images` (n, units), as `reading` says."""
        return as_floats(images, index, scale)

    # What a layer above sees --------------------------------------------------------------------

    @property
    def fed_kind(self) -> UnitKind:
        """The kind of the units that a layer above sees: itself, unless they are pooled."""
        return self

    def fed_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what a layer above sees of one of this shape."""
        return shape

    def fed(self, total: Floats, units: int, out: Floats) -> FloatStates:
        """What a layer above is fed, given total inputs: the means, unless a kind says else.

        out: memory for it, which may be `total`.
        """
        return self.mean(total, units, out)

    def fed_by(self, states: States) -> States:
        """What a layer above sees of drawn states."""
        return states

    def drawn_from_fed(self, fed: States, draw: Draw) -> States:
        """States drawn given what a layer above sees of them: all alike that it may be."""
        return fed

    def at_each(self, fed: Floats) -> Floats:
        """Values of units that a layer above sees, (rows, units), at each unit that they stand for.

        The result is (rows, units of this layer).
        """
        return fed

    def log_drawn_from_fed(self, states: States) -> Doubles:
        """log p of the states given what a layer above sees of them, float64 (rows,)."""
        return np.zeros(states.rows)


class KernelKind(UnitKind):
    """A kind with kernels of its own: a subclass says which, and is done with what they do."""

    kernels: _kernels.Kind
    #: What tells the kind from others of its family, to the kernels; 1 where there is no family.
    n: int = 1

    def run(  # noqa: D102
        self,
        total: Floats,
        units: int,
        mean: Floats | None,
        states: NDArray[Any] | None,
        draw: Draw | None,
    ) -> None:
        _kernels.units(self.kernels, total, units, self.n, mean, states, draw)

    def add_cumulant(  # noqa: D102
        self, total: Floats, units: int, out: Doubles, scale: Scale = 1.0, weight: float = 1.0
    ) -> None:
        _kernels.cumulant(self.kernels, total, units, self.n, out, scale, weight)

    def add_cumulant_change(  # noqa: D102
        self,
        total: Floats,
        units: int,
        out: Doubles,
        beta: Floats,
        weight: float = 1.0,
    ) -> None:
        if self.kernels.has_cumulant_change:
            _kernels.cumulant_change(self.kernels, total, units, self.n, out, beta, weight)
        else:
            super().add_cumulant_change(total, units, out, beta, weight)

"""Preprocessing of real-valued images: steps fitted to the training images, with their inverses.

What is fitted is kept in the run file rather than fitted again: sums over all images and the
eigenvectors come from the machine's BLAS, whose last bits vary with its threads. Applying a step is
done row by row with a fixed order of sums, so that an image's result has the same bits in every
batch and on every number of threads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats, padded, to_padded, zeros
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError

#: Rows worked on together, where it is only a question of memory.
BLOCK = 1000

#: Least standard deviation of a pixel, as a share of the root mean square over all pixels.
_FLOOR = 0.01
#: What is added to an image's standard deviation, as a share of the images' average one: an image
#: of nearly one grey is not to become all noise.
_CONTRAST_FLOOR = 0.05
#: What is added to the eigenvalues of the covariance, as a share of their mean.
_EPSILON = 0.01
#: Images that a covariance is estimated from, at most, and pixels in each.
_ZCA_IMAGES = 50_000
_ZCA_UNITS = 8192

#: No image has values beyond this, and products of two are float32 numbers still.
_ABSURD = 1e18


class Step(ABC):
    """One step: rows float32 (n, units) to rows of the same shape.

    The fields of a step are what was fitted: float32 arrays whose sides are all `units`, or
    numbers.
    """

    name: ClassVar[str]

    @classmethod
    @abstractmethod
    def fit(cls, values: Floats, draws: Draws) -> Self:
        """The step for these training images; `draws` choose some where not all are needed."""

    @abstractmethod
    def apply(self, values: Floats) -> Floats:
        """The rows, preprocessed."""

    @abstractmethod
    def invert_linear(self, values: Floats) -> Floats:
        """The linear part of the inverse, without its offset: for differences of images."""

    @property
    @abstractmethod
    def offset(self) -> Floats | np.float32:
        """The image that `invert` makes of zeros."""

    def invert(self, values: Floats) -> Floats:
        """The rows as they were before `apply`."""
        return self.invert_linear(values) + self.offset


@dataclass(frozen=True, eq=False)
class Standardize(Step):
    """Each pixel less its mean over the training images, divided by its standard deviation.

    The deviation has a small floor, so a pixel that never changes becomes 0.
    """

    mean: Floats
    deviation: Floats

    name: ClassVar[str] = "standardize"

    @classmethod
    def fit(cls, values: Floats, draws: Draws) -> Self:  # noqa: D102
        mean = _mean(values)
        squares = np.zeros(values.shape[1])
        for block in _blocks(values):
            squares += np.square(block - mean).sum(axis=0)
        variance = squares / len(values)
        floor = _FLOOR * np.sqrt(variance.mean()) or 1.0
        return cls(mean, np.maximum(np.sqrt(variance), floor).astype(np.float32))

    def apply(self, values: Floats) -> Floats:  # noqa: D102
        return (values - self.mean) / self.deviation

    def invert_linear(self, values: Floats) -> Floats:  # noqa: D102
        return values * self.deviation

    @property
    def offset(self) -> Floats:  # noqa: D102
        return self.mean


@dataclass(frozen=True, eq=False)
class Contrast(Step):
    """Each image less its own mean, divided by its own standard deviation plus `floor`.

    An image's mean and contrast are lost. The inverse gives every image the average `mean` of the
    training images and `deviation`, the average of what they were divided by.
    """

    mean: float
    deviation: float
    floor: float

    name: ClassVar[str] = "contrast"

    @classmethod
    def fit(cls, values: Floats, draws: Draws) -> Self:  # noqa: D102
        moments = [_moments(values[start : start + BLOCK]) for start in _starts(values)]
        means, deviations = (np.concatenate(each) for each in zip(*moments, strict=True))
        average = float(deviations.mean())
        floor = _CONTRAST_FLOOR * average or 1.0
        return cls(float(means.mean()), average + floor, floor)

    def apply(self, values: Floats) -> Floats:  # noqa: D102
        mean, deviation = _moments(values)
        divisor = (deviation + self.floor).astype(np.float32)
        return (values - mean.astype(np.float32)) / divisor

    def invert_linear(self, values: Floats) -> Floats:  # noqa: D102
        return values * np.float32(self.deviation)

    @property
    def offset(self) -> np.float32:  # noqa: D102
        return np.float32(self.mean)


@dataclass(frozen=True, eq=False)
class Zca(Step):
    """Whitening that stays close to the image (Bell and Sejnowski 1997, "The independent
    components of natural scenes are edge filters"; Krizhevsky 2009, appendix A).

    With covariance E diag(l) E' and e a small share of the mean l, `whitening` is
    E diag(1 / sqrt(l + e)) E' and `inverse` E diag(sqrt(l + e)) E', both symmetric.
    """

    mean: Floats
    whitening: Floats
    inverse: Floats

    name: ClassVar[str] = "zca"

    @classmethod
    def fit(cls, values: Floats, draws: Draws) -> Self:
        """RbmError where images have more than _ZCA_UNITS values."""
        count, units = values.shape
        if units > _ZCA_UNITS:
            raise RbmError(
                f"--preprocess zca: images of {units} values are too large to whiten (at most"
                f" {_ZCA_UNITS}); use --crop or --patches, or leave zca out"
            )
        if count > _ZCA_IMAGES:
            chosen = draws.generator(Purpose.PREPROCESS, 1)
            values = values[np.sort(chosen.choice(count, _ZCA_IMAGES, replace=False))]
        mean = _mean(values)
        covariance = np.zeros((units, units))
        for block in _blocks(values):
            block -= mean
            covariance += block.T @ block
        eigenvalues, vectors = np.linalg.eigh(covariance / len(values))
        eigenvalues = np.maximum(eigenvalues, 0)
        roots = np.sqrt(eigenvalues + (_EPSILON * eigenvalues.mean() or 1.0))
        return cls(
            mean,
            ((vectors / roots) @ vectors.T).astype(np.float32),
            ((vectors * roots) @ vectors.T).astype(np.float32),
        )

    def apply(self, values: Floats) -> Floats:  # noqa: D102
        return _product(values - self.mean, self._padded_whitening)

    def invert_linear(self, values: Floats) -> Floats:  # noqa: D102
        return _product(values, self._padded_inverse)

    @property
    def offset(self) -> Floats:  # noqa: D102
        return self.mean

    @cached_property
    def _padded_whitening(self) -> Floats:
        return to_padded(self.whitening)

    @cached_property
    def _padded_inverse(self) -> Floats:
        return to_padded(self.inverse)


#: Every step, by the name it has on the command line and in run files.
STEPS: dict[str, type[Step]] = {step.name: step for step in (Standardize, Contrast, Zca)}


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Steps applied one after the other."""

    steps: tuple[Step, ...]

    @staticmethod
    def fit(names: Sequence[str], values: Floats, draws: Draws) -> Preprocessing:
        """The steps of these names for training images (n, units), which are overwritten.

        RbmError where a step cannot work on such images.
        """
        steps: list[Step] = []
        for name in names:
            if steps:
                for start in _starts(values):
                    block = slice(start, start + BLOCK)
                    values[block] = steps[-1].apply(values[block])
            steps.append(STEPS[name].fit(values, draws))
        return Preprocessing(tuple(steps))

    @staticmethod
    def restore(names: Sequence[str], parts: Mapping[str, Any], units: int) -> Preprocessing:
        """What had these `parts`; KeyError or ValueError where they are not those of the steps."""
        steps = []
        for name in names:
            kind = STEPS[name]
            values = {
                field.name: parts[f"{name}/{field.name}"]
                for field in fields(kind)  # type: ignore[arg-type]
            }
            for part, value in values.items():
                dimensions = {"float": 0}.get(str(kind.__annotations__[part]), 1)
                if part in ("whitening", "inverse"):
                    dimensions = 2
                if np.shape(value) != (units,) * dimensions:
                    raise ValueError(f"preprocessing/{name}/{part} has shape {np.shape(value)}")
                real = np.asarray(value).dtype in (np.float32, np.float64)
                if not real or not (np.abs(value) < _ABSURD).all():
                    raise ValueError(f"preprocessing/{name}/{part} has absurd values")
                if part in ("deviation", "floor") and not np.greater(value, 1 / _ABSURD).all():
                    raise ValueError(f"preprocessing/{name}/{part} is not above 0")
            steps.append(kind(**values))
        return Preprocessing(tuple(steps))

    def parts(self) -> dict[str, Any]:
        """What was fitted, float32 arrays and floats, by `step/part`."""
        return {
            f"{step.name}/{field.name}": getattr(step, field.name)
            for step in self.steps
            for field in fields(step)  # type: ignore[arg-type]
        }

    def apply(self, values: Floats) -> Floats:
        """Rows of pixels, float32 (n, units), preprocessed."""
        for step in self.steps:
            values = step.apply(values)
        return values

    def invert(self, values: Floats) -> Floats:
        """Preprocessed rows, float32 (n, units), as pixels; see `Contrast` for what is lost."""
        for step in reversed(self.steps):
            values = step.invert(values)
        return values

    def invert_linear(self, values: Floats) -> Floats:
        """Differences of preprocessed rows, such as filters, as differences of pixels."""
        for step in reversed(self.steps):
            values = step.invert_linear(values)
        return values


def _starts(values: Floats) -> range:
    return range(0, len(values), BLOCK)


def _blocks(values: Floats) -> Iterator[Doubles]:
    """The rows in float64 copies of some of them."""
    for start in _starts(values):
        yield values[start : start + BLOCK].astype(np.float64)


def _mean(values: Floats) -> Floats:
    total = np.zeros(values.shape[1])
    for block in _blocks(values):
        total += block.sum(axis=0)
    return (total / len(values)).astype(np.float32)


def _moments(values: Floats) -> tuple[Doubles, Doubles]:
    """Each row's mean and standard deviation, float64 (n, 1)."""
    # A sum that converts as it goes would split the rows at the places of numpy's buffer.
    doubles = values.astype(np.float64, order="C")
    return doubles.mean(axis=1, keepdims=True), doubles.std(axis=1, keepdims=True)


def _product(values: Floats, matrix: Floats) -> Floats:
    """values @ matrix, given padded; by the kernel, whose sums have one order everywhere."""
    units = values.shape[1]
    out = zeros((len(values), padded(units)))
    _kernels.multiply(to_padded(values), units, matrix, units, zeros((padded(units),)), out)
    return np.ascontiguousarray(out[:, :units])

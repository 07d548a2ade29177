"""Mean log-likelihood of images, from their free energies and what is known of log Z."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles
from rbmcli.inference.ais import Estimate


class LogPartition(NamedTuple):
    """log Z, how it was found ("exact" or "ais"), and for AIS with how much work."""

    method: str
    value: float
    low: float
    high: float
    chains: int | None = None
    temperatures: int | None = None


class LogLikelihood(NamedTuple):
    """Mean log-likelihood of images, in nats.

    low, high: by the interval of log Z alone, the images being what they are.
    conservative: an estimate that is too small in expectation, from conservative_images of the
    images, with its standard error; NaN where there is none.
    """

    value: float
    low: float
    high: float
    conservative: float = np.nan
    conservative_images: int = 0
    conservative_error: float = np.nan


class Bound(NamedTuple):
    """Mean variational lower bound on the log-likelihood of images, in nats.

    low, high: by the interval of log Z alone. standard_error: over the images; NaN of one image.
    """

    value: float
    low: float
    high: float
    standard_error: float


def exactly(value: float) -> LogPartition:
    """log Z that was summed up."""
    return LogPartition("exact", value, value, value)


def annealed(estimate: Estimate, chains: int, temperatures: int) -> LogPartition:
    """log Z that was estimated by AIS."""
    return LogPartition("ais", *estimate, chains, temperatures)


def mean_log_likelihood(free_energies: Doubles, partition: LogPartition) -> LogLikelihood:
    """The mean over images of log p(v) = -F(v) - log Z; where log Z is exact, so is this."""
    mean = -float(free_energies.mean())
    result = LogLikelihood(mean - partition.value, mean - partition.high, mean - partition.low)
    if partition.method != "exact":
        return result
    return result._replace(
        conservative=result.value, conservative_images=len(free_energies), conservative_error=0.0
    )


def mean_bound(log_weights: Doubles, partition: LogPartition) -> Bound:
    """The mean over images of estimates of the bound; log_weights: without log Z, (images,)."""
    mean = float(log_weights.mean())
    count = len(log_weights)
    error = float(log_weights.std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan
    return Bound(mean - partition.value, mean - partition.high, mean - partition.low, error)


def spread_rows(images: int, chosen: int) -> NDArray[np.int64]:
    """`chosen` row numbers, or all if fewer, evenly spread over the images."""
    chosen = min(images, chosen)
    return np.arange(chosen) * images // max(chosen, 1)


def with_conservative(
    result: LogLikelihood, free_energies: Doubles, rows: NDArray[np.int64], estimates: Doubles
) -> LogLikelihood:
    """Add the mean of conservative `estimates` of log p(v), of which there are those of some rows.

    What is averaged over these images is how far the estimates lie above minus the free energies,
    which are known of all images: the other images are not taken to be like these in likelihood,
    only in that difference, which varies much less.
    """
    above = estimates + free_energies[rows]
    error = above.std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan
    return result._replace(
        conservative=float(above.mean() - free_energies.mean()),
        conservative_images=len(rows),
        conservative_error=float(error),
    )

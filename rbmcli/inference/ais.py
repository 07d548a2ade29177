"""Annealed importance sampling of log Z.

Neal 2001, "Annealed importance sampling"; Salakhutdinov and Murray 2008, "On the quantitative
analysis of deep belief networks", section 4.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rbmcli.arrays import Doubles
from rbmcli.draws import Draws, Purpose
from rbmcli.inference.annealing import Path, WalkDraws, anneal, log_mean_exp

#: Chains by default.
CHAINS = 100


class Estimate(NamedTuple):
    """A logarithm, and the logarithms of what was estimated plus and minus 3 standard errors."""

    value: float
    low: float
    high: float


def log_partition(
    path: Path,
    betas: Doubles,
    chains: int,
    draws: Draws,
    progress: Callable[[float], None] = lambda _: None,
) -> Estimate:
    """log Z, estimated by `chains` walks along `betas`, from 0 to 1.

    The mean weight is an unbiased estimate of Z / Z_0, so its logarithm is too small in
    expectation. progress: told the fraction done.
    """
    names = WalkDraws(draws, Purpose.AIS_VISIBLE, Purpose.AIS_HIDDEN)
    start = path.sample_at_0(chains, names.at(names.visible, 0))
    log_weight = anneal(path, betas, start, names, progress)
    visible, hidden = path.model.visible, path.model.hidden
    log_unit = path.log_partition_at_0() + visible.log_volume + hidden.log_volume
    return _shifted(log_mean_with_error(log_weight), log_unit)


def log_mean_with_error(log_weight: Doubles) -> Estimate:
    """log of the mean of exp(log_weight), float64 (chains,), with 3 standard errors to each side.

    The lower end is -inf where the mean is not 3 standard errors above 0.
    """
    value = float(log_mean_exp(log_weight))
    relative = np.exp(log_weight - value)
    error = 3 * float(relative.std(ddof=1)) / np.sqrt(len(relative))
    low = np.log1p(-error) if error < 1 else -np.inf
    return Estimate(value, value + float(low), value + float(np.log1p(error)))


def _shifted(estimate: Estimate, by: float) -> Estimate:
    return Estimate(*(end + by for end in estimate))

"""RAISE: a conservative estimate of log-likelihoods by reverse annealing.

Burda, Grosse and Salakhutdinov 2015, "Accurate and conservative estimates of MRF log-likelihood
using reverse annealing". AIS with the walks up from beta = 0 is itself a generative model; its
log-likelihood, of which importance sampling gives a lower bound in expectation, tends to the
machine's as temperatures become more.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rbmcli.arrays import Doubles
from rbmcli.draws import Draws, Purpose
from rbmcli.inference.annealing import Path, WalkDraws, anneal, log_mean_exp
from rbmcli.inference.free_energy import free_energy
from rbmcli.model.states import States

#: Images, and chains for each of them, by default.
IMAGES = 500
CHAINS = 1
#: Walks taken side by side.
_BLOCK = 500


def log_likelihood(
    path: Path,
    betas: Doubles,
    visible: States,
    chains: int,
    draws: Draws,
    progress: Callable[[float], None] = lambda _: None,
) -> Doubles:
    """Estimates of log p(v) that are too small in expectation, in nats, float64 (rows,).

    Each image's is the logarithm of the mean weight of `chains` walks from it down `betas`, given
    from 0 to 1:
        w = p*_K(v) / Z_0 times the product over k = K .. 1 of p*_(k-1)(x_(k-1)) / p*_k(x_(k-1)),
    x_(k-1) being a Gibbs step at beta_k away from x_k, and x_K = v. progress: told the fraction
    done.
    """
    walks = np.repeat(np.arange(visible.rows), chains)
    # To stay at beta = 1 adds nothing to the weight, and takes the first Gibbs step there.
    down = np.concatenate([[1.0], betas[::-1]])
    log_weight = np.empty(len(walks))
    for start in range(0, len(walks), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(walks)))

        def tell(done: float, block: slice = block) -> None:
            progress((block.start + done * (block.stop - block.start)) / len(walks))

        names = WalkDraws(draws, Purpose.RAISE_VISIBLE, Purpose.RAISE_HIDDEN, start)
        log_weight[block] = anneal(path, down, visible.take(walks[block]), names, tell)
    visible_layer, hidden_layer = path.model.visible, path.model.hidden
    log_unit = path.log_partition_at_0() + visible_layer.log_volume + hidden_layer.log_volume
    start_weight = -free_energy(path.model, visible) - log_unit
    return start_weight + log_mean_exp(log_weight.reshape(visible.rows, chains))

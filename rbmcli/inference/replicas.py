"""Fantasy particles by parallel tempering: chains that walk between the machine's modes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rbmcli.arrays import Floats, Scratch
from rbmcli.draws import Draws, Purpose
from rbmcli.inference.chains import Chain
from rbmcli.inference.clamping import Clamp, unclamped
from rbmcli.inference.ladder import Ladder
from rbmcli.inference.tempering import Tempered
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States

#: Steps between changes of the ladder while it adapts, and the weight of a new measurement of
#: rejection: far sooner than in training, whose ladder follows a machine that changes.
_ADAPT_EVERY = 10
WEIGHT = 0.1


def tempered_fantasies(
    model: Rbm,
    start: States,
    gibbs_steps: int,
    seed: int,
    ladder: Ladder,
    *,
    reference: Floats | None = None,
    clamp: Clamp | None = None,
    first_step: int = 0,
) -> Iterator[tuple[States, Floats]]:
    """As `rbmcli.inference.chains.fantasies`, of chains that swap with replicas down a ladder.

    Every chain has a replica at each rung, and all of them start from its visible state. A step
    draws the hidden states, lets neighbours swap, and draws the visible states; what is yielded is
    the chains at inverse temperature 1. The ladder adapts in the first half of the steps and stays
    as it is in the second, since rungs that follow the chains' own past would bias what they draw.

    reference: natural visible biases at inverse temperature 0, float32 (padded visible units,).
    Without it the machine's own: the base rates of its units as far as the machine itself tells,
    so that the bottom rung is about where the visible units are and nothing else has to be known.
    """
    rungs, chains, units = len(ladder.beta), start.rows, model.visible.units
    first = np.arange(chains)
    replicas = np.tile(first, rungs)
    keep_first = clamp or unclamped
    keep = clamp.take(replicas) if clamp else unclamped
    draws, scratch = Draws(seed), Scratch()
    tempered = Tempered(model, model.visible.bias if reference is None else reference, 1.0)
    chain, top = Chain(tempered, draws, scratch), Chain(model, draws)
    total = scratch.rows("replicas", len(replicas), model.hidden.ld)
    scaled = scratch.rows("tempered", len(replicas), model.hidden.ld)

    begin = keep_first(start)
    yield begin, begin.floats()[:, :units]
    visible = begin.take(replicas)
    for done in range(gibbs_steps):
        step = first_step + done
        if done % _ADAPT_EVERY == 0 and 0 < done <= gibbs_steps // 2:
            ladder.adapt()
        tempered.at(np.repeat(ladder.beta, chains))
        model.hidden_input(visible, total)
        draw = draws.at(Purpose.HIDDEN, step, 0)
        hidden = model.hidden.sample(tempered.scale(total, scaled), draw)
        exponent = tempered.exponent(visible, hidden, total)
        hidden = hidden.take(ladder.swap(exponent, draws.at(Purpose.SWAP, step), done))
        visible = keep(chain.sample_visible(hidden, step, 1))
        means = keep_first(top.visible_mean(hidden.take(first)))
        yield visible.take(first), means.floats()[:, :units]

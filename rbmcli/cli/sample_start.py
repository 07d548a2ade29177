"""Where the chains of `rbm sample` start."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rbmcli.cli.datasets import starts, tell
from rbmcli.cli.models import load_chains
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.inference.chains import random_start, start_from_hidden
from rbmcli.io.runfile import RunReader
from rbmcli.model.stack import Stack
from rbmcli.model.states import States


class Start(NamedTuple):
    """images: those that the chains start at, if any. visible: states of the top machine."""

    images: States | None
    visible: States


def start_states(
    run: RunReader,
    stack: Stack,
    start: str,
    source: str | None,
    count: int,
    seed: int,
    *,
    quiet: bool,
    **reading: Any,
) -> Start:
    """`count` states to start from: at "data", at "random", or at the "chains" of the run.

    quiet: say nothing of what was read from a source. reading: how, as `starts` takes it.
    """
    top = stack.top
    if start == "chains":
        section = run.layers[-1]
        hidden = load_chains(section, top)
        if count > hidden.rows:
            raise RbmError(
                f"{run.path}: the run keeps {hidden.rows} chains, fewer than the {count} of -n;"
                f" ask for {hidden.rows} at most"
            )
        chosen = hidden.take(np.arange(count))
        step = section.step
        return Start(None, start_from_hidden(top, chosen, seed, step))
    if start == "random":
        return Start(None, random_start(top.visible, count, seed))
    layer = stack.image_layer
    images = starts(run, source, layer, count, seed, quiet=quiet, **reading)
    tell(images, quiet or source is None)
    draw = Draws(seed).at(Purpose.BINARIZE, 0)
    states = images.states(images.rows, stack.image_layer, draw)
    below = len(stack.machines) - 1
    raised = stack.raised(states, draw, sampled=True, machines=below)[-1]
    return Start(states, stack.standing_on(raised, below))


def usual_images(
    run: RunReader, stack: Stack, source: str | None, seed: int, **reading: Any
) -> States:
    """Images, of the source or the run's own, to see how active units usually are."""
    images = starts(run, source, stack.image_layer, None, seed, quiet=True, **reading)
    return images.states(images.rows, stack.image_layer, Draws(seed).at(Purpose.BINARIZE, 1))

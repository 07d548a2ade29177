"""Where the chains of `rbm sample` start."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rbmcli.cli.datasets import starts
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

    def at_images(self, stack: Stack, seed: int) -> Start:
        """The same for chains of all layers, which start at states of the images' units.

        Those that start at no images start at what the top machine's states come to below.
        """
        if self.images is not None:
            return self._replace(visible=self.images)
        drawn, _ = stack.lowered(self.visible, Draws(seed).at(Purpose.SAMPLE, 1))
        return self._replace(visible=drawn)


def start_states(
    run: RunReader, stack: Stack, start: str, source: str | None, count: int, seed: int
) -> Start:
    """`count` states to start from: at "data", at "random", or at the "chains" of the run."""
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
        step = int(section.state["trainer/step"])
        return Start(None, start_from_hidden(top, chosen, seed, step))
    if start == "random":
        return Start(None, random_start(top.visible, count, seed))
    images = starts(run, source, stack.image_layer, count, seed)
    draw = Draws(seed).at(Purpose.BINARIZE, 0)
    states = images.states(images.rows, stack.image_layer, draw)
    below = len(stack.machines) - 1
    raised = stack.raised(states, draw, sampled=True, machines=below)[-1]
    return Start(states, stack.standing_on(raised, below))

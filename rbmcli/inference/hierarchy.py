"""Chains that go through all levels of a stack: by turns up and down, or from both sides at once.

By turns, images are taken up to the top machine as the stack recognises them, that takes a Gibbs
step, and new images are drawn downwards: what is known of an image comes from below, what it might
be from above (Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets").

At once, every level is drawn given those below and above it (Lee, Grosse, Ranganath and Ng 2009,
"Convolutional deep belief networks for scalable unsupervised learning of hierarchical
representations", section 3.6). In a deep belief network
    p(h | v, h') ~ p(v | h) p(h | h') ~ p1(h | v) p(h | h') / p1(h),
p1 being the machine whose hidden units h are, h' the hidden units above. Its prior p1(h) is taken
to be that of independent units as active as images make them: a unit hears from below what it hears
alone, and from above by how much more or less the next machine expects of it than usual. (The paper
leaves p1(h) out; what is usual is then told twice.) Units that are pooled hear what is told of
their block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rbmcli.arrays import Floats
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.inference.clamping import Clamp, unclamped
from rbmcli.inference.reconstruction import up_and_down
from rbmcli.model.stack import Stack
from rbmcli.model.states import FloatStates, States


def check_at_once(stack: Stack) -> None:
    """RbmError for a stack whose levels cannot be drawn from both sides."""
    if stack.top.classes:
        raise RbmError("its top layer has label units, which only walk with the top layer")
    if stack.ways_down:
        raise RbmError(
            "its ways up and down were trained apart, and only the way down draws images"
        )
    layers = [layer for machine in stack.machines for layer in (machine.visible, machine.hidden)]
    if any(layer.kind.has_sigma for layer in layers[1:]):
        raise RbmError("its inner layers have standard deviations, which levels do not share")


def usual_biases(stack: Stack, images: States) -> list[Floats]:
    """Of each level between images and top, the biases of units as active as images make them.

    They are natural biases of the visible units that stand on the level, float32 (units,).
    """
    levels = stack.raised(images, (0, 0, 0, 0), sampled=False, machines=len(stack.machines) - 1)
    biases = []
    for level, machine in enumerate(stack.machines[1:], 1):
        seen = stack.as_features(levels[level], level)
        mean = machine.visible.shared(seen.mean_by_unit())
        biases.append(machine.visible.kind.bias_from_mean(mean).astype(np.float32))
    return biases


def by_turns(
    stack: Stack, start: States, gibbs_steps: int, seed: int, *, clamp: Clamp | None = None
) -> Iterator[tuple[States, Floats]]:
    """As `rbmcli.inference.chains.fantasies`, of images that go up and come down in each step.

    start: images. What is yielded is states of the images' units and their means. Label units are
    off on the way up.
    """
    keep = clamp or unclamped
    units, draws = start.units, Draws(seed)
    images = keep(start)
    yield images, images.floats()[:, :units]
    for step in range(1, gibbs_steps + 1):
        up, down = draws.at(Purpose.HIDDEN, step), draws.at(Purpose.VISIBLE, step)
        drawn, means = up_and_down(stack, images, up, down)
        images = keep(drawn)
        yield images, keep(FloatStates(means, units)).floats()[:, :units]


def at_once(
    stack: Stack,
    start: States,
    usual: Sequence[Floats],
    gibbs_steps: int,
    seed: int,
    *,
    clamp: Clamp | None = None,
) -> Iterator[tuple[States, Floats]]:
    """As `rbmcli.inference.chains.fantasies`, of chains of all levels of a stack.

    start: images. usual: `usual_biases`. The levels above are first drawn from below alone. A Gibbs
    step then draws every level but the images from below and above, from the lowest up, and the
    images given the lowest. What is yielded is states of the images' units and their means.
    `check_at_once` says of which stacks this can be asked.
    """
    keep = clamp or unclamped
    lowest, units = stack.machines[0], start.units
    images = keep(start)
    yield images, images.floats()[:, :units]
    hidden: list[States] = []
    for step in range(gibbs_steps + 1):
        states = images
        above = hidden[1:]
        hidden = []
        for level, machine in enumerate(stack.machines):
            total = machine.hidden_input(stack.as_features(states, level))
            if level < len(above):
                told = stack.machines[level + 1].visible_input(above[level])
                more = told[:, : len(usual[level])] - usual[level]
                total[:, : machine.hidden.units] += machine.hidden.kind.at_each(more)
            draw = Draws(seed, level).at(Purpose.HIDDEN, step)
            hidden.append(machine.hidden.sample(total, draw))
            states = machine.hidden.kind.fed_by(hidden[-1])
        if step:
            total = lowest.visible_input(hidden[0])
            draw = Draws(seed).at(Purpose.VISIBLE, step)
            images = keep(lowest.visible.sample(total, draw, mean_out=total))
            yield images, keep(FloatStates(total, units)).floats()[:, :units]

"""Gibbs chains of all levels of a stack at once: each level given those below and above it.

Lee, Grosse, Ranganath and Ng 2009, "Convolutional deep belief networks for scalable unsupervised
learning of hierarchical representations", section 3.6. The machines' energies are added up,
without the visible biases of upper machines: hidden units have their own. So a level's units hear
from below what they would hear alone, and from above what the next machine's hidden units tell of
them; of units that are pooled, what is told of their block.
"""

from __future__ import annotations

from collections.abc import Iterator

from rbmcli.arrays import Floats
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.inference.clamping import Clamp, unclamped
from rbmcli.model.stack import Stack
from rbmcli.model.states import FloatStates, States


def check_hierarchy(stack: Stack) -> None:
    """RbmError for a stack whose levels cannot walk together."""
    if stack.top.classes:
        raise RbmError("its top layer has label units, which only walk with the top layer")
    if stack.ways_down:
        raise RbmError("its ways up and down were trained apart, so that they have no energy")
    layers = [layer for machine in stack.machines for layer in (machine.visible, machine.hidden)]
    if any(layer.kind.has_sigma for layer in layers[1:]):
        raise RbmError("its inner layers have standard deviations, which levels do not share")


def walk(
    stack: Stack,
    start: States,
    gibbs_steps: int,
    seed: int,
    *,
    clamp: Clamp | None = None,
    first_step: int = 0,
) -> Iterator[tuple[States, Floats]]:
    """As `rbmcli.inference.chains.fantasies`, of chains of all levels of a stack.

    start: images. The levels above are first drawn from below alone. A Gibbs step then draws every
    level but the images from below and above, from the lowest up, and the images given the lowest.
    What is yielded is states of the images' units and their means. `check_hierarchy` says of which
    stacks this can be asked.
    """
    keep = clamp or unclamped
    units = start.units
    images = keep(start)
    yield images, images.floats()[:, :units]
    levels = _from_below(stack, images, seed, first_step)
    lowest = stack.machines[0]
    draws = Draws(seed)
    for step in range(first_step, first_step + gibbs_steps):
        states = images
        for level in range(len(stack.machines)):
            levels[level] = _drawn(stack, level, states, levels, seed, step, 1)
            states = stack.machines[level].hidden.kind.fed_by(levels[level])
        total = lowest.visible_input(levels[0])
        draw = draws.at(Purpose.VISIBLE, step, 1)
        images = keep(lowest.visible.sample(total, draw, mean_out=total))
        yield images, keep(FloatStates(total, units)).floats()[:, :units]


def _from_below(stack: Stack, images: States, seed: int, step: int) -> list[States]:
    """Hidden states of every machine, each given what is below it alone."""
    levels: list[States] = []
    states = images
    for level, machine in enumerate(stack.machines):
        levels.append(_drawn(stack, level, states, [], seed, step, 0))
        states = machine.hidden.kind.fed_by(levels[-1])
    return levels


def _drawn(
    stack: Stack,
    level: int,
    below: States,
    levels: list[States],
    seed: int,
    step: int,
    substep: int,
) -> States:
    """Hidden states of a machine given what is below it and, where `levels` has it, above it."""
    machine = stack.machines[level]
    total = machine.hidden_input(stack.as_features(below, level))
    if level + 1 < len(levels):
        told = stack.machines[level + 1].projected(levels[level + 1])
        hidden = machine.hidden
        total[:, : hidden.units] += hidden.kind.at_each(told)
    draw = Draws(seed, level).at(Purpose.HIDDEN, step, substep)
    return machine.hidden.sample(total, draw)

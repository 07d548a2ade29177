"""Machines on top of each other: a deep belief network.

Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets". The top machine is
undirected. Below it, each level is drawn given the one above: by its machine's own way down, or by
another where the two ways were trained apart. The way up infers upper levels from lower ones.

Level 0 is the images', level i + 1 the hidden units of machine i.
"""

from __future__ import annotations

from collections.abc import Sequence

from rbmcli import _kernels
from rbmcli.arrays import Floats, padded, to_padded, zeros
from rbmcli.draws import Draw, beneath
from rbmcli.errors import RbmError
from rbmcli.model.layer import Layer
from rbmcli.model.link import DenseLink
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, States, beside, columns
from rbmcli.model.units import UnitKind


def check_joint(below: UnitKind, above: UnitKind) -> None:
    """RbmError unless visible units of kind `above` can stand on hidden units of kind `below`."""
    same = below.without_sigma.name == above.without_sigma.name
    any_number = above.without_sigma.name == "gaussian" and not below.as_bits
    if not same and not any_number:
        others = "" if below.as_bits else " or gaussian or gaussian:learned"
        raise RbmError(
            f"{above.name} units cannot stand on {below.name} ones; make them"
            f" {below.without_sigma.name}{others}"
        )


class WayDown:
    """Directed connections from hidden to visible units.

    `visible` holds the visible units with their generative biases. `link` leads from the hidden
    units, on its visible side, to them.
    """

    def __init__(self, visible: Layer, hidden: int) -> None:
        self.visible = visible
        self.link = DenseLink(hidden, visible.units)

    @staticmethod
    def of(model: Rbm) -> WayDown:
        """A machine's own way down, copied."""
        way = WayDown(Layer(model.visible.kind, model.visible.shape), model.hidden.units)
        way.visible.bias[:] = model.visible.bias
        way.link.set_weights(model.link.weights.T)
        return way

    def visible_input(self, hidden: States) -> Floats:
        """Total inputs of the visible units, float32 (rows, ld of visible)."""
        out = zeros((hidden.rows, self.visible.ld))
        return self.link.up(hidden, self.visible.bias, out)

    def filters(self) -> Floats:
        """What each hidden unit adds to the visible ones, float32 (hidden, *visible shape)."""
        return self.link.weights.reshape(-1, *self.visible.shape)


class Stack:
    """Machines from the bottom up, at least one.

    ways_down: of all machines but the top one, where they differ from the machines' own.
    """

    def __init__(self, machines: Sequence[Rbm], ways_down: Sequence[WayDown] = ()) -> None:
        self.machines = list(machines)
        self.ways_down = list(ways_down)

    @property
    def top(self) -> Rbm:
        """The undirected machine."""
        return self.machines[-1]

    @property
    def image_layer(self) -> Layer:
        """The layer that images are states of: the lowest visible one, without label units."""
        lowest = self.machines[0]
        if not lowest.classes:
            return lowest.visible
        return Layer(lowest.feature_kind, lowest.feature_shape)

    @property
    def directed(self) -> list[Rbm | WayDown]:
        """What leads down to each level below the top machine's own, from the bottom up."""
        return [*(self.ways_down or self.machines[:-1])]

    def raised(
        self, images: States, draw: Draw, *, sampled: bool, machines: int | None = None
    ) -> list[States]:
        """The images' states, and those of every machine's hidden units given what is below them.

        sampled: whether units are drawn, those of level i by `beneath(draw, i)`, or each is its
        mean. machines: how many to go up through; None for all. Label units are taken to be off.
        """
        levels = [images]
        for level, machine in enumerate(self.machines[:machines], 1):
            total = machine.hidden_input(self.standing_on(levels[-1], level - 1))
            if sampled:
                levels.append(machine.hidden.sample(total, beneath(draw, level)))
            else:
                levels.append(machine.hidden.kind.fed(total, machine.hidden.units, total))
        return levels

    def standing_on(self, states: States, level: int) -> States:
        """Visible states of the machine that stands on these states of a level, label units off."""
        machine = self.machines[level]
        if level:
            states = machine.visible.adopted(states, self.machines[level - 1].hidden)
        if machine.classes:
            states = beside(states, BitStates.empty(states.rows, machine.classes))
        return states

    def lowered(self, visible: States, draw: Draw) -> tuple[States, Floats]:
        """States of the images' units, drawn given visible states of the top machine; their means.

        Level i is drawn by `beneath(draw, i)`. The means are float32 (rows, ld); of a stack of one
        machine, both are what was given.
        """
        states = columns(visible, 0, self.top.features)
        means = states.floats()
        for level in reversed(range(len(self.machines) - 1)):
            way, above = self.directed[level], self.machines[level + 1]
            hidden = self.machines[level].hidden.adopted(states, above.visible)
            means = way.visible_input(hidden)
            states = way.visible.sample(means, beneath(draw, level), mean_out=means)
        return states, means

    def filters(self, level: int) -> Floats:
        """What each hidden unit of a machine adds to an image, float32 (hidden, *image shape).

        Of upper machines, weighted sums of the filters below (Lee, Ekanadham and Ng 2008, "Sparse
        deep belief net model for visual area V2", section 4.2).
        """
        machine = self.machines[level]
        way = machine if level >= len(self.directed) else self.directed[level]
        own = way.filters().reshape(machine.hidden.units, -1)[:, : machine.features]
        if level == 0:
            return own.reshape(-1, *machine.feature_shape)
        below = self.filters(level - 1)
        flat = to_padded(below.reshape(len(below), -1))
        pixels = below[0].size
        out = zeros((len(own), padded(pixels)))
        _kernels.multiply(to_padded(own), flat, pixels, zeros((padded(pixels),)), out)
        return out[:, :pixels].reshape(-1, *below.shape[1:])

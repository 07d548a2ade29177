"""Machines on top of each other: a deep belief network.

Hinton, Osindero and Teh 2006, "A fast learning algorithm for deep belief nets". The top machine is
undirected. Below it, each level is drawn given the one above: by its machine's own way down, or by
another where the two ways were trained apart. The way up infers upper levels from lower ones.

Level 0 is the images', level i + 1 the hidden units of machine i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats, put, to_padded
from rbmcli.draws import Draw, apart
from rbmcli.errors import RbmError
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import BitStates, FloatStates, States, beside, columns
from rbmcli.model.units import UnitKind
from rbmcli.model.way_down import WayDown


def check_joint(below: UnitKind, above: UnitKind) -> None:
    """RbmError unless visible units of kind `above` can stand on hidden units of kind `below`."""
    same = below.without_sigma.name == above.without_sigma.name
    any_number = above.takes_any_number and not below.as_bits
    if not same and not any_number:
        others = "" if below.as_bits else " or gaussian or gaussian:learned"
        raise RbmError(
            f"{above.name} units cannot stand on {below.name} ones; make them"
            f" {below.without_sigma.name}{others}"
        )


class Descent(NamedTuple):
    """How a level was drawn: its units' states given those of the hidden units above it.

    means: float32 (rows, ld), what was expected.
    """

    level: int
    hidden: States
    visible: States
    means: Floats


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
    def of_model(self) -> Stack:
        """The same stack, its units drawn as the model says (`UnitKind.of_model`)."""
        machines = [machine.of_model for machine in self.machines]
        return Stack(machines, [way.of_model for way in self.ways_down])

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
        """The images' states, and those that every machine's hidden units feed given what is below.

        sampled: whether units are drawn, those of level i by `apart(draw, i)`, or each is its
        mean. machines: how many to go up through; None for all. Label units are taken to be off.
        """
        levels = [images]
        for level, machine in enumerate(self.machines[:machines], 1):
            total = machine.hidden_input(self.standing_on(levels[-1], level - 1))
            hidden = machine.hidden
            if sampled:
                drawn = hidden.sample(total, apart(draw, level))
                levels.append(hidden.kind.fed_by(drawn))
            else:
                levels.append(hidden.kind.fed(total, hidden.units, total))
        return levels

    def standing_on(self, states: States, level: int, labels: States | None = None) -> States:
        """Visible states of the machine that stands on these states of a level.

        labels: states of its label units, if it has any; None for all off.
        """
        machine, states = self.machines[level], self.as_features(states, level)
        if machine.classes:
            off = BitStates.empty(states.rows, machine.classes)
            states = beside(states, off if labels is None else labels)
        return states

    def as_features(self, states: States, level: int) -> States:
        """States of a level in the terms of the machine that stands on it, without label units."""
        if not level:
            return states
        return self.machines[level].visible.adopted(states, self.machines[level - 1].hidden)

    def lowered(self, visible: States, draw: Draw) -> tuple[States, Floats]:
        """States of the images' units, drawn given visible states of the top machine; their means.

        Level i is drawn by `apart(draw, i)`. The means are float32 (rows, ld); of a stack of one
        machine, both are what was given.
        """
        states = columns(visible, 0, self.top.features)
        means = states.floats()
        for _, _, states, means in self.descents(visible, draw):  # noqa: B007 - the last is wanted
            pass
        return states, means

    def descents(self, visible: States, draw: Draw) -> Iterator[Descent]:
        """Draw each level from the top machine's visible states down, as `lowered` does."""
        states = columns(visible, 0, self.top.features)
        for level in reversed(range(len(self.machines) - 1)):
            way, above = self.directed[level], self.machines[level + 1]
            below = self.machines[level].hidden
            fed = below.adopted(states, above.visible)
            hidden = below.kind.drawn_from_fed(fed, apart(draw, len(self.machines) + level))
            means = way.visible_input(hidden)
            states = way.visible.sample(means, apart(draw, level), mean_out=means)
            yield Descent(level, hidden, states, means)

    def untied(self) -> Stack:
        """A copy whose ways up and down are trained apart: what up-down begins with.

        The ways up are the machines' weights and hidden biases, the ways down are copies of them
        with the visible biases. Nothing is shared with this stack. RbmError for a stack of one
        machine, and where units have standard deviations.
        """
        if len(self.machines) == 1:
            raise RbmError("up-down is for stacks of two layers or more; this one has a single one")
        for level, machine in enumerate(self.machines):
            for layer in (machine.visible, machine.hidden):
                if layer.kind.has_sigma:
                    raise RbmError(
                        f"layer {level} has {layer.kind.name} units, whose deviations up-down"
                        f" does not know; train it with {layer.kind.without_sigma.name} units"
                    )
        ways = [w.copied() if isinstance(w, WayDown) else WayDown.of(w) for w in self.directed]
        return Stack([machine.copied() for machine in self.machines], ways)

    def parameters(self) -> dict[str, NDArray[Any]]:
        """Of a stack whose ways down are its own, what is trained, by name; views, not copies.

        "recognition/0/weights" (visible, hidden) and ".../hidden_bias", the bottom machine's way
        up, "generative/0/weights" (visible, hidden) and ".../visible_bias", its way down, the same
        of further ones, and "top/" with the names of `Rbm.parameters`. The visible biases of
        machines below the top one have no part in it.
        """
        return self._named(lambda part: part.parameters())

    def velocities(self) -> dict[str, NDArray[Any]]:
        """The velocities of the same names; views, not copies."""
        return self._named(lambda part: part.velocities())

    def load(
        self,
        parameters: Mapping[str, NDArray[Any]],
        velocities: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Take over parameters, and velocities where given, by the names of `parameters`.

        KeyError for one that is missing, ValueError for one of another shape.
        """
        for name, values in self.parameters().items():
            put(values, parameters[name], name)
        if velocities is not None:
            for name, values in self.velocities().items():
                put(values, velocities[name], f"velocity of {name}")

    def _named(
        self, of: Callable[[Rbm | WayDown], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[Any]]:
        """What `of` says of every machine and way down, by the names of `parameters`."""
        named: dict[str, NDArray[Any]] = {}
        for level, (machine, way) in enumerate(
            zip(self.machines[:-1], self.ways_down, strict=True)
        ):
            up, down = of(machine), of(way)
            named |= {
                f"recognition/{level}/{name}": up[name] for name in ("weights", "hidden_bias")
            }
            named |= {f"generative/{level}/{name}": values for name, values in down.items()}
        return named | {f"top/{name}": values for name, values in of(self.top).items()}

    def filters(self, level: int) -> Floats:
        """What each filter of a machine adds to an image, float32 (filters, *picture shape).

        The shape is that of an image, or of the part of it that filters reach which move over it.
        Of upper machines, weighted sums of the filters below (Lee, Ekanadham and Ng 2008, "Sparse
        deep belief net model for visual area V2", section 4.2).
        """
        machine = self.machines[level]
        way = machine if level >= len(self.directed) else self.directed[level]
        if level == 0 and not machine.classes:
            return way.filters()
        values, reach = way.patterns()[:, : machine.features], way.link.reach
        for below in reversed(range(level)):
            machine, above = self.machines[below], self.machines[below + 1]
            if above.visible.kind.has_sigma:
                values = values * above.visible.sigma
            if machine.hidden.kind.has_sigma:
                values = values / machine.hidden.sigma
            # Shared out evenly over the units of a block.
            spread = machine.hidden.kind.at_each(values) / np.float32(machine.hidden.kind.pool**2)
            values = self.directed[below].projected(FloatStates(to_padded(spread), spread.shape[1]))
            reach = machine.reach(reach)
        pictures = values.reshape(-1, *self.machines[0].feature_shape)
        if reach is None:
            return pictures
        return np.ascontiguousarray(pictures[..., : reach[0], : reach[1]])

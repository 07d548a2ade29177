"""What a batch says about the gradient: means, to which parts of a batch add their shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rbmcli.arrays import Floats


@dataclass(frozen=True)
class Statistics:
    """Of a batch; or of a part of one, its share, so that the sum over all parts is the batch's.

    gradient: mean of v h' in the data minus that in the model, in the link's form. visible, hidden:
    means of the data and of the model, (units,). below, above: of parameters of the two layers
    other than biases, their gradients by name, (units,). All last until the next ones are made.
    """

    gradient: Any
    visible: tuple[Floats, Floats]
    hidden: tuple[Floats, Floats]
    below: dict[str, Floats]
    above: dict[str, Floats]

    def plus(self, other: Statistics) -> Statistics:
        """Both parts together."""
        return Statistics(
            self.gradient + other.gradient,
            (self.visible[0] + other.visible[0], self.visible[1] + other.visible[1]),
            (self.hidden[0] + other.hidden[0], self.hidden[1] + other.hidden[1]),
            {name: gradient + other.below[name] for name, gradient in self.below.items()},
            {name: gradient + other.above[name] for name, gradient in self.above.items()},
        )

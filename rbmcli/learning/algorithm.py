"""What a training algorithm is: how the negative states of a step are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from rbmcli.arrays import Scratch
from rbmcli.draws import Draws, Purpose
from rbmcli.model.links import Phase, Rule
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States


@dataclass(frozen=True)
class Method:
    """How negative states are made, in the user's terms.

    mean_field: visible reconstructions are their means instead of drawn states.
    normalize_hidden: see `rbmcli.learning.cd`.
    chains: persistent chains; None for as many as a batch has images.
    temperatures: of parallel tempering, the machine's own among them.
    adaptive_ladder: whether temperatures are moved until all pairs swap equally often.
    fast_learning_rate: of the fast weights.
    """

    algorithm: str = "cd"
    mean_field: bool = False
    normalize_hidden: bool = False
    chains: int | None = None
    temperatures: int = 10
    adaptive_ladder: bool = True
    fast_learning_rate: float = 0.05


class Algorithm(ABC):
    """One way of training: `positive`, `negative`, and after the update, `follow`."""

    def __init__(self, model: Rbm, draws: Draws, method: Method, batch_size: int) -> None:
        self._model = model
        self._draws = draws
        self._method = method
        self._rows = method.chains or batch_size
        self._scratch = Scratch()

    def positive(self, visible: States, step: int) -> Phase:
        """Statistics of the data in a batch."""
        total = self._scratch.rows("positive", visible.rows, self._model.hidden.ld)
        means = self._model.hidden.mean(self._model.hidden_input(visible, total))
        return Phase(visible, means.values)

    @abstractmethod
    def negative(self, step: int, gibbs_steps: int) -> Phase:
        """Statistics of the machine, after `positive` was asked for; they last until then."""

    def follow(self, positive: Phase, negative: Phase, rule: Rule) -> bool:
        """Learn what an algorithm itself learns, after the machine was; True if that is finite."""
        return True

    @property
    def memory(self) -> tuple[NDArray[Any], ...] | None:
        """What a step goes on from, in place: it and the parameters are all that steps share.

        None where there is more, or where the next step is not like others.
        """
        return None

    def state(self) -> dict[str, NDArray[Any]]:
        """What a resumed run needs, by name."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Go on from an earlier state."""

    def _random_hidden(self, rows: int) -> States:
        """Hidden states of chains that begin at independent visible units with their biases."""
        model = self._model
        total = self._scratch.rows("visible start", rows, model.visible.ld)
        total[:] = model.visible.bias
        visible = model.visible.sample(total, self._draws.at(Purpose.CHAINS, 0, 0))
        total = self._scratch.rows("hidden start", rows, model.hidden.ld)
        model.hidden_input(visible, total)
        return model.hidden.sample(total, self._draws.at(Purpose.CHAINS, 0, 1))

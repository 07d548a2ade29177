"""Values that change as training proceeds, and intervals at which something is done."""

from __future__ import annotations

from dataclasses import dataclass

from rbmcli.errors import RbmError


@dataclass(frozen=True)
class Schedule:
    """A value by epoch: constant, steps, or a linear ramp over the whole run.

    Written `0.1`, `0.5@0,0.9@5` (from epoch 0, from epoch 5) or `0.1:0.001`.
    """

    text: str
    steps: tuple[tuple[float, float], ...]  # (from epoch, value), the first from epoch 0
    ramp_to: float | None = None

    @staticmethod
    def parse(text: str) -> Schedule:
        """Read a schedule as written; RbmError if it is none."""
        wrong = RbmError(
            f"'{text}' is not a schedule: write 0.1, 0.5@0,0.9@5 (value@epoch, the first @0)"
            " or 0.1:0.001 (a ramp)"
        )
        try:
            if ":" in text:
                start, end = (float(part) for part in text.split(":"))
                return Schedule(text, ((0.0, start),), end)
            if "@" not in text:
                return Schedule(text, ((0.0, float(text)),))
            pairs = [part.split("@") for part in text.split(",")]
            steps = tuple((float(epoch), float(value)) for value, epoch in pairs)
        except ValueError:
            raise wrong from None
        epochs = [epoch for epoch, _ in steps]
        if epochs[0] != 0 or epochs != sorted(set(epochs)):
            raise wrong
        return Schedule(text, steps)

    @property
    def values(self) -> tuple[float, ...]:
        """Every value that the schedule is made of."""
        ramp = () if self.ramp_to is None else (self.ramp_to,)
        return (*(value for _, value in self.steps), *ramp)

    @property
    def is_ramp(self) -> bool:
        """Whether the values depend on the length of the run."""
        return self.ramp_to is not None

    def at(self, epoch: int, epochs: int) -> float:
        """The value during an epoch (from 0) of a run of `epochs`."""
        if self.ramp_to is not None:
            start = self.steps[0][1]
            return start + (self.ramp_to - start) * (epoch / (epochs - 1) if epochs > 1 else 0.0)
        return next(value for start, value in reversed(self.steps) if start <= epoch)


@dataclass(frozen=True)
class Interval:
    """Every so many epochs or steps, written `1epochs` or `100steps`.

    sparing: whether it is to take little of the time, and so may be passed over; see `SPARING`.
    """

    text: str
    count: int
    in_epochs: bool
    sparing: bool = False

    @staticmethod
    def parse(text: str) -> Interval:
        """Read an interval as written; RbmError if it is none."""
        for unit in ("epochs", "epoch", "steps", "step"):
            number = text.removesuffix(unit)
            if number != text and number.isdecimal() and int(number) > 0:
                return Interval(text, int(number), unit.startswith("epoch"))
        raise RbmError(f"'{text}' is not an interval: write 1epochs or 100steps")

    def due(self, step: int, steps_per_epoch: int) -> bool:
        """Whether it falls on the end of step number `step` (from 1)."""
        return step % self._steps(steps_per_epoch) == 0

    def until_due(self, step: int, steps_per_epoch: int) -> int:
        """How many steps after number `step` it falls due, 1 or more."""
        every = self._steps(steps_per_epoch)
        return every - step % every

    def _steps(self, steps_per_epoch: int) -> int:
        return self.count * (steps_per_epoch if self.in_epochs else 1)


#: After an epoch, where that takes little of the time, and within long ones.
SPARING = Interval("auto", 1, in_epochs=True, sparing=True)

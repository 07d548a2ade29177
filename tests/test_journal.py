"""When checkpoints are due."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rbmcli.cli import journal
from rbmcli.cli.journal import Pace
from rbmcli.learning.schedules import SPARING, Interval


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(journal, "time", clock)
    return clock


def course(pace: Pace, clock: Clock, *, step: float, takes: float, steps: int) -> list[int]:
    """The steps, of 4 an epoch, after which a checkpoint is written; it `takes` so long."""
    written = []
    for number in range(1, steps + 1):
        clock.now += step
        if pace.due(number, 4):
            with pace.timed():
                clock.now += takes
            written.append(number)
    return written


def test_an_interval_is_kept_whatever_it_costs(clock: Clock) -> None:
    every = course(Pace(Interval.parse("1epochs")), clock, step=1, takes=50, steps=12)
    assert every == [4, 8, 12]


def test_checkpoints_take_no_more_than_a_fiftieth_of_the_time(clock: Clock) -> None:
    assert course(Pace(SPARING), clock, step=1, takes=0.079, steps=16) == [4, 8, 12, 16]
    sparse = course(Pace(SPARING), clock, step=1, takes=0.39, steps=4000)
    assert sparse[0] == 4  # the first one does not wait
    assert set(differences(sparse)) == {20}
    assert course(Pace(SPARING), clock, step=1, takes=0.41, steps=50) == [4, 28]


def test_long_epochs_have_checkpoints_within(clock: Clock) -> None:
    assert course(Pace(SPARING), clock, step=400, takes=1, steps=12) == [2, 4, 6, 8, 10, 12]
    assert course(Pace(SPARING), clock, step=150, takes=1, steps=8) == [4, 8]


def differences(numbers: list[int]) -> list[int]:
    return [b - a for a, b in pairwise(numbers)]

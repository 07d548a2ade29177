"""Signals: what each does before, during and after the work of a command.

They are taken from the first moment on, before anything heavy is imported; those that are ignored
when the process starts stay ignored. A command that only reads, or writes one file at its end, is
unwound by an exception, so that what it wrote aside is removed. Training takes note of a signal and
stops after a step, with a checkpoint. Nothing is imported here but the standard library.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum, auto
from types import FrameType
from typing import Any

from rbmcli.terminal import say

#: Exit status of a run that was stopped with a checkpoint written (EX_TEMPFAIL: try again).
STOPPED = 75
#: Exit status of a command that a signal ended: this and its number.
BY_SIGNAL = 128

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU, signal.SIGUSR1)

#: Commands that prepare something and then train it.
_TRAINING = ("train", "stack")

#: Seconds within which a second Ctrl-C is still the first: `timeout -s INT` sends it twice.
_ONE_KEY = 0.1

#: Seconds after which a signal is tried again whose exception was lost in a finalizer.
_AGAIN = 0.01


class Ended(BaseException):
    """A signal ends the command: whatever was begun is undone on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Phase(Enum):
    """What a command is about, as far as signals matter."""

    WORKING = auto()  #: any signal unwinds it
    PREPARING = auto()  #: what will be trained: Ctrl-C unwinds, others are noted
    TRAINING = auto()  #: a signal is noted, and Ctrl-C after it quits at once
    ENDING = auto()  #: it is being unwound, or is done


class _Course:
    """What became of the signals of one command.

    caught: the first one. raised: the one that unwinds. output: the run file, of a run that goes
    on. left: says what is there if training quits at once.
    """

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.caught: int | None = None
        self.caught_at = 0.0
        self.raised: int | None = None
        self.output: str | None = None
        self.left: Callable[[], str] | None = None


_now: _Course | None = None
_claimed = False
_previous: dict[int, Any] = {}


def trains(arguments: Sequence[str]) -> bool:
    """Whether a command line is of a command that trains."""
    return next((word for word in arguments if not word.startswith("-")), "") in _TRAINING


def install(arguments: Sequence[str]) -> None:
    """Take signals from now on, for a command line of these arguments.

    That is for the main thread; in another one signals are left to whoever has that.
    """
    global _now, _claimed
    _now = _Course(Phase.PREPARING if trains(arguments) else Phase.WORKING)
    _claimed = False
    if _previous or threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        was = signal.getsignal(number)
        if was not in (signal.SIG_IGN, None):  # as a parent has it that says `cmd &` or nohup
            _previous[number] = signal.signal(number, _take)
    _previous[signal.SIGALRM] = signal.signal(signal.SIGALRM, _raise_again)
    _previous[0], sys.unraisablehook = sys.unraisablehook, _unraisable


@contextmanager
def handled(arguments: Sequence[str]) -> Iterator[None]:
    """Take signals within the block, where the process does not do so already for this command."""
    global _now, _claimed
    outer = _now if _claimed else None
    if _now is None or _claimed:
        install(arguments)
        _claimed, alone = True, outer is None
    else:
        _claimed, alone = True, False
    try:
        yield
    finally:
        if outer is not None:
            _now = outer
        elif alone:
            _uninstall()


def _uninstall() -> None:
    global _now, _claimed
    _now, _claimed = None, False
    if _previous:
        sys.unraisablehook = _previous.pop(0)
        for number, handler in _previous.items():
            signal.signal(number, handler)
        _previous.clear()


def resumes(output: str) -> None:
    """Say that the run in this file goes on: whenever a signal comes, there is a checkpoint."""
    if _now is not None:
        _now.output = output


def training(left: Callable[[], str]) -> None:
    """From now on signals are noted. left: what a second Ctrl-C says of what it leaves."""
    if _now is not None:
        _now.phase, _now.left = Phase.TRAINING, left


def over() -> None:
    """From now on signals change nothing: the command is done, and its status known."""
    if _now is not None:
        _now.phase = Phase.ENDING


def ignore() -> None:
    """The process is about to end with a status of its own, which no signal changes any more.

    The interpreter would give them back their defaults before it is gone.
    """
    over()
    for number in _previous:
        if number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


def noted() -> str | None:
    """The name of the first signal that was taken note of, or None."""
    caught = None if _now is None else _now.caught
    return None if caught is None else signal.Signals(caught).name


def unwinding() -> bool:
    """Whether a signal has ended the command, whatever exception came of it."""
    return _now is not None and _now.raised is not None


def told(ended: Ended | None = None) -> int:
    """Say that a signal ended the command; return the exit status."""
    number = ended.number if ended else (_now.raised if _now else None) or signal.SIGINT
    over()
    name = signal.Signals(number).name
    what = "interrupted" if number == signal.SIGINT else f"ended by {name}"
    if _now is not None and _now.output is not None:
        say(f"{_now.output}: stopped by {name} before it went on; go on with --resume")
        return STOPPED
    say(f"rbm: {what}")
    return BY_SIGNAL + number


def _take(number: int, _frame: FrameType | None) -> None:
    course = _now
    if course is None:
        return
    first = course.caught is None
    if (
        number == signal.SIGINT
        and not first
        and course.phase in (Phase.TRAINING, Phase.ENDING)
        and time.monotonic() - course.caught_at > _ONE_KEY
    ):
        _quit(course)
    if first:
        course.caught, course.caught_at = number, time.monotonic()
    if course.phase is Phase.WORKING or (
        course.phase is Phase.PREPARING and number == signal.SIGINT
    ):
        course.phase, course.raised, course.caught_at = Phase.ENDING, number, time.monotonic()
        raise Ended(number)


def _quit(course: _Course) -> None:
    """End the process here and now, and say what is left."""
    left = f": {course.left()}" if course.left is not None else ""
    # The main thread may be in the middle of a line, so its buffer is left alone; and the bar that
    # it may draw hides the cursor.
    shown = "\r\x1b[K\x1b[?25h" if _on_terminal() else ""
    with suppress(OSError):
        os.write(2, f"{shown}rbm: interrupted{left}\n".encode(errors="backslashreplace"))
    os._exit(BY_SIGNAL + signal.SIGINT)


def _on_terminal() -> bool:
    return os.isatty(2) and os.environ.get("TERM", "dumb") != "dumb"


def _unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """A signal may come while Python finalizes an object, where exceptions end: it comes again."""
    if isinstance(unraisable.exc_value, Ended):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    else:
        _previous.get(0, sys.__unraisablehook__)(unraisable)


def _raise_again(_number: int, _frame: FrameType | None) -> None:
    if _now is not None and _now.raised is not None:
        raise Ended(_now.raised)

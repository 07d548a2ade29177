"""Broken files of every kind that is read: refused in one line, whatever is wrong with them.

The same files every time, a few of each kind; `make fuzz` tries more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from random import Random

import pytest
from faults import corpus, preload
from faults.children import Outcome
from faults.fuzz import TARGETS, Fuzzing, fuzzing, wrong_with
from faults.generators.case import Case, Place
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def fuzz() -> Iterator[Fuzzing]:
    with fuzzing(seconds=5) as fuzz:
        yield fuzz


#: How many files of a kind, where it is not 30: most can go wrong with run files.
EXAMPLES = {"run-structure": 120, "run-bytes": 60, "beside-run": 60}

_number = itertools.count()

#: Choices that Hypothesis makes itself are more often simple, and can be made simpler still; others
#: are as even as those of the program.
_RANDOM = st.randoms(use_true_random=False) | st.randoms(use_true_random=True)


def check(fuzz: Fuzzing, make: Callable[[Place], Case]) -> list[int]:
    """Nothing is wrong with a case; the statuses of its jobs."""
    ((trial, findings),) = fuzz.run([fuzz.trial(f"case-{next(_number)}", make)])
    assert not findings, "\n".join(map(str, findings))
    return [done.status for done in trial.outcomes]


@pytest.mark.parametrize("target", TARGETS)
def test_broken_files(target: str, fuzz: Fuzzing) -> None:
    statuses: list[int] = []

    # Not made smaller where it fails: the finding names the case, and that takes minutes.
    @settings(
        max_examples=EXAMPLES.get(target, 30),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_RANDOM)
    def try_one(rng: Random) -> None:
        statuses.extend(check(fuzz, lambda place: TARGETS[target](rng, place)))

    try_one()
    assert len(statuses) >= 30
    assert {1, 2} & set(statuses)


@pytest.mark.parametrize(
    ("make", "refused"), corpus.FOUND, ids=lambda x: getattr(x, "__name__", "")
)
def test_files_found_before(make: Callable[[Place], Case], refused: bool, fuzz: Fuzzing) -> None:
    statuses = check(fuzz, make)
    assert not refused or {1, 2} & set(statuses)


def outcome(status: int, err: str = "", out: str = "", *, hung: bool = False) -> Outcome:
    return Outcome(status, out, err, 0.1, 1 << 20, hung)


@pytest.mark.parametrize(
    ("done", "what"),
    [
        (outcome(0), None),
        (outcome(75), None),
        (outcome(2, "Usage: rbm\n\nError: what\n"), None),
        (outcome(1, "rbm: error: run.h5: a damaged run file: restore it\n"), None),
        (outcome(1, "rbm: error: run.h5: damaged\nmore\n"), "not one line: more"),
        (outcome(1), "not one line: ''"),
        (outcome(0, "/x/a/b.py:12: UserWarning: x\n"), "noise: UserWarning at a/b.py:12"),
        (outcome(-11), "crash by signal 11"),
        (outcome(-9, hung=True), "hang"),
        (outcome(130), "undocumented status 130"),
        (outcome(1, "rbm: error: \x1b[31mred\n"), "control characters"),
        (
            outcome(
                1,
                "Traceback (most recent call last):\n"
                '  File "/x/rbmcli/io/table.py", line 7, in read\n'
                '  File "/x/h5py/group.py", line 9, in get\n'
                "KeyError: 'a'\n",
            ),
            "traceback: KeyError at io/table.py:7 read",
        ),
    ],
)
def test_what_is_wrong_is_seen(done: Outcome, what: str | None) -> None:
    assert wrong_with(["rbm", "info"], done) == what


def test_files_outside_are_watched(fuzz: Fuzzing) -> None:
    if reason := preload.why_not():
        pytest.skip(reason)

    def reading(place: Place) -> Case:
        return Case("reads", [["source", str(place.outside / "secret.h5:filters")]])

    def writing(place: Place) -> Case:
        (place.outside / "victim").write_bytes(b"other")
        return Case("writes", [["source", "nothing"]])

    found = {}
    for make in (reading, writing):
        ((_, findings),) = fuzz.run([fuzz.trial(make.__name__, make)])
        found |= {finding.label: finding.what for finding in findings}
    assert found == {"reads": "a file outside is opened", "writes": "a file outside is changed"}


def test_a_secret_that_is_copied_is_found(fuzz: Fuzzing) -> None:
    def copying(place: Place) -> Case:
        (place.folder / "out.npz.h5").write_bytes(b"x" + corpus.MARK)
        return Case("copies", [["source", "nothing"]])

    ((_, findings),) = fuzz.run([fuzz.trial("copies", copying)])
    assert [finding.what for finding in findings] == ["a secret is out"]

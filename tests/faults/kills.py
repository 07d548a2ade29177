"""Trainings killed at random moments and resumed: they end as if nothing had happened.

`python -m tests.faults.kills` kills real processes with SIGKILL, as many as it is told, and prints
where the kills fell. Whenever a training is killed, its file must be one of the files that the
undisturbed training wrote on its way, none that is older than one seen before or than what the
metrics log says is done; and in the end all data sets and attributes must be those of the
undisturbed training.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.children import Children, children, work_folder
from faults.problems import digest, held, logged, write_data

Words = Sequence[str]

#: 167 images to train on: the last of the 17 batches of an epoch is short.
_COMMON = (
    *("-o", "run.h5", "--batch-size", "10", "--threads", "1", "--quiet"),
    *("--checkpoint-every", "3steps", "--snapshot-every", "2steps"),
)
_LOG = ("--metrics", "log")


def _train(options: str) -> Words:
    return ("train", "images.npy", *options.split(), "--validation", "0.1", *_COMMON)


def _stack(options: str) -> Words:
    return ("stack", "images.npy", *options.split(), *_COMMON)


@dataclass(frozen=True)
class Life:
    """A training to be killed.

    words: the command that begins it. before: commands that make the run file with which it
    begins. at_end: whether it is killed only when the training proper is done, while the run
    gathers its filters.
    """

    words: Words
    before: tuple[Words, ...] = ()
    at_end: bool = False

    def onward(self, reached: int) -> Words:
        """The command that goes on from the file with that number."""
        if "--resume" in self.words:
            return self.words
        if "--grow" in self.words:  # once something is grown, the run knows its layers
            return self.words if reached < 1 else ("stack", "images.npy", *_COMMON, "--resume")
        return (*self.words, "--resume")


_CD = "--hidden 12 --epochs 8"
_LABELLED = "--labels labels.npy --label-units --add-layer 12"

LIVES = {
    "cd": Life(_train(f"{_CD} --momentum 0.5@0,0.9@2")),
    "zca": Life(
        _train(
            "--hidden 12 --epochs 6 --preprocess contrast,zca --visible-kind gaussian:learned"
            " --hidden-kind nrelu --lr 0.001 --sparsity-target 0.1 --max-norm 3"
        )
    ),
    "pcd": Life(_train("--hidden 12 --epochs 6 --algorithm pcd --chains 7 --lr 0.05:0")),
    "fpcd": Life(
        _train("--hidden 12 --epochs 6 --algorithm fpcd --visible-kind binomial:5 --lr 0.01")
    ),
    "pt": Life(_train("--hidden 12 --epochs 5 --algorithm pt --temperatures 5 --chains 4")),
    "conv": Life(
        _train("--conv 7x3x3 --pool 2 --epochs 6 --crop 6x6 --flip --sparsity-target 0.1")
    ),
    "stack": Life(
        _stack(f"--epochs 4 {_LABELLED} --add-layer 70,start=transpose,algorithm=pcd --add-layer 9")
    ),
    "up-down": Life(_stack(f"--epochs 2 {_LABELLED} --add-layer 9,algorithm=pcd --up-down 3")),
    "maps": Life(
        _stack(
            "--epochs 3 --add-layer conv=7x3x3,algorithm=fpcd"
            " --add-layer conv=6x2x2,pool=1,algorithm=pcd --add-layer 9"
        )
    ),
    "grow": Life(_stack("--grow --add-layer 9,epochs=5"), (_train("--hidden 12 --epochs 2"),)),
    "resume": Life(
        (*_train(_CD), "--resume"),
        (_train("--hidden 12 --epochs 3"),),
    ),
    "gather": Life(_train("--hidden 300 --epochs 1 --snapshot-every 1steps"), at_end=True),
}

#: What a life has beside its run file.
_BESIDE = {"images.npy", "labels.npy", "log"}


@dataclass
class Undisturbed:
    """A life without kills: all files that its run file was, one after another."""

    name: str
    life: Life
    pristine: Path
    digests: dict[str, int]
    sections: list[str]
    rows: list[tuple[Any, int]]
    held: dict[str, Any]
    seconds: float

    def complete(self, rows: Sequence[dict[str, Any]]) -> int:
        """The number of the file that was there at the latest when the last row was logged."""
        if not rows:
            return -1
        return next((number for row, number in self.rows if row == rows[-1]), -1)

    def place(self, number: int) -> str:
        """Where in the life the file with that number is."""
        if number < 0:
            return "before the first checkpoint"
        if number == len(self.sections) - 1:
            return "after the end"
        if number == len(self.sections) - 2:
            return "while gathering"
        return f"in {self.sections[number] or 'the model'}"


def live(forking: Children, name: str, base: Path) -> Undisturbed:
    """Make the folder of a life, and live it undisturbed. RuntimeError where that fails."""
    life, folder = LIVES[name], base / name
    folder.mkdir()
    write_data(folder)
    for words in life.before:
        forking.must(*words, cwd=folder)
    pristine = base / f"{name}-before"
    shutil.copytree(folder, pristine)
    notes = base / f"{name}-notes"
    if (folder / "run.h5").exists():
        first = {"digest": digest(folder / "run.h5"), "section": "", "lines": 0}
        notes.write_text(json.dumps(first) + "\n")
    forking.start(("noting", notes, "log", *life.words, *_LOG), cwd=folder)
    (done,) = forking.wait()
    if done.status:
        raise RuntimeError(f"{name}, undisturbed: {done}")
    seen = logged(folder / "log")
    # Once more, timed: noting takes time.
    (folder / "run.h5").rename(folder / "noted.h5")
    if (pristine / "run.h5").exists():
        shutil.copy(pristine / "run.h5", folder)
    timed = forking.run(*life.words, *_LOG, cwd=folder)
    noted = [json.loads(line) for line in notes.read_text().splitlines()]
    if timed.status or noted[-1]["digest"] != digest(folder / "run.h5"):
        raise RuntimeError(f"{name}, undisturbed once more: {timed}")
    lines = [note["lines"] for note in noted]
    rows = [
        (row, max(number for number, known in enumerate(lines) if known <= place))
        for place, row in enumerate(seen)
    ]
    digests = {note["digest"]: number for number, note in enumerate(noted)}
    sections = [note["section"] for note in noted]
    whole = held(folder / "run.h5")
    shutil.rmtree(folder)
    return Undisturbed(name, life, pristine, digests, sections, rows, whole, timed.seconds)


@dataclass
class Killing:
    """Kills of one life, and what came of them.

    places: where kills fell, and how often. ended: how often the command was done before.
    """

    forking: Children
    undisturbed: Undisturbed
    base: Path
    chance: random.Random
    kills: int = 0
    ends: int = 0
    places: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def live(self, most: int) -> None:
        """One life, killed a few times, at most `most`, and then let go on to its end."""
        self.folder = self.base / "killed"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.undisturbed.pristine, self.folder)
        path, reached = self.folder / "run.h5", -1
        for more in range(min(most, self.chance.randint(1, 4)), 0, -1):
            killed, least = self.kill_once(path, reached, more)
            number = self.check(path, max(reached, least))
            if number is None:
                return
            reached = number
            if killed:
                self.kills += 1
                self.places[self.undisturbed.place(number)] += 1
            if reached == len(self.undisturbed.sections) - 1:
                break
        self.check_end(path, reached)

    def kill_once(self, path: Path, reached: int, more: int) -> tuple[bool, int]:
        """Go on and kill; whether it was in time, and the number of the file surely reached.

        more: how many kills there will be, with this one; all are to be spread over the life.
        """
        log, life = self.folder / "log", self.undisturbed.life
        log.unlink(missing_ok=True)
        words = self.undisturbed.life.onward(reached)
        pid = self.forking.start(["rbm", *words, *_LOG], cwd=self.folder)
        if life.at_end:
            last = self.undisturbed.rows[-1][0]
            deadline = time.monotonic() + 1.5 * self.undisturbed.seconds
            while logged(log)[-1:] != [last] and time.monotonic() < deadline:
                time.sleep(0.0002)
            time.sleep(self.chance.uniform(0, 0.01 + self.undisturbed.seconds / 10))
        else:
            left = 1 - max(0, reached) / len(self.undisturbed.sections)
            first = 1 - self.chance.random() ** (1 / more)  # the first of so many, evenly spread
            time.sleep(1.02 * first * left * self.undisturbed.seconds)
        os.kill(pid, signal.SIGKILL)  # it is waited for only below, so the number is its own
        (done,) = self.forking.wait()
        if done.status not in (0, -signal.SIGKILL) or done.out or done.err:
            self.wrong(f"going on: {done.status}: {done.err}")
        self.ends += done.status == 0
        return done.status != 0, self.undisturbed.complete(logged(log))

    def check(self, path: Path, least: int) -> int | None:
        """The number of the file that is there; None if that is wrong, which is noted."""
        if not path.exists():
            if least >= 0:
                self.wrong(f"no run file, after number {least}")
                return None
            return -1
        try:
            number = self.undisturbed.digests.get(digest(path))
        except Exception as error:
            self.wrong(f"does not open: {error!r}")
            return None
        if number is None:
            self.wrong("the run file is none that the undisturbed training wrote")
        elif number < least:
            self.wrong(f"the run file is number {number}, but {least} was there before")
        return number

    def check_end(self, path: Path, reached: int) -> None:
        """Let the command go on to its end, and compare."""
        (self.folder / "log").unlink(missing_ok=True)
        words = self.undisturbed.life.onward(reached)
        done = self.forking.run(*words, *_LOG, cwd=self.folder)
        if done.status or done.out or done.err:
            self.wrong(f"the last time: {done.status}: {done.err}")
            return
        found, wanted = held(path), self.undisturbed.held
        if found != wanted:
            names = [name for name in found.keys() | wanted if found.get(name) != wanted.get(name)]
            self.wrong(f"in the end these differ: {sorted(names)[:8]}")
        if strays := {each.name for each in self.folder.iterdir()} - _BESIDE - {"run.h5"}:
            self.wrong(f"in the end there are {sorted(strays)}")

    def wrong(self, what: str) -> None:
        """Note a failure, with what is in the folder."""
        names = sorted(each.name for each in self.folder.iterdir())
        self.failures.append(f"{self.undisturbed.name}, kill {self.kills + 1}: {what} ({names})")


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill as often as asked; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all [200]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life", nargs="+", choices=LIVES, default=list(LIVES))
    options = parser.parse_args(arguments)
    chance, began = random.Random(options.seed), time.monotonic()
    with work_folder() as base, children(base, faults=False) as forking:
        all_lives = [
            Killing(forking, live(forking, name, base), base, chance) for name in options.life
        ]
        while (left := options.kills - sum(each.kills for each in all_lives)) > 0:
            min(all_lives, key=lambda each: each.kills + each.ends).live(left)
    print(f"{'life':10}{'kills':>7}{'ended':>7}{'failures':>10}  where the kills fell")
    for each in all_lives:
        places = ", ".join(f"{count} {place}" for place, count in sorted(each.places.items()))
        row = f"{each.kills:7}{each.ends:7}{len(each.failures):10}  {places}"
        print(f"{each.undisturbed.name:10}{row}")
    failures = [failure for each in all_lives for failure in each.failures]
    kills, ends = (sum(getattr(each, name) for each in all_lives) for name in ("kills", "ends"))
    print(f"{'all':10}{kills:7}{ends:7}{len(failures):10}  {time.monotonic() - began:.0f} s")
    for failure in failures:
        print(f"\n{failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

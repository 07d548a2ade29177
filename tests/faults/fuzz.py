"""Broken files for every reader, in real processes, looking for what must not come of them.

`python -m tests.faults.fuzz` goes on for as long as it is told and prints what was seen; it exits
with 1 where anything was wrong. What is wrong is in `wrong_with` and `Fuzzing.wrong_in`: a crash, a
traceback, a message that is not one line, more than 10 seconds or 1 GB, a file outside the folder
read or written.
"""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from faults import corpus
from faults.children import DOCUMENTED, Children, Outcome, children, work_folder
from faults.generators import arrays, hdf5, pictures, runs, texts
from faults.generators.case import Case, Generator, Place

SECONDS, MEMORY = 10.0, 1 << 30

#: Address space and sizes of files, so that the machine is safe from what is tried.
_LIMITS = {"RLIMIT_AS": 8 << 30, "RLIMIT_FSIZE": 1 << 30, "RLIMIT_CORE": 0}

TARGETS: dict[str, Generator] = {
    "run-bytes": runs.run_bytes,
    "run-structure": runs.run_structure,
    "beside-run": runs.beside_run,
    "weights": arrays.weights,
    "idx": arrays.idx_source,
    "npy": arrays.npy_source,
    "npz": arrays.npz_source,
    "hdf5-bytes": hdf5.hdf5_bytes,
    "hdf5-structure": hdf5.hdf5_structure,
    "pictures": pictures.folder_of_pictures,
    "mask": arrays.mask,
    "picture-mask": pictures.picture_mask,
    "toml": texts.toml,
    "metrics-log": texts.metrics_log,
}

_WARNING = re.compile(r"^(\S+):(\d+): (\w*Warning)", re.MULTILINE)
#: What a terminal obeys, but for the ends of lines.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _said(done: Outcome) -> str:
    """What standard error has that it should not have, so that the same looks the same."""
    if warned := _WARNING.search(done.err):
        return f"{warned[3]} at {'/'.join(Path(warned[1]).parts[-2:])}:{warned[2]}"
    lines = [line for line in done.err.splitlines() if not line.startswith("rbm: error: ")]
    return re.sub("[0-9]+", "N", lines[0])[:60] if lines else repr(done.err[:60])


def wrong_with(job: Sequence[str], done: Outcome) -> str | None:
    """What must not come of a job, whatever its files; None where all is well."""
    if done.hung:
        return "hang"
    if done.status < 0:
        return f"crash by signal {-done.status}"
    if done.traceback:
        return f"traceback: {done.traceback}"
    if done.status not in DOCUMENTED:
        return f"undocumented status {done.status}"
    if done.peak > MEMORY:
        return "more than 1 GB"
    if done.status == 1 and done.refusal is None:
        return f"not one line: {_said(done)}"
    # An evaluation says what it leaves out.
    noise = [line for line in done.err.splitlines() if " of its filters are lost" not in line]
    if done.status in (0, 75) and noise and ("Warning" in done.err or job[1] != "evaluate"):
        return f"noise: {_said(done)}"
    if _CONTROL.search(done.out + done.err):
        return "control characters"
    return None


@dataclass(frozen=True)
class Finding:
    """Something wrong with a case."""

    what: str
    label: str
    job: str
    detail: str


@dataclass
class Trial:
    """A case, how it was made, and what came of its jobs."""

    place: Place
    make: Callable[[Place], Case]
    case: Case
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def jobs(self) -> list[list[str]]:
        """Its jobs, each in its folder."""
        return [["inside", str(self.place.folder), *job] for job in self.case.jobs]

    def findings(self) -> list[Finding]:
        """What is wrong with it, as far as that shows in its own folder."""
        found = []
        for job, done in zip(self.case.jobs, self.outcomes, strict=False):
            if what := wrong_with(job, done):
                detail = done.err[-600:] or done.out[-200:]
                found.append(Finding(what, self.case.label, " ".join(job), detail))
        statuses = [done.status for done in self.outcomes]
        # Of units without upper bounds there are weights whose chains run away, as is said then.
        failed = [x for x in self.outcomes[1:] if x.status > 0 and "have run away" not in x.err]
        if self.case.serves and statuses[:1] == [0] and failed:
            what, said = "taken, but does not serve", [x.err for x in self.outcomes[1:] if x.err]
            found.append(Finding(what, self.case.label, "", " ".join(said)[:300]))
        for path in self.place.folder.glob("*.*"):
            if path.name in ("out.npz", "sample.npz") and not _finite(path):
                found.append(Finding("NaN handed on", self.case.label, path.name, f"{statuses}"))
            made = path.is_file() and path.name.startswith(("out.", "sample."))
            if made and corpus.MARK in path.read_bytes():
                found.append(Finding("a secret is out", self.case.label, path.name, ""))
        if any(corpus.MARK.decode() in done.out + done.err for done in self.outcomes):
            found.append(Finding("a secret is shown", self.case.label, "", ""))
        return found


def _finite(path: Path) -> bool:
    with np.load(path) as file:
        values = [file[name] for name in file.files]
    return all(np.isfinite(x).all() for x in values if x.dtype.kind == "f")


@dataclass
class Fuzzing:
    """The folders of cases, and the children that do their jobs."""

    forking: Children
    base: Path
    corpus: Path
    outside: Path
    seconds: float = SECONDS

    def trial(self, name: str, make: Callable[[Place], Case]) -> Trial:
        """Make a case in an empty folder."""
        folder = self.base / "cases" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        place = Place(folder, self.corpus, self.outside)
        return Trial(place, make, make(place))

    def run(self, trials: Sequence[Trial]) -> list[tuple[Trial, list[Finding]]]:
        """Do the jobs of all trials; what is wrong with each of them."""
        seen = self.base / "seen"
        seen.unlink(missing_ok=True)
        left = [(trial, job) for trial in trials for job in trial.jobs]
        while left:
            watch = (self.outside, seen) if self.forking.library else None
            jobs = [job for _, job in left]
            self.forking.start(*jobs, cwd=self.base, watch=watch, limits=_LIMITS)
            outcomes = self.forking.wait(self.seconds)
            for (trial, _), done in zip(left, outcomes, strict=False):
                trial.outcomes.append(done)
            ended = left[len(outcomes) - 1][0]
            left = left[len(outcomes) :]
            if outcomes[-1].status < 0:  # the others of that case need not be tried
                left = [(trial, job) for trial, job in left if trial is not ended]
        strayed = self.strayed(seen)
        if strayed and len(trials) > 1:  # one by one, to know which of them it was
            anew = [self.trial(each.place.folder.name, each.make) for each in trials]
            return [pair for trial in anew for pair in self.run([trial])]
        found = [(trial, trial.findings()) for trial in trials]
        if strayed:
            trial = trials[0]
            jobs_done = "; ".join(" ".join(job) for job in trial.case.jobs)
            found[0][1].append(Finding(strayed, trial.case.label, jobs_done, ""))
        return found

    def strayed(self, seen: Path) -> str | None:
        """Whether a file outside was changed, made or opened; it is put right again."""
        found = None
        if seen.exists() and seen.read_text().strip():
            found = "a file outside is opened"
        names = {path.name for path in self.outside.iterdir()}
        victim = self.outside / "victim"
        if not victim.exists() or victim.read_bytes() != corpus.VICTIM:
            found = "a file outside is changed"
            victim.write_bytes(corpus.VICTIM)
        for name in names - {"victim", "secret.bin", "secret.h5"}:
            found = "a file outside is made"
            (self.outside / name).unlink()
        return found


@contextmanager
def fuzzing(seconds: float = SECONDS) -> Iterator[Fuzzing]:
    """All that fuzzing needs."""
    with work_folder() as base, children(base, faults=False) as forking:
        yield Fuzzing(forking, base, *corpus.make(forking, base), seconds)


@dataclass
class Tally:
    """What came of the inputs of one target."""

    inputs: int = 0
    jobs: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[int, Finding]] = field(default_factory=dict)

    def add(self, index: int, trial: Trial, findings: Sequence[Finding]) -> None:
        """Count an input."""
        self.inputs += 1
        self.jobs += len(trial.outcomes)
        self.statuses.update(done.status for done in trial.outcomes)
        for what in {finding.what for finding in findings}:
            self.findings[what] += 1
        for finding in findings:
            self.examples.setdefault(finding.what, (index, finding))

    def row(self, name: str) -> str:
        """A line of the table."""
        refused = self.statuses[1] + self.statuses[2]
        accepted = self.statuses[0] + self.statuses[75]
        wrong = sum(self.findings.values())
        return f"{name:16}{self.inputs:8}{self.jobs:8}{refused:9}{accepted:10}{wrong:7}"


def made_by(target: str, seed: int, index: int) -> Callable[[Place], Case]:
    """What makes the input of a target that has a number, the same every time."""
    return lambda place: TARGETS[target](Random(f"{seed}/{target}/{index}"), place)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try broken files; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long [60, unless --inputs is given]")
    parser.add_argument("--inputs", type=int, help="how many of each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first input [0]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--batch", type=int, default=20, help="inputs for a child [20]")
    parser.add_argument("--show", action="store_true", help="print what each input led to")
    options = parser.parse_args(arguments)
    if options.seconds is None and options.inputs is None:
        options.seconds = 60.0
    tallies = {name: Tally() for name in options.target}
    began = time.monotonic()
    with fuzzing() as fuzz:
        for round_ in itertools.count():
            first = options.first + round_ * options.batch
            last = first + options.batch
            if options.inputs is not None:
                last = min(last, options.first + options.inputs)
            over = options.seconds is not None and time.monotonic() - began > options.seconds
            if first >= last or over:
                break
            for name, tally in tallies.items():
                made = {i: made_by(name, options.seed, i) for i in range(first, last)}
                trials = [fuzz.trial(f"{name}-{i}", make) for i, make in made.items()]
                for i, (trial, findings) in zip(made, fuzz.run(trials), strict=True):
                    tally.add(i, trial, findings)
                    if options.show:
                        _show(i, trial)
                shutil.rmtree(fuzz.base / "cases")
    print(f"{'target':16}{'inputs':>8}{'jobs':>8}{'refused':>9}{'accepted':>10}{'wrong':>7}")
    for name, tally in tallies.items():
        print(tally.row(name))
    inputs, wrong = (
        sum(each)
        for each in (
            [t.inputs for t in tallies.values()],
            [sum(t.findings.values()) for t in tallies.values()],
        )
    )
    print(f"{'all':16}{inputs:8}{'':27}{wrong:7}  {time.monotonic() - began:.0f} s")
    for name, tally in tallies.items():
        for what, count in tally.findings.most_common():
            index, finding = tally.examples[what]
            print(f"\n{count} x {name}: {what}; input {index}, {finding.label}: {finding.job}")
            print("    " + repr(finding.detail[-300:]))
    return 1 if wrong else 0


def _show(index: int, trial: Trial) -> None:
    for job, done in zip(trial.case.jobs, trial.outcomes, strict=False):
        words, said = " ".join(job)[:90], done.err.strip()[-200:]
        print(f"{index} {trial.case.label}: {words}: {done.status} {done.seconds:.2f} s {said!r}")


if __name__ == "__main__":
    sys.exit(main())
